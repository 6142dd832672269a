from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.cog import CLASSES, PROVENANCE
from exporters.layer import CLASS_LABELS, NODATA, ZoneArea
from service.areas import AreaCounter, Change, ChangeCounter, zone_areas
from service.earlier_layer import EarlierLayer
from service.errors import StorageError
from service.region import Zone
from service.zone_strips import ZoneStrips, spans_of
from tests.exporters.fix_layer import CRS_TEXT, SCHEME, TRANSFORM, write_plain, write_rasters

CELL_M2 = 900.0
ZONES = tuple(Zone(code, f"z{code}", f"Zone {code}", shapely.box(0, 0, 1, 1)) for code in (1, 2))


def write_codes(path: Path, codes: npt.NDArray[np.integer], dtype: str = "uint16") -> Path:
    height, width = codes.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": dtype}
    with rasterio.open(path, "w", crs=CRS_TEXT, transform=TRANSFORM, **profile) as out:
        out.write(codes.astype(dtype), 1)
    return path


def class_area_changes(
    folder: Path, earlier: Mapping[int, Path], zones_path: Path, *, k: int, rows: int = 128
) -> dict[int, Change]:
    """Give the classes of a layer to the counter, in strips, beside one earlier layer."""
    ((days, before),) = earlier.items()
    with (
        rasterio.open(folder / CLASSES) as now,
        rasterio.open(folder / PROVENANCE) as provenance,
        ZoneStrips(zones_path, len(ZONES)) as zones,
        EarlierLayer(before) as layer,
    ):
        basis = provenance.read(provenance.descriptions.index("basis") + 1)
        counter = ChangeCounter(
            {days: layer}, zones, basis=basis, k=k, shape=now.shape, transform=now.transform
        )
        classes = now.read(1)
        for row in range(0, len(classes), rows):
            counter.add(row, classes[row : row + rows])
        return counter.changes()


def area_of(areas: tuple[ZoneArea, ...], zone: str, label: str) -> ZoneArea:
    return next(area for area in areas if area.zone == zone and area.label == label)


def squares(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.integer]:
    """Zone codes 0..2 in squares of 50 cells, with some cells of other zones strewn in."""
    coarse = rng.integers(0, 3, (shape[0] // 50 + 1, shape[1] // 50 + 1))
    codes = np.kron(coarse, np.ones((50, 50), int))[: shape[0], : shape[1]]
    return np.where(rng.random(shape) < 0.0005, rng.integers(0, 3, shape), codes)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 200), height=st.integers(1, 180))
def test_counting_by_strips_equals_counting_the_whole(
    tmp_path: Path, seed: int, rows: int, height: int
) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(rng.integers(0, 2), 5, (height, 170)).astype(np.uint8)
    codes, mask = squares(rng, classes.shape), rng.integers(0, 2, classes.shape)
    zones_path = write_codes(tmp_path / f"zones-{seed}-{rows}-{height}.tif", codes)
    mask_path = write_codes(tmp_path / f"mask-{seed}-{rows}-{height}.tif", mask, "uint8")
    with ZoneStrips(zones_path, 2, mask_path) as zones:
        counter = AreaCounter(zones)
        for row in range(0, height, rows):
            counter.add(row, classes[row : row + rows])
    for code in range(3):
        for value in range(1, 5):
            assert counter.counts[code, value] == ((codes == code) & (classes == value)).sum()
        assert counter.counts[code, 0] == ((codes == code) & (classes == 0) & (mask == 1)).sum()


def test_a_zone_code_nobody_named_is_refused(tmp_path: Path) -> None:
    zones_path = write_codes(tmp_path / "zones.tif", np.array([[3]]))
    with ZoneStrips(zones_path, 2) as zones, pytest.raises(ValueError, match="code 3, but there are 2 zones"):
        AreaCounter(zones).add(0, np.array([[1]], np.uint8))


@given(seed=st.integers(0, 10_000), height=st.integers(1, 128))
def test_spans_hold_every_column_once_and_name_the_zone_of_all_their_cells(seed: int, height: int) -> None:
    codes = squares(np.random.default_rng(seed), (height, 170))
    spans = list(spans_of(codes))
    assert [span.first for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == 170
    for first, stop, code in spans:
        assert code is None or (codes[:, first:stop] == code).all()


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
    changes = class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, k=4)

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
    assert class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, k=4) == {}


def test_a_zone_outside_the_footprint_has_no_change(tmp_path: Path) -> None:
    stored = np.full((8, 8), 100, np.uint8)
    write_rasters(tmp_path / "before", stored, basis=np.array([[1, 1], [1, 1]], np.uint32))
    write_rasters(tmp_path / "now", stored, basis=np.array([[1, 1], [2, 2]], np.uint32))
    codes = np.ones((8, 8), int)
    codes[4:] = 2
    zones_path = write_codes(tmp_path / "zones.tif", codes)
    changes = class_area_changes(tmp_path / "now", {7: tmp_path / "before"}, zones_path, k=4)
    areas = zone_areas(np.zeros((3, 5), np.int64), ZONES, CELL_M2, changes)
    assert area_of(areas, "z1", "low").change_m2 == {7: 0.0}
    assert area_of(areas, "z2", "low").change_m2 == {}


def test_another_grid_is_not_compared(tmp_path: Path) -> None:
    write_rasters(tmp_path / "before", np.full((8, 12), 100, np.uint8))
    write_rasters(tmp_path / "now", np.full((8, 8), 100, np.uint8))
    zones_path = write_codes(tmp_path / "zones.tif", np.ones((8, 8), int))
    assert class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, k=4) == {}


def test_an_earlier_layer_that_is_gone_is_named(tmp_path: Path) -> None:
    write_rasters(tmp_path / "now", np.full((8, 8), 100, np.uint8))
    zones_path = write_codes(tmp_path / "zones.tif", np.ones((8, 8), int))
    with pytest.raises(StorageError, match="elsewhere"):
        class_area_changes(tmp_path / "now", {1: tmp_path / "elsewhere"}, zones_path, k=4)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    k=st.sampled_from([3, 32, 90]),
    rows=st.sampled_from([1, 7, 90, 128, 300]),
    changed=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_growth_agrees_with_counting_by_hand(
    tmp_path: Path, seed: int, k: int, rows: int, changed: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 200)), 170)
    folder = tmp_path / f"{seed}-{k}-{rows}-{changed}"
    stored = np.array([10, 60, 110, 200, NODATA], np.uint8)
    before_map = rng.choice(stored, shape)
    maps = before_map, np.where(rng.random(shape) < changed, rng.choice(stored, shape), before_map)
    coarse = -(-shape[0] // k), -(-shape[1] // k)
    bases = [rng.integers(0, rng.integers(1, 3), coarse).astype(np.uint32) for _ in range(2)]
    for name, one, basis in zip(("before", "now"), maps, bases, strict=True):
        write_plain(folder / name, one, basis)
    codes = squares(rng, shape)
    zones_path = write_codes(folder / "zones.tif", codes)
    found = class_area_changes(folder / "now", {1: folder / "before"}, zones_path, k=k, rows=rows)

    same = np.kron(bases[0] == bases[1], np.ones((k, k), bool))[: shape[0], : shape[1]]
    before, now = (SCHEME.classify(one) for one in maps)
    common = same & (before > 0) & (now > 0)
    if not common.any():
        assert found == {}
        return
    assert found[1].footprint_share == common.sum() / (now > 0).sum()
    expected = np.zeros((3, 4, 4), int)
    np.add.at(expected, (codes[common], before[common] - 1, now[common] - 1), 1)
    np.testing.assert_array_equal(found[1].transitions, expected)


def test_a_forcing_cell_without_a_window_hinders_no_comparison(tmp_path: Path) -> None:
    stored = np.full((8, 8), 100, np.uint8)
    stored[4:, 4:] = NODATA
    nowhere = np.array([[1, 1], [1, np.nan]], np.float32)
    write_plain(tmp_path / "before", stored, nowhere)
    write_plain(tmp_path / "now", stored, nowhere)
    zones_path = write_codes(tmp_path / "zones.tif", np.ones((8, 8), int))
    changes = class_area_changes(tmp_path / "now", {1: tmp_path / "before"}, zones_path, k=4)
    assert changes[1].footprint_share == 1


def test_an_earlier_layer_that_was_cut_short_is_named(tmp_path: Path) -> None:
    write_rasters(tmp_path / "now", np.full((8, 8), 100, np.uint8))
    write_rasters(tmp_path / "before", np.random.default_rng(0).integers(0, 250, (600, 600), np.uint8))
    path = tmp_path / "before" / CLASSES
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(StorageError, match="before"), EarlierLayer(tmp_path / "before") as layer:
        layer.classes(0, 600)
