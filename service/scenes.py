"""The watched folder of scenes: what lies there and nobody has looked at is looked at, once it is whole.

A scene is a folder: a Sentinel-2 product, or rasters of bands; or one of these inside a folder of the first
level. It is left alone while it grows, and until its newest file is detection.settle_minutes old. One that
cannot be used is noted with its reason and told once, tried again when its files change, and stops no other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from service.detection.findings import SceneFindings
from service.errors import ColluviumError, InputError, StorageError, is_disk_full
from service.files import digest_of
from service.ledger import Ledger
from service.progress import ProgressCallback

_RASTERS = (".tif", ".tiff", ".jp2")
_METADATA = "MTD_MSIL"
_LEFT_AFTER_S = 86_400.0  # no look at a scene takes a day
_T = TypeVar("_T")

log = structlog.get_logger()


class Eyes(Protocol):
    """Who looks at scenes: a detector with its settings."""

    @property
    def digest(self) -> str:
        """SHA-256 of the detector's manifest."""
        ...

    def identify(self, path: Path) -> tuple[str, date]:
        """Return a scene's identifier and day. Raises InputError where it is none that can be used."""
        ...

    def look(self, path: Path) -> SceneFindings:
        """Return what is found in a scene. Raises InputError where it cannot be used."""
        ...


@dataclass(frozen=True)
class Looked:
    """A scene that was looked at."""

    path: Path
    scene: str
    sensed_on: date
    after: date | None
    new: int  # outlines
    seen_share: float


@dataclass(frozen=True)
class Unusable:
    """A scene that could not be used."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a round through the folder came to."""

    looked: tuple[Looked, ...]
    failed: tuple[Unusable, ...]  # tried in this round
    still: tuple[Unusable, ...]  # told before, and their files are the same
    growing: tuple[Path, ...]  # not settled yet
    known: int  # looked at before

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "looked": [
                {
                    "scene": item.scene,
                    "path": str(item.path),
                    "sensed_on": item.sensed_on.isoformat(),
                    "after": item.after.isoformat() if item.after else None,
                    "detections": item.new,
                    "seen_share": round(item.seen_share, 4),
                }
                for item in self.looked
            ],
            "failed": [{"path": str(item.path), "reason": item.reason} for item in self.failed],
            "still_unusable": [{"path": str(item.path), "reason": item.reason} for item in self.still],
            "growing": [str(path) for path in self.growing],
            "known": self.known,
        }


@dataclass(frozen=True)
class _Candidate:
    path: Path
    stamp: str


def scan_scenes(
    folder: Path,
    ledger: Ledger,
    eyes: Eyes,
    *,
    settle: timedelta,
    max_unseen: float,
    clock: Callable[[], datetime],
    progress: ProgressCallback | None = None,
) -> Scan:
    """Look at the settled scenes below `folder` that these eyes have not seen, oldest first.

    Oldest first, because the scene before tells since when the ground of the next was clear. Needs the scan's
    lock. Raises StorageError where the folder, the disk or the ledger cannot be used.
    """
    detections = ledger.detections
    told = {attempt.path: attempt for attempt in detections.attempts()}
    seen_paths = detections.known_paths(eyes.digest)
    growing: list[Path] = []
    still: list[Unusable] = []
    failed: list[Unusable] = []
    settled: list[_Candidate] = []
    known = 0
    found = _scenes_below(folder)
    for gone in told.keys() - set(found):
        detections.forget_attempt(gone)
    for path in found:
        if path in seen_paths:
            known += 1
            continue
        try:
            newest, stamp = _state_of(path)
        except OSError as error:  # a folder of somebody else's; once it can be read its stamp is another
            newest, stamp = None, f"{error.strerror}"
            if path not in told or told[path].stamp != stamp:
                unreadable = _Candidate(path, stamp)
                _attempt(ledger, unreadable, failed, partial(_refuse_unreadable, error))
                continue
        if path in told and told[path].stamp == stamp:
            still.append(Unusable(path, told[path].reason))
        elif newest is None or clock() - newest < settle:
            growing.append(path)
        else:
            settled.append(_Candidate(path, stamp))
    due: list[tuple[date, str, _Candidate]] = []
    for candidate in settled:
        named = _attempt(ledger, candidate, failed, partial(eyes.identify, candidate.path))
        if named is None:
            continue
        due.append((named[1], named[0], candidate))
    looked: list[Looked] = []
    for number, (day, identity, candidate) in enumerate(sorted(due, key=lambda item: item[:2]), start=1):
        if detections.known_day(identity, eyes.digest) == day:
            known += 1  # under another path; two copies are one scene
        else:
            act = partial(_look, ledger, eyes, candidate, identity, max_unseen)
            item = _attempt(ledger, candidate, failed, act)
            if item is not None:
                looked.append(item)
        if progress is not None:
            progress(number, len(due))
    return Scan(tuple(looked), tuple(failed), tuple(still), tuple(growing), known)


def _look(ledger: Ledger, eyes: Eyes, candidate: _Candidate, identity: str, max_unseen: float) -> Looked:
    taken = ledger.detections.known_day(identity, eyes.digest)
    if taken is not None:
        raise InputError(
            f"another scene, of {taken}, is called {identity!r} already; rename this folder, or give it an "
            "id of its own in scene.json"
        )
    findings = eyes.look(candidate.path)
    if 1 - findings.seen_share > max_unseen:
        raise InputError(
            f"only {findings.seen_share:.0%} of it is clear ground, and detection.max_unseen = {max_unseen:g}"
            f" asks for {1 - max_unseen:.0%}"
        )
    if findings.after is None:
        before = ledger.detections.scene_before(findings.sensed_on, findings.seen)
        findings = replace(findings, after=before)
    new = ledger.detections.receive(findings)
    log.info("scene looked at", scene=findings.scene, detections=new, seen_share=findings.seen_share)
    return Looked(
        candidate.path, findings.scene, findings.sensed_on, findings.after, new, findings.seen_share
    )


def _attempt(
    ledger: Ledger, candidate: _Candidate, failed: list[Unusable], act: Callable[[], _T]
) -> _T | None:
    """Return what comes of a scene; None where it cannot be used, which is noted."""
    try:
        return act()
    except StorageError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise
        ours = isinstance(error, ColluviumError)
        # Whatever a file of others makes a library say; the next scene may be fine.
        reason = str(error) if ours else f"{type(error).__name__}: {error}"
        log.error("scene cannot be used", path=str(candidate.path), reason=reason, exc_info=not ours)
    ledger.detections.note_attempt(candidate.path, candidate.stamp, reason)
    failed.append(Unusable(candidate.path, reason))
    return None


def _scenes_below(folder: Path) -> list[Path]:
    """Return what looks like a scene, by path. Hidden folders are on their way here, and are left alone."""
    try:
        return sorted(_found(folder, deeper=True))
    except OSError as error:
        raise StorageError(
            f"cannot read the folder of scenes {folder}: {error.strerror}; is detection.scenes right, and "
            "may this user read it?"
        ) from error


def _found(folder: Path, *, deeper: bool) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or not path.is_dir():
            continue
        if _is_scene(path):
            yield path
        elif deeper:
            yield from _found(path, deeper=False)


def _is_scene(path: Path) -> bool:
    if path.suffix.upper() == ".SAFE":
        return True
    try:
        return any(
            entry.suffix.lower() in _RASTERS or entry.name.startswith(_METADATA)
            for entry in path.iterdir()
            if not entry.name.startswith(".")
        )
    except PermissionError:
        return True  # told as one that cannot be used


def _refuse_unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}; may this user read it?")


def _raise(error: OSError) -> None:
    raise error


def sweep(folder: Path, now: datetime) -> None:
    """Remove what killed looks left half written below `folder`; what is young may still be written."""
    for left in sorted(folder.glob(".*.part*")) if folder.is_dir() else []:
        if now.timestamp() - left.stat().st_mtime > _LEFT_AFTER_S and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _state_of(path: Path) -> tuple[datetime | None, str]:
    """Return when a scene's files changed last, and a stamp that another content would not have.

    Copying may keep the times of contents, so the time at which a file got its place here counts too.
    """
    newest = 0
    files: list[tuple[str, int, int]] = []
    for place, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            file = Path(place) / name
            try:
                stat = file.stat()
            except FileNotFoundError:  # renamed while we look: it grows
                return None, ""
            newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
            files.append((file.relative_to(path).as_posix(), stat.st_size, stat.st_mtime_ns))
    if not files:
        return None, ""
    return datetime.fromtimestamp(newest / 1e9, UTC), digest_of(files)
