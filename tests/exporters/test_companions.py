"""uncertainty.tif and probability.tif: what is written is read back, and says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.raster import RasterExtension
from rasterio.crs import CRS
from rio_cogeo import cog_validate

from exporters.companions import (
    PROBABILITY,
    UNCERTAINTY,
    companions_of,
    open_probability,
    open_uncertainty,
)
from exporters.folder import FolderExporter
from exporters.layer import BEYOND_FACTORS, BEYOND_WINDOW, NODATA, SCALE, Odds
from exporters.stac import layer_item, write_item
from tests.exporters.fix_layer import CRS_TEXT, TAGS, TRANSFORM, finished_layer, make_layer
from tests.exporters.test_stac import validate_offline

ODDS = Odds(event_rate=2e-6, per="cell and day", positives_share=0.5)
SHAPE = (700, 530)


def place(shape: tuple[int, int] = SHAPE) -> dict[str, Any]:
    return {
        "crs": CRS.from_string(CRS_TEXT), "transform": TRANSFORM, "shape": shape, "tags": TAGS, "threads": 2
    }  # fmt: skip


def test_spread_and_marks_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 126, (2, *SHAPE)).astype(np.uint8)
    values[1] %= 4
    values[:, :50, :60] = NODATA
    out = open_uncertainty(tmp_path, members=4, **place())
    for row in range(0, SHAPE[0], 96):
        out.write(row, values[:, row : row + 96])
    out.finish()
    assert cog_validate(tmp_path / UNCERTAINTY, strict=True)[0]
    with rasterio.open(tmp_path / UNCERTAINTY) as raster:
        np.testing.assert_array_equal(raster.read(), values)
        assert raster.nodata == NODATA
        assert raster.descriptions == ("spread x 250", "out_of_domain")
        assert raster.tags()["COLLUVIUM_MEMBERS"] == "4"
        assert raster.tags()["COLLUVIUM_SYNTHETIC"] == "yes"
        assert "standard deviation" in raster.tags(1)["MEANING"]
        assert {f"BIT_{bit}" for bit in (BEYOND_FACTORS, BEYOND_WINDOW)} <= set(raster.tags(2))
    # Bits have no average: an overview holds values that some cell has.
    with rasterio.open(tmp_path / UNCERTAINTY, overview_level=0) as overview:
        assert set(np.unique(overview.read(2)).tolist()) <= {0, 1, 2, 3, NODATA}
    assert [path.name for path in tmp_path.iterdir()] == [UNCERTAINTY]


def test_the_probability_says_what_it_rests_on_and_never_that_it_is_no_probability(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32) * np.float32(1e-4)
    values[5:9] = np.nan
    out = open_probability(tmp_path, odds=ODDS, **place())
    out.write(0, values)
    out.finish()
    with rasterio.open(tmp_path / PROBABILITY) as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.dtypes == ("float32",)
        assert np.isnan(raster.nodata)
        assert (raster.descriptions, raster.units) == (("probability per cell and day",), ("1",))
        tags = raster.tags()
        assert float(tags["COLLUVIUM_EVENT_RATE"]) == ODDS.event_rate
        assert "stated rate of 2e-06 per cell and day" in tags["TIFFTAG_IMAGEDESCRIPTION"]
        assert "Synthetic" in tags["COLLUVIUM_NOTE"]
        assert not any("not a probability" in value for value in tags.values())
        assert raster.overviews(1)


def test_rows_that_are_missing_or_out_of_order_are_refused(tmp_path: Path) -> None:
    out = open_probability(tmp_path, odds=ODDS, **place((10, 8)))
    out.write(0, np.zeros((4, 8), np.float32))
    with pytest.raises(ValueError, match="expected a strip from row 4 of 10"):
        out.write(0, np.zeros((4, 8), np.float32))
    with pytest.raises(ValueError, match="only 4 of 10 rows"):
        out.finish()
    out.close()
    assert list(tmp_path.iterdir()) == []


def test_an_item_describes_what_lies_beside_the_layer_and_only_then(tmp_path: Path) -> None:
    plain = layer_item(make_layer(tmp_path))
    assert not {"uncertainty", "probability"} & set(plain.assets)
    layer = make_layer(tmp_path, members=3, odds=ODDS)
    assert companions_of(layer) == (UNCERTAINTY, PROBABILITY)
    write_item(layer, tmp_path / "item.json")
    item = pystac.Item.from_file(str(tmp_path / "item.json"))
    validate_offline(item)
    assert item.properties["colluvium:members"] == 3
    assert item.properties["colluvium:odds"]["event_rate"] == ODDS.event_rate
    assert item.assets["uncertainty"].roles == ["data"]
    spread, marks = RasterExtension.ext(item.assets["uncertainty"]).bands or []
    assert (spread.scale, spread.nodata, spread.data_type) == (SCALE, NODATA, "uint8")
    fields = ClassificationExtension.ext(marks).bitfields or []
    assert [(1 << field.offset, field.length, field.name) for field in fields] == [
        (BEYOND_FACTORS, 1, "factors"),
        (BEYOND_WINDOW, 1, "window"),
    ]
    (band,) = RasterExtension.ext(item.assets["probability"]).bands or []
    assert (band.data_type, band.nodata) == ("float32", "nan")
    assert "cell and day" in (item.assets["probability"].title or "")


def test_the_folder_exporter_brings_them_along(tmp_path: Path) -> None:
    layer = finished_layer(tmp_path / "data", members=2)
    out = open_uncertainty(layer.folder, members=2, **place((10, 10)))
    out.write(0, np.full((2, 10, 10), 3, np.uint8))
    out.finish()
    (tmp_path / "share").mkdir()
    FolderExporter("share", tmp_path / "share").deliver(layer)
    copied = next((tmp_path / "share" / "layers").rglob(UNCERTAINTY))
    assert copied.read_bytes() == (layer.folder / UNCERTAINTY).read_bytes()
