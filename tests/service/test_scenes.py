"""The watched folder: whole scenes are looked at once, oldest first; a bad one is told and stops no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.detection.findings import SceneFindings
from service.errors import InputError, StorageError
from service.ledger import Ledger
from service.scenes import Scan, scan_scenes
from tests.fix_inventory import DETECTOR, SENSED, findings, square


class Eyes:
    """Sees two outlines in every scene; its name is its identifier, and its last letter its day."""

    digest = DETECTOR.digest

    def __init__(self) -> None:
        self.looked: list[str] = []
        self.bad: dict[str, Exception] = {}
        self.seen = {"share": 0.8}

    def identify(self, path: Path) -> tuple[str, date]:
        name = path.name.removesuffix(".SAFE")
        if name == "nameless":
            raise InputError(f"{path} holds no band")
        return name, SENSED + timedelta(days=ord(name[-1]) - ord("a"))

    def look(self, path: Path) -> SceneFindings:
        name, day = self.identify(path)
        if name in self.bad:
            raise self.bad[name]
        self.looked.append(name)
        found = findings(name, sensed_on=day, after=None, seen_share=self.seen["share"])
        return replace(found, path=path)


@pytest.fixture
def eyes() -> Eyes:
    return Eyes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "scenes"
    place.mkdir()
    return place


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", lambda: datetime.now(UTC)) as opened:
        yield opened


def scene(folder: Path, name: str, content: str = "band") -> Path:
    path = folder / f"{name}.SAFE"
    path.mkdir(parents=True, exist_ok=True)
    (path / "MTD_MSIL2A.xml").write_text(content, "utf-8")
    return path


def scan(folder: Path, ledger: Ledger, eyes: Eyes, *, minutes_later: float = 10) -> Scan:
    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=minutes_later)

    return scan_scenes(folder, ledger, eyes, settle=timedelta(minutes=5), max_unseen=0.9, clock=clock)


def test_each_scene_is_looked_at_once_the_oldest_first(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    for name in ("x-c", "z-a", "y-b"):
        scene(folder, name)
    done = scan(folder, ledger, eyes)
    assert eyes.looked == ["z-a", "y-b", "x-c"]
    assert [item.new for item in done.looked] == [2, 2, 2]
    assert len(ledger.detections.all("proposed")) == 6

    again = scan(folder, ledger, eyes)
    assert again.looked == ()
    assert again.known == 3
    assert len(eyes.looked) == 3


def test_the_scene_before_tells_since_when_the_ground_was_clear(
    folder: Path, ledger: Ledger, eyes: Eyes
) -> None:
    scene(folder, "y-d")
    scene(folder, "x-a")
    done = scan(folder, ledger, eyes)
    assert [item.after for item in done.looked] == [None, SENSED]


def test_a_scene_that_still_arrives_is_left_for_the_next_round(
    folder: Path, ledger: Ledger, eyes: Eyes
) -> None:
    path = scene(folder, "x-a")
    (folder / "empty-b.SAFE").mkdir()
    done = scan(folder, ledger, eyes, minutes_later=4)
    assert set(done.growing) == {path, folder / "empty-b.SAFE"}
    assert eyes.looked == []

    assert [item.scene for item in scan(folder, ledger, eyes, minutes_later=6).looked] == ["x-a"]


def test_copying_that_keeps_the_times_of_files_does_not_look_settled(
    folder: Path, ledger: Ledger, eyes: Eyes
) -> None:
    path = scene(folder, "x-a")
    os.utime(path / "MTD_MSIL2A.xml", (1e9, 1e9))  # as rsync -a leaves it
    assert scan(folder, ledger, eyes, minutes_later=0).growing == (path,)


@pytest.mark.parametrize("error", [InputError("B02 is damaged"), ValueError("bad block"), KeyError("B02")])
def test_a_bad_scene_is_told_once_with_its_reason_and_stops_no_other(
    folder: Path, ledger: Ledger, eyes: Eyes, error: Exception
) -> None:
    bad = scene(folder, "x-a")
    scene(folder, "y-b")
    eyes.bad["x-a"] = error
    done = scan(folder, ledger, eyes)
    assert [item.path for item in done.failed] == [bad]
    assert [item.scene for item in done.looked] == ["y-b"]
    (attempt,) = ledger.detections.attempts()
    assert (attempt.path, str(error) in attempt.reason) == (bad, True)

    again = scan(folder, ledger, eyes)
    assert again.failed == ()
    assert [item.path for item in again.still] == [bad]


def test_a_bad_scene_is_tried_again_when_its_files_change(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    scene(folder, "x-a")
    eyes.bad["x-a"] = InputError("B02 is damaged")
    scan(folder, ledger, eyes)
    eyes.bad.clear()
    assert scan(folder, ledger, eyes).looked == ()

    scene(folder, "x-a", "copied again")
    assert [item.scene for item in scan(folder, ledger, eyes).looked] == ["x-a"]
    assert ledger.detections.attempts() == []


def test_a_scene_that_cannot_be_identified_is_told(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    scene(folder, "nameless")
    assert "no band" in scan(folder, ledger, eyes).failed[0].reason


def test_a_scene_that_is_gone_is_forgotten(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    path = scene(folder, "x-a")
    eyes.bad["x-a"] = InputError("B02 is damaged")
    scan(folder, ledger, eyes)
    path.rename(folder.parent / "elsewhere")
    assert scan(folder, ledger, eyes).still == ()
    assert ledger.detections.attempts() == []


def test_a_scene_under_cloud_is_not_used(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    scene(folder, "x-a")
    eyes.seen["share"] = 0.05
    (failed,) = scan(folder, ledger, eyes).failed
    assert "only 5% of it is clear ground" in failed.reason
    assert ledger.detections.scenes() == []


@pytest.mark.parametrize("error", [StorageError("no space left"), OSError(28, "No space left on device")])
def test_a_full_disk_is_no_fault_of_the_scene(
    folder: Path, ledger: Ledger, eyes: Eyes, error: Exception
) -> None:
    scene(folder, "x-a")
    eyes.bad["x-a"] = error
    with pytest.raises(type(error)):
        scan(folder, ledger, eyes)
    assert ledger.detections.attempts() == []


def test_scenes_are_found_as_folders_of_bands_and_one_folder_down(
    folder: Path, ledger: Ledger, eyes: Eyes
) -> None:
    (folder / "bands-a").mkdir()
    (folder / "bands-a" / "B02.tif").touch()
    scene(folder / "unpacked", "x-b")
    scene(folder, ".arriving-c")
    (folder / "notes").mkdir()
    (folder / "notes" / "read.me").touch()
    scan(folder, ledger, eyes)
    assert eyes.looked == ["bands-a", "x-b"]


def test_a_folder_that_may_not_be_read_is_told_once_and_stops_no_other(
    folder: Path, ledger: Ledger, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = scene(folder, "closed-a")
    scene(folder, "x-b")
    walk = os.walk

    def guarded(path: Path, onerror: Callable[[OSError], None]) -> Iterator[Any]:
        if path == closed:  # as for a user who is not root
            onerror(PermissionError(13, "Permission denied", str(path)))
        return walk(path, onerror=onerror)

    monkeypatch.setattr(os, "walk", guarded)
    done = scan(folder, ledger, eyes)
    assert [item.scene for item in done.looked] == ["x-b"]
    assert "closed-a.SAFE cannot be read: Permission denied" in done.failed[0].reason
    assert [item.path for item in scan(folder, ledger, eyes).still] == [closed]

    monkeypatch.undo()
    assert [item.scene for item in scan(folder, ledger, eyes).looked] == ["closed-a"]


def test_two_copies_of_a_scene_are_one(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    scene(folder, "x-a")
    scene(folder / "copy", "x-a")
    assert len(scan(folder, ledger, eyes).looked) == 1
    assert scan(folder, ledger, eyes).looked == ()


def test_two_scenes_of_one_name_are_told_apart_by_their_day(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    ledger.detections.receive(findings("x-a", 0, sensed_on=SENSED - timedelta(days=9)))
    scene(folder, "x-a")
    (failed,) = scan(folder, ledger, eyes).failed
    assert "another scene, of 2023-05-14, is called 'x-a' already" in failed.reason


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, ledger: Ledger, eyes: Eyes) -> None:
    with pytest.raises(StorageError, match=r"detection\.scenes"):
        scan(tmp_path / "nowhere", ledger, eyes)


def test_another_detector_looks_at_the_same_scenes(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    scene(folder, "x-a")
    scan(folder, ledger, eyes)
    other = Eyes()
    other.digest = "e" * 64
    assert scan(folder, ledger, other).known == 0
    assert other.looked == ["x-a"]


def test_ground_elsewhere_is_no_scene_before(folder: Path, ledger: Ledger, eyes: Eyes) -> None:
    ledger.detections.receive(findings("far", 0, sensed_on=SENSED - timedelta(days=2), seen=square(20, 44)))
    scene(folder, "x-a")
    assert scan(folder, ledger, eyes).looked[0].after is None
