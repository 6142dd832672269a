"""What detectors found in scenes, and what people decided on it. A part of ledger.sqlite.

A detection proposes; a person accepts or rejects it, and may change that: the event follows in the same
transaction, and the journal keeps every decision. Nothing is deleted. When every outline of a scene is
decided and somebody looked for what the detector missed, the scene is closed: only then is its clear ground
one on which somebody looked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from exporters.event import Event
from service.detection.findings import Detection, SceneFindings
from service.detection_events import event_of_detection, is_same, may_be
from service.errors import UsageError
from service.event_places import shape_of
from service.ledger_detection_rows import (
    DETECTION,
    SCENE,
    Attempt,
    DetectionDecision,
    DetectionState,
    KeptDetection,
    KeptScene,
    Reviews,
    detection_of,
    reference_json,
    scene_of,
)
from service.ledger_events import Events, WriteAct, days_cited
from service.ledger_looks import Looks
from service.sqlite import Database, transaction
from service.stamps import from_stamp, to_stamp

_NAMED = 12  # in a message
_REACH = 0.2  # degrees: no outline's place lies so far from what it covers


class Detections:
    """The tables of scenes, detections and attempts. Paths below `folder` are kept relative to it."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], str],
        events: Events,
        write_act: WriteAct,
        folder: Path,
    ) -> None:
        self._db = database
        self._now = now
        self._events = events
        self._write_act = write_act
        self._folder = folder
        self._looks = Looks(database)

    # --- what detectors hand on ---

    def receive(self, findings: SceneFindings) -> int:
        """Keep what was found in a scene, in one transaction; return how many outlines are new.

        A scene that this detector has looked at before is left as it is, decisions and all: 0. Another
        detector's look at it is another row.
        """
        with transaction(self._db):
            cursor = self._db.execute(
                "INSERT INTO scene (scene, path, sensed_on, after, detector, detector_digest, threshold,"
                " detected_at, seen, seen_share, substituted, folder, synthetic)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (scene, detector_digest) DO NOTHING",
                (
                    findings.scene,
                    self._kept(findings.path),
                    findings.sensed_on.isoformat(),
                    findings.after.isoformat() if findings.after else None,
                    reference_json(findings.detector),
                    findings.detector.digest,
                    findings.threshold,
                    to_stamp(findings.detected_at),
                    json.dumps(findings.seen),
                    findings.seen_share,
                    json.dumps(findings.substituted),
                    self._kept(findings.folder),
                    findings.synthetic,
                ),
            )
            self._db.execute("DELETE FROM scene_attempt WHERE path = ?", (self._kept(findings.path),))
            if not cursor.rowcount:
                return 0
            number = int(cursor.lastrowid or 0)
            return sum(self._put(number, item) for item in findings.detections)

    def _put(self, scene: int, item: Detection) -> int:
        return self._db.execute(
            "INSERT INTO detection (scene_id, uid, outline, lon, lat, area_m2, confidence, highest,"
            " touches_unseen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO NOTHING",
            (
                scene,
                item.uid,
                json.dumps(item.outline),
                item.lon,
                item.lat,
                item.area_m2,
                item.confidence,
                item.highest,
                item.touches_unseen,
            ),
        ).rowcount

    def is_known(self, scene: str, detector_digest: str) -> bool:
        """Tell whether a detector has looked at a scene."""
        return self.known_day(scene, detector_digest) is not None

    def known_day(self, scene: str, detector_digest: str) -> date | None:
        """Return the day of a scene that a detector has looked at; None where it has not."""
        row = self._db.execute(
            "SELECT sensed_on FROM scene WHERE scene = ? AND detector_digest = ?", (scene, detector_digest)
        ).fetchone()
        return date.fromisoformat(row["sensed_on"]) if row else None

    def known_paths(self, detector_digest: str) -> set[Path]:
        """Return where the scenes lie that a detector has looked at."""
        rows = self._db.execute("SELECT path FROM scene WHERE detector_digest = ?", (detector_digest,))
        return {self._place(row["path"]) for row in rows}

    # --- what there is ---

    def scenes(self, *, open_only: bool = False) -> list[KeptScene]:
        """Return the scenes (whose review is not closed), by day, then in the order in which they came."""
        rows = self._db.execute(
            f"{SCENE} WHERE NOT ? OR reviewed_at IS NULL ORDER BY sensed_on, id", (open_only,)
        )
        return [scene_of(row, self._folder) for row in rows]

    def scene(self, number: int) -> KeptScene:
        """Return one scene. Raises UsageError where there is none of that number."""
        row = self._db.execute(f"{SCENE} WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise UsageError(f"there is no scene {number}; see 'colluvium detections scenes'")
        return scene_of(row, self._folder)

    def all(self, state: DetectionState | None = None, scene: int | None = None) -> list[KeptDetection]:
        """Return the detections (of one state, of the scene of one number), in the order they came."""
        rows = self._db.execute(
            f"{DETECTION} WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR scene_id = ?2) ORDER BY"
            " detection.id",
            (state, scene),
        )
        return [detection_of(row) for row in rows]

    def get(self, number: int) -> KeptDetection:
        """Return one detection. Raises UsageError where there is none of that number."""
        row = self._db.execute(f"{DETECTION} WHERE detection.id = ?", (number,)).fetchone()
        if row is None:
            raise UsageError(f"there is no detection {number}; see 'colluvium detections list'")
        return detection_of(row)

    def already(self, item: KeptDetection, among: Sequence[Event] | None = None) -> list[Event]:
        """Return the landslides of the inventory that an outline may show again.

        Those whose outline and this one overlap by more than half of either, and that happened before the
        scene or in its days: a scar is seen for years. Of those that are only a place, which this outline
        passes within their accuracy, the ones that may have happened in the days of the detection. `among`
        are the inventory's landslides, for whoever asks for many outlines.
        """
        outline = shape_of(item.outline)
        first = item.after + timedelta(days=1) if item.after is not None else date.min
        landslides = self._events.all("landslide", until=item.sensed_on) if among is None else among
        return [
            event
            for event in landslides
            if event.uid != item.uid and event.day_from <= item.sensed_on and may_be(event, outline, first)
        ]

    def drawn_before(self, item: KeptDetection) -> list[KeptDetection]:
        """Return outlines of earlier scenes that wait for a decision and that this one may show again.

        What was drawn in an earlier scene had happened by then: days that begin after it would be wrong, and
        once both are accepted one landslide counts twice.
        """
        outline = shape_of(item.outline)
        west, south, east, north = outline.bounds
        rows = self._db.execute(
            f"{DETECTION} WHERE state = 'proposed' AND scene.sensed_on < ? AND lon BETWEEN ? AND ?"
            " AND lat BETWEEN ? AND ? ORDER BY scene.sensed_on, detection.id",
            (item.sensed_on.isoformat(), west - _REACH, east + _REACH, south - _REACH, north + _REACH),
        )
        found = map(detection_of, rows)
        return [other for other in found if is_same(shape_of(other.outline), outline)]

    # --- decisions ---

    def decide(
        self,
        number: int,
        decision: DetectionDecision,
        by: str,
        reason: str,
        *,
        day: date | None = None,
        after: date | None = None,
        again: bool = False,
    ) -> KeptDetection:
        """Accept or reject a detection: its state, its event and the journal in one transaction.

        An accepted landslide happened on `day`; else on one of the days that follow `after`, or the newest
        scene in which its ground was clear, up to the scene's own. Raises UsageError where neither is known,
        where the inventory may hold it already, or an outline of an earlier scene that waits may show it,
        and `again` does not say to go on, or where it was decided so.
        """
        return self.decide_all([number], decision, by, reason, day=day, after=after, again=again)[0]

    def decide_all(
        self,
        numbers: Sequence[int],
        decision: DetectionDecision,
        by: str,
        reason: str,
        *,
        day: date | None = None,
        after: date | None = None,
        again: bool = False,
    ) -> list[KeptDetection]:
        """Decide on several detections, all or none; as `decide`."""
        if decision == "rejected" and (day is not None or after is not None):
            raise UsageError("a rejected detection has no day; leave --day and --after out")
        with transaction(self._db):
            for number in dict.fromkeys(numbers):
                self._decide(self.get(number), decision, by, reason, day, after, again)
        return [self.get(number) for number in dict.fromkeys(numbers)]

    def _decide(
        self,
        item: KeptDetection,
        decision: DetectionDecision,
        by: str,
        reason: str,
        day: date | None,
        after: date | None,
        again: bool,
    ) -> None:
        if item.state == decision and day is None and after is None:
            raise UsageError(f"detection {item.number} was {decision} already, by {item.by}: {item.reason}")
        if decision == "accepted":
            first, last = self._days(item, day, after)
            if not again:
                self._refuse_known(item)
                if day is None and after is None:
                    self._refuse_drawn_before(item)
        self._events.take_out(item.uid)
        if decision == "accepted":
            self._events.put(event_of_detection(item, first, last, by, reason, from_stamp(self._now())))
        self._db.execute(
            "UPDATE detection SET state = ?, decided_at = ?, by_whom = ?, reason = ? WHERE id = ?",
            (decision, self._now(), by, reason, item.number),
        )
        self._write_act(decision.removesuffix("ed"), f"detection {item.uid}", by, reason)

    def _days(self, item: KeptDetection, day: date | None, after: date | None) -> tuple[date, date]:
        """Return the first and the last day on which it may have happened."""
        if day is not None and after is not None:
            raise UsageError("give --day or --after, not both")
        if day is not None:
            if day > item.sensed_on:
                raise UsageError(f"detection {item.number} was seen on {item.sensed_on}, before {day}")
            return day, day
        before = after or self.clear_before(item)
        if before is None:
            raise UsageError(
                f"nobody knows when the ground of detection {item.number} was last clear and seen; say with "
                "--day when it happened, or with --after which day is the last on which it had not"
            )
        if before >= item.sensed_on:
            raise UsageError(
                f"detection {item.number} was seen on {item.sensed_on}, so it did not happen after {before}"
            )
        return before + timedelta(days=1), item.sensed_on

    def clear_before(self, item: KeptDetection) -> date | None:
        """Return the newest day before its scene's on which a detection's ground was clear and seen."""
        return self._looks.clear_before(shape_of(item.outline), item.sensed_on, item.after)

    def scene_before(self, sensed_on: date, seen: dict[str, Any]) -> date | None:
        """Return the day of the newest earlier scene that saw some of this ground clear."""
        return self._looks.scene_before(sensed_on, seen)

    def _refuse_known(self, item: KeptDetection) -> None:
        if known := self.already(item):
            names = ", ".join(f"{event.uid} ({event.source}, {event.day})" for event in known[:_NAMED])
            raise UsageError(
                f"detection {item.number} may be in the inventory already, as {names}; accept it with "
                "--again if it is another landslide, or reject it"
            )

    def _refuse_drawn_before(self, item: KeptDetection) -> None:
        for other in self.drawn_before(item)[:1]:
            raise UsageError(
                f"detection {item.number} may show what detection {other.number} drew in the scene of "
                f"{other.sensed_on} already, which nobody has decided on; decide on that one first, say when "
                "it happened with --day, or accept it with --again if it is another landslide"
            )

    # --- reviews ---

    def close(self, number: int, by: str, reason: str) -> KeptScene:
        """Close the review of a scene. Raises UsageError while outlines of it wait, and names them."""
        with transaction(self._db):
            scene = self.scene(number)
            if scene.reviewed_at is not None:
                raise UsageError(f"the review of scene {number} was closed already, by {scene.by}")
            waiting = [item.number for item in self.all("proposed", number)]
            if waiting:
                names = ", ".join(map(str, waiting[:_NAMED])) + ("..." if len(waiting) > _NAMED else "")
                raise UsageError(
                    f"{len(waiting)} detections of scene {number} wait for a decision: {names}; accept or "
                    "reject them first"
                )
            self._db.execute(
                "UPDATE scene SET reviewed_at = ?, by_whom = ?, reason = ? WHERE id = ?",
                (self._now(), by, reason, number),
            )
            self._write_act("close", f"scene {scene.scene} {scene.detector.digest[:8]}", by, reason)
        return self.scene(number)

    def reopen(self, number: int, by: str, reason: str) -> KeptScene:
        """Open the review of a scene again: its ground no longer counts as looked at."""
        with transaction(self._db):
            scene = self.scene(number)
            if scene.reviewed_at is None:
                raise UsageError(f"the review of scene {number} is open")
            self._db.execute(
                "UPDATE scene SET reviewed_at = NULL, by_whom = NULL, reason = NULL WHERE id = ?", (number,)
            )
            self._write_act("reopen", f"scene {scene.scene} {scene.detector.digest[:8]}", by, reason)
        return self.scene(number)

    # --- scenes that cannot be used ---

    def note_attempt(self, path: Path, stamp: str, reason: str) -> None:
        """Note why a scene could not be used, with the stamp of its files."""
        self._db.execute(
            "INSERT INTO scene_attempt (path, tried_at, stamp, reason) VALUES (?, ?, ?, ?) ON CONFLICT (path)"
            " DO UPDATE SET tried_at = excluded.tried_at, stamp = excluded.stamp, reason = excluded.reason",
            (self._kept(path), self._now(), stamp, reason),
        )

    def forget_attempt(self, path: Path) -> None:
        """Forget that a scene could not be used."""
        self._db.execute("DELETE FROM scene_attempt WHERE path = ?", (self._kept(path),))

    def attempts(self) -> list[Attempt]:
        """Return the scenes that could not be used, by path."""
        rows = self._db.execute("SELECT * FROM scene_attempt ORDER BY path")
        return [
            Attempt(self._place(row["path"]), from_stamp(row["tried_at"]), row["stamp"], row["reason"])
            for row in rows
        ]

    # --- for others ---

    def days(self) -> set[date]:
        """Return the days of which outlines speak that nobody has rejected."""
        rows = self._db.execute(
            "SELECT DISTINCT scene.after, scene.sensed_on FROM detection JOIN scene"
            " ON scene.id = detection.scene_id WHERE detection.state = 'proposed'"
        )
        spans = ((row[0], date.fromisoformat(row[1])) for row in rows)
        return days_cited(
            (date.fromisoformat(after) + timedelta(days=1) if after else day, day) for after, day in spans
        )

    def folders(self) -> set[Path]:
        """Return the folders that hold what was found, picture included."""
        return {self._place(row[0]) for row in self._db.execute("SELECT folder FROM scene")}

    def reviews(self) -> Reviews:
        """Return how many scenes wait for a person, without reading them."""
        row = self._db.execute(
            "SELECT count(reviewed_at) AS reviewed, count(*) AS scenes, max(sensed_on) AS newest,"
            " min(CASE WHEN reviewed_at IS NULL THEN detected_at END) AS since FROM scene"
        ).fetchone()
        return Reviews(
            reviewed=row["reviewed"],
            waiting=row["scenes"] - row["reviewed"],
            newest=date.fromisoformat(row["newest"]) if row["newest"] else None,
            waiting_since=from_stamp(row["since"]) if row["since"] else None,
        )

    def counts(self) -> dict[DetectionState, int]:
        """Count the detections by state; every state is there, from zero."""
        found: dict[DetectionState, int] = {"proposed": 0, "accepted": 0, "rejected": 0}
        rows = self._db.execute("SELECT state, count(*) FROM detection GROUP BY state")
        return found | {row[0]: int(row[1]) for row in rows}

    # --- helpers ---

    def _kept(self, path: Path) -> str:
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def _place(self, kept: str) -> Path:
        return self._folder / kept
