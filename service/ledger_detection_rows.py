"""Rows of the ledger about scenes and what was found in them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from service.detection.findings import DetectorReference
from service.stamps import from_stamp

DetectionState = Literal["proposed", "accepted", "rejected"]
DetectionDecision = Literal["accepted", "rejected"]


@dataclass(frozen=True)
class KeptScene:
    """One detector's look at one scene, and how far its review is."""

    number: int
    scene: str
    path: Path
    sensed_on: date
    after: date | None
    detector: DetectorReference
    threshold: float
    detected_at: datetime
    seen: dict[str, Any]  # GeoJSON, EPSG:4326
    seen_share: float
    substituted: dict[str, str]
    folder: Path
    synthetic: bool  # a made-up scene, or a detector that learned from made-up landslides
    reviewed_at: datetime | None
    by: str | None
    reason: str | None
    proposed: int
    accepted: int
    rejected: int


@dataclass(frozen=True)
class KeptDetection:
    """One outline and what was decided on it."""

    number: int
    scene_number: int
    scene: str
    sensed_on: date
    after: date | None  # of its scene
    detector: DetectorReference
    uid: str
    outline: dict[str, Any]  # GeoJSON, EPSG:4326
    lon: float
    lat: float
    area_m2: float
    confidence: float
    highest: float
    touches_unseen: bool
    synthetic: bool  # as of its scene
    state: DetectionState
    decided_at: datetime | None
    by: str | None
    reason: str | None


@dataclass(frozen=True)
class Attempt:
    """A scene that could not be used."""

    path: Path
    tried_at: datetime
    stamp: str  # of its files
    reason: str


@dataclass(frozen=True)
class Reviews:
    """How many scenes wait for a person."""

    reviewed: int
    waiting: int
    newest: date | None  # day of the newest scene
    waiting_since: datetime | None  # when the one that waits longest was looked at


SCENE = (
    "SELECT scene.*, (SELECT count(*) FROM detection d WHERE d.scene_id = scene.id AND d.state = 'proposed')"
    " AS proposed, (SELECT count(*) FROM detection d WHERE d.scene_id = scene.id AND d.state = 'accepted')"
    " AS accepted, (SELECT count(*) FROM detection d WHERE d.scene_id = scene.id AND d.state = 'rejected')"
    " AS rejected FROM scene"
)
DETECTION = (
    "SELECT detection.*, scene.scene, scene.sensed_on, scene.after, scene.detector, scene.synthetic"
    " FROM detection JOIN scene ON scene.id = detection.scene_id"
)


def scene_of(row: Any, folder: Path) -> KeptScene:
    """Return a row of SCENE; its paths are relative to `folder`."""
    return KeptScene(
        number=row["id"],
        scene=row["scene"],
        path=folder / row["path"],
        sensed_on=date.fromisoformat(row["sensed_on"]),
        after=date.fromisoformat(row["after"]) if row["after"] else None,
        detector=DetectorReference(**json.loads(row["detector"])),
        threshold=row["threshold"],
        detected_at=from_stamp(row["detected_at"]),
        seen=json.loads(row["seen"]),
        seen_share=row["seen_share"],
        substituted=json.loads(row["substituted"]),
        folder=folder / row["folder"],
        synthetic=bool(row["synthetic"]),
        reviewed_at=from_stamp(row["reviewed_at"]) if row["reviewed_at"] else None,
        by=row["by_whom"],
        reason=row["reason"],
        proposed=row["proposed"],
        accepted=row["accepted"],
        rejected=row["rejected"],
    )


def detection_of(row: Any) -> KeptDetection:
    """Return a row of DETECTION."""
    return KeptDetection(
        number=row["id"],
        scene_number=row["scene_id"],
        scene=row["scene"],
        sensed_on=date.fromisoformat(row["sensed_on"]),
        after=date.fromisoformat(row["after"]) if row["after"] else None,
        detector=DetectorReference(**json.loads(row["detector"])),
        uid=row["uid"],
        outline=json.loads(row["outline"]),
        lon=row["lon"],
        lat=row["lat"],
        area_m2=row["area_m2"],
        confidence=row["confidence"],
        highest=row["highest"],
        touches_unseen=bool(row["touches_unseen"]),
        synthetic=bool(row["synthetic"]),
        state=row["state"],
        decided_at=from_stamp(row["decided_at"]) if row["decided_at"] else None,
        by=row["by_whom"],
        reason=row["reason"],
    )


def reference_json(detector: DetectorReference) -> str:
    """Return which detector spoke, as the ledger keeps it."""
    return json.dumps(asdict(detector))
