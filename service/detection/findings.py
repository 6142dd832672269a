"""What a detection run hands on: outlines, and the ground on which a landslide would have been seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

Geometry = dict[str, Any]  # GeoJSON, EPSG:4326, outer rings counter-clockwise (RFC 7946)


@dataclass(frozen=True)
class DetectorReference:
    """Which detector spoke."""

    name: str
    version: str
    digest: str  # SHA-256 of detector.json
    synthetic: bool

    @property
    def words(self) -> str:
        """Return it as people read it."""
        return f"{self.name} {self.version} ({self.digest[:8]})"


@dataclass(frozen=True)
class Detection:
    """One outline. Confidence is the mean probability inside, an index: it is calibrated to nothing."""

    uid: str  # the same for the same scene, detector and outline
    outline: Geometry  # Polygon
    lon: float  # a point on it
    lat: float
    area_m2: float
    confidence: float
    highest: float
    touches_unseen: bool  # the outline ends at cloud, shadow or the scene's edge: it may go on there


@dataclass(frozen=True)
class SceneFindings:
    """What one detector found in one scene.

    Landslides found happened after the day `after` (of the clear scene before; None where nobody said) and
    not after `sensed_on`.
    """

    scene: str  # its identifier
    path: Path
    sensed_on: date
    after: date | None
    detector: DetectorReference
    threshold: float
    detected_at: datetime
    seen: Geometry  # MultiPolygon: ground that was looked at, clear of cloud, shadow, snow, water and no-data
    seen_share: float  # of the scene
    substituted: dict[str, str]  # band -> by what rule, where the scene lacked one
    detections: tuple[Detection, ...]
    folder: Path  # where detections.gpkg, probability.tif and picture.png lie
    synthetic: bool = False  # a made-up scene, or a detector that was trained on made-up landslides
