"""Promises about places of events on the grid, looked ground, and what is read of a layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from exporters.cog import SUSCEPTIBILITY
from service.errors import StorageError
from service.region import Region, open_region
from service.verify_ground import LookedGround, footprint_of, zone_finder
from service.verify_kept import KeptValues
from service.verify_values import read_values
from tests.fix_region import ToyRegion
from tests.fix_verify import D1, D2, D3, cell, event, look, outline


@pytest.fixture
def region(toy: ToyRegion) -> Region:
    return open_region(toy.settings)


def test_a_place_is_its_cell_and_its_circle_what_it_touches(region: Region) -> None:
    place = footprint_of(event(10.5, 20.5), region.grid)
    assert place is not None
    assert (place.row, place.column, place.mask.shape, place.centre) == (10, 20, (1, 1), (10, 20))
    circle = footprint_of(event(10.5, 20.5, accuracy_m=40), region.grid)
    assert circle is not None
    # 40 m around a cell's centre touch the cells beside it, and those at its corners (21 m away) too.
    assert circle.mask.sum() == 9
    corner = footprint_of(event(0.5, 0.5, accuracy_m=40), region.grid)
    assert corner is not None
    assert corner.mask.sum() == 4


def test_an_outline_is_the_cells_that_it_touches(region: Region) -> None:
    found = footprint_of(event(12, 22, outline=outline((10.2, 13.8), (20.2, 22.8))), region.grid)
    assert found is not None
    assert (found.row, found.column, found.mask.shape) == (10, 20, (4, 3))
    assert found.mask.all()


def test_a_place_outside_the_grid_has_no_cells_and_no_zone(region: Region) -> None:
    outside = event(-5, 20)
    assert footprint_of(outside, region.grid) is None
    assert zone_finder(region)(outside.lon, outside.lat) is None
    assert zone_finder(region)(*cell(10, 20)) == "west"
    assert zone_finder(region)(*cell(10, 60)) == "east"


def test_looked_ground_is_the_same_in_strips_of_any_height(region: Region) -> None:
    looks = [look("a", D1, D2, (5.3, 41.7), (3.2, 77.9)), look("b", D1, D2, (30, 60), (40, 80))]
    shape = region.grid.height, region.grid.width
    masks = []
    for rows in (1, 7, 64):
        with LookedGround.of(looks, region, rows) as looked:
            parts = [looked.strip(looked.on(D1), row, 16, shape[1]) for row in range(0, shape[0], 16)]
            masks.append(np.concatenate([np.zeros((16, shape[1]), bool) if p is None else p for p in parts]))
            span = looked.spans[0]
            assert all(looked.holds(span, row, 50) == masks[-1][row, 50] for row in range(shape[0]))
    assert masks[0].sum() == masks[1].sum() > 0
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    assert masks[0][6:41, 4:77].all()
    assert not masks[0][:5].any()


def test_a_zone_counts_as_looked_at_from_half_of_it(region: Region) -> None:
    rows = region.grid.height
    with LookedGround.of([look("a", D1, D1, (0, rows), (0, 19))], region) as looked:
        assert looked.spans[0].zones == frozenset()  # west has 40 columns
    with LookedGround.of([look("a", D1, D1, (0, rows), (0, 21))], region) as looked:
        assert looked.spans[0].zones == {"west"}


def test_parts_of_one_scene_add_up_for_the_days_that_both_tell_of(region: Region) -> None:
    rows = region.grid.height
    parts = [look("a", D1, D3, (0, rows), (0, 12)), look("b", D3, D3, (0, rows), (12, 24))]
    with LookedGround.of(parts, region) as looked:
        zones = {(span.day_from, span.day): span.zones for span in looked.spans}
    assert zones == {(D1, D3): frozenset(), (D3, D3): {"west"}}


def test_one_visit_is_enough_for_its_zone(region: Region) -> None:
    visit = look("v", D2, D2, (10, 11), (60, 61), source="reported")
    with LookedGround.of([visit], region) as looked:
        assert looked.spans[0].zones == {"east"}
        assert looked.on(D1) == []


def test_ground_outside_the_mask_was_not_looked_at(region: Region, tmp_path: Path) -> None:
    inside = np.zeros((region.grid.height, region.grid.width), np.uint8)
    inside[:, :10] = 1
    with rasterio.open(tmp_path / "mask.tif", "w", **region.grid.profile("uint8", 1, None)) as out:
        out.write(inside, 1)
    masked = replace(region, mask_path=tmp_path / "mask.tif")
    with LookedGround.of([look("a", D1, D1, (0, 64), (0, 80))], masked) as looked:
        strip = looked.strip(looked.on(D1), 0, 64, 80)
        assert looked.spans[0].zones == {"west"}  # all of it that is in the mask
    assert strip is not None
    np.testing.assert_array_equal(strip, inside > 0)


def _write_layer(folder: Path, region: Region, stored: np.ndarray[Any, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.open(folder / SUSCEPTIBILITY, "w", **region.grid.profile("uint8", 1, 255)) as out:
        out.write(stored, 1)


def test_a_layer_is_read_in_strips_as_it_is_in_one_piece(region: Region, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    stored = random.integers(0, 256, (region.grid.height, region.grid.width)).astype(np.uint8)
    stored[stored > 250] = 255
    _write_layer(tmp_path, region, stored)
    footprints = {
        uid: footprint_of(event(row, column, accuracy, uid=uid), region.grid)
        for uid, row, column, accuracy in (("a", 15.9, 20.5, 100), ("b", 63.5, 79.5, 400))
    }
    assert all(footprints.values())
    with LookedGround.of([look("s", D1, D1, (9, 50), (11, 70))], region) as looked:
        found = [
            read_values(
                tmp_path, region.grid, 150, {k: v for k, v in footprints.items() if v}, looked, looked.on(D1),
                strip_rows=rows,
            )
            for rows in (1, 5, 64)
        ]  # fmt: skip
    expected = np.bincount(stored[stored <= 250], minlength=251)
    for item in found:
        np.testing.assert_array_equal(item.ground, expected)
        np.testing.assert_array_equal(
            item.looked, np.bincount(stored[9:50, 11:70][stored[9:50, 11:70] <= 250], minlength=251)
        )
        place = footprints["a"]
        assert place is not None
        inside = stored[
            place.row : place.row + len(place.mask), place.column : place.column + place.mask.shape[1]
        ][place.mask]
        np.testing.assert_array_equal(item.events["a"], np.bincount(inside[inside <= 250], minlength=251))
        assert item.chance == found[0].chance


def test_chance_is_the_share_of_high_ground_for_single_cells(region: Region, tmp_path: Path) -> None:
    stored = np.zeros((region.grid.height, region.grid.width), np.uint8)
    stored[:, :40] = 200
    _write_layer(tmp_path, region, stored)
    places = {
        str(number): found
        for number in range(60)
        if (found := footprint_of(event(5.5, 5.5 + number, uid=str(number)), region.grid))
    }
    values = read_values(tmp_path, region.grid, 150, places)
    tries, hits = (sum(item[index] for item in values.chance.values()) for index in (0, 1))
    assert tries == 60 * 64
    assert hits / tries == pytest.approx(0.5, abs=0.03)
    again = read_values(tmp_path, region.grid, 150, {"7": places["7"]})
    assert again.chance["7"] == values.chance["7"]


def test_chance_asks_known_ground_alone(region: Region, tmp_path: Path) -> None:
    stored = np.full((region.grid.height, region.grid.width), 200, np.uint8)
    stored[:, ::2] = 255
    _write_layer(tmp_path, region, stored)
    place = footprint_of(event(20.5, 20.5, accuracy_m=40), region.grid)
    assert place is not None
    tries, hits = read_values(tmp_path, region.grid, 150, {"a": place}).chance["a"]
    assert 0 < tries < 64
    assert hits == tries  # every circle around a known cell holds a high one, and no other is asked


def test_a_layer_on_other_cells_is_refused(region: Region, tmp_path: Path) -> None:
    profile = region.grid.profile("uint8", 1, 255) | {"width": 40}
    with rasterio.open(tmp_path / SUSCEPTIBILITY, "w", **profile) as out:
        out.write(np.zeros((region.grid.height, 40), np.uint8), 1)
    with pytest.raises(StorageError, match="other cells"):
        read_values(tmp_path, region.grid, 150, {})
    with pytest.raises(StorageError, match="cannot be read"):
        read_values(tmp_path / "gone", region.grid, 150, {})


def test_kept_values_come_back_as_they_were_and_damaged_ones_do_not(region: Region, tmp_path: Path) -> None:
    _write_layer(tmp_path, region, np.full((region.grid.height, region.grid.width), 9, np.uint8))
    place = footprint_of(event(5.5, 5.5), region.grid)
    assert place is not None
    values = read_values(tmp_path, region.grid, 150, {"a": place})
    KeptValues(tmp_path).put("key", values)
    kept = KeptValues(tmp_path)
    found = kept.get("key")
    assert found is not None
    assert found.chance == values.chance
    np.testing.assert_array_equal(found.ground, values.ground)
    np.testing.assert_array_equal(found.events["a"], values.events["a"])
    assert kept.get("other") is None
    (file,) = (tmp_path / "verification").glob("*.npz")
    file.write_bytes(b"half a file")
    assert kept.get("key") is None
    KeptValues(tmp_path).sweep()
    assert not file.exists()
