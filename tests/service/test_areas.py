from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.layer import CLASS_LABELS, NODATA, ZoneArea
from service.areas import AreaCounter, class_area_changes, count_classes, zone_areas
from service.errors import StorageError
from service.region import Zone
from tests.exporters.fix_layer import CRS_TEXT, SCHEME, TRANSFORM, write_plain, write_rasters

CELL_M2 = 900.0
ZONES = tuple(Zone(code, f"z{code}", f"Zone {code}", shapely.box(0, 0, 1, 1)) for code in (1, 2))


def write_codes(path: Path, codes: npt.NDArray[np.integer], dtype: str = "uint16") -> Path:
    height, width = codes.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": dtype}
    with rasterio.open(path, "w", crs=CRS_TEXT, transform=TRANSFORM, **profile) as out:
        out.write(codes.astype(dtype), 1)
    return path


def area_of(areas: tuple[ZoneArea, ...], zone: str, label: str) -> ZoneArea:
    return next(area for area in areas if area.zone == zone and area.label == label)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 40))
def test_counting_by_strips_equals_counting_the_whole(tmp_path: Path, seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 5, (37, 23)).astype(np.uint8)
    codes, mask = rng.integers(0, 3, classes.shape), rng.integers(0, 2, classes.shape)
    zones_path = write_codes(tmp_path / f"zones-{seed}-{rows}.tif", codes)
    mask_path = write_codes(tmp_path / f"mask-{seed}-{rows}.tif", mask, "uint8")
    counter = AreaCounter(zones_path, 2, mask_path)
    for row in range(0, 37, rows):
        counter.add(row, classes[row : row + rows])
    counter.close()
    for code in range(3):
        for value in range(1, 5):
            assert counter.counts[code, value] == ((codes == code) & (classes == value)).sum()
        assert counter.counts[code, 0] == ((codes == code) & (classes == 0) & (mask == 1)).sum()


def test_a_zone_code_nobody_named_is_refused() -> None:
    with pytest.raises(ValueError, match="code 3, but there are 2 zones"):
        count_classes(np.array([[3]]), np.array([[1]], np.uint8), 2)


def test_areas_are_cells_times_their_size_and_ratios_are_over_known_cells() -> None:
    counts = np.array([[0, 1, 0, 0, 0], [6, 1, 2, 0, 1], [2, 0, 0, 0, 0]])
    areas = zone_areas(counts, ZONES, CELL_M2)
    moderate = area_of(areas, "z1", "moderate")
    assert moderate.area_m2 == 2 * CELL_M2
    assert moderate.ratio == 0.5
    assert moderate.unknown_m2 == 6 * CELL_M2
    whole = area_of(areas, "", "low")
    assert whole.area_m2 == 2 * CELL_M2
    assert whole.ratio == 0.4
    assert whole.unknown_m2 == 8 * CELL_M2
    assert [area.zone for area in areas] == [""] * 4 + ["z1"] * 4 + ["z2"] * 4


def test_a_zone_without_a_known_cell_has_no_ratio() -> None:
    areas = zone_areas(np.array([[0, 0, 0, 0, 0], [6, 1, 2, 0, 1], [2, 0, 0, 0, 0]]), ZONES, CELL_M2)
    assert {area_of(areas, "z2", label).ratio for label in CLASS_LABELS} == {None}


def test_change_is_counted_where_both_days_know_and_the_same_series_stand_behind_both(
    tmp_path: Path,
) -> None:
    low, high = 10, 120  # stored
    before = np.full((8, 8), low, np.uint8)
    now = np.full((8, 8), high, np.uint8)
    before[0, 0] = NODATA  # became known
    now[0, 1] = NODATA  # became unknown
    now[1] = low  # stayed
    basis = np.array([[7, 7], [7, 7]], np.uint32)
    other = np.array([[7, 7], [7, 9]], np.uint32)  # another gauge in the south-east forcing cell
    write_rasters(tmp_path / "before", before, basis=basis)
    write_rasters(tmp_path / "now", now, basis=other)
    codes = np.ones((8, 8), int)
    codes[4:] = 2
    zones_path = write_codes(tmp_path / "zones.tif", codes)
    changes = class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, 2, k=4)

    assert changes[1].footprint_share == (64 - 16 - 2) / 63
    areas = zone_areas(np.zeros((3, 5), np.int64), ZONES, CELL_M2, changes)
    # Zone 1: 30 cells in common, 8 of them stayed low. Zone 2: 16 in common.
    assert area_of(areas, "z1", "high").change_m2 == {1: 22 * CELL_M2}
    assert area_of(areas, "z1", "low").change_m2 == {1: -22 * CELL_M2}
    assert area_of(areas, "z1", "high").change_ratio == {1: pytest.approx(22 / 30)}
    assert area_of(areas, "z2", "high").change_ratio == {1: 1.0}
    assert area_of(areas, "", "high").change_m2 == {1: 38 * CELL_M2}
    assert area_of(areas, "", "moderate").change_m2 == {1: 0.0}


def test_no_common_cell_means_no_change_rather_than_none(tmp_path: Path) -> None:
    stored = np.full((8, 8), 100, np.uint8)
    write_rasters(tmp_path / "before", stored, basis=np.full((2, 2), 1, np.uint32))
    write_rasters(tmp_path / "now", stored, basis=np.full((2, 2), 2, np.uint32))
    zones_path = write_codes(tmp_path / "zones.tif", np.ones((8, 8), int))
    assert class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, 2, k=4) == {}


def test_a_zone_outside_the_footprint_has_no_change(tmp_path: Path) -> None:
    stored = np.full((8, 8), 100, np.uint8)
    write_rasters(tmp_path / "before", stored, basis=np.array([[1, 1], [1, 1]], np.uint32))
    write_rasters(tmp_path / "now", stored, basis=np.array([[1, 1], [2, 2]], np.uint32))
    codes = np.ones((8, 8), int)
    codes[4:] = 2
    zones_path = write_codes(tmp_path / "zones.tif", codes)
    changes = class_area_changes(tmp_path / "now", {7: tmp_path / "before"}, zones_path, 2, k=4)
    areas = zone_areas(np.zeros((3, 5), np.int64), ZONES, CELL_M2, changes)
    assert area_of(areas, "z1", "low").change_m2 == {7: 0.0}
    assert area_of(areas, "z2", "low").change_m2 == {}


def test_another_grid_is_not_compared(tmp_path: Path) -> None:
    write_rasters(tmp_path / "before", np.full((8, 12), 100, np.uint8))
    write_rasters(tmp_path / "now", np.full((8, 8), 100, np.uint8))
    zones_path = write_codes(tmp_path / "zones.tif", np.ones((8, 8), int))
    assert class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, 2, k=4) == {}


def test_an_earlier_layer_that_is_gone_is_named(tmp_path: Path) -> None:
    write_rasters(tmp_path / "now", np.full((8, 8), 100, np.uint8))
    zones_path = write_codes(tmp_path / "zones.tif", np.ones((8, 8), int))
    with pytest.raises(StorageError, match="elsewhere"):
        class_area_changes(tmp_path / "now", {1: tmp_path / "elsewhere"}, zones_path, 2, k=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), k=st.sampled_from([3, 4, 8, 300]))
def test_growth_agrees_with_counting_by_hand(tmp_path: Path, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (rng.integers(520, 640), 20) if k == 300 else (21, 26)
    folder = tmp_path / f"{seed}-{k}"
    maps = [rng.choice(np.array([10, 60, 110, 200, NODATA], np.uint8), shape) for _ in range(2)]
    coarse = -(-shape[0] // k), -(-shape[1] // k)
    bases = [rng.integers(0, 2, coarse).astype(np.uint32) for _ in range(2)]
    for name, stored, basis in zip(("before", "now"), maps, bases, strict=True):
        write_plain(folder / name, stored, basis)
    zones_path = write_codes(folder / "zones.tif", rng.integers(0, 3, shape))
    found = class_area_changes(folder / "now", {1: folder / "before"}, zones_path, 2, k=k)

    same = np.kron(bases[0] == bases[1], np.ones((k, k), bool))[: shape[0], : shape[1]]
    before, now = (SCHEME.classify(stored) for stored in maps)
    common = same & (before > 0) & (now > 0)
    if not common.any():
        assert found == {}
        return
    growth, footprint = found[1].growth(None)
    assert footprint == common.sum()
    expected = [(common & (now == value)).sum() - (common & (before == value)).sum() for value in range(1, 5)]
    assert growth.tolist() == expected
