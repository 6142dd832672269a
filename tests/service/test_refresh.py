"""One refresh: what it publishes, when it publishes nothing, and what it says."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pystac
import pytest
import rasterio

from exporters.layer import LayerStatus
from service.errors import Outcome
from service.refreshed import STAGES
from tests.fix_region import LAST_DAY, ToyRegion

DAY = date(2026, 3, 5)


def test_the_default_day_is_the_newest_whose_window_is_complete(toy: ToyRegion) -> None:
    (result,) = toy.refresh()

    assert result.outcome == Outcome.PUBLISHED
    assert result.day == LAST_DAY + timedelta(days=1)  # the days before it are whole at 6 a.m.
    assert result.layer is not None
    assert result.layer.data_until == LAST_DAY
    assert result.layer.status == LayerStatus.COMPLETE


def test_a_layer_brings_all_its_files_and_they_agree(toy: ToyRegion) -> None:
    (result,) = toy.refresh(DAY)
    layer = result.layer
    assert layer is not None

    with rasterio.open(layer.folder / "susceptibility.tif") as raster:
        stored = raster.read(1)
        assert raster.scales == (1.0,)
    with rasterio.open(layer.folder / "class.tif") as raster:
        classes = raster.read(1)
    assert (layer.classes.classify(stored) == classes).all()
    assert layer.cells == np.count_nonzero(classes)
    region = {area.label: area.area_m2 for area in layer.areas if area.zone == ""}
    assert region["very_high"] == np.count_nonzero(classes == 4) * 900
    by_zone = [area for area in layer.areas if area.zone and area.label == "very_high"]
    assert sum(area.area_m2 for area in by_zone) == region["very_high"]
    item = pystac.Item.from_dict(json.loads((layer.folder / "item.json").read_text()))
    assert item.id == layer.id
    assert toy.latest() == {
        "layer": layer.id,
        "day": "2026-03-05",
        "status": "complete",
        "data_until": "2026-03-04",
        "issued_at": layer.issued_at.isoformat(),
        "path": str(layer.folder.relative_to(toy.data)),
    }


def test_the_same_inputs_publish_nothing_new(toy: ToyRegion) -> None:
    (first,) = toy.refresh(DAY)
    (second,) = toy.refresh(DAY)

    assert second.outcome == Outcome.UNCHANGED
    assert second.layer == first.layer.model_copy(update={"hotspots": ()}) if first.layer else False
    assert len(list((toy.data / "layers" / "2026-03-05-l0").iterdir())) == 1


def test_a_correction_makes_a_new_revision_and_both_can_be_rebuilt(toy: ToyRegion) -> None:
    (old,) = toy.refresh(DAY)
    between = toy.clock()
    toy.clock.now += timedelta(hours=1)
    toy.set_rain({(DAY - timedelta(days=2), "north"): 180.0})
    toy.ingest()
    (new,) = toy.refresh(DAY)
    assert old.layer is not None
    assert new.layer is not None
    assert (old.layer.revision, new.layer.revision) == (1, 2)
    assert old.layer.digest != new.layer.digest

    (before,) = toy.refresh(DAY, as_of=between)
    (after,) = toy.refresh(DAY, as_of=toy.clock())

    assert before.replay
    assert after.replay
    assert before.layer is not None
    assert after.layer is not None
    assert before.layer.digest == old.layer.digest
    assert after.layer.digest == new.layer.digest
    for name in ("susceptibility.tif", "class.tif", "provenance.tif"):
        assert (before.layer.folder / name).read_bytes() == (old.layer.folder / name).read_bytes()
        assert (after.layer.folder / name).read_bytes() == (new.layer.folder / name).read_bytes()
    assert before.layer.folder.is_relative_to(toy.data / "replays")
    latest = toy.latest()
    assert latest is not None
    assert latest["layer"] == new.layer.id  # a replay is never published


def test_a_replay_uses_the_settings_zones_and_bundle_of_then(toy: ToyRegion) -> None:
    (old,) = toy.refresh(DAY)
    then = toy.clock()
    toy.clock.now += timedelta(hours=1)
    text = toy.config.read_text().replace("max_distance_km = 5", "max_distance_km = 1.0")
    toy.config.write_text(text)
    (new,) = toy.refresh(DAY)

    (replay,) = toy.refresh(DAY, as_of=then)

    assert old.layer is not None
    assert new.layer is not None
    assert replay.layer is not None
    assert new.layer.cells < old.layer.cells
    assert replay.layer.digest == old.layer.digest


def test_a_replay_from_before_the_first_record_says_so(toy: ToyRegion) -> None:
    toy.refresh(DAY)

    (replay,) = toy.refresh(DAY, as_of=datetime(2026, 3, 5, 12, tzinfo=UTC))

    assert replay.layer is not None
    assert any("oldest known inputs" in note for note in replay.layer.notes)


def test_cells_that_no_gauge_reaches_are_unknown_and_never_low(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text().replace("max_distance_km = 5", "max_distance_km = 0.9"))
    (result,) = toy.refresh(DAY)
    assert result.layer is not None

    with rasterio.open(result.layer.folder / "class.tif") as raster:
        classes = raster.read(1)
    xs = 500_000 + (np.arange(80) + 0.5) * 30
    ys = 5_000_000 - (np.arange(64) + 0.5) * 30
    gauges = ((500_600.0, 4_999_700.0), (501_700.0, 4_998_400.0))
    near = np.min([np.hypot(xs[None, :] - x, ys[:, None] - y) for x, y in gauges], axis=0)
    assert (classes[near > 901] == 0).all()
    assert classes.any()
    assert result.layer.status == LayerStatus.DEGRADED


def test_a_gauge_that_falls_silent_is_filled_from_the_other_on_the_same_day(toy: ToyRegion) -> None:
    toy.set_rain({(LAST_DAY, "north"): 90.0, (LAST_DAY, "south"): None})
    (toy.data / "readings.sqlite").unlink()
    toy.ingest()
    (result,) = toy.refresh(LAST_DAY + timedelta(days=1))

    assert result.outcome == Outcome.PUBLISHED
    assert result.layer is not None
    with rasterio.open(result.layer.folder / "provenance.tif") as raster:
        filled = raster.read(raster.descriptions.index("filled") + 1)
    assert np.nanmax(filled) == pytest.approx(1 / 30)


def test_with_nothing_to_go_on_the_run_is_held_and_the_last_good_layer_stays(toy: ToyRegion) -> None:
    toy.refresh()
    before = toy.latest()

    (early,) = toy.refresh(date(2026, 1, 10))

    assert early.outcome == Outcome.HELD
    assert "complete window" in str(early.reason)
    assert toy.latest() == before


def test_a_silent_feed_holds_today_and_never_shows_an_old_day_as_today(toy: ToyRegion) -> None:
    toy.refresh()
    toy.clock.now += timedelta(days=2)

    (result,) = toy.refresh(LAST_DAY + timedelta(days=3))

    assert result.outcome == Outcome.HELD
    latest = toy.latest()
    assert latest is not None
    assert latest["day"] == str(LAST_DAY + timedelta(days=1))


def test_a_day_in_the_future_is_refused(toy: ToyRegion) -> None:
    (result,) = toy.refresh(date(2026, 3, 12))

    assert result.outcome == Outcome.USAGE
    assert "future" in str(result.reason)


def test_growth_is_counted_since_yesterday_on_the_common_footprint(toy: ToyRegion) -> None:
    first, second = toy.refresh(DAY, DAY + timedelta(days=1))
    assert first.layer is not None
    assert second.layer is not None

    area = {
        (layer.id, area.label): area
        for layer in (first.layer, second.layer)
        for area in layer.areas
        if area.zone == ""
    }
    for label in ("low", "moderate", "high", "very_high"):
        now = area[second.layer.id, label]
        grown = now.area_m2 - area[first.layer.id, label].area_m2
        assert now.change_m2[1] == pytest.approx(grown)
        assert 7 not in now.change_m2  # no layer a week before: unknown, not zero


def test_stages_come_in_the_documented_order_and_are_timed(toy: ToyRegion) -> None:
    stages: list[str] = []
    (result,) = toy.refresh(DAY, on_stage=stages.append)

    assert tuple(stages) == STAGES
    assert set(result.seconds) == set(STAGES)


def test_growth_on_a_small_footprint_says_so(toy: ToyRegion) -> None:
    # The south gauge speaks again on DAY: the first layer does not rest on it, the second does.
    days = [DAY - timedelta(days=back) for back in range(1, 40)]
    toy.set_rain({(day, "south"): None for day in days})
    (toy.data / "readings.sqlite").unlink()
    toy.ingest()

    first, second = toy.refresh(DAY, DAY + timedelta(days=1))

    assert first.layer is not None
    assert second.layer is not None
    assert not any("growth over 1 days" in note for note in first.layer.notes)
    assert any("growth over 1 days is counted on" in note for note in second.layer.notes)
