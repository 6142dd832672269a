"""The live demo: the SYNTHETIC region with its weather moved, for a daemon whose days are the real ones."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporters.layer import Layer
from service.cli import main_group
from service.errors import UsageError
from service.ledger import Ledger
from service.settings import Settings, load_settings
from service.stamps import utc_now
from service.workshop import ledger_path
from trainer import demo_live
from trainer.synthetic.region import SEED, SyntheticRegion, make_region

NOON = datetime(2026, 7, 15, 8, 30, tzinfo=UTC)  # noon in the demo's time zone
TODAY = date(2026, 7, 15)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "region"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_live, "make_region", _small)
        demo_live.prepare_live(folder, storm=False, now=NOON)
    return folder


@pytest.fixture
def live(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo_live, "make_region", _small)
    return Path(shutil.copytree(template, tmp_path / "region"))


def _small(seed: int = SEED) -> SyntheticRegion:
    return make_region(seed, 192)


def _latest(folder: Path) -> Layer:
    with Ledger(ledger_path(load_settings(folder / "region.toml")), utc_now) as ledger:
        latest = ledger.latest()
    assert latest is not None
    return latest


def _dangerous(layer: Layer) -> float:
    return sum(area.ratio or 0 for area in layer.areas if area.zone == "" and "high" in area.label)


def test_it_begins_with_a_calm_week_until_yesterday(live: Path) -> None:
    latest = _latest(live)

    assert latest.day == date(2026, 7, 14)
    assert _dangerous(latest) < 0.02
    growth = next(area.change_ratio for area in latest.areas if area.zone == "" and area.label == "high")
    assert set(growth) == {1, 7}  # a storm's growth is then known from its first layer on
    assert latest.synthetic


def test_the_folder_can_be_moved_with_all_that_a_daemon_needs(live: Path) -> None:
    settings: Settings = load_settings(live / "region.toml")

    assert settings.data_dir.is_relative_to(live)
    assert settings.bundle.path.is_relative_to(live)
    assert (settings.bundle.path / "manifest.json").exists()
    assert settings.stack_path.exists()
    assert all(path.is_relative_to(live) and path.exists() for path in settings.feed_files)
    assert not settings.exporters


def test_the_storm_arrives_as_last_nights_readings_and_today_turns_dangerous(live: Path) -> None:
    demo_live.prepare_live(live, storm=True, now=NOON)
    config = str(live / "region.toml")
    runner = CliRunner()

    took = json.loads(runner.invoke(main_group, ["ingest", "-c", config, "--json"]).stdout)
    ran = runner.invoke(main_group, ["refresh", "-c", config, "--day", "2026-07-15", "--json"])

    assert {feed["name"]: feed["newest_day"] for feed in took["feeds"]} == {
        "gauges": "2026-07-14",
        "reservoirs": "2026-07-14",
    }
    assert all(feed["corrected"] == 0 for feed in took["feeds"])  # what was told before stays as it was
    assert ran.exit_code == 0, ran.output
    latest = _latest(live)
    assert latest.day == TODAY
    assert _dangerous(latest) > 0.05


def test_the_feeds_go_on_where_the_demo_runs_for_more_than_a_day(live: Path) -> None:
    later = demo_live.prepare_live(live, storm=True, now=datetime(2026, 7, 17, 8, 30, tzinfo=UTC))

    assert later["today"] == "2026-07-15"
    assert later["readings_until"] == "2026-07-16"


def test_asking_twice_changes_no_file(live: Path) -> None:
    before = (live / "source" / "rain_mm.csv").read_bytes()

    demo_live.prepare_live(live, storm=False, now=NOON)

    assert (live / "source" / "rain_mm.csv").read_bytes() == before


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")

    with pytest.raises(UsageError, match="holds something that is not a demo"):
        demo_live.prepare_live(tmp_path, storm=False, now=NOON)

    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_storm_alone_is_refused() -> None:
    ran = CliRunner().invoke(main_group, ["demo", "--storm"])

    assert isinstance(ran.exception, UsageError)
    assert "--live" in str(ran.exception)
