"""The detector of a region's settings, as what looks at watched scenes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from service.detection.detect import DetectOptions, detect_scene
from service.detection.detector import Detector
from service.detection.findings import SceneFindings
from service.detection.scene import Scene, open_scene
from service.errors import UsageError
from service.files import DETECTIONS
from service.progress import ProgressCallback
from service.settings import Settings
from service.settings_detection import DetectionSettings


@dataclass(frozen=True)
class DetectorEyes:
    """One detector with the options of `[detection]`; findings are written below the data folder."""

    settings: Settings
    detection: DetectionSettings
    detector: Detector
    progress: ProgressCallback | None = None  # rows of the scene that is looked at

    @property
    def digest(self) -> str:
        """SHA-256 of the detector's manifest."""
        return self.detector.digest

    def identify(self, path: Path) -> tuple[str, date]:
        """Return a scene's identifier and day. Raises InputError where it is none that can be used."""
        scene = self._open(path)
        return scene.id, scene.sensed_on

    def look(self, path: Path) -> SceneFindings:
        """Return what is found in a scene. Raises InputError or HeldError where it cannot be used."""
        options = DetectOptions.of(self.detection, workers=_workers(self.settings))
        root = self.settings.data_dir / DETECTIONS
        return detect_scene(self._open(path), self.detector, options, root, self.progress)

    def _open(self, path: Path) -> Scene:
        zone = self.settings.timezone
        stated = self.detection.dem
        scene = open_scene(path, dem=stated, zone=zone)
        if scene.dem is None and stated is None:
            usual = self.settings.factors.dem or self.settings.grid.dem
            if usual is not None:
                return open_scene(path, dem=usual, zone=zone)
        return scene


def open_eyes(settings: Settings, progress: ProgressCallback | None = None) -> DetectorEyes:
    """Load the detector. UsageError: the settings name none; InputError: it is refused."""
    if settings.detection is None:
        raise UsageError("the settings have no [detection] section, so no detector looks at scenes")
    detector = Detector.load(settings.detection.detector, workers=_workers(settings))
    return DetectorEyes(settings, settings.detection, detector, progress)


def _workers(settings: Settings) -> int:
    return settings.inference.workers or os.cpu_count() or 1
