"""What `--as-of` finds: the inputs of then, where they lie now."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from service.errors import InputError, Outcome
from service.history import recall
from service.region import Grid
from service.settings import Settings
from tests.fix_region import LAST_DAY, LEFT, SHAPE, TOP, ToyRegion

DAY = date(2026, 3, 5)


def recalled(toy: ToyRegion, moment: datetime) -> Settings:
    with toy.ledger() as ledger:
        return recall(ledger, toy.settings, toy.config, moment).settings


def test_settings_zones_and_bundle_of_then_are_recalled(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    then = toy.clock()
    zones = (toy.folder / "zones.geojson").read_bytes()
    (toy.folder / "zones.geojson").write_bytes(zones.replace(b"West", b"Best"))
    toy.config.write_text(toy.config.read_text().replace("max_distance_km = 5", "max_distance_km = 4"))
    toy.refresh(DAY)

    old, new = recalled(toy, then), recalled(toy, toy.clock())

    assert (old.forcing.max_distance_km, new.forcing.max_distance_km) == (5, 4)
    assert old.zones is not None
    assert new.zones is not None
    assert old.zones.path.read_bytes() == zones
    assert b"Best" in new.zones.path.read_bytes()
    assert old.bundle.path == new.bundle.path != toy.folder / "bundle"


def test_a_replay_after_the_data_folder_moved_reads_what_lies_there_now(toy: ToyRegion) -> None:
    (old,) = toy.refresh(DAY)
    then = toy.clock()
    toy.data.rename(toy.folder / "moved")
    toy.config.write_text(toy.config.read_text().replace('data_dir = "data"', 'data_dir = "moved"'))

    (replay,) = toy.refresh(DAY, as_of=then)

    assert old.layer is not None
    assert replay.layer is not None
    assert replay.layer.digest == old.layer.digest
    assert not toy.data.exists()
    # Nothing published was lost on the way.
    assert len(list((toy.folder / "moved" / "layers").glob("*/*/item.json"))) == 1
    assert toy.refresh(DAY)[0].outcome == Outcome.UNCHANGED


def test_a_replay_leaves_the_state_where_the_settings_of_today_have_it(toy: ToyRegion) -> None:
    plain = toy.config.read_text()
    toy.config.write_text(plain + '\n[inference]\nstate = "recomputed"\n')
    (old,) = toy.refresh(DAY)
    then = toy.clock()
    toy.clock.now += timedelta(hours=1)
    toy.config.write_text(plain)
    toy.refresh(DAY)
    (state,) = toy.data.glob("state/*/state.bin")
    file = state.stat().st_ino

    (replay,) = toy.refresh(DAY, as_of=then)

    assert old.layer is not None
    assert replay.layer is not None
    assert replay.layer.digest == old.layer.digest
    assert state.stat().st_ino == file


def test_the_dem_that_gave_the_grid_is_kept_even_if_it_is_written_over(toy: ToyRegion) -> None:
    text = toy.config.read_text()
    dem = toy.folder / "dem.tif"
    _write_dem(dem, nodata_rows=0)
    toy.config.write_text(text.replace("extent = [500000, 4998080, 502400, 5000000]", 'dem = "dem.tif"'))
    (old,) = toy.refresh(DAY)
    then = toy.clock()
    content = dem.read_bytes()
    _write_dem(toy.folder / "other.tif", nodata_rows=16)
    dem.write_bytes((toy.folder / "other.tif").read_bytes())  # in place, as `cp` does
    (new,) = toy.refresh(DAY)

    (replay,) = toy.refresh(DAY, as_of=then)

    assert old.layer is not None
    assert new.layer is not None
    assert replay.layer is not None
    assert new.layer.digest != old.layer.digest
    assert replay.layer.digest == old.layer.digest
    kept = recalled(toy, then).grid.dem
    assert kept is not None
    assert kept.read_bytes() == content


def test_a_replay_without_a_day_takes_the_day_that_was_newest_then(toy: ToyRegion) -> None:
    moment = datetime.combine(LAST_DAY, datetime.min.time(), toy.settings.timezone) - timedelta(days=20)

    (replay,) = toy.refresh(None, as_of=moment + timedelta(hours=6))
    (tomorrow,) = toy.refresh(moment.date() + timedelta(days=1), as_of=moment)

    assert replay.day == moment.date()
    assert tomorrow.outcome == Outcome.USAGE  # that day lay in the future then


def test_settings_are_remembered_while_a_bundle_is_refused(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    (toy.folder / "bundle" / "whole.onnx").write_bytes(b"broken")
    toy.config.write_text(toy.config.read_text().replace("max_distance_km = 5", "max_distance_km = 1.0"))
    (degraded,) = toy.refresh(DAY)

    (replay,) = toy.refresh(DAY, as_of=toy.clock())

    assert degraded.layer is not None
    assert replay.layer is not None
    assert replay.layer.digest == degraded.layer.digest


def test_a_kept_input_that_is_gone_is_named(toy: ToyRegion) -> None:
    toy.refresh(DAY)
    (kept,) = (toy.data / "history").glob("zones-*")
    kept.unlink()

    with pytest.raises(InputError, match=kept.name):
        recalled(toy, toy.clock())


def _write_dem(path: Path, nodata_rows: int) -> None:
    grid = Grid(CRS.from_epsg(32632), LEFT, TOP, 30.0, *SHAPE)
    values = np.full((grid.height, grid.width), 100, np.float32)
    values[:nodata_rows] = -9999
    with rasterio.open(path, "w", **grid.profile("float32", 1, -9999.0)) as out:
        out.write(values, 1)
