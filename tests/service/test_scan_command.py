"""`colluvium scan`: a detector's look at what arrived, kept for review; one at a time; bad scenes told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.cli import main_group
from service.daemon import Children, _schedule
from service.errors import LockedError, SettingsError
from service.lock import exclusive
from tests.fix_detection import make_detector, scarred, write_scene
from tests.fix_region import ToyRegion

Configure = Callable[..., Path]


@pytest.fixture
def configure(toy: ToyRegion) -> Configure:
    """Give the region a detector and a watched folder; return that folder."""

    def write(**settings: Any) -> Path:
        make_detector(toy.folder / "detector")
        scenes = toy.folder / "scenes"
        scenes.mkdir(exist_ok=True)
        lines = {"detector": "detector", "scenes": "scenes", "settle_minutes": 0} | settings
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        toy.config.write_text(f"{toy.config.read_text()}\n[detection]\n{text}", "utf-8")
        return scenes

    return write


def scan(toy: ToyRegion, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["scan", *arguments, "-c", str(toy.config)])


def found(toy: ToyRegion) -> Any:
    said = scan(toy, "--json")
    return said.exit_code, json.loads(said.stdout)


def scene(folder: Path, name: str, day: str, classes: Any = None) -> Path:
    return write_scene(folder / name, scarred(), classes=classes, said={"id": name, "sensed_on": day})


def test_scenes_that_arrived_wait_for_review_with_their_picture(toy: ToyRegion, configure: Configure) -> None:
    folder = configure()
    scene(folder, "second", "2023-05-23")
    scene(folder, "first", "2023-05-18")
    status, said = found(toy)
    assert status == 0, said
    assert [(item["sensed_on"], item["after"], item["detections"]) for item in said["looked"]] == [
        ("2023-05-18", None, 2),
        ("2023-05-23", "2023-05-18", 2),
    ]
    with toy.ledger() as ledger:
        scenes = ledger.detections.scenes()
        assert [item.proposed for item in scenes] == [2, 2]
        for kept in scenes:
            assert kept.folder.parent == toy.data / "detections"
            assert (kept.folder / "picture.png").exists()
        for item in ledger.detections.all("proposed", scenes[0].number):
            ledger.detections.decide(item.number, "rejected", "A. Rossi", "a quarry, which was filled since")
        number = ledger.detections.all("proposed", scenes[1].number)[0].number
        ledger.detections.decide(number, "accepted", "A. Rossi", "picture")
        (event,) = ledger.events.all()
    assert (str(event.day_from), str(event.day)) == ("2023-05-19", "2023-05-23")

    assert found(toy)[1]["known"] == 2


def test_a_scene_that_cannot_be_used_is_told_by_the_exit_status_and_once(
    toy: ToyRegion, configure: Configure
) -> None:
    folder = configure(max_unseen=0.5)
    scene(folder, "good", "2023-05-18")
    scene(folder, "cloudy", "2023-05-23", np.full(scarred()["B04"].shape, 9, np.uint8))
    broken = scene(folder, "broken", "2023-05-28")
    (broken / "B04.tif").write_bytes(b"no raster")
    status, said = found(toy)
    assert status == 1
    assert [item["scene"] for item in said["looked"]] == ["good"]
    assert {Path(item["path"]).name for item in said["failed"]} == {"cloudy", "broken"}

    status, said = found(toy)
    assert (status, said["failed"], len(said["still_unusable"])) == (0, [], 2)


def test_what_a_killed_scan_left_is_swept(toy: ToyRegion, configure: Configure) -> None:
    configure()
    left = toy.data / "detections" / ".0123456789ab.part"
    left.mkdir(parents=True)
    assert found(toy)[0] == 0
    assert left.exists(), "somebody may be writing into it"
    os.utime(left, (1e9, 1e9))
    assert found(toy)[0] == 0
    assert not left.exists()


def test_whoever_comes_second_is_told_who_scans(toy: ToyRegion, configure: Configure) -> None:
    configure()
    with exclusive(toy.data / "scan.lock", "colluvium scan"):
        said = scan(toy)
    assert isinstance(said.exception, LockedError)
    assert f"'colluvium scan' (process {os.getpid()}" in str(said.exception)


def test_a_refresh_needs_not_wait_for_a_scan(toy: ToyRegion, configure: Configure) -> None:
    folder = configure()
    scene(folder, "first", "2023-05-18")
    with exclusive(toy.data / "refresh.lock", "colluvium refresh"):
        assert found(toy)[0] == 0


class Scheduled(Children):
    """Notes what it is to run."""

    def __init__(self) -> None:
        super().__init__(Path("region.toml"))
        self.ran: list[tuple[str, ...]] = []

    def run(self, *arguments: str) -> int | None:
        """Note it."""
        self.ran.append(arguments)
        return 0


def test_the_daemon_scans_on_its_schedule_beside_other_work(toy: ToyRegion, configure: Configure) -> None:
    configure(schedule="5 6 * * *")
    work, watcher = Scheduled(), Scheduled()
    scheduler = _schedule(toy.settings, work, Scheduled(), watcher, Scheduled(), [])
    job = scheduler.get_job("scan")
    assert "hour='6', minute='5'" in str(job.trigger)
    job.func()
    assert watcher.ran == [("scan", "--json")]
    assert work.ran == []


def test_without_a_watched_folder_nothing_is_scheduled(toy: ToyRegion) -> None:
    assert (
        _schedule(toy.settings, Scheduled(), Scheduled(), Scheduled(), Scheduled(), []).get_job("scan")
        is None
    )


def test_a_wrong_schedule_is_named(toy: ToyRegion, configure: Configure) -> None:
    configure(schedule="every hour")
    with pytest.raises(SettingsError, match=r"detection\.schedule"):
        _schedule(toy.settings, Scheduled(), Scheduled(), Scheduled(), Scheduled(), [])
