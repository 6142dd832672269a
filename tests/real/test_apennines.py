"""The real Apennines on a cut-out: from terrain, rain and landslides to a bundle and layers, in one go."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from exporters.layer import CLASS_LABELS, NODATA
from service.bundle import Bundle
from service.factor_stack import FactorStack
from service.forcing import project
from service.inference import susceptibility_strips
from service.manifest import Manifest
from service.readings import Archive
from service.region import open_region
from service.sequences import build_windows
from service.settings import load_settings
from service.state import open_or_build_state
from service.workshop import archive_path
from trainer.apennines import Case, run
from trainer.apennines_model import FACTORS, FOLD_FIT, SAMPLING, SPATIAL_FIT, TEMPORAL_FIT, Plan
from trainer.squares import read_squares, square_patches

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
DATA = SHARED / "apennines"
# Between Senio, Lamone and the plain: gauges, squares with and without landslides, and that of February 2015.
CUT = Window(2320, 880, 800, 500)
SINCE, UNTIL = date(2015, 2, 24), date(2015, 2, 26)

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set COLLUVIUM_SHARED_DATA"),
    pytest.mark.slow,
]

CASE = Case(
    plan=Plan(
        spatial=replace(SPATIAL_FIT, epochs=2),
        fold=replace(FOLD_FIT, epochs=1),
        temporal=replace(TEMPORAL_FIT, epochs=4),
        folds=3,
        validation_block_km=4.0,
        report_blocks_km=(),
        mean_cells=400,
        sampling=SAMPLING.model_copy(update={"spatial": 2, "random": 1, "season": 1, "wet": 2}),
        break_days=(date(2014, 2, 1), date(2015, 2, 28)),
    ),
    periods=((SINCE, UNTIL),),
    proof_cells=2_000,
    # An index of two epochs spans so few stored steps that rounding moves more cells across a break.
    least_agreement=0.995,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared data with the DEM cut out; everything else as it is."""
    folder = tmp_path_factory.mktemp("shared") / "apennines"
    folder.mkdir()
    for file in DATA.iterdir():
        if file.name != "dem_30m.tif":
            (folder / file.name).symlink_to(file)
    with rasterio.open(DATA / "dem_30m.tif") as dem:
        profile = dem.profile | {
            "width": CUT.width,
            "height": CUT.height,
            "transform": dem.transform @ Affine.translation(CUT.col_off, CUT.row_off),
        }
        with rasterio.open(folder / "dem_30m.tif", "w", **profile) as cut:
            cut.write(dem.read(1, window=CUT), 1)
    return folder.parent


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def summary(shared: Path, build: Path) -> dict[str, Any]:
    return run(shared, ROOT / "config" / "apennines.toml", build, case=CASE)


def test_terrain_rain_and_landslides_become_a_proven_bundle_and_three_layers(
    summary: dict[str, Any], build: Path
) -> None:
    assert summary["layers"] == 3
    assert {"twi", "distance_to_faults"} <= set(summary["factor_stack"]["bands"])
    proof = summary["bundle"]["proof"]
    assert proof["cells"] == 2_000
    assert proof["largest_difference"] <= 1e-5
    assert proof["class_agreement"] >= 0.995
    assert proof["node_class_flips"] < 0.2 * proof["cells"]
    assert summary["bundle"]["verification"]["passed"]
    assert summary["cells_per_s"] > 0
    assert summary["peak_rss_bytes"] < 2 * 2**30
    assert all(Path(picture).stat().st_size > 5_000 for picture in summary["pictures"])
    assert (build / "summary.json").exists()


def test_the_bundle_never_warns_and_says_how_few_events_stand_behind_it(
    summary: dict[str, Any], build: Path
) -> None:
    manifest = Manifest.model_validate_json((build / "bundle" / "manifest.json").read_text("utf-8"))
    events = summary["bundle"]["events"]
    assert not manifest.may_warn
    assert f"only {events['complete']} dated landslides" in manifest.may_warn_reason or not (
        manifest.rain_test and manifest.rain_test.passed
    )
    assert 20 <= events["complete"] <= events["in_range"] == 37
    assert events["train"] + events["validation"] + events["test"] == events["complete"]
    assert f"{events['train']} landslides to train" in summary["said_plainly"]
    assert {spec.name for spec in manifest.factors} == set(FACTORS)
    assert not {spec.name for spec in manifest.factors} & {"twi", "spi", "distance_to_streams"}


def test_the_areas_of_a_day_are_those_of_the_cells_that_its_layer_knows(
    summary: dict[str, Any], build: Path
) -> None:
    region = open_region(load_settings(build / "apennines.toml"))
    areas = summary["class_areas_by_day"][SINCE.isoformat()]
    (folder,) = (build / "data" / "layers").glob(f"{SINCE}-l0/*")
    with rasterio.open(folder / "class.tif") as classes:
        stored = classes.read(1)
    for code, label in enumerate(CLASS_LABELS, start=1):
        assert areas[label] == pytest.approx((stored == code).sum() * region.grid.cell_area_m2)
    assert 0 < (stored > 0).sum() < summary["factor_stack"]["cells"]


def test_cells_farther_from_every_gauge_than_the_range_are_unknown(
    summary: dict[str, Any], build: Path
) -> None:
    settings = load_settings(build / "apennines.toml")
    # The cut-out lies within 15 km of its gauges; 6 km leaves some of it out.
    near = settings.forcing.model_copy(update={"max_distance_km": 6.0})
    settings = settings.model_copy(update={"forcing": near})
    region, bundle = open_region(settings), Bundle.load(settings.bundle.path)
    with (
        Archive(archive_path(settings)) as archive,
        FactorStack.open(settings.stack_path, region.grid) as stack,
    ):
        gauges = project(archive.series("rain"), region.grid.crs)
        state = open_or_build_state(
            region, stack, bundle, settings.data_dir / "state", min_patch_observed=1.0, workers=1
        )
        windows = build_windows(
            settings, region, archive, bundle.manifest.variables, SINCE, window_days=30, lag_days=1
        )
        strips = susceptibility_strips(region, state, bundle, windows, workers=1)
        stored = np.concatenate([strip for _, strip in strips])
    rows, columns = np.indices(stored.shape)
    x = region.grid.left + (columns + 0.5) * region.grid.cell_size_m
    y = region.grid.top - (rows + 0.5) * region.grid.cell_size_m
    distance_m = np.min([np.hypot(x - east, y - north) for east, north in gauges], axis=0)
    assert (distance_m > 6_000).any()
    assert (stored[distance_m > 6_000] == NODATA).all()
    assert (stored != NODATA).any()


def test_the_located_landslide_of_february_2015_is_held_against_its_layer(summary: dict[str, Any]) -> None:
    (held,) = [event for event in summary["events_against_layers"] if event["day"] == "2015-02-25"]
    assert held["layer"]
    assert held["class_of_cell"] in ("low", "moderate", "high", "very_high")
    assert 0 <= held["share_of_layer_below"] <= 1
    assert 0 <= held["high_share_of_layer"] <= 1


def test_a_square_gives_the_same_terrain_alone_as_the_stack_holds_there(
    summary: dict[str, Any], build: Path, shared: Path
) -> None:
    settings = load_settings(build / "apennines.toml")
    region = open_region(settings)
    squares = read_squares(shared / "apennines" / "landslide_patches_2023-05-16.csv")
    dem = shared / "apennines" / "dem_30m.tif"
    found = square_patches(squares, dem, region.grid, FACTORS)
    assert len(found.label) > 40
    assert found.label.sum() > 10
    with FactorStack.open(settings.stack_path, region.grid) as stack:
        for cell, patch in zip(found.cell[::5], found.patches[::5], strict=True):
            window = Window(int(cell[1]) - 11, int(cell[0]) - 11, 23, 23)
            np.testing.assert_array_equal(stack.read(FACTORS, window), patch)


def test_a_second_run_keeps_the_bundle_and_publishes_nothing_new(
    summary: dict[str, Any], shared: Path, build: Path
) -> None:
    before = (build / "bundle" / "manifest.json").read_bytes()
    again = run(shared, ROOT / "config" / "apennines.toml", build, case=CASE)
    assert (build / "bundle" / "manifest.json").read_bytes() == before
    assert again["factor_stack"]["unchanged"]
    assert again["outcomes"] == [{"unchanged": 3}]
    assert again["class_areas_by_day"] == summary["class_areas_by_day"]
