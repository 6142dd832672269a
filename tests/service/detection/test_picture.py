"""The picture that a reviewer looks at shows the ground on which the outlines lie."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from service.detection.detect import DetectOptions, look_at
from service.detection.detector import Detector
from service.detection.scene import open_scene
from service.detection.writing import PICTURE
from tests.fix_detection import LEFT, NOW, TOP, make_detector, scarred, write_raster, write_scene


def clock() -> datetime:
    return NOW


def test_bands_that_reach_beyond_the_scene_are_drawn_where_they_lie(tmp_path: Path) -> None:
    detector = Detector.load(make_detector(tmp_path / "detector"))
    folders = [write_scene(tmp_path / name, scarred()) for name in ("one", "other")]
    for name in ("B03", "B04"):  # the finest band of the first name, B02, is the scene
        wide = np.pad(scarred()[name], ((30, 10), (50, 20)), constant_values=0.05)
        write_raster(folders[1] / f"{name}.tif", wide, left=LEFT - 500, top=TOP + 300)
    pictures = []
    for folder in folders:
        look = look_at(open_scene(folder), detector, DetectOptions(), folder / "out", clock=clock)
        assert len(look.findings.detections) == 2
        pictures.append((look.findings.folder / PICTURE).read_bytes())
    assert pictures[0] == pictures[1]
