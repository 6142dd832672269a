"""An arid day: what a layer keeps of the one before it, when nothing, and that it is the same layer."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import rasterio
from structlog.testing import capture_logs

from exporters.layer import Layer
from service import kept
from service.errors import Outcome
from service.files import sha256_file
from service.kept import KeptRecord, sweep_kept
from service.runtime import CPU, arithmetic_of
from tests.fix_forecast import add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_region import FIRST_DAY, LAST_DAY, Clock, ToyRegion, write_rain
from tests.service.test_companions import make_sure

DAY = date(2026, 3, 5)
DAYS = [FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1)]


@pytest.fixture(scope="module")
def arid_template(toy_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region where no rain falls; each node listens to its nearest gauge alone."""
    folder = tmp_path_factory.mktemp("arid") / "toy"
    shutil.copytree(toy_template, folder, ignore=shutil.ignore_patterns("data"))
    toy = ToyRegion(folder, Clock())
    text = toy.config.read_text().replace("[forcing]\n", "[forcing]\nneighbours = 1\n")
    toy.config.write_text(text)
    write_rain(folder / "rain.csv", {(day, gauge): 0.0 for day in DAYS for gauge in ("north", "south")})
    toy.ingest()
    return folder


@pytest.fixture(scope="module")
def shown_template(arid_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a layer of DAY."""
    folder = tmp_path_factory.mktemp("shown") / "toy"
    shutil.copytree(arid_template, folder)
    refresh(ToyRegion(folder, Clock()), DAY)
    return folder


@pytest.fixture
def shown(shown_template: Path, tmp_path: Path) -> ToyRegion:
    folder = tmp_path / "shown"
    shutil.copytree(shown_template, folder)
    return ToyRegion(folder, Clock(Clock().now + timedelta(hours=1)))


@pytest.fixture
def arid(arid_template: Path, tmp_path: Path) -> ToyRegion:
    folder = tmp_path / "arid"
    shutil.copytree(arid_template, folder)
    return ToyRegion(folder, Clock())


def rain(toy: ToyRegion, changes: dict[tuple[date, str], float | None]) -> None:
    toy.set_rain(changes)
    toy.clock.now += timedelta(hours=1)
    toy.ingest()


def refresh(toy: ToyRegion, day: date, as_of: datetime | None = None) -> tuple[Layer, list[str]]:
    """Refresh a day; return its layer and what the log said of kept forcing cells."""
    with capture_logs() as lines:
        (result,) = toy.refresh(day, as_of=as_of)
    assert result.layer is not None, result.reason
    return result.layer, [line["event"] for line in lines if "kept" in line["event"]]


def twin_of(toy: ToyRegion, tmp_path: Path) -> ToyRegion:
    """Return a copy of the region in which everything is computed, at the same time."""
    folder = tmp_path / "twin"
    shutil.copytree(toy.folder, folder)
    twin = ToyRegion(folder, Clock(toy.clock.now))
    for one, keep in ((toy, "true"), (twin, "false")):
        # Both have other settings than before, which the ledger notes: so their clocks stay together.
        one.config.write_text(one.config.read_text() + f"\n[inference]\nkeep_unchanged = {keep}\n")
    return twin


def assert_same_files(one: Layer, other: Layer) -> None:
    names = sorted(path.name for path in one.folder.iterdir())
    assert names == sorted(path.name for path in other.folder.iterdir())
    for name in names:
        paths = one.folder / name, other.folder / name
        # A database has the time of its making in it.
        found = map(_rows, paths) if name == "areas.gpkg" else (path.read_bytes() for path in paths)
        assert next(found) == next(found), name
    assert one.model_dump(exclude={"folder"}) == other.model_dump(exclude={"folder"})


def _rows(path: Path) -> list[list[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        names = database.execute("SELECT table_name FROM gpkg_contents ORDER BY 1").fetchall()
        return [database.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names]  # noqa: S608


@pytest.mark.parametrize("sure", [False, True], ids=["plain", "with members and odds"])
def test_a_layer_that_keeps_cells_is_the_same_to_the_byte(
    arid: ToyRegion, tmp_path: Path, sure: bool
) -> None:
    if sure:
        make_sure(arid)
    rain(arid, {(DAY, "south"): 31.0})
    refresh(arid, DAY)
    twin = twin_of(arid, tmp_path)

    layer, said = refresh(arid, DAY + timedelta(days=1))
    expected, nothing = refresh(twin, DAY + timedelta(days=1))

    assert len(said) == 1
    assert said[0].startswith("kept ")
    assert said[0].endswith("% of the forcing cells")
    assert nothing == []
    assert_same_files(layer, expected)
    assert (layer.folder / "probability.tif").exists() == sure


def test_through_a_week_of_showers_every_layer_is_the_one_that_is_computed(
    arid: ToyRegion, tmp_path: Path
) -> None:
    rain(arid, {(DAY + timedelta(days=1), "north"): 12.5, (DAY + timedelta(days=2), "south"): None})
    twin = twin_of(arid, tmp_path)
    for number in range(4):
        assert_same_files(*(refresh(toy, DAY + timedelta(days=number))[0] for toy in (arid, twin)))


def test_kept_values_are_read_from_the_layer_before(shown: ToyRegion) -> None:
    """A note that vouches for another raster proves it: what that says is what comes out."""
    (path,) = shown.data.glob("layers/*/*/susceptibility.tif")
    with rasterio.open(path) as raster:
        profile, stored = raster.profile, raster.read(1)
    path.unlink()
    with rasterio.open(path, "w", **profile) as out:
        out.write(np.where(stored == 255, 255, 9).astype(np.uint8), 1)
    (note,) = (shown.data / "kept").iterdir()
    with np.load(note) as file:
        arrays = {name: file[name] for name in file.files}
    record = KeptRecord.model_validate_json(arrays["record"].tobytes())
    vouched = record.model_copy(update={"files": {"susceptibility.tif": sha256_file(path)}})
    arrays["record"] = np.frombuffer(vouched.model_dump_json().encode(), np.uint8)
    np.savez(note, **arrays)

    after, said = refresh(shown, DAY + timedelta(days=1))

    assert said == ["kept 100% of the forcing cells"]
    with rasterio.open(after.folder / "susceptibility.tif") as raster:
        assert set(np.unique(raster.read(1)).tolist()) <= {9, 255}


def other_bundle(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy.settings.bundle.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "9"}))


def other_state(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.config.write_text(toy.config.read_text() + "\n[inference]\nmin_patch_observed = 0.9\n")


def other_runtime(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "1.0.0")


def other_processor(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.runtime._processor", lambda: "another")


def state_of_another_runtime(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the state was built by an ONNX Runtime of before: the same digest, other last bits."""
    (path,) = toy.data.glob("state/*/state.json")
    record = json.loads(path.read_text())
    assert record["made_with"] == arithmetic_of(CPU)
    path.write_text(json.dumps(record | {"made_with": "another"}))


def other_code(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.kept._ARITHMETIC", 0)


def other_reach(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    text = toy.config.read_text()
    toy.config.write_text(text.replace("max_distance_km = 5", "max_distance_km = 0.31"))


def switched_off(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.config.write_text(toy.config.read_text() + "\n[inference]\nkeep_unchanged = false\n")


def note_removed(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(toy.data / "kept")


def note_cut_short(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = (toy.data / "kept").iterdir()
    note.write_bytes(note.read_bytes()[:-200])


def note_flipped(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = (toy.data / "kept").iterdir()
    content = bytearray(note.read_bytes())
    content[len(content) // 2] ^= 1
    note.write_bytes(content)


def note_of_something_else(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = (toy.data / "kept").iterdir()
    np.savez(note, record=np.frombuffer(b'{"layer": 3}', np.uint8))


def raster_damaged(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = toy.data.glob("layers/*/*/susceptibility.tif")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def raster_gone(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = toy.data.glob("layers/*/*/susceptibility.tif")
    path.rename(path.with_suffix(".aside"))
    # What it is compared with stays readable.


def withdrawn(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    with toy.ledger() as ledger:
        layer = ledger.newest_revision(DAY)
        assert layer is not None
        ledger.withdraw(layer, "A. Rossi", "a gauge was flooded", [])


@pytest.mark.parametrize(
    "trouble",
    [
        other_bundle, other_state, other_runtime, other_processor, other_code, state_of_another_runtime,
        switched_off, note_removed, note_cut_short, note_flipped, note_of_something_else,
        raster_damaged, raster_gone, withdrawn,
    ],
)  # fmt: skip
def test_nothing_is_kept_and_the_layer_is_computed(
    shown: ToyRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[..., None]
) -> None:
    trouble(shown, monkeypatch)
    twin = twin_of(shown, tmp_path) if trouble in (note_flipped, raster_damaged, withdrawn) else None

    layer, said = refresh(shown, DAY + timedelta(days=1))

    assert [line for line in said if line.startswith("kept")] == []
    assert layer.cells > 0
    if twin is not None:
        assert_same_files(layer, refresh(twin, DAY + timedelta(days=1))[0])


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(raster_damaged, "is not the file that was published"), (raster_gone, "No such file"),
     (note_flipped, "note")],
)  # fmt: skip
def test_the_log_says_why_nothing_is_kept(
    shown: ToyRegion, monkeypatch: pytest.MonkeyPatch, trouble: Callable[..., None], words: str
) -> None:
    trouble(shown, monkeypatch)
    with capture_logs() as lines:
        (result,) = shown.refresh(DAY + timedelta(days=1))
    assert result.outcome == Outcome.PUBLISHED
    warnings = [line for line in lines if line["log_level"] == "warning" and "earlier layer" in line["event"]]
    assert len(warnings) == 1
    assert words in f"{warnings[0]['event']} {warnings[0]['reason']}"


def test_cells_that_a_gauge_reaches_only_now_are_computed(arid: ToyRegion, tmp_path: Path) -> None:
    other_reach(arid, pytest.MonkeyPatch())
    refresh(arid, DAY)
    arid.config.write_text(arid.config.read_text().replace("max_distance_km = 0.31", "max_distance_km = 0.9"))
    twin = twin_of(arid, tmp_path)

    (layer, _), (expected, _) = (refresh(toy, DAY + timedelta(days=1)) for toy in (arid, twin))

    assert layer.cells > 0
    assert_same_files(layer, expected)


def test_a_correction_of_the_day_keeps_what_the_revision_before_had(shown: ToyRegion, tmp_path: Path) -> None:
    rain(shown, {(DAY - timedelta(days=2), "south"): 44.0})
    twin = twin_of(shown, tmp_path)

    (layer, said), (expected, _) = (refresh(toy, DAY) for toy in (shown, twin))

    assert layer.revision == 2
    assert len(said) == 1
    assert_same_files(layer, expected)


def test_a_replay_neither_keeps_nor_leaves_anything_to_keep(shown: ToyRegion) -> None:
    (published,) = shown.data.glob("layers/*/*/")
    notes = sorted((shown.data / "kept").iterdir())
    then = shown.clock()
    shown.clock.now += timedelta(hours=1)
    refresh(shown, DAY + timedelta(days=1))
    later = sorted((shown.data / "kept").iterdir())

    layer, said = refresh(shown, DAY, as_of=then)

    assert said == []
    assert len(notes) == 1
    assert sorted((shown.data / "kept").iterdir()) == later
    for name in ("susceptibility.tif", "class.tif", "provenance.tif"):
        assert (layer.folder / name).read_bytes() == (published / name).read_bytes()


def test_a_forecast_of_one_run_keeps_and_a_median_of_several_does_not(arid: ToyRegion) -> None:
    add_forecast_feed(arid)
    ahead = days_from(LAST_DAY + timedelta(days=1), 3)
    issue(arid, dict.fromkeys(ahead, 0.0))
    refresh(arid, ahead[0])
    with capture_logs() as lines:
        (one,) = refresh_leads(arid, 1)
    assert one.outcome == Outcome.PUBLISHED
    assert [line["event"] for line in lines if "kept" in line["event"]] == ["kept 100% of the forcing cells"]
    notes = sorted(path.name for path in (arid.data / "kept").iterdir())
    assert [name[10:13] for name in notes] == ["-l0", "-l1"]

    issue(arid, [dict.fromkeys(ahead, 0.0), dict.fromkeys(ahead, 3.0)], at=time(2))
    with capture_logs() as lines:
        (several,) = refresh_leads(arid, 1)

    assert several.outcome == Outcome.PUBLISHED
    assert several.layer is not None
    assert several.layer.forecast is not None
    assert several.layer.forecast.members == 2
    assert [line["event"] for line in lines if "kept" in line["event"]] == []
    assert sorted(path.name for path in (arid.data / "kept").iterdir()) == notes


def test_a_few_notes_are_kept_and_go_with_their_layers(arid: ToyRegion) -> None:
    layers = [refresh(arid, DAY + timedelta(days=number))[0] for number in range(4)]
    names = sorted(path.name for path in (arid.data / "kept").iterdir())
    assert names == [f"{layer.day}-l0-{layer.folder.name}.npz" for layer in layers[-2:]]

    with arid.ledger() as ledger:
        with ledger.transaction():
            ledger.mark_removed([layers[-1].id])
        sweep_kept(arid.data, ledger)

    assert [path.name for path in (arid.data / "kept").iterdir()] == names[:1]


def test_a_note_is_kept_though_the_clock_was_ahead_when_others_were_written(arid: ToyRegion) -> None:
    for number in range(2):
        refresh(arid, DAY + timedelta(days=number))
    for note in (arid.data / "kept").iterdir():
        os.utime(note, (4e9, 4e9))
    layer, _ = refresh(arid, DAY + timedelta(days=2))
    names = [path.name for path in (arid.data / "kept").iterdir()]
    assert len(names) == 2
    assert f"{layer.day}-l0-{layer.folder.name}.npz" in names


def test_a_note_that_cannot_be_written_loses_no_layer(arid: ToyRegion) -> None:
    (arid.data / "kept").write_text("in the way")
    with capture_logs() as lines:
        (result,) = arid.refresh(DAY)
    assert result.outcome == Outcome.PUBLISHED
    assert any("was not noted" in line["event"] for line in lines)


def test_a_note_with_a_flipped_bit_is_read_right_or_not_at_all(shown: ToyRegion) -> None:
    (note,) = (shown.data / "kept").iterdir()
    content = note.read_bytes()
    with np.load(note) as file:
        arrays = {name: file[name] for name in file.files}
    arithmetic = KeptRecord.model_validate_json(arrays["record"].tobytes()).arithmetic
    with ZipFile(note) as packed:
        starts = [info.header_offset for info in packed.infolist()]
    headers = [range(start, start + 170) for start in starts]  # of zip and of NumPy
    read = refused = 0
    for place in itertools.chain(*headers, range(len(content) - 400, len(content))):
        for bit in (place % 8, (place + 3) % 8):
            spoilt = bytearray(content)
            spoilt[place] ^= 1 << bit
            note.write_bytes(spoilt)
            with capture_logs():
                found = kept._read(note, arithmetic)
            refused += found is None
            if found is not None and found.prints is not None:
                read += 1
                for name in ("windows", "corner_rows", "reach"):
                    np.testing.assert_array_equal(getattr(found.prints, name), arrays[name])
    assert refused > 100
    assert read > 100


def test_notes_hold_no_pickle(shown: ToyRegion) -> None:
    (note,) = (shown.data / "kept").iterdir()
    with np.load(note, allow_pickle=False) as file:
        assert sorted(file.files) == ["corner_rows", "reach", "record", "windows"]
        assert all(file[name].dtype != object for name in file.files)
