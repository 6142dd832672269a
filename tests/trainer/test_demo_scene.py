"""The demo's landslides and its views from space: drawn from the truth, and everywhere called SYNTHETIC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from service.detection.scene import open_scene
from trainer.demo_loop import SLID
from trainer.demo_scene import PIXEL_M, ScenePlan, days_around, plan_scene, write_scenes
from trainer.synthetic.region import CELL_M, SyntheticRegion, make_region


@pytest.fixture(scope="module")
def region() -> SyntheticRegion:
    return make_region(2, 192)


@pytest.fixture(scope="module")
def plan(region: SyntheticRegion) -> ScenePlan:
    return plan_scene(region, SLID, pixels=192, slides=8)


@pytest.fixture(scope="module")
def scenes(plan: ScenePlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    before, after = days_around(SLID)
    write_scenes(plan, folder, before=before, after=after)
    return folder


def test_what_slid_is_what_the_slope_model_lets_slide(region: SyntheticRegion, plan: ScenePlan) -> None:
    assert len(plan.slides) == 8
    chances = [slide.chance for slide in plan.slides]
    assert min(chances) > 0
    assert np.mean(chances) > 1.5 * plan.mean_chance
    again = plan_scene(region, SLID, pixels=192, slides=8)
    assert again.slides == plan.slides
    assert np.array_equal(again.scars, plan.scars)


def test_scars_run_down_from_where_they_began(plan: ScenePlan) -> None:
    finer = round(CELL_M / PIXEL_M)
    numbered = ndimage.label(plan.scars, np.ones((3, 3)))[0]
    for slide in plan.slides:
        head = (slide.row - plan.row) * finer + 1, (slide.column - plan.column) * finer + 1
        assert plan.scars[head]
        assert slide.area_m2 >= 300
        assert plan.elevation_m[numbered == numbered[head]].min() < plan.elevation_m[head] - 2


def test_the_views_are_scenes_that_the_service_reads(plan: ScenePlan, scenes: Path) -> None:
    before, after = days_around(SLID)
    one, other = open_scene(scenes / "before"), open_scene(scenes / "after")

    assert (one.sensed_on, other.sensed_on, other.after) == (before, after, before)
    assert before < SLID < after
    assert one.synthetic
    assert other.synthetic
    assert other.pixel_size_m == PIXEL_M
    assert other.shape == plan.scars.shape
    assert other.classes is not None
    assert other.dem is not None


def test_only_the_later_view_has_scars_and_some_of_it_is_hidden(plan: ScenePlan, scenes: Path) -> None:
    def ndvi(name: str) -> np.ndarray:
        red, near = (
            rasterio.open(scenes / name / f"{band}.tif").read(1).astype(float) for band in ("B04", "B08")
        )
        return np.asarray((near - red) / (near + red))

    classes = {name: rasterio.open(scenes / name / "SCL.tif").read(1) for name in ("before", "after")}
    clear = np.isin(classes["before"], (4,)) & np.isin(classes["after"], (4,))
    fell = ndvi("before") - ndvi("after")
    # Light and haze change everywhere; where it slid, what grew is gone.
    assert np.median(fell[plan.scars & clear]) > np.median(fell[~plan.scars & clear]) + 0.02
    for seen in classes.values():
        assert 0.02 < np.isin(seen, (3, 9)).mean() < 0.3


def test_every_file_says_that_it_is_synthetic(scenes: Path) -> None:
    for name in ("before", "after"):
        assert "SYNTHETIC" in (scenes / name / "SYNTHETIC.txt").read_text("utf-8")
        for file in (scenes / name).glob("*.tif"):
            with rasterio.open(file) as raster:
                assert "SYNTHETIC" in raster.tags()["DESCRIPTION"]
    truth = json.loads((scenes / "truth.geojson").read_text("utf-8"))
    assert "SYNTHETIC" in truth["description"]
    assert len(truth["features"]) >= 6  # some may have met
