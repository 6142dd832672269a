"""The COG writer by itself: any raster, any strips, any number of threads; and what GDAL makes of it."""

from __future__ import annotations

import errno
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

from exporters.cog_files import StripCog
from exporters.cog_header import Band, Notes, TileSizes, framed, header, template
from exporters.cog_tiles import Packing, Resampling, average_known
from tests.exporters.fix_layer import CRS_TEXT, TRANSFORM

# dtype, no-data, resampling: what the rasters of a layer are made of.
KINDS: dict[str, tuple[str, float, Resampling]] = {
    "susceptibility": ("uint8", 255, "AVERAGE"),
    "class": ("uint8", 0, "NEAREST"),
    "shade": ("uint8", 0, "AVERAGE"),
    "probability": ("float32", float("nan"), "AVERAGE"),
    "provenance": ("float32", float("nan"), "NEAREST"),
}
NOTES = Notes(
    (Band("one", "km", {"MEANING": "the first"}), Band("two", "1"), Band("three")),
    {"TIFFTAG_SOFTWARE": "Colluvium", "COLLUVIUM_NOTE": 'less < more & "so"'},
)
COLOURS = {0: (0, 0, 0, 0), 1: (10, 20, 30, 255)}
IN_TMP = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def some_cells(kind: str, shape: tuple[int, int, int], seed: int, unknown: float) -> npt.NDArray[Any]:
    """Random cells, with blocks and single ones unknown."""
    dtype, nodata, _ = KINDS[kind]
    rng = np.random.default_rng(seed)
    cells = rng.integers(1, 251, shape).astype(dtype)
    blocks = rng.random((shape[1] // 9 + 1, shape[2] // 9 + 1)) < unknown
    gone = np.kron(blocks, np.ones((9, 9), bool))[: shape[1], : shape[2]]
    cells[:, gone | (rng.random(shape[1:]) < unknown / 2)] = nodata
    return cells


def write(
    path: Path, kind: str, cells: npt.NDArray[Any], *, rows: int = 128, threads: int = 2, block: int = 16
) -> Path:
    dtype, nodata, resampling = KINDS[kind]
    out = StripCog(
        path,
        crs=CRS.from_string(CRS_TEXT),
        transform=TRANSFORM,
        shape=cells.shape[1:],
        dtype=dtype,
        nodata=nodata,
        resampling=resampling,
        threads=threads,
        notes=Notes(NOTES.bands[: len(cells)], NOTES.tags, COLOURS if kind == "class" else None),
        block=block,
    )
    for row in range(0, cells.shape[1], rows):
        out.write(row, cells[:, row : row + rows])
    out.finish()
    return path


def levels_of(path: Path) -> list[npt.NDArray[Any]]:
    """The full raster and its overviews, as GDAL reads them."""
    with rasterio.open(path) as raster:
        found, count = [raster.read()], len(raster.overviews(1))
    for level in range(count):
        with rasterio.open(path, overview_level=level) as overview:
            found.append(overview.read())
    return found


def halved(cells: npt.NDArray[Any], nodata: float, resampling: str) -> npt.NDArray[Any]:
    """One overview cell after the other, as the rule is written."""
    bands, rows, columns = cells.shape
    small = np.empty((bands, -(-rows // 2), -(-columns // 2)), cells.dtype)
    for band, row, column in np.ndindex(small.shape):
        four = cells[band, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        known = four[~np.isnan(four) if np.isnan(nodata) else four != nodata].astype(float)
        if resampling == "NEAREST":
            small[band, row, column] = four[0, 0]
        elif not len(known):
            small[band, row, column] = nodata
        elif cells.dtype == np.uint8:
            small[band, row, column] = np.floor(known.mean() + 0.5)
        else:
            small[band, row, column] = known.mean()
    return small


@IN_TMP
@given(
    kind=st.sampled_from(sorted(KINDS)),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90)),
    rows=st.integers(1, 90),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    unknown=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_every_level_holds_what_the_rule_says_whatever_the_raster_the_strips_and_the_threads(
    tmp_path: Path, kind: str, shape: tuple[int, int, int], rows: int, threads: int, seed: int, unknown: float
) -> None:
    if kind == "class":  # a colour map is of one band
        shape = 1, *shape[1:]
    cells = some_cells(kind, shape, seed, unknown)
    path = write(tmp_path / "a.tif", kind, cells, rows=rows, threads=threads)
    _, nodata, resampling = KINDS[kind]
    expected, found = cells, levels_of(path)
    np.testing.assert_array_equal(found[0], cells)
    for level in found[1:]:
        expected = halved(expected, nodata, resampling)
        np.testing.assert_array_equal(level, expected)
    assert max(expected.shape[1:]) <= 16
    if min(expected.shape[1:]) > 1:  # the validator wants both sides of an overview to be smaller
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    again = write(tmp_path / "b.tif", kind, cells, rows=shape[1], threads=1)
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(again.read_bytes()).digest()
    assert {found.name for found in tmp_path.iterdir()} == {"a.tif", "b.tif"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_overviews_are_gdals_to_a_unit_of_what_is_stored(tmp_path: Path, kind: str) -> None:
    _, _, resampling = KINDS[kind]
    cells = some_cells(kind, (1, 256, 512), 3, 0.2)
    ours = write(tmp_path / "ours.tif", kind, cells, block=128)
    options = {"OVERVIEW_RESAMPLING": resampling, "OVERVIEWS": "IGNORE_EXISTING", "BLOCKSIZE": "128"}
    rasterio.shutil.copy(ours, tmp_path / "gdal.tif", driver="COG", COMPRESS="DEFLATE", **options)
    pairs = list(zip(levels_of(ours), levels_of(tmp_path / "gdal.tif"), strict=True))
    assert [one.shape[1:] for one, _ in pairs] == [(256, 512), (128, 256), (64, 128)]
    for one, other in pairs:
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        assert np.nanmax(np.abs(one.astype(float) - other.astype(float))) <= (
            1 if one.dtype == "uint8" else 1e-4
        )


@pytest.mark.parametrize(("kind", "bands"), [("susceptibility", 3), ("class", 1), ("probability", 2)])
def test_a_raster_says_the_same_as_one_that_gdal_wrote(tmp_path: Path, kind: str, bands: int) -> None:
    ours = write(tmp_path / "ours.tif", kind, some_cells(kind, (bands, 70, 60), 1, 0.1))
    options = {"BLOCKSIZE": "128", "PREDICTOR": "YES" if KINDS[kind][2] == "AVERAGE" else "NO"}
    rasterio.shutil.copy(ours, tmp_path / "gdal.tif", driver="COG", COMPRESS="DEFLATE", **options)
    said = []
    for path in (ours, tmp_path / "gdal.tif"):
        with rasterio.open(path) as raster:
            profile = {key: value for key, value in raster.profile.items() if not key.startswith("block")}
            each = [raster.tags(number) for number in raster.indexes]
            structure = raster.tags(ns="IMAGE_STRUCTURE")
            colours = raster.colormap(1) if kind == "class" else None
            names = raster.descriptions, raster.units, raster.colorinterp
            said.append((repr(profile), raster.tags(), each, structure, colours, names))
    assert said[0] == said[1]
    assert said[0][3]["LAYOUT"] == "COG"
    assert said[0][1]["COLLUVIUM_NOTE"] == NOTES.tags["COLLUVIUM_NOTE"]
    assert said[0][5][0] == ("one", "two", "three")[:bands]


def test_tiles_lie_as_the_header_promises(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "susceptibility", some_cells("susceptibility", (1, 100, 70), 5, 0.3))
    data = path.read_bytes()
    before = 0
    sides = [(100, 70), (50, 35), (25, 18), (13, 9)]
    for level, (height, width) in reversed(list(enumerate(sides))):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as raster:
            assert raster.shape == (height, width)
            for row in range(-(-height // 16)):
                for column in range(-(-width // 16)):
                    at, size = (
                        int(raster.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1))
                        for what in ("OFFSET", "SIZE")
                    )
                    assert at > before
                    assert int.from_bytes(data[at - 4 : at], "little") == size
                    assert data[at + size : at + size + 4] == data[at + size - 4 : at + size]
                    before = at
    assert before + size + 4 == len(data)


def test_a_raster_beyond_four_gigabytes_is_a_bigtiff_that_gdal_reads(tmp_path: Path) -> None:
    packing = Packing(16, np.dtype("uint8"), 255, "AVERAGE")
    tags = template(CRS.from_string(CRS_TEXT), TRANSFORM, packing, Notes(NOTES.bands[:1], NOTES.tags))
    tile = packing.pack(np.full((1, 16, 16), 7, np.uint8))
    # A hole in the place of tiles: only the last one is there.
    sizes = np.array([2**32 - 1, 2**31, len(tile)], np.uint64)
    levels = [TileSizes((16, 48), sizes), TileSizes((8, 24), np.array([30, 30], np.uint64))]
    with (tmp_path / "a.tif").open("wb") as out:
        head = header(tags, levels)
        out.write(head)
        frames = sum(int(level.tiles.sum()) + 8 * len(level.tiles) for level in levels)
        out.seek(len(head) + frames - len(framed(tile)))
        out.write(framed(tile))
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert (raster.shape, raster.crs, raster.nodata) == ((16, 48), CRS.from_string(CRS_TEXT), 255)
        assert raster.transform == TRANSFORM
        assert (raster.read(1, window=((0, 16), (32, 48))) == 7).all()
    assert head[:4] == b"II\x2b\x00"
    small = [TileSizes((16, 16), np.array([30], np.uint64))]
    assert header(tags, small)[:4] == b"II\x2a\x00"


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    def peak(rows_of_tiles: int) -> int:
        cells = some_cells("susceptibility", (1, 64, 1024), 1, 0.1)
        out = StripCog(
            tmp_path / "a.tif",
            crs=CRS.from_string(CRS_TEXT),
            transform=TRANSFORM,
            shape=(rows_of_tiles * 64, 1024),
            dtype="uint8",
            nodata=255,
            resampling="AVERAGE",
            threads=2,
            notes=Notes(NOTES.bands[:1], {}),
            block=64,
        )
        tracemalloc.start()
        for row in range(0, rows_of_tiles * 64, 64):
            out.write(row, cells)
        out.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(32) < 1.5 * peak(8)


@pytest.mark.parametrize("where", ["strips", "finish"])
def test_a_full_disk_is_told_with_the_files_name_and_the_systems_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    cells = some_cells("susceptibility", (1, 200, 90), 1, 0.1)
    out = StripCog(
        tmp_path / "a.tif",
        crs=CRS.from_string(CRS_TEXT),
        transform=TRANSFORM,
        shape=(200, 90),
        dtype="uint8",
        nodata=255,
        resampling="AVERAGE",
        threads=2,
        notes=Notes(NOTES.bands[:1], {}),
        block=16,
    )

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "strips":
        monkeypatch.setattr("exporters.cog_files._write", refuse)
    else:
        monkeypatch.setattr("exporters.cog_files.os.fsync", refuse)
    with pytest.raises(OSError, match=r"a\.tif could not be written whole: is the disk full") as caught:
        out.write(0, cells)
        out.finish()
    assert caught.value.errno == errno.ENOSPC
    out.close()
    assert list(tmp_path.iterdir()) == []


@IN_TMP
@given(st.integers(0, 4), st.lists(st.integers(0, 254), min_size=4, max_size=4))
def test_a_mean_of_four_is_within_its_known_cells_and_a_half_goes_up(count: int, values: list[int]) -> None:
    cells = np.array(values[:count] + [255] * (4 - count), np.uint8).reshape(1, 2, 2)
    (mean,) = average_known(cells, 255).ravel()
    if count == 0:
        assert mean == 255
    else:
        assert mean == int(np.floor(np.mean(values[:count]) + 0.5))


def test_odd_edges_average_the_cells_that_there_are() -> None:
    cells = np.array([[[10, 20, 31], [30, 255, 255], [50, 51, 255]]], np.uint8)
    np.testing.assert_array_equal(average_known(cells, 255), [[[20, 31], [51, 255]]])


@pytest.mark.parametrize("resampling", ["AVERAGE", "NEAREST"])
def test_a_packed_float_loses_no_bit(tmp_path: Path, resampling: Resampling) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, 0.1, -2.5], np.float32)
    cells = np.resize(odd, (1, 20, 30))
    out = StripCog(
        tmp_path / "a.tif",
        crs=CRS.from_string(CRS_TEXT),
        transform=Affine(2.5, 0, 1, 0, -2.5, 7),
        shape=(20, 30),
        dtype="float32",
        nodata=float("nan"),
        resampling=resampling,
        threads=1,
        notes=Notes(NOTES.bands[:1], {}),
        block=32,
    )
    out.write(0, cells[0])
    out.finish()
    (found,) = levels_of(tmp_path / "a.tif")
    assert found.tobytes() == cells.tobytes()
