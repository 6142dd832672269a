"""A detector that learnt from made-up landslides, on a real patch: the figure is reported, whatever it is."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from service.cli import main_group
from trainer.detection.judge import ratios
from trainer.detection.sen12 import read_dates, read_mask

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
PATCH = SHARED / "apennines" / "sentinel2_patch_4120.nc"
DETECTOR = ROOT / "config" / "demo" / "detector"

pytestmark = pytest.mark.skipif(not PATCH.is_file(), reason=f"no {PATCH}; set COLLUVIUM_SHARED_DATA")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("real_patch")
    arguments = ["detector", "real-patch", str(PATCH), "--model", str(DETECTOR), "--out", str(place)]
    done = CliRunner().invoke(main_group, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    (place / "said.txt").write_text(done.stdout)
    return place


@pytest.fixture(scope="module")
def found(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "real_patch.json").read_text())
    return told


def test_every_clear_date_after_the_event_is_judged_by_all_methods(found: dict[str, Any]) -> None:
    dates = read_dates(PATCH)
    assert dates.after is not None
    later = dates.dates[dates.after :]
    judged = [date.fromisoformat(one["day"]) for one in found["dates"]]
    assert judged[0] == date(2023, 5, 23)
    assert sorted([*judged, *map(date.fromisoformat, found["not_judged"])]) == list(later)
    for one in found["dates"]:
        assert set(one["methods"]) == {"detector", "ndvi_change", "ndvi_low"}


def test_the_figures_are_those_of_their_counts(found: dict[str, Any]) -> None:
    mapped = int(read_mask(PATCH, 14).sum())
    assert mapped == 631
    for one in found["dates"]:
        assert 0 < one["landslide_pixels"] <= mapped
        for figures in one["methods"].values():
            tp, fp, fn, tn = (figures[name] for name in ("tp", "fp", "fn", "tn"))
            assert tp + fn == one["landslide_pixels"]
            assert tp + fp + fn + tn == one["judged_pixels"]
            assert (figures["precision"], figures["recall"], figures["f1"], figures["iou"]) == pytest.approx(
                tuple(ratios(tp, fp, fn))
            )
            # A threshold that saw the mask does at least as well: else one of the two is computed wrongly.
            if figures["f1"] is not None:
                assert figures["best_f1"] >= figures["f1"] - 1e-9


def test_the_patch_is_right_side_up(found: dict[str, Any]) -> None:
    first = found["dates"][0]
    assert first["ndvi_inside"] == pytest.approx(0.54, abs=0.01)
    assert first["ndvi_outside"] == pytest.approx(0.78, abs=0.01)


def test_the_report_says_that_the_detector_learnt_from_made_up_landslides(
    out: Path, found: dict[str, Any]
) -> None:
    said = (out / "said.txt").read_text()
    assert found["detector_synthetic"] is True
    assert "trained on SYNTHETIC landslides" in said
    f1 = found["dates"][0]["methods"]["detector"]["f1"]
    assert ("-" if f1 is None else f"{f1:.3f}") in said
    assert "a bound, not a result" in said


def test_the_detector_is_also_looked_at_before_anything_had_slid(found: dict[str, Any]) -> None:
    before = found["before"]
    assert date.fromisoformat(before["day"]) < date(2023, 5, 16)
    assert 0 <= before["predicted_share"] <= 1


def test_the_picture_shows_the_scene_and_the_outlines(out: Path) -> None:
    from matplotlib.image import imread

    picture = np.asarray(imread(out / "real_patch.png"))[..., :3]
    assert picture.shape[0] > 800
    for colour in ((255, 43, 214), (255, 212, 0)):  # mapped, and said by a method
        near = np.abs(picture * 255 - np.array(colour)).max(axis=2) < 40
        assert near.sum() > 100
