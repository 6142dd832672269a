"""Restore: what is there is set aside whole, never half, and what is forgotten by it is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.backup import make_backup
from service.cli import main_group
from service.errors import ColluviumError, LockedError, Outcome, StorageError, UsageError
from service.ledger import Ledger
from service.lock import exclusive
from service.restore import restore_backup
from service.stamps import to_stamp
from tests.fix_region import NOW, Clock, ToyRegion
from tests.service.fix_shown import NEWEST, files_of, make_shown_region


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region with ten layers; never changed by a test."""
    return make_shown_region(tmp_path_factory.mktemp("shown") / "toy").folder


@pytest.fixture
def toy(template: Path, tmp_path: Path) -> ToyRegion:
    shutil.copytree(template, tmp_path / "toy")
    return ToyRegion(tmp_path / "toy", Clock())


@pytest.fixture(scope="module")
def tar(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the template; never changed by a test."""
    path = tmp_path_factory.mktemp("backup") / "toy.tar"
    make_backup(ToyRegion(template, Clock()).settings, path, Clock())
    return path


def restore(source: Path, data_dir: Path, **more: Any) -> Any:
    return restore_backup(source, data_dir, "A. Rossi", "disk replaced", Clock(), **more)


def test_a_region_is_not_written_over_and_with_replace_it_is_kept_aside(
    toy: ToyRegion, tar: Path, tmp_path: Path
) -> None:
    toy.clock.now += timedelta(hours=1)
    with toy.ledger() as ledger:
        ledger.write_act("hold", "toy", "B. Bianchi", "after the backup")
    before = files_of(toy.data)
    with pytest.raises(UsageError, match="--replace"):
        restore(tar, toy.data)
    assert files_of(toy.data) == before

    report = restore(tar, toy.data, replace=True)

    with toy.ledger() as ledger:
        assert [act.act for act in ledger.journal()] == ["restore"]
    with Ledger(report.set_aside / "ledger.sqlite", toy.clock) as ledger:
        assert [act.act for act in ledger.journal()] == ["hold"]
    (lost,) = report.lost_acts  # publication goes on: somebody must know
    assert "hold toy by B. Bianchi: after the backup" in lost
    assert (toy.data / "state").is_dir()  # by digest: as good as before, and not made again
    assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED


def test_messages_that_nothing_will_cancel_are_named(toy: ToyRegion, tar: Path) -> None:
    toy.clock.now += timedelta(hours=1)
    with closing(sqlite3.connect(toy.data / "ledger.sqlite")) as database, database:
        database.execute(
            "INSERT INTO cap_message (identifier, thread, zone, kind, status, sent_at, expires_at, record)"
            " VALUES ('toy.7', 't', 'north', 'Alert', 'Actual', ?, ?, '{}')",
            (to_stamp(toy.clock.now), to_stamp(toy.clock.now)),
        )

    more = ["--data-dir", str(toy.data), "--replace", "--by", "A. Rossi", "--reason", "test"]
    done = CliRunner().invoke(main_group, ["restore", str(tar), *more])

    assert done.exit_code == 0, done.output
    assert "NEVER UPDATED OR CANCELLED" in done.output
    assert "Alert (Actual) of north: toy.7" in done.output


def test_a_restore_that_was_killed_still_tells_what_is_no_longer_in_force(
    toy: ToyRegion, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.clock.now += timedelta(hours=1)
    with toy.ledger() as ledger:
        ledger.write_act("hold", "toy", "B. Bianchi", "after the backup")
    real = Path.rename

    def dying(self: Path, target: Any) -> Path:
        if self.name == "layers":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", dying)
    with pytest.raises(KeyboardInterrupt):
        restore(tar, toy.data, replace=True)
    monkeypatch.undo()

    later = Clock(NOW + timedelta(hours=2))
    report = restore_backup(tar, toy.data, "A. Rossi", "again", later, replace=True)

    assert any("hold toy by B. Bianchi" in act for act in report.lost_acts)


def test_another_region_is_not_replaced(toy: ToyRegion, tar: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(toy.data / "ledger.sqlite")) as database, database:
        database.execute("UPDATE layer SET record = json_set(record, '$.region', 'kerman')")
    before = files_of(toy.data)

    with pytest.raises(UsageError, match=r"a backup of toy, and .* holds kerman"):
        restore(tar, toy.data, replace=True)

    assert files_of(toy.data) == before


def test_what_cannot_be_moved_aside_is_found_before_anything_is_moved(
    toy: ToyRegion, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "layers")
    before = files_of(toy.data)

    with pytest.raises(StorageError, match="layers is a file system of its own"):
        restore(tar, toy.data, replace=True)

    assert files_of(toy.data) == before


def test_root_does_not_restore_what_the_service_could_not_open(
    toy: ToyRegion, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(toy.data, 10001, 10001)
    monkeypatch.setattr("service.restore_checks.os.geteuid", lambda: 0)

    with pytest.raises(UsageError, match="run it as them"):
        restore(tar, toy.data, replace=True)


def test_nothing_is_restored_under_a_backup_that_reads_it(toy: ToyRegion, tar: Path) -> None:
    with (
        exclusive(toy.data / "backup.lock", "colluvium backup"),
        pytest.raises(LockedError, match="colluvium backup"),
    ):
        restore(tar, toy.data, replace=True)


def test_a_folder_that_a_daemon_serves_is_not_restored(toy: ToyRegion, tar: Path) -> None:
    before = files_of(toy.data)
    with (
        exclusive(toy.data / "daemon.lock", "colluvium run"),
        pytest.raises(LockedError, match="colluvium run"),
    ):
        restore(tar, toy.data, replace=True)
    assert files_of(toy.data) == before


def test_killed_at_any_instant_no_program_begins_anew_and_restoring_again_finishes(
    template: Path, tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, instants = Path.rename, 0
    while True:
        folder = tmp_path / f"toy{instants}"
        shutil.copytree(template, folder)
        toy = ToyRegion(folder, Clock())
        count = 0

        def dying(self: Path, target: Any) -> Path:
            nonlocal count
            count += 1
            if count > instants:  # noqa: B023 - called within this turn
                raise KeyboardInterrupt
            return real(self, target)

        monkeypatch.setattr(Path, "rename", dying)
        try:
            restore(tar, toy.data, replace=True)
            monkeypatch.undo()
            break
        except KeyboardInterrupt:
            monkeypatch.undo()
        (result,) = refreshed_or_refused(toy)
        assert result in (Outcome.UNCHANGED, Outcome.FAILED)
        later = Clock(NOW + timedelta(minutes=5))
        restore_backup(tar, toy.data, "A. Rossi", "again", later, replace=True)
        assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED
        shutil.rmtree(folder)
        instants += 1
    assert instants >= 8


def refreshed_or_refused(toy: ToyRegion) -> list[Outcome]:
    try:
        return [result.outcome for result in toy.refresh(NEWEST)]
    except ColluviumError:
        return [Outcome.FAILED]
