"""Members of a forecast through the model: quantiles of outputs, strip by strip, however it is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rio_cogeo import cog_validate

from exporters.companions import QUANTILE_BANDS, QUANTILES, companions_of, open_quantiles
from exporters.layer import NODATA, ForecastBasis
from service.inference import LayerStrip, layer_strips, susceptibility_strips
from service.sequences import WindowSet
from tests.exporters.fix_layer import CRS_TEXT, TAGS, TRANSFORM, make_layer
from tests.fix_bundle import ToyNetwork
from tests.fix_scene import Scene, make_scene, without_window

NOW = "2026-03-11T00:00:00Z"


@pytest.fixture(scope="module", params=["factored", "whole"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    # A steep head, so that members differ and no cell is saturated.
    # One tile is enough for the generic path, which takes its time.
    shape = (30, 40) if request.param == "whole" else (70, 140)
    return make_scene(tmp_path_factory.mktemp("scene"), ToyNetwork(gain=3.0), kind=request.param, shape=shape)


def members_of(scene: Scene, number: int) -> list[WindowSet]:
    random = np.random.default_rng(4)
    found = []
    for _ in range(number):
        windows = scene.windows.windows.copy()
        windows[:, -3:, 0] = random.gamma(0.7, 30, windows[:, -3:, 0].shape)
        found.append(replace(scene.windows, windows=windows))
    return found


def strips_of(scene: Scene, members: list[WindowSet], **more: Any) -> list[LayerStrip]:
    options = {"workers": 2} | more
    return list(
        layer_strips(scene.region, scene.state(), scene.bundle, members[0], forecasts=members, **options)
    )


def stored_of(scene: Scene, windows: WindowSet) -> np.ndarray:
    strips = susceptibility_strips(scene.region, scene.state(), scene.bundle, windows, workers=2)
    return np.concatenate([strip for _, strip in strips])


def test_quantiles_are_of_what_the_model_makes_of_each_member(scene: Scene) -> None:
    members = members_of(scene, 5)
    strips = strips_of(scene, members)
    each = np.stack([stored_of(scene, one) for one in members])
    known = each[0] != NODATA
    assert known.any()
    stored = np.concatenate([strip.stored for strip in strips])
    quantiles = np.concatenate([strip.quantiles for strip in strips if strip.quantiles is not None], axis=1)
    # Of five the median is one of them, and rounding keeps it so.
    np.testing.assert_array_equal(stored, np.where(known, np.median(each, axis=0), NODATA))
    np.testing.assert_array_equal(quantiles[1], stored)
    for band, share in zip(quantiles, QUANTILE_BANDS.values(), strict=True):
        np.testing.assert_allclose(band[known], np.quantile(each[:, known], share, axis=0), atol=1)
        assert (band[~known] == NODATA).all()
    # Not the map of the mean rain: a model is no straight line.
    mean = replace(members[0], windows=np.mean([one.windows for one in members], axis=0, dtype=np.float32))
    assert (stored_of(scene, mean)[known] != stored[known]).any()


def test_strips_are_the_same_for_every_number_of_workers(scene: Scene) -> None:
    members = members_of(scene, 5)
    usual = strips_of(scene, members, workers=1)
    for workers in (2, 3):
        for one, other in zip(usual, strips_of(scene, members, workers=workers), strict=True):
            assert one.quantiles is not None
            assert other.quantiles is not None
            np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_a_cell_is_known_where_the_layers_windows_are(scene: Scene) -> None:
    members = members_of(scene, 3)
    less = without_window(members[0], 2)
    strips = list(layer_strips(scene.region, scene.state(), scene.bundle, less, forecasts=members, workers=1))
    stored = np.concatenate([strip.stored for strip in strips])
    expected = stored_of(scene, less) == NODATA
    np.testing.assert_array_equal(stored == NODATA, expected)


def test_nothing_but_a_forecast_has_quantiles(scene: Scene) -> None:
    (*_, strip) = layer_strips(scene.region, scene.state(), scene.bundle, scene.windows, workers=1)
    assert strip.quantiles is None


# --- the file ---


def basis(members: int) -> ForecastBasis:
    return ForecastBasis.model_validate(
        {"feed": "ahead", "issued_at": NOW, "first_day": "2026-03-11", "members": members}
    )


def test_quantiles_are_read_back_as_they_were_written_and_say_what_they_are(tmp_path: Path) -> None:
    values = np.sort(np.random.default_rng(0).integers(0, 251, (3, 60, 50)).astype(np.uint8), axis=0)
    values[:, :5, :6] = NODATA
    place: dict[str, Any] = {"crs": CRS.from_string(CRS_TEXT), "transform": TRANSFORM, "shape": (60, 50)}
    out = open_quantiles(tmp_path, forecast=basis(51), tags=replace(TAGS, lead=2), threads=1, **place)
    out.write(0, values[:, :32])
    out.write(32, values[:, 32:])
    out.finish()
    assert cog_validate(tmp_path / QUANTILES, strict=True)[0]
    with rasterio.open(tmp_path / QUANTILES) as raster:
        np.testing.assert_array_equal(raster.read(), values)
        assert raster.descriptions == ("p10 x 250", "p50 x 250", "p90 x 250")
        assert raster.nodata == NODATA
        assert "51 members of ahead" in raster.tags(3)["MEANING"]
        assert "90%" in raster.tags(3)["MEANING"]
        assert raster.tags()["COLLUVIUM_LEAD"] == "2"
        assert "forecast 2 days ahead" in raster.tags()["TIFFTAG_IMAGEDESCRIPTION"]


@pytest.mark.parametrize(("members", "there"), [(1, False), (4, False), (5, True)])
def test_a_layer_names_its_quantiles_where_it_has_them(tmp_path: Path, members: int, there: bool) -> None:
    layer = make_layer(tmp_path, lead=1, forecast=basis(members))
    assert (QUANTILES in companions_of(layer)) == there
