"""From a scene to outlines, files and a picture."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate

from service.detection.detect import DetectOptions, Look, look_at
from service.detection.detector import Detector
from service.detection.outlines import UNSEEN
from service.detection.scene import Scene, open_scene
from service.detection.writing import DETECTIONS, FINDINGS, PICTURE, PROBABILITY, read_findings
from service.errors import HeldError, InputError, Outcome, UsageError
from tests.fix_detection import (
    LEFT,
    NOW,
    TOP,
    bright_graph,
    make_detector,
    scarred,
    write_raster,
    write_safe,
    write_scene,
)


def clock() -> datetime:
    return NOW


def a_look(
    folder: Path,
    *,
    bands: Mapping[str, npt.NDArray[Any]] | None = None,
    classes: npt.NDArray[np.uint8] | None = None,
    said: Mapping[str, Any] | None = None,
    options: DetectOptions | None = None,
    **detector: Any,
) -> Look:
    """Look at a toy scene with a toy detector: 4 x B04 at or above 0.6."""
    scene = open_scene(write_scene(folder / "scene", bands or scarred(), classes=classes, said=said))
    made = Detector.load(make_detector(folder / "detector", **detector))
    return look_at(scene, made, options or DetectOptions(), folder / "out", clock=clock)


def probability(look: Look) -> npt.NDArray[np.uint8]:
    with rasterio.open(look.findings.folder / PROBABILITY) as raster:
        return np.asarray(raster.read(1))


def pixels(look: Look) -> npt.NDArray[np.uint8]:
    """The picture, (3, rows, columns)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(look.findings.folder / PICTURE) as raster:
            return np.asarray(raster.read()[:3])


def test_two_scars_are_found_where_they_are_with_area_and_confidence(tmp_path: Path) -> None:
    look = a_look(tmp_path, said={"after": "2026-02-27"})
    found = look.findings
    assert look.outcome is Outcome.PUBLISHED
    assert found.folder.name == f"toy-scene-{found.detector.digest[:8]}"
    assert (found.sensed_on, found.after, found.detected_at) == (date(2026, 3, 4), date(2026, 2, 27), NOW)
    assert found.seen_share == 1
    first, second = found.detections
    assert (first.area_m2, second.area_m2) == (12 * 9 * 100, 4 * 20 * 100)
    assert (first.confidence, first.highest) == (pytest.approx(0.8), pytest.approx(0.8))
    assert second.confidence == pytest.approx(0.9, abs=0.002)
    assert not first.touches_unseen
    # In the scene's CRS the outline is the scar's rectangle; in EPSG:4326 it goes round counter-clockwise.
    _, _, geometry, _ = pyogrio.raw.read(found.folder / DETECTIONS, layer="detections")
    box = shapely.box(LEFT + 300, TOP - 320, LEFT + 390, TOP - 200)
    assert shapely.from_wkb(geometry[0]).equals(box)
    ring = shapely.geometry.shape(first.outline).exterior
    assert ring.is_ccw
    assert shapely.contains_xy(shapely.geometry.shape(first.outline), first.lon, first.lat)
    assert 11 < first.lon < 12
    assert 44 < first.lat < 45


def test_a_detector_of_single_cells_gives_their_values_through_patches(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bands = scarred((83, 101)) | {"B04": random.uniform(0, 0.25, (83, 101)).astype(np.float32)}
    for quick in (False, True):
        stored = probability(a_look(tmp_path / str(quick), bands=bands, options=DetectOptions(quick=quick)))
        assert np.abs(stored / 250 - 4 * bands["B04"]).max() <= 0.002 + 1e-5


def test_no_step_shows_where_patches_meet_in_a_scene_of_1024_x_1024(tmp_path: Path) -> None:
    """What the toy gives to a cell depends on where in a patch it lies: by 0.4 either way at its edges."""
    even = np.full((1024, 1024), 0.125, np.float32)
    graph = bright_graph(2, 128, position=True)
    look = a_look(tmp_path, bands={"B04": even, "B08": even}, patch=128, graph=graph)
    stored = probability(look) / 250
    alone = np.asarray(
        Detector.load(tmp_path / "detector").predict(np.full((1, 2, 128, 128), 0.125, np.float32))[0]
    )
    assert np.abs(alone[:, 0] - alone[:, -1]).max() > 0.2  # laid side by side, this would be a step
    inside = max(np.abs(np.diff(alone, axis=axis)).max() for axis in (0, 1))
    steps = [np.abs(np.diff(stored, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= inside + 0.004  # one of the stored steps
    assert np.ptp(stored) < np.ptp(alone) / 2


def test_blocks_that_were_decoded_are_kept_for_the_next_strip(tmp_path: Path) -> None:
    """With a cache that is too small, a product in JPEG 2000 is decoded sixteen times."""
    scene = open_scene(write_scene(tmp_path / "scene", scarred()))
    detector = Detector.load(make_detector(tmp_path / "detector"))
    sizes: list[int] = []

    def progress(done: int, total: int) -> None:
        sizes.append(rasterio.env.getenv()["GDAL_CACHEMAX"])

    look_at(scene, detector, DetectOptions(), tmp_path / "out", progress)
    blocks_of_a_product = 11 * 1024**2 * 2 * 4 + 6 * 1024**2 * 2 * 7  # bytes, of four bands of 10 m and seven
    assert sizes
    assert min(sizes) > 2 * blocks_of_a_product


def test_unseen_ground_is_unknown_and_an_outline_that_ends_there_says_so(tmp_path: Path) -> None:
    classes = np.full((96, 112), 4, np.uint8)
    classes[20:32, 36:60] = 9  # cloud over a part of the first scar
    classes[90:, :] = 6
    look = a_look(tmp_path, classes=classes)
    stored = probability(look)
    np.testing.assert_array_equal(stored == UNSEEN, classes != 4)
    touching = {one.area_m2: one.touches_unseen for one in look.findings.detections}
    assert touching == {12 * 6 * 100: True, 4 * 20 * 100: False}
    assert look.findings.seen_share == pytest.approx(1 - (12 * 24 + 6 * 112) / (96 * 112), abs=1e-6)
    # The ground that was seen has the cloud as a hole in it.
    _, _, geometry, _ = pyogrio.raw.read(look.findings.folder / DETECTIONS, layer="seen")
    seen = shapely.from_wkb(geometry[0])
    assert seen.area == pytest.approx((classes == 4).sum() * 100)
    assert shapely.geometry.shape(look.findings.seen).is_valid


def test_what_lies_under_cloud_does_not_reach_the_model(tmp_path: Path) -> None:
    classes = np.full((96, 112), 4, np.uint8)
    classes[:50] = 8
    look = a_look(tmp_path, classes=classes)
    assert [one.area_m2 for one in look.findings.detections] == [4 * 20 * 100]


def test_a_scene_that_touches_its_edge_goes_on_where_nobody_looked(tmp_path: Path) -> None:
    ground = np.full((64, 64), 0.05, np.float32)
    ground[:8, 10:30] = 0.2
    look = a_look(tmp_path, bands={"B04": ground, "B08": ground})
    assert [one.touches_unseen for one in look.findings.detections] == [True]


def test_small_outlines_and_low_ones_are_left_out_on_request(tmp_path: Path) -> None:
    ground = scarred()
    ground["B04"][50, 50] = 0.25
    for options, count in (
        (DetectOptions(), 2),
        (DetectOptions(min_area_m2=0), 3),
        (DetectOptions(min_area_m2=9_000), 1),
        (DetectOptions(threshold=0.85), 1),
    ):
        look = a_look(tmp_path / f"{options.min_area_m2}-{options.threshold}", bands=ground, options=options)
        assert len(look.findings.detections) == count


def test_outlines_keep_within_half_a_cell_of_the_cells(tmp_path: Path) -> None:
    row, column = np.indices((90, 90))
    ground = np.where((row - 45) ** 2 + (column - 45) ** 2 < 400, 0.2, 0.05).astype(np.float32)
    look = a_look(tmp_path, bands={"B04": ground, "B08": ground})
    _, _, geometry, _ = pyogrio.raw.read(look.findings.folder / DETECTIONS, layer="detections")
    cells = shapely.union_all(
        [shapely.box(LEFT + 10 * x, TOP - 10 * y - 10, LEFT + 10 * x + 10, TOP - 10 * y)
         for y, x in zip(*np.nonzero(ground > 0.1), strict=True)]
    )  # fmt: skip
    found = shapely.from_wkb(geometry[0])
    assert shapely.hausdorff_distance(found.boundary, cells.boundary, densify=0.1) <= 5.0 + 1e-6
    assert len(found.exterior.coords) < len(cells.exterior.coords) / 2


def test_the_files_are_what_their_readers_expect(tmp_path: Path) -> None:
    look = a_look(tmp_path, synthetic=True)
    folder = look.findings.folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        (DETECTIONS, PROBABILITY, PICTURE, FINDINGS)
    )
    valid, errors, _ = cog_validate(folder / PROBABILITY, quiet=True)
    assert valid, errors
    with rasterio.open(folder / PROBABILITY) as raster:
        assert (raster.crs, raster.nodata, raster.dtypes[0]) == ("EPSG:32632", UNSEEN, "uint8")
        assert raster.tags()["COLLUVIUM_SYNTHETIC"] == "yes"
    meta, _, _, values = pyogrio.raw.read(folder / DETECTIONS, layer="detections")
    assert list(meta["fields"]) == [
        "id", "date", "after", "area_m2", "confidence", "highest", "touches_unseen", "detector", "scene",
        "synthetic",
    ]  # fmt: skip
    rows = dict(zip(meta["fields"], values, strict=True))
    assert rows["id"].tolist() == [one.uid for one in look.findings.detections]
    assert rows["after"][0] is None
    assert rows["synthetic"].all()
    record = json.loads((folder / FINDINGS).read_text())
    assert record["synthetic"]
    assert "Synthetic" in record["note"]
    assert record["substituted"] == {}
    found, inputs = read_findings(folder)
    assert found == look.findings
    assert inputs == look.inputs


def test_the_picture_shows_outlines_hatches_what_was_not_seen_and_says_synthetic(tmp_path: Path) -> None:
    classes = np.full((96, 112), 4, np.uint8)
    classes[60:] = 9

    def picture(folder: Path, **said: Any) -> npt.NDArray[np.uint8]:
        return pixels(a_look(folder, **said))

    def count(picture: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
        return int((picture == np.array(colour)[:, None, None]).all(axis=0).sum())

    plain, cloudy, made_up = (
        picture(tmp_path / "a"),
        picture(tmp_path / "b", classes=classes),
        picture(tmp_path / "c", synthetic=True),
    )
    pink, grey, red = (255, 0, 190), (120, 120, 130), (190, 20, 20)
    around = 2 * (12 + 9 + 4 + 20) * 10  # pixels of ten to a cell around both scars
    assert count(plain, pink) == pytest.approx(around, rel=0.05)
    assert count(cloudy, pink) < 0.6 * around
    assert count(plain, grey) == 0
    assert count(cloudy, grey) == pytest.approx(36 * 112 * 100 / 4, rel=0.02)
    assert count(plain, red) == 0
    assert count(made_up, red) > 500


def test_a_large_scene_is_shrunk_and_shows_its_largest_outlines_close_up(tmp_path: Path) -> None:
    ground = np.full((1300, 1300), 0.05, np.float32)
    ground[600:620, 700:712] = 0.2
    classes = np.full((1300, 1300), 9, np.uint8)
    classes[520:700, 640:780] = 4
    look = a_look(tmp_path, bands={"B04": ground, "B08": ground}, classes=classes)
    picture = pixels(look)
    assert picture.shape[2] == pytest.approx(1216, abs=2)
    pink = (picture == np.array((255, 0, 190))[:, None, None]).all(axis=0)
    below = pink[1200 + 200 :]
    assert below.sum() >= 2 * (20 + 12) * 2  # in the close-up


def test_the_same_inputs_leave_everything_as_it_is(tmp_path: Path) -> None:
    first = a_look(tmp_path)
    before = {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.findings.folder.iterdir()
    }

    def later() -> datetime:
        return datetime(2026, 3, 6, tzinfo=UTC)

    scene, detector = open_scene(tmp_path / "scene"), Detector.load(tmp_path / "detector")
    again = look_at(scene, detector, DetectOptions(), tmp_path / "out", clock=later)
    assert again.outcome is Outcome.UNCHANGED
    assert again.findings == first.findings
    assert before == {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.findings.folder.iterdir()
    }
    # Made anew elsewhere, all is the same to the byte but for the moment.
    anew = look_at(scene, detector, DetectOptions(), tmp_path / "elsewhere", clock=later)
    for name in (DETECTIONS, PROBABILITY, PICTURE):
        assert (anew.findings.folder / name).read_bytes() == before[name][0]
    assert anew.findings.detections == first.findings.detections


@pytest.mark.parametrize("change", ["threshold", "band", "damage"])
def test_other_inputs_or_damaged_files_make_findings_anew_in_place(tmp_path: Path, change: str) -> None:
    first = a_look(tmp_path)
    options = DetectOptions(threshold=0.85) if change == "threshold" else DetectOptions()
    if change == "band":
        write_raster(tmp_path / "scene" / "B04.tif", np.full((96, 112), 0.05, np.float32))
    if change == "damage":
        (first.findings.folder / PICTURE).write_bytes(b"")
    scene, detector = open_scene(tmp_path / "scene"), Detector.load(tmp_path / "detector")
    again = look_at(scene, detector, options, tmp_path / "out", clock=clock)
    assert again.outcome is Outcome.PUBLISHED
    assert len(again.findings.detections) == {"threshold": 1, "band": 0, "damage": 2}[change]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.findings.folder.name]
    assert (first.findings.folder / PICTURE).stat().st_size > 0


def test_two_scenes_of_one_identifier_do_not_take_each_other_s_place(tmp_path: Path) -> None:
    first = a_look(tmp_path)
    other = open_scene(write_scene(tmp_path / "other", scarred()))
    detector = Detector.load(tmp_path / "detector")
    with pytest.raises(InputError, match="same identifier 'toy-scene'"):
        look_at(other, detector, DetectOptions(), tmp_path / "out")
    # One that was moved is the same.
    (tmp_path / "scene").rename(tmp_path / "moved")
    moved = look_at(open_scene(tmp_path / "moved"), detector, DetectOptions(), tmp_path / "out")
    assert moved.findings.path == tmp_path / "moved"
    assert moved.findings.detections == first.findings.detections


def test_a_look_that_fails_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = a_look(tmp_path)
    kept = (first.findings.folder / FINDINGS).read_bytes()

    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.detection.detect.scene_picture", full)
    scene, detector = open_scene(tmp_path / "scene"), Detector.load(tmp_path / "detector")
    with pytest.raises(OSError, match="No space"):
        look_at(scene, detector, DetectOptions(min_area_m2=0), tmp_path / "out", clock=clock)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.findings.folder.name]
    assert (first.findings.folder / FINDINGS).read_bytes() == kept


def test_a_missing_band_is_refused_with_what_is_wanted_had_and_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        look_at(
            open_scene(write_scene(tmp_path / "scene", scarred())),
            Detector.load(make_detector(tmp_path / "detector", bands=("B04", "B10", "slope"))),
            DetectOptions(),
            tmp_path / "out",
        )
    words = str(refused.value)
    for part in ("has no B10, slope", "wants B04, B10, slope", "the scene has B02, B03, B04, B08", "--dem",
                 "--missing B10=mean", 'detection.missing = { B10 = "mean" }'):  # fmt: skip
        assert part in words


def _b10(folder: Path, rule: str) -> Look:
    return look_at(
        open_scene(write_scene(folder / "scene", scarred())),
        Detector.load(make_detector(folder / "detector", bands=("B10", "B04"), threshold=0.3)),
        DetectOptions(missing={"B10": rule}),
        folder / "out",
    )


def test_a_mean_or_another_band_stands_for_a_missing_one_by_explicit_rule_and_is_named(
    tmp_path: Path,
) -> None:
    # The detector's first plane is B10: its mean in training is 0.08, B08 is 0.3 everywhere.
    mean = _b10(tmp_path / "mean", "mean")
    np.testing.assert_array_equal(probability(mean), round(4 * 0.08 * 250))
    other = _b10(tmp_path / "other", "B08")
    np.testing.assert_array_equal(probability(other), 250)
    for look, rule in ((mean, "mean"), (other, "B08")):
        assert look.findings.substituted == {"B10": rule}
        assert json.loads((look.findings.folder / FINDINGS).read_text())["substituted"] == {"B10": rule}
        red = (pixels(look) == np.array((190, 20, 20))[:, None, None]).all(axis=0)
        assert red[:200].sum() > 200  # the line of the title that says so


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"B10": "B11"}, "no B11, which missing.B10 puts in its place"),
        ({"B10": "slope"}, "has no B10, and no slope"),
        ({"B10": "B99"}, "names no band"),
        ({"X": "mean"}, "names no band"),
        ({"B10": "mean", "B04": "mean"}, None),
    ],
)
def test_rules_that_help_nothing_are_refused(tmp_path: Path, rule: dict[str, str], words: str | None) -> None:
    scene = open_scene(write_scene(tmp_path / "scene", scarred()))
    detector = Detector.load(make_detector(tmp_path / "detector", bands=("B10", "B04")))
    options = DetectOptions(missing=rule)
    if words is None:  # a rule for a band that is there is not needed, and does nothing
        assert look_at(scene, detector, options, tmp_path / "out").findings.substituted == {"B10": "mean"}
        return
    with pytest.raises((InputError, UsageError), match=words):
        look_at(scene, detector, options, tmp_path / "out")


def _cells(scene: Scene, size: float) -> Scene:
    return replace(scene, transform=rasterio.Affine(size, 0, LEFT, 0, -size, TOP))


def test_scenes_that_do_not_fit_the_detector_are_refused_with_what_to_do(tmp_path: Path) -> None:
    scene = open_scene(write_scene(tmp_path / "scene", scarred()))
    detector = Detector.load(make_detector(tmp_path / "detector"))
    patches = Detector.load(make_detector(tmp_path / "l4s", radiometry="landslide4sense"))
    for one, with_it, words in (
        (_cells(scene, 20), detector, "cells of 20 m.*gdalwarp -tr 10 10"),
        (scene, patches, "trained on numbers as landslide4sense has them"),
    ):
        with pytest.raises(InputError, match=words):
            look_at(one, with_it, DetectOptions(), tmp_path / "out")
    assert look_at(_cells(scene, 10.4), detector, DetectOptions(mask_clouds=False), tmp_path / "out").findings


def test_without_classification_a_scene_counts_as_seen_only_where_somebody_says_so(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "scene", scarred())
    (folder / "SCL.tif").unlink()
    scene, detector = open_scene(folder), Detector.load(make_detector(tmp_path / "detector"))
    with pytest.raises(UsageError, match="--no-clouds"):
        look_at(scene, detector, DetectOptions(), tmp_path / "out")
    look = look_at(scene, detector, DetectOptions(mask_clouds=False), tmp_path / "out")
    assert look.findings.seen_share == 1
    assert "no-clouds" in look.inputs.clouds


def test_a_scene_of_too_much_cloud_is_held_before_the_work_begins(tmp_path: Path) -> None:
    classes = np.full((96, 112), 9, np.uint8)
    classes[:24] = 4
    with pytest.raises(HeldError, match=r"75% was not seen.*detection\.max_unseen = 0\.7"):
        a_look(tmp_path / "a", classes=classes, options=DetectOptions(max_unseen=0.7))
    with pytest.raises(HeldError, match="nothing of"):
        a_look(tmp_path / "b", classes=np.full((96, 112), 9, np.uint8))
    assert not (tmp_path / "b" / "out").exists() or not list((tmp_path / "b" / "out").iterdir())


def test_a_product_with_a_dem_is_looked_at_with_b10_replaced(tmp_path: Path) -> None:
    def stored(band: str, cells: int) -> npt.NDArray[np.uint16]:
        values = np.full((cells, cells), 1500, np.uint16)
        if band == "B04":
            values[5:15, 20:30] = 3500
        return values

    dem = write_raster(tmp_path / "dem.tif", np.full((20, 20), 400, np.float32), size=30, top=TOP + 60)
    scene = open_scene(write_safe(tmp_path, stored=stored), dem=dem)
    bands = ("B04", "B01", "B05", "B10", "B11", "slope", "elevation")
    detector = Detector.load(make_detector(tmp_path / "detector", bands=bands))
    look = look_at(scene, detector, DetectOptions(missing={"B10": "mean"}), tmp_path / "out", clock=clock)
    assert [one.area_m2 for one in look.findings.detections] == [10 * 10 * 100]
    assert look.findings.detections[0].confidence == pytest.approx(1.0)
    assert look.findings.seen_share == 1
