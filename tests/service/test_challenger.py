"""The challenger: its layers are made beside those on display, and nobody but their judge ever sees them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exporters.challenger_metrics import challenger_metrics
from service import check, daemon
from service.api.app import create_app
from service.challenger import (
    ChallengerRun,
    challenger_bundle,
    challenger_folder,
    challenger_ledger,
    days_to_make,
    other_folders,
    run_challenger,
)
from service.challenger_compare import agreement_of, compare_days
from service.cli import main_group
from service.errors import HeldError, LockedError, Outcome, UsageError
from service.figures import read_figures
from service.files import replacing_folder
from service.ledger import Ledger
from service.lock import exclusive
from service.refresh import refresh
from service.status import read_status
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_inventory import event
from tests.fix_region import LAST_DAY, NOW, Clock, ToyRegion
from tests.service.fix_shown import DAYS, NEWEST, files_of, make_shown_region


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region with ten layers and a challenger that has made none; never changed by a test."""
    toy = make_shown_region(tmp_path_factory.mktemp("challenged") / "toy")
    write_toy_bundle(toy.folder / "other", ToyNetwork(gain=3.0, seed=5))
    text = toy.config.read_text("utf-8").replace('path = "bundle"', 'path = "bundle"\nchallenger = "other"')
    toy.config.write_text(text, "utf-8")
    return toy.folder


@pytest.fixture
def toy(template: Path, tmp_path: Path) -> ToyRegion:
    shutil.copytree(template, tmp_path / "toy", symlinks=True)
    return ToyRegion(tmp_path / "toy", Clock(NOW + timedelta(hours=1)))


def run(toy: ToyRegion, **more: Any) -> ChallengerRun:
    return run_challenger(toy.settings, toy.config, toy.clock, **more)


@contextmanager
def both(toy: ToyRegion) -> Iterator[tuple[Ledger, Ledger]]:
    with toy.ledger() as shown, challenger_ledger(toy.settings, toy.clock) as own:
        yield shown, own


def of_the_display(toy: ToyRegion) -> dict[str, str]:
    return {name: sha for name, sha in files_of(toy.data).items() if not name.startswith("challenger/")}


# --- beside the display ---


def test_it_makes_the_days_on_display_and_the_display_is_what_it_was(toy: ToyRegion) -> None:
    before = of_the_display(toy)

    done = run(toy)

    assert [result.outcome for result in done.results] == [Outcome.PUBLISHED] * len(DAYS)
    assert [result.day for result in done.results] == DAYS
    assert of_the_display(toy) == before
    assert not (done.folder / "readings.sqlite").readlink().is_absolute()
    with both(toy) as (shown, own):
        for day in DAYS:
            one, other = shown.current(day), own.current(day)
            assert one is not None
            assert other is not None
            assert one.model.digest != other.model.digest
            assert other.folder.is_relative_to(done.folder)
            assert shown.basis(one.id)["windows"] == own.basis(other.id)["windows"]
        assert own.outbox.open() == []


def test_nothing_that_shows_the_region_knows_of_its_layers(toy: ToyRegion) -> None:
    from fastapi.testclient import TestClient

    metrics, status = read_figures(toy.settings, toy.clock), read_status(toy.settings, toy.clock())
    run(toy)
    own = challenger_ledger(toy.settings, toy.clock)
    with own as ledger:
        identities = {layer.id: layer.model.digest for layer in ledger.layers()}

    after = read_figures(toy.settings, toy.clock)
    assert after.latest == metrics.latest
    assert after.outcomes == metrics.outcomes
    assert after.cells_total == metrics.cells_total
    assert read_status(toy.settings, toy.clock()).latest == status.latest
    with TestClient(create_app(toy.settings, toy.clock, bundle=None)) as client:
        said = "".join(client.get(path).text for path in ("/layers/latest", "/layers", "/metrics"))
    # The metrics name the bundle, and how it is kept; of a layer of it there is nothing.
    shown = [line for line in said.splitlines() if not line.startswith("colluvium_challenger_")]
    assert not any(digest in line for digest in identities.values() for line in shown)


def test_its_files_are_never_swept_by_a_refresh_that_runs_beside_it(toy: ToyRegion) -> None:
    run(toy, since=NEWEST)
    folder = challenger_folder(toy.settings, run(toy, since=NEWEST).digest)

    with replacing_folder(folder / "layers" / "a day" / "a layer") as half:
        toy.refresh(NEWEST)
        assert half.is_dir()
        (half / "file").touch()

    assert (folder / "layers" / "a day" / "a layer").is_dir()


def test_neither_waits_for_the_lock_of_the_other(toy: ToyRegion) -> None:
    with exclusive(toy.data / "lock", "an ingest"):
        done = run(toy, since=NEWEST)
    assert [result.outcome for result in done.results] == [Outcome.PUBLISHED]

    with exclusive(done.folder / "lock", "another challenger"):
        assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED
        with pytest.raises(LockedError, match="another challenger"):
            run(toy, since=NEWEST)


def test_a_moved_data_folder_takes_its_challenger_along(toy: ToyRegion, tmp_path: Path) -> None:
    run(toy, since=NEWEST)
    shutil.move(toy.folder, tmp_path / "moved")
    moved = ToyRegion(tmp_path / "moved", toy.clock)

    done = run(moved, since=NEWEST)

    assert [result.outcome for result in done.results] == [Outcome.UNCHANGED]


# --- which days ---


def test_a_second_run_makes_nothing_and_a_corrected_day_is_made_again(toy: ToyRegion) -> None:
    run(toy)
    again = run(toy)
    assert (again.results, again.note) == ((), "it has the layers of all days asked for")

    toy.set_rain({(LAST_DAY, "north"): 80.0})
    toy.ingest()
    toy.refresh(NEWEST)
    done = run(toy)

    assert [(result.day, result.outcome) for result in done.results] == [(NEWEST, Outcome.PUBLISHED)]
    with both(toy) as (_, own):
        newest = own.current(NEWEST)
        assert newest is not None
        assert newest.revision == 2


def test_only_days_on_display_are_made(toy: ToyRegion) -> None:
    with toy.ledger() as shown, Ledger(toy.folder / "none.sqlite", toy.clock, make=False) as own:
        newest = shown.current(NEWEST)
        assert newest is not None
        shown.withdraw(newest, "A. Rossi", "a gauge was flooded", [])
        month = timedelta(days=30)

        assert days_to_make(shown, own, None, None, month) == DAYS[:-1]
        assert days_to_make(shown, own, None, None, timedelta(days=3)) == DAYS[-4:-1]
        assert days_to_make(shown, own, None, None, timedelta(0)) == [DAYS[-2]]
        assert days_to_make(shown, own, DAYS[2], DAYS[4], month) == DAYS[2:5]
        with pytest.raises(HeldError, match="on display"):
            days_to_make(shown, own, NEWEST, None, month)
        with pytest.raises(HeldError, match="no layer is on display"):
            days_to_make(own, own, None, None, month)


def test_the_bundle_that_serves_does_not_challenge_itself(toy: ToyRegion) -> None:
    shutil.rmtree(toy.folder / "other")
    shutil.copytree(toy.folder / "bundle", toy.folder / "other")

    done = run(toy)

    assert (done.results, done.note) == ((), "the challenger is the bundle that serves")


def test_retention_holds_for_its_layers_too(toy: ToyRegion) -> None:
    text = toy.config.read_text("utf-8") + "\n[retention]\nlayer_days = 8\n"
    toy.config.write_text(text, "utf-8")

    done = run(toy)

    kept = sorted(path.name for path in (done.folder / "layers").iterdir() if path.is_dir())
    assert kept == [f"{day}-l0" for day in DAYS if day >= NEWEST - timedelta(days=8)]
    assert len(kept) < len(DAYS)


def test_its_layers_of_a_day_with_an_event_stay_as_those_on_display_do(toy: ToyRegion) -> None:
    text = toy.config.read_text("utf-8") + "\n[retention]\nlayer_days = 8\n"
    toy.config.write_text(text, "utf-8")
    with toy.ledger() as ledger:
        ledger.events.add(event(day_from=DAYS[0], day=DAYS[0]))

    done = run(toy)

    assert (done.folder / "layers" / f"{DAYS[0]}-l0").is_dir()


# --- what goes wrong ---


def test_one_that_fails_says_so_in_its_own_ledger_alone(toy: ToyRegion) -> None:
    (toy.folder / "other" / "temporal.onnx").write_bytes(b"no graph")
    before = of_the_display(toy)

    done = run(toy)

    assert [result.outcome for result in done.results] == [Outcome.FAILED]
    assert of_the_display(toy) == before
    with both(toy) as (shown, own):
        assert [run.label for run in own.runs()] == ["bundle"]
        assert all(run.outcome == Outcome.PUBLISHED for run in shown.runs())
    assert CliRunner().invoke(main_group, ["challenger", "run", "-c", str(toy.config)]).exit_code == 1


def test_the_map_is_shown_though_its_ledger_is_damaged(toy: ToyRegion) -> None:
    from fastapi.testclient import TestClient

    ledger = challenger_folder(toy.settings, challenger_bundle(toy.settings)[1]) / "ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"no database" * 1000)

    assert "damaged" in read_status(toy.settings, toy.clock()).to_text()
    with TestClient(create_app(toy.settings, toy.clock, bundle=None)) as client:
        assert [client.get(path).status_code for path in ("/plain", "/metrics", "/status")] == [200] * 3


def test_a_run_that_died_is_swept_by_the_next(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*arguments: Any, **more: Any) -> Any:
        made = refresh(*arguments, **more)
        assert made.layer is not None
        (made.layer.folder / ".dead.part").touch()
        raise SystemError("the power went")

    monkeypatch.setattr("service.runs.refresh", dies)
    with pytest.raises(SystemError):
        run(toy, since=NEWEST)
    monkeypatch.undo()

    done = run(toy, since=NEWEST)

    assert [result.outcome for result in done.results] == [Outcome.UNCHANGED]
    assert not list(done.folder.rglob("*.part"))


def test_settings_without_a_challenger_are_told_what_to_set(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text("utf-8").replace('challenger = "other"', ""), "utf-8")

    with pytest.raises(UsageError, match=r"bundle\.challenger"):
        run(toy)


# --- side by side ---


def test_the_days_stand_side_by_side_with_what_differs(toy: ToyRegion) -> None:
    run(toy)
    toy.set_rain({(LAST_DAY, "north"): 80.0})
    toy.ingest()
    toy.refresh(NEWEST)

    with both(toy) as (shown, own):
        days = compare_days(shown, own, 3)
        found = agreement_of(days)

    assert [day.difference.day for day in days] == DAYS[-3:]
    assert [day.same_readings for day in days] == [True, True, False]
    assert (found.days, found.first, found.last, found.other_readings) == (3, DAYS[-3], NEWEST, 1)
    assert found.cells == sum(day.difference.cells.compared for day in days if day.difference.cells)
    assert 0 < found.raised + found.lowered <= found.class_changed < found.cells
    assert found.high_km2 is not None
    # Cells are 900 m2: what rose less what fell is what the area differs by.
    net = (found.high_km2[1] - found.high_km2[0]) * 3 * 1e6 / 900
    assert net == pytest.approx(found.raised - found.lowered)


def test_the_command_prints_them_for_people_and_for_scripts(toy: ToyRegion) -> None:
    made = CliRunner().invoke(main_group, ["challenger", "run", "-c", str(toy.config), "--json"])
    assert (made.exit_code, json.loads(made.stdout)["outcome"]) == (0, "published")

    shown = CliRunner().invoke(main_group, ["challenger", "list", "-c", str(toy.config)])
    listed = CliRunner().invoke(main_group, ["challenger", "list", "-c", str(toy.config), "--json"])

    assert f"{NEWEST} " in shown.stdout
    assert "in another class" in shown.stdout
    found = json.loads(listed.stdout)
    assert [layer["day"] for layer in found["layers"]] == [str(day) for day in DAYS[-7:]]
    assert found["agreement"]["days"] == 7


def test_layers_of_an_earlier_challenger_stay_and_are_named(toy: ToyRegion) -> None:
    first = run(toy, since=NEWEST)
    shutil.rmtree(toy.folder / "other")
    write_toy_bundle(toy.folder / "other", ToyNetwork(gain=3.0, seed=6))

    second = run(toy, since=NEWEST)

    assert first.folder != second.folder
    assert other_folders(toy.settings, second.digest) == [first.folder]


# --- in the daemon ---


class Typed:
    """Stands in for the daemon's children: notes what they were asked to run."""

    def __init__(self) -> None:
        self.words: list[tuple[str, ...]] = []

    def run(self, *words: str) -> int:
        self.words.append(words)
        return 0


def test_the_daemon_has_it_run_after_each_refresh_in_a_child_of_its_own(toy: ToyRegion) -> None:
    children, challenger = Typed(), Typed()
    scheduler = daemon._schedule(toy.settings, children, challenger, Typed(), Typed(), [])  # type: ignore[arg-type]

    scheduler.get_job("ingest").func()
    assert scheduler.get_job("challenger") is None
    scheduler.get_job("refresh").func()
    scheduler.get_job("challenger").func()

    assert [words[0] for words in children.words] == ["ingest", "backfill"]
    assert challenger.words[0] == ("challenger", "run", "--json")
    assert challenger.words[1][:2] == ("verify", "--challenger")


def test_the_daemon_asks_for_none_where_the_settings_name_none(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text("utf-8").replace('challenger = "other"', ""), "utf-8")
    scheduler = daemon._schedule(toy.settings, Typed(), Typed(), Typed(), Typed(), [])  # type: ignore[arg-type]

    scheduler.get_job("refresh").func()

    assert scheduler.get_job("challenger") is None


def test_the_disk_that_is_needed_has_room_for_its_layers(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_LAYER_BYTES_PER_CELL", 2.0**40)

    def disk() -> check.Check:
        return next(one for one in check.run_checks(toy.settings, lambda *_: None) if one.name == "disk")

    def needed() -> float:
        found = re.search(r"([\d.]+) GiB needed", disk().message)
        assert found is not None
        return float(found[1])

    beside = needed()
    assert "challenger" in disk().message
    toy.config.write_text(toy.config.read_text("utf-8").replace('challenger = "other"', ""), "utf-8")
    assert beside == pytest.approx(2 * needed(), rel=1e-3)


# --- its figures ---


def test_its_metrics_tell_how_it_is_kept_and_nothing_of_its_maps(toy: ToyRegion) -> None:
    run(toy, since=DAYS[-2])

    found = {
        (sample.name, *sample.labels.items()): sample.value
        for family in challenger_metrics(read_figures(toy.settings, toy.clock).challenger)
        for sample in family.samples
    }

    names = {name for name, *_ in found}
    assert names == {
        "colluvium_challenger_info",
        "colluvium_challenger_layer_day_timestamp_seconds",
        "colluvium_challenger_last_success_timestamp_seconds",
        "colluvium_challenger_runs_total",
    }
    assert found["colluvium_challenger_runs_total", ("outcome", "published")] == 2
    assert found["colluvium_challenger_runs_total", ("outcome", "failed")] == 0
    day = datetime.combine(NEWEST, time(), UTC).timestamp()
    assert found[("colluvium_challenger_layer_day_timestamp_seconds",)] == day
    assert list(challenger_metrics(None)) == []
