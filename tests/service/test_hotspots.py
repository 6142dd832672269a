from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy.ndimage import label

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.geopackage import AREAS, write_areas
from exporters.layer import NODATA, SCALE, Hotspot, Layer
from service.areas_file import read_hotspots
from service.earlier_layer import EarlierLayer
from service.hotspots import HotspotFinder, Hotspots, _share_ground, date_hotspots
from service.region import Zone
from service.zone_strips import ZoneStrips
from tests.exporters.fix_layer import CRS_TEXT, SCHEME, TRANSFORM, make_layer, write_plain, write_rasters
from tests.fix_region import ToyRegion

CELL_M2 = 900.0
ZONES = tuple(Zone(code, f"z{code}", f"Zone {code}", shapely.box(0, 0, 1, 1)) for code in (1, 2))
LOW, HIGH, VERY_HIGH = 10, 120, 200  # stored


def write_zones(path: Path, codes: npt.NDArray[np.integer]) -> Path:
    height, width = codes.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint16"}
    with rasterio.open(path, "w", crs=CRS_TEXT, transform=TRANSFORM, **profile) as out:
        out.write(codes.astype(np.uint16), 1)
    return path


def find_hotspots(
    folder: Path,
    zones_path: Path,
    *,
    min_area_m2: float,
    at_most: int,
    previous: Path | None = None,
    strip_rows: int = 128,
) -> Hotspots:
    """Give the rasters of a layer to the finder, in strips."""
    with ExitStack() as stack:
        now = stack.enter_context(rasterio.open(folder / CLASSES))
        stored = stack.enter_context(rasterio.open(folder / SUSCEPTIBILITY)).read(1)
        classes = now.read(1)
        finder = HotspotFinder(
            stack.enter_context(ZoneStrips(zones_path, len(ZONES))),
            ZONES,
            shape=now.shape,
            transform=now.transform,
            min_area_m2=min_area_m2,
            at_most=at_most,
            previous=stack.enter_context(EarlierLayer(previous)) if previous is not None else None,
        )
        for row in range(0, len(stored), strip_rows):
            strip = slice(row, row + strip_rows)
            finder.add(row, stored[strip], classes[strip])
        return finder.finish()


def draw(text: str) -> npt.NDArray[np.uint8]:
    """`.` low, `h` high, `v` very high, `?` unknown."""
    codes = {".": LOW, "h": HIGH, "v": VERY_HIGH, "?": NODATA}
    return np.array([[codes[letter] for letter in line] for line in text.split()], np.uint8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 100_000),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    strip_rows=st.integers(1, 31),
    share=st.sampled_from([0.1, 0.3, 0.45, 0.6, 0.9, 1.0]),
    min_cells=st.integers(1, 6),
)
def test_hotspots_by_strips_equal_the_components_of_the_whole(
    tmp_path: Path, seed: int, height: int, width: int, strip_rows: int, share: float, min_cells: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (height, width)
    stored = np.where(rng.random(shape) < share, rng.integers(100, 251, shape), rng.integers(0, 100, shape))
    stored = np.where(rng.random(shape) < 0.05, NODATA, stored).astype(np.uint8)
    then = rng.choice(np.array([LOW, HIGH, NODATA], np.uint8), shape)
    codes = rng.integers(0, 3, shape)
    folder = tmp_path / str(rng.integers(2**40))
    basis = np.zeros((1, 1), np.uint32)
    write_plain(folder / "now", stored, basis)
    write_plain(folder / "before", then, basis)
    found = find_hotspots(
        folder / "now",
        write_zones(folder / "zones.tif", codes),
        min_area_m2=min_cells * CELL_M2,
        at_most=10_000,
        previous=folder / "before",
        strip_rows=strip_rows,
    )

    labels, count = label(SCHEME.classify(stored) >= 3, structure=np.ones((3, 3)))
    expected = []
    for number in range(1, count + 1):
        inside = labels == number
        if inside.sum() < min_cells:
            continue
        by_zone = np.bincount(codes[inside], minlength=3)[1:]
        known = inside & (then != NODATA)
        expected.append(
            (
                inside.sum() * CELL_M2,
                pytest.approx(stored[inside].mean() * SCALE),
                pytest.approx(stored[inside].max() * SCALE),
                f"z{by_zone.argmax() + 1}" if by_zone.any() else None,
                (known & (then == LOW)).sum() * CELL_M2 if known.any() else None,
                inside,
            )
        )
    expected.sort(key=lambda row: (-row[0], np.flatnonzero(row[-1])[0]))
    assert found.left_out == 0
    assert [spot.id for spot in found.found] == list(range(1, len(expected) + 1))
    for spot, (*figures, inside) in zip(found.found, expected, strict=True):
        assert [spot.area_m2, spot.mean, spot.maximum, spot.zone, spot.growth_m2] == figures
        geometry = shapely.from_wkb(spot.geometry_wkb)
        assert geometry.is_valid
        assert geometry.area == spot.area_m2
        burned = rasterize([geometry], out_shape=shape, transform=TRANSFORM)
        np.testing.assert_array_equal(burned > 0, inside)


def test_a_u_that_closes_below_the_seam_is_one_hotspot(tmp_path: Path) -> None:
    write_rasters(tmp_path / "now", draw("h.h h.h h.h hvh ... ... ..h"))
    found = find_hotspots(
        tmp_path / "now",
        write_zones(tmp_path / "zones.tif", np.ones((7, 3), int)),
        min_area_m2=CELL_M2,
        at_most=10,
        strip_rows=2,
    )
    assert [spot.area_m2 for spot in found.found] == [9 * CELL_M2, CELL_M2]
    assert found.found[0].maximum == pytest.approx(VERY_HIGH * SCALE)
    assert found.found[0].zone == "z1"


def test_an_outline_is_the_same_however_the_layer_was_cut(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    stored = np.where(rng.random((150, 40)) < 0.6, HIGH, LOW).astype(np.uint8)
    write_plain(tmp_path / "now", stored, np.zeros((1, 1), np.uint32))
    zones_path = write_zones(tmp_path / "zones.tif", rng.integers(0, 3, stored.shape))
    one, *others = (
        find_hotspots(tmp_path / "now", zones_path, min_area_m2=1, at_most=10, strip_rows=rows)
        for rows in (150, 128, 64, 1)
    )
    assert others == [one] * 3


def test_outlines_are_of_those_that_are_listed_however_many_were_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    stored = np.where(rng.random((60, 60)) < 0.3, HIGH, LOW).astype(np.uint8)
    write_plain(tmp_path / "now", stored, np.zeros((1, 1), np.uint32))
    zones_path = write_zones(tmp_path / "zones.tif", np.ones(stored.shape, int))

    def found() -> Hotspots:
        return find_hotspots(tmp_path / "now", zones_path, min_area_m2=2 * CELL_M2, at_most=3, strip_rows=2)

    kept = found()
    monkeypatch.setattr("service.hotspots._COMPACT_LEAST", 0)
    monkeypatch.setattr("service.outlines._CORNERS", 20)
    assert found() == kept
    assert kept.left_out > 10


def test_a_patch_that_touches_itself_at_a_corner_has_a_hole_there(tmp_path: Path) -> None:
    write_rasters(tmp_path / "now", draw("hhhh h..h h.h. hhh."))
    zones_path = write_zones(tmp_path / "zones.tif", np.ones((4, 4), int))
    (spot,) = find_hotspots(tmp_path / "now", zones_path, min_area_m2=1, at_most=10).found
    geometry = shapely.from_wkb(spot.geometry_wkb)
    assert geometry.is_valid
    assert [len(polygon.interiors) for polygon in geometry.geoms] == [1]
    assert geometry.area == 11 * CELL_M2


def test_growth_counts_what_was_known_and_not_high_and_is_unknown_without_an_earlier_layer(
    tmp_path: Path,
) -> None:
    write_rasters(tmp_path / "now", draw("hhhh hhhh .... vvvv"))
    write_rasters(tmp_path / "before", draw("hv.. ??.h .... ????"))
    zones_path = write_zones(tmp_path / "zones.tif", np.ones((4, 4), int))
    first, second = find_hotspots(
        tmp_path / "now", zones_path, min_area_m2=1, at_most=10, previous=tmp_path / "before"
    ).found
    assert first.growth_m2 == 3 * CELL_M2
    assert second.growth_m2 is None
    alone = find_hotspots(tmp_path / "now", zones_path, min_area_m2=1, at_most=10).found
    assert [spot.growth_m2 for spot in alone] == [None, None]


def test_the_largest_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    rows = 300
    stored = np.full((2 * rows, 12), LOW, np.uint8)
    for index in range(rows):
        stored[2 * index, : 2 + index % 7] = HIGH
    write_rasters(tmp_path / "now", stored)
    zones_path = write_zones(tmp_path / "zones.tif", np.zeros(stored.shape, int))
    found = find_hotspots(tmp_path / "now", zones_path, min_area_m2=4 * CELL_M2, at_most=5, strip_rows=64)
    assert [spot.area_m2 for spot in found.found] == [8 * CELL_M2] * 5
    assert {spot.zone for spot in found.found} == {None}
    large = [2 + index % 7 for index in range(rows) if 2 + index % 7 >= 4]
    assert found.left_out == len(large) - 5
    assert found.left_out_area_m2 == (sum(large) - 40) * CELL_M2


def test_a_calm_or_unknown_map_has_no_hotspot(tmp_path: Path) -> None:
    zones_path = write_zones(tmp_path / "zones.tif", np.ones((4, 4), int))
    for name, value in (("calm", LOW), ("unknown", NODATA)):
        write_rasters(tmp_path / name, np.full((4, 4), value, np.uint8))
        assert find_hotspots(tmp_path / name, zones_path, min_area_m2=1, at_most=5).found == ()


# --- since when ---


def before(folder: Path, day: date, **seen: date | None) -> Layer:
    """Write the hotspots of an earlier layer: each a square of 2 x 2 cells, by its column."""
    spots = tuple(
        Hotspot(
            id=number,
            area_m2=4 * CELL_M2,
            mean=0.7,
            maximum=0.9,
            zone=None,
            growth_m2=None,
            first_seen=since,
            geometry_wkb=shapely.to_wkb(square(int(column.removeprefix("at_")))),
        )
        for number, (column, since) in enumerate(seen.items(), start=1)
    )
    folder.mkdir()
    layer = make_layer(folder, day, hotspots=spots)
    write_areas(folder / AREAS, layer, [])
    return layer


def square(column: int, width: int = 2) -> shapely.Geometry:
    """Two rows of cells from the upper edge down."""
    size, left, top = TRANSFORM.a, TRANSFORM.c, TRANSFORM.f
    return shapely.box(left + column * size, top - 2 * size, left + (column + width) * size, top)


def since(day: date, previous: Layer | None, *geometries: shapely.Geometry) -> list[date | None]:
    """Date hotspots that were found at these places."""
    spots = tuple(
        Hotspot(
            id=number, area_m2=1, mean=0.7, maximum=0.9, zone=None, growth_m2=None,
            geometry_wkb=shapely.to_wkb(geometry),
        )
        for number, geometry in enumerate(geometries, start=1)
    )  # fmt: skip
    return [spot.first_seen for spot in date_hotspots(Hotspots(spots, 0, 0.0), day, previous).found]


MARCH = [date(2026, 3, day) for day in range(1, 10)]


def test_a_hotspot_is_as_old_as_the_oldest_that_it_shares_ground_with(tmp_path: Path) -> None:
    previous = before(tmp_path / "a", MARCH[4], at_0=MARCH[3], at_2=MARCH[1], at_6=MARCH[2])

    joined, alone, touching = square(1), square(7, 1), square(8)

    assert since(MARCH[5], previous, joined, alone, touching) == [MARCH[1], MARCH[2], MARCH[5]]


def test_without_a_comparable_layer_before_or_hotspots_in_it_every_hotspot_is_new(tmp_path: Path) -> None:
    calm = before(tmp_path / "a", MARCH[4])

    assert since(MARCH[5], None, square(0)) == [MARCH[5]]
    assert since(MARCH[5], calm, square(0)) == [MARCH[5]]
    assert since(MARCH[5], calm) == []


def test_a_layer_that_does_not_say_since_when_says_that_it_was_there_on_its_day(tmp_path: Path) -> None:
    old = before(tmp_path / "a", MARCH[4], at_0=None)

    assert since(MARCH[5], old, square(0)) == [MARCH[4]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.15, 0.4, 0.6]))
def test_sharing_ground_is_having_a_cell_in_common_whatever_the_shapes(seed: int, share: float) -> None:
    """Holes with patches in them, patches that touch by sides and corners alone, one that fills a map."""
    rng = np.random.default_rng(seed)
    days = [label(rng.random((24, 24)) < share, structure=np.ones((3, 3)))[0] for _ in range(2)]
    patches = [
        [
            shapely.union_all([cell(*at) for at in np.argwhere(day == number)])
            for number in range(1, day.max() + 1)
        ]
        for day in days
    ]
    now, then = (np.array(one, object) for one in patches)
    here, there = (one.ravel() for one in np.indices((len(now), len(then))))
    common = np.zeros((len(now) + 1, len(then) + 1), bool)
    common[days[0], days[1]] = True
    np.testing.assert_array_equal(_share_ground(now, then, here, there), common[1:, 1:].ravel())


def cell(row: int, column: int) -> shapely.Geometry:
    return shapely.box(column, -row - 1, column + 1, -row)


def test_layers_carry_the_age_of_their_hotspots_from_day_to_day(toy: ToyRegion) -> None:
    # Almost everything is a hotspot, day by day.
    toy.config.write_text(toy.config.read_text() + "\n[classes]\nbreaks = [0.004, 0.008, 0.012]\n")
    toy.refresh(*MARCH[:2])
    toy.refresh(MARCH[3])

    seen = {}
    with toy.ledger() as ledger:
        for day in (MARCH[0], MARCH[1], MARCH[3]):
            layer = ledger.current(day)
            assert layer is not None
            seen[day] = {spot.first_seen for spot in read_hotspots(layer.folder / AREAS)}

    assert seen == {day: {MARCH[0]} for day in seen}
