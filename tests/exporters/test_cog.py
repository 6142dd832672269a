from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

from exporters.cog import CLASSES, PROVENANCE, PROVENANCE_BANDS, SUSCEPTIBILITY, LayerWriter, write_provenance
from exporters.layer import CLASS_LABELS, CLASS_NODATA, NODATA, SCALE, TOP
from tests.exporters.fix_layer import CRS_TEXT, SCHEME, SIZE, TAGS, TRANSFORM, write_rasters

RASTERS = (SUSCEPTIBILITY, CLASSES, PROVENANCE)


def a_map(height: int = 700, width: int = 900) -> npt.NDArray[np.uint8]:
    """A smooth map of all classes with a diagonal edge of unknown cells."""
    y, x = np.mgrid[:height, :width]
    stored = np.rint(TOP * (0.5 + 0.5 * np.sin(x / 40) * np.cos(y / 55))).astype(np.uint8)
    stored[x + y < 333] = NODATA
    return stored


def a_writer(folder: Path, shape: tuple[int, int]) -> LayerWriter:
    return LayerWriter(
        folder, crs=CRS.from_string(CRS_TEXT), transform=TRANSFORM, shape=shape, scheme=SCHEME, tags=TAGS
    )


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_rasters_are_valid_cogs_without_warnings(tmp_path: Path) -> None:
    write_rasters(tmp_path, a_map(), k=1)
    for name in RASTERS:
        assert cog_validate(tmp_path / name, strict=True, quiet=True) == (True, [], [])
        with rasterio.open(tmp_path / name) as raster:
            assert raster.overviews(1), name


def test_strips_come_back_as_they_were_written(tmp_path: Path) -> None:
    stored = a_map()
    write_rasters(tmp_path, stored, rows=37)
    with rasterio.open(tmp_path / SUSCEPTIBILITY) as raster:
        np.testing.assert_array_equal(raster.read(1), stored)
        assert raster.nodata == NODATA
        assert raster.scales == (1.0,), "QGIS shows what PostGIS holds only where GDAL scales nothing"
        assert raster.tags()["COLLUVIUM_SCALE"] == f"{SCALE:g}"
        assert raster.transform == TRANSFORM
        assert raster.crs == CRS.from_string(CRS_TEXT)
    with rasterio.open(tmp_path / CLASSES) as raster:
        np.testing.assert_array_equal(raster.read(1), SCHEME.classify(stored))
        assert raster.nodata == CLASS_NODATA


def test_the_same_layer_gives_the_same_bytes_whatever_the_strips_and_threads(tmp_path: Path) -> None:
    stored = a_map()
    write_rasters(tmp_path / "a", stored, rows=32, threads=2)
    write_rasters(tmp_path / "b", stored, rows=511, threads=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_nothing_temporary_stays_behind(tmp_path: Path) -> None:
    write_rasters(tmp_path, a_map(40, 50))
    assert {path.name for path in tmp_path.iterdir()} == {*RASTERS, f"{CLASSES}.aux.xml"}


def test_giving_up_leaves_nothing(tmp_path: Path) -> None:
    writer = a_writer(tmp_path, (64, 64))
    writer.write(0, np.zeros((32, 64), np.uint8))
    writer.close()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_overviews_never_mix_unknown_cells_into_a_value(tmp_path: Path, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.integers(90, 111, (600, 620)).astype(np.uint8)
    # Whole blocks of unknown cells, and single ones.
    blocks = np.kron(rng.random((60, 62)) < share / 2, np.ones((10, 10), bool))
    stored[blocks | (rng.random(stored.shape) < share / 2)] = NODATA
    folder = tmp_path / f"{seed}-{share}"
    write_rasters(folder, stored)
    with rasterio.open(folder / SUSCEPTIBILITY, overview_level=0) as overview:
        small = overview.read(1)
    assert small.shape == (300, 310)
    assert set(np.unique(small)) <= {*range(90, 111), NODATA}
    unknown = (stored.reshape(300, 2, 310, 2) == NODATA).all(axis=(1, 3))
    np.testing.assert_array_equal(small == NODATA, unknown)
    with rasterio.open(folder / CLASSES, overview_level=0) as overview:
        assert set(np.unique(overview.read(1))) <= set(np.unique(SCHEME.classify(stored)))


def test_classes_carry_their_names_and_colours(tmp_path: Path) -> None:
    write_rasters(tmp_path, a_map(40, 50))
    with rasterio.open(tmp_path / CLASSES) as raster:
        colours = raster.colormap(1)
        assert colours[0][3] == 0
        assert all(colours[code][3] == 255 for code in range(1, 5))
        names = [raster.tags(1)[f"CATEGORY_{code}"] for code in range(5)]
    assert names == ["unknown", *CLASS_LABELS]


def test_gdal_reads_the_names_of_the_classes(tmp_path: Path) -> None:
    write_rasters(tmp_path, a_map(40, 50))
    rasterio.shutil.copy(tmp_path / CLASSES, tmp_path / "class.vrt", driver="VRT")  # a VRT spells them out
    said = (tmp_path / "class.vrt").read_text()
    assert [said.count(f"<Category>{name}</Category>") for name in ("unknown", *CLASS_LABELS)] == [1] * 5


def test_every_raster_says_what_it_is(tmp_path: Path) -> None:
    write_rasters(tmp_path, a_map(40, 50))
    for name in RASTERS:
        with rasterio.open(tmp_path / name) as raster:
            tags = raster.tags()
        assert tags["COLLUVIUM_REGION"] == "demo"
        assert tags["COLLUVIUM_DAY"] == "2026-03-01"
        assert tags["COLLUVIUM_SYNTHETIC"] == "yes"
        assert tags["TIFFTAG_COPYRIGHT"] == "Survey of Demo"
        assert "not a probability" in tags["COLLUVIUM_NOTE"]
        assert "Synthetic" in tags["TIFFTAG_IMAGEDESCRIPTION"]
        assert "TIFFTAG_DATETIME" not in tags


def test_provenance_keeps_codes_exactly_and_says_nothing_elsewhere(tmp_path: Path) -> None:
    cells = np.array([[0, 1], [2, 0]], np.int32)
    values = {band.name: np.array([0.25, 0.75], np.float32) for band in PROVENANCE_BANDS}
    values["basis"] = np.array([2**24 - 1, 2**24 - 2], np.uint32)
    write_provenance(
        tmp_path / PROVENANCE,
        crs=CRS.from_string(CRS_TEXT),
        transform=TRANSFORM,
        k=32,
        shape=(3, 2),
        cells=cells,
        values=values,
        tags=TAGS,
    )
    with rasterio.open(tmp_path / PROVENANCE) as raster:
        assert raster.descriptions == tuple(band.name for band in PROVENANCE_BANDS)
        assert raster.units == tuple(band.unit for band in PROVENANCE_BANDS)
        assert raster.transform.a == 32 * SIZE
        assert (raster.transform.c, raster.transform.f) == (TRANSFORM.c, TRANSFORM.f)
        basis, observed = raster.read(8), raster.read(1)
    assert basis[0, 1] == 2**24 - 1
    assert basis[2, 0] == 2**24 - 2
    assert observed[2, 0] == 0.75
    assert np.isnan(observed).sum() == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"basis": np.array([2**24], np.uint32)}, "24 bits"),
        ({"observed": np.zeros(2)}, r"'observed' has shape \(2,\)"),
        ({"surprise": np.zeros(1)}, "surprise"),
    ],
)
def test_provenance_that_cannot_be_right_is_refused(
    tmp_path: Path, change: dict[str, npt.NDArray[np.generic]], message: str
) -> None:
    values = {band.name: np.zeros(1) for band in PROVENANCE_BANDS}
    with pytest.raises(ValueError, match=message):
        write_provenance(
            tmp_path / PROVENANCE,
            crs=CRS.from_string(CRS_TEXT),
            transform=TRANSFORM,
            k=32,
            shape=(1, 1),
            cells=np.zeros((1, 2), np.int32),
            values={**values, **change},
            tags=TAGS,
        )
    assert not (tmp_path / PROVENANCE).exists()


def test_a_strip_out_of_order_is_refused(tmp_path: Path) -> None:
    writer = a_writer(tmp_path, (64, 64))
    with pytest.raises(ValueError, match="expected a strip from row 0 of 64, 64 wide"):
        writer.write(32, np.zeros((32, 64), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        writer.write(0, np.zeros((32, 64), np.int16))  # type: ignore[arg-type]
    writer.write(0, np.zeros((32, 64), np.uint8))
    with pytest.raises(ValueError, match="only 32 of 64 rows"):
        writer.finish()
    writer.close()


@pytest.fixture
def largest_file(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (request.param, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Once while the tiles are spooled, once while the COG is put together: noise with its overviews is larger.
@pytest.mark.parametrize("largest_file", [900_000, 1_100_000], indirect=True)
def test_a_disk_that_fills_up_never_leaves_half_a_raster(tmp_path: Path, largest_file: None) -> None:
    noise = np.random.default_rng(1).integers(0, TOP, (1000, 1000)).astype(np.uint8)
    writer = a_writer(tmp_path, noise.shape)
    with pytest.raises(OSError, match="is the disk full"):
        writer.write(0, noise)
        writer.finish()
    writer.close()
    assert list(tmp_path.glob("*.tif")) == []
