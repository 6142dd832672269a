"""An exported detector on patches: judged as the service would run it, refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from service.cli import main_group
from service.detection.bands import LANDSLIDE4SENSE
from service.detection.detector import Detector
from service.detection.manifest import BandStatistics, DetectorManifest
from service.errors import InputError, UsageError
from tests.trainer.detection.fix_compare import NOW, official_folder
from tests.trainer.detection.fix_learnable import TINY
from trainer.detection.compare_data import divide, open_data
from trainer.detection.export import Told, export_detector
from trainer.detection.fit import fit_detector
from trainer.detection.fit_validation import score
from trainer.detection.judge_detector import evaluate, open_judged, probability_of
from trainer.detection.landslide4sense import Part

BANDS = ("B04", "B08", "B11", "slope")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_folder(tmp_path_factory.mktemp("patches") / "data", train=6, valid=2, test=5)


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of four bands, trained for two epochs."""
    place = tmp_path_factory.mktemp("detector")
    patches = open_data(folder, BANDS)
    split = divide(patches, "official").divisions[0].split
    rules = TINY.__class__(**{**vars(TINY), "epochs": 2})
    fitted = fit_detector(patches, split.train, patches, split.valid, rules, place / "run")
    scores = score(fitted.network, patches, split.test, fitted.best.threshold, "test part")
    told = Told("tiny", "1", NOW, "official folders", "validation part", "colluvium detector train", scores)
    export_detector(fitted, place / "detector", told)
    return place / "detector"


def manifest_of(*bands: str, **changes: object) -> DetectorManifest:
    """What a detector of some bands says of itself."""
    given: dict[str, object] = {
        "name": "some", "version": "2", "created": NOW, "architecture": "plain unet",
        "radiometry": "landslide4sense", "threshold": 0.5, "threshold_chosen_on": "validation part",
        "bands": tuple(BandStatistics(name=name, mean=0.0, std=1.0) for name in bands),
        "trained_on": "patches", "pretrained": "from scratch", "data_digest": "0", "files": {},
    }  # fmt: skip
    return DetectorManifest.model_validate(given | changes)


def test_the_exported_graph_scores_what_training_said_it_would(made: Path, folder: Path) -> None:
    detector = Detector.load(made)
    found = evaluate(detector, open_judged(folder, detector.manifest))
    said = detector.manifest.scores
    assert said is not None
    pixels = found.judged.pixels()
    assert (pixels.f1, pixels.recall) == (
        pytest.approx(said.f1, abs=1e-3),
        pytest.approx(said.recall, abs=1e-3),
    )
    assert found.judged.ids == tuple(f"test/{number}" for number in range(201, 206))


def test_another_part_can_be_judged_and_that_it_was_learnt_from_is_said(made: Path, folder: Path) -> None:
    detector = Detector.load(made)
    found = evaluate(detector, open_judged(folder, detector.manifest, part="train"))
    assert len(found.judged) == 6
    assert any("training patches" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("part", "split", "words"),
    [
        ("valid", "official folders: 5 patches of test", "chosen on them"),
        ("test", "official folders: 5 patches of test", None),
        (
            "test",
            "5 patches of Hokkaido, of which nothing was learnt; 2 of the 8",
            "those among these flatter",
        ),
    ],
)
def test_patches_that_may_have_been_learnt_from_are_told(
    made: Path, folder: Path, part: Part, split: str, words: str | None
) -> None:
    detector = Detector.load(made)
    trained = detector.manifest.model_copy(update={"trained_on": f"{folder.name}; {split}"})
    detector = replace(detector, manifest=trained)
    warnings = evaluate(detector, open_judged(folder, trained, part=part)).warnings
    if words is None:
        assert not warnings
    else:
        assert words in "".join(warnings)


def test_a_missing_band_is_refused_with_what_would_do(folder: Path) -> None:
    with pytest.raises(InputError, match=r"has no B8A, .* --missing B8A=mean .* train --bands B04,slope"):
        open_judged(folder, manifest_of("B04", "B8A", "slope"))


def test_a_missing_band_can_be_stood_in_for_by_rule_and_that_is_said(folder: Path) -> None:
    fitting = open_judged(folder, manifest_of("B04", "B8A", "slope"), missing={"B8A": "B08"})
    patch = fitting.patches.read(0).image
    image = fitting.image(patch)
    assert np.array_equal(image[1], patch[fitting.patches.bands.index("B08")])
    assert fitting.substituted == {"B8A": "B08"}
    mean = open_judged(folder, manifest_of("B04", "B8A"), missing={"B8A": "mean"})
    assert np.isnan(mean.image(mean.patches.read(0).image)[1]).all()


@pytest.mark.parametrize(
    ("rules", "kind", "says"),
    [
        ({"B8A": "B99"}, UsageError, "names no band"),
        ({"B8A": "slope"}, InputError, "slope is in degrees and cannot stand for B8A in reflectance"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    folder: Path, rules: dict[str, str], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        open_judged(folder, manifest_of("B04", "B8A"), missing=rules)


def test_values_of_another_kind_are_refused_with_what_would_fit(folder: Path) -> None:
    manifest = manifest_of("B04", radiometry="reflectance")
    with pytest.raises(InputError, match=r"holds landslide4sense values.* published Landslide4Sense patches"):
        open_judged(folder, manifest)


def test_pixels_of_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="pixels of 10 m, and some learnt on 20 m"):
        open_judged(folder, manifest_of("B04", pixel_size_m=20.0))


def test_a_part_without_masks_cannot_be_judged(made: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "data", train=2, valid=1, test=1)
    (folder / "ValidData" / "mask" / "mask_101.h5").unlink()
    (folder / "ValidData" / "mask").rmdir()
    detector = Detector.load(made)
    with pytest.raises(InputError, match="has no masks"):
        evaluate(detector, open_judged(folder, detector.manifest, part="valid"))


def test_images_larger_than_the_detectors_patch_are_cut_and_blended(made: Path) -> None:
    detector = Detector.load(made)
    flat = np.ones((4, 50, 70), np.float32) * np.array([3, 7, 10, 12], np.float32)[:, None, None]
    found = probability_of(detector, flat)
    assert found.shape == (50, 70)
    alone = detector.predict(flat[None, :, :32, :32])[0]
    assert alone.min() - 1e-5 <= found.min()
    assert found.max() <= alone.max() + 1e-5


def test_unknown_pixels_are_not_held_against_the_detector(made: Path, tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "data", train=2, valid=1, test=1)
    with h5py.File(folder / "TestData" / "img" / "image_201.h5", "r+") as file:
        file["img"][:10, :, LANDSLIDE4SENSE.index("B04")] = np.nan
    detector = Detector.load(made)
    pixels = evaluate(detector, open_judged(folder, detector.manifest)).judged.pixels()
    assert pixels.unknown == 10 * 32
    assert pixels.tp + pixels.fn == 6 * 16


def test_the_command_prints_and_hands_on_the_same_figures(made: Path, folder: Path) -> None:
    arguments = ["detector", "evaluate", str(made), str(folder)]
    words = CliRunner().invoke(main_group, arguments, catch_exceptions=False).stdout
    told = json.loads(CliRunner().invoke(main_group, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert f"F1 {told['pixels']['f1']:.4f}" in words
    assert f"{told['objects']['hits']} of {told['objects']['objects']} hit" in words
    assert told["threshold_chosen_on"] == "validation part"
    assert told["patches"] == 5
