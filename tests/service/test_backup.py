"""Backup and restore: what comes back is what was there, all or nothing, and no password ever leaves."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from service.backup import STDOUT, make_backup
from service.delivery import exporter_names
from service.errors import ColluviumError, InputError, Outcome, StorageError, UsageError
from service.ledger import Ledger
from service.ledger_schema import MIGRATIONS
from service.lock import exclusive
from service.snapshot import KNOWN_SCHEMAS, copy_database, read_schemas, read_version
from service.sqlite import open_database
from tests.fix_inventory import findings
from tests.fix_region import Clock, ToyRegion
from tests.service.fix_backup import backed_up, restore, rewritten
from tests.service.fix_shown import NEWEST, files_of, make_shown_region

ROOT = Path(__file__).parents[2]


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
    return backed_up(template, tmp_path_factory.mktemp("backup") / "toy.tar")


def colluvium(*arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT, capture_output=True, check=False, timeout=120, **more,
    )  # fmt: skip


# --- what comes back ---


def test_a_region_comes_back_as_it_was_and_goes_on_from_there(toy: ToyRegion, tmp_path: Path) -> None:
    with toy.ledger() as ledger:
        ledger.write_act("hold", "toy", "B. Bianchi", "gauges under repair")
        ledger.write_act("resume", "toy", "B. Bianchi", "repaired")
    before = files_of(toy.data)
    make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    shutil.rmtree(toy.data)

    report = restore(tmp_path / "toy.tar", toy.data)

    after = files_of(toy.data)
    rasters = {name for name in before if name.startswith(("layers", "history", "factors", "latest"))}
    assert len(rasters) > 60
    assert {name: after.get(name) for name in rasters} == {name: before[name] for name in rasters}
    assert (report.layers, report.set_aside, report.lost_acts) == (10, None, ())
    with toy.ledger() as ledger:
        acts = [(act.act, act.by, act.reason) for act in ledger.journal()]
    assert acts[:2] == [
        ("hold", "B. Bianchi", "gauges under repair"),
        ("resume", "B. Bianchi", "repaired"),
    ]
    assert acts[2] == ("restore", "A. Rossi", "disk replaced")
    assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED


def test_what_detectors_found_comes_back_with_its_pictures(toy: ToyRegion, tmp_path: Path) -> None:
    picture = toy.data / "detections" / "a" / "picture.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    half = toy.data / "detections" / ".0123456789ab.part"
    half.mkdir()
    (half / "picture.png").write_bytes(b"half")
    with toy.ledger() as ledger:
        ledger.detections.receive(findings(folder=toy.data / "detections"))
        ledger.detections.decide(1, "accepted", "A. Rossi", "picture")
    make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    shutil.rmtree(toy.data)

    restore(tmp_path / "toy.tar", toy.data)

    assert picture.read_bytes() == b"picture"
    assert not half.exists()
    with toy.ledger() as ledger:
        assert ledger.detections.scene(1).folder == picture.parent
        assert [event.uid for event in ledger.events.all()] == ["a-0"]


def test_a_backup_is_taken_while_others_write(toy: ToyRegion, tmp_path: Path) -> None:
    with closing(sqlite3.connect(toy.data / "ledger.sqlite", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(
            "INSERT INTO journal (at, act, subject, by_whom, reason) VALUES ('x', 'half', 'x', 'x', 'x')"
        )
        with exclusive(toy.data / "lock", "a refresh"):
            make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
        writer.execute("COMMIT")

    restore(tmp_path / "toy.tar", tmp_path / "new")

    with Ledger(tmp_path / "new" / "ledger.sqlite", toy.clock) as ledger:
        assert [act.act for act in ledger.journal()] == ["restore"]


def test_a_layer_that_retention_removes_meanwhile_is_known_as_removed(toy: ToyRegion, tmp_path: Path) -> None:
    folders = sorted((toy.data / "layers").glob("*/*/"))

    def remove_the_third(done: int, total: int) -> None:
        if done == 2:
            shutil.rmtree(folders[2])

    report = make_backup(toy.settings, tmp_path / "toy.tar", toy.clock, progress=remove_the_third)
    restore(tmp_path / "toy.tar", tmp_path / "new")

    assert (report.layers, report.left_out) == (9, 1)
    with Ledger(tmp_path / "new" / "ledger.sqlite", toy.clock) as ledger:
        removed = [item.day for item in ledger.standings() if item.removed_at]
    assert removed == [NEWEST - timedelta(days=7)]


def test_a_folder_that_is_half_written_meanwhile_is_no_trouble(toy: ToyRegion, tmp_path: Path) -> None:
    """Inputs and rasters are written into a hidden folder first, which is gone at its end."""
    half = toy.data / "history" / ".0123456789ab.part"
    half.mkdir()
    (half / "model.onnx").write_text("not whole")
    with patch.object(os, "scandir", refusing(half)):
        make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    with tarfile.open(tmp_path / "toy.tar") as opened:
        assert any(name.startswith("history/bundle-") for name in opened.getnames())
        assert not any(".part" in name for name in opened.getnames())


def refusing(gone: Path) -> Any:
    """Stand in for os.scandir where a folder went away since it was listed."""
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if not isinstance(path, int) and Path(path) == gone:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path)

    return scandir


def test_a_full_disk_is_found_before_it_is_filled(toy: ToyRegion, tmp_path: Path) -> None:
    with (
        patch("service.backup.shutil.disk_usage", lambda _: SimpleNamespace(free=1000)),
        pytest.raises(StorageError, match=r"need \d+ MiB and some to spare, and .* has 0 MiB free"),
    ):
        make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    assert not (toy.data / "backup" / "ledger.sqlite").exists()


def test_old_layers_may_be_left_out_unless_somebody_waits_for_them(toy: ToyRegion, tmp_path: Path) -> None:
    share = tmp_path / "share"
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{share}"\n'
    )
    first = NEWEST - timedelta(days=30)
    toy.refresh(first)  # undelivered: the share is away
    with toy.ledger() as ledger:
        layer = ledger.current(first + timedelta(days=21))
        assert layer is not None
        assert exporter_names(toy.settings) == ["share"]

    report = make_backup(toy.settings, tmp_path / "toy.tar", toy.clock, layer_days=8)
    restore(tmp_path / "toy.tar", tmp_path / "new")

    assert (report.layers, report.left_out) == (10, 1)
    with Ledger(tmp_path / "new" / "ledger.sqlite", toy.clock) as ledger:
        kept = {item.day for item in ledger.standings() if item.removed_at is None}
    assert first in kept
    assert NEWEST - timedelta(days=9) not in kept
    assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED  # the real folder lost nothing
    assert len(list((toy.data / "layers").glob("*/*/"))) == 11


def test_an_early_ledger_with_whole_paths_may_be_restored_elsewhere(toy: ToyRegion, tmp_path: Path) -> None:
    with closing(sqlite3.connect(toy.data / "ledger.sqlite")) as database, database:
        database.execute(
            "UPDATE layer SET record ="
            " json_set(record, '$.folder', ? || '/' || json_extract(record, '$.folder'))",
            (str(toy.data),),
        )
        database.execute("UPDATE input_version SET path = ? || '/' || path", (str(toy.data),))

    make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    restore(tmp_path / "toy.tar", tmp_path / "new")
    shutil.rmtree(toy.data)

    with Ledger(tmp_path / "new" / "ledger.sqlite", toy.clock) as ledger:
        layer = ledger.current(NEWEST)
        assert layer is not None
        assert layer.folder.is_relative_to(tmp_path / "new")
        found = ledger.inputs.at("bundle", toy.clock())
        assert found is not None
        assert (found[1] / "manifest.json").exists()


def test_what_is_linked_twice_is_stored_once_and_comes_back_twice(tar: Path, tmp_path: Path) -> None:
    with tarfile.open(tar) as opened:
        names = opened.getnames()
    assert [name for name in names if name.startswith(("factors", "history/stack"))] == ["factors.tif"]

    restore(tar, tmp_path / "new")

    (kept,) = (tmp_path / "new" / "history").glob("stack-*.tif")
    assert kept.read_bytes() == (tmp_path / "new" / "factors.tif").read_bytes()


# --- secrets ---


def test_no_password_is_ever_in_a_backup(
    toy: ToyRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "correct-horse-battery"
    monkeypatch.setenv("GIS_PASSWORD", word)
    for name in ("secrets/gis", ".env", "gis.password", "history/.pgpass", "feeds/gauges/token"):
        path = toy.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(word)
    (toy.data / "layers" / "password").write_text(word)
    toy.config.write_text(
        toy.config.read_text() + '\n[[exporters]]\nkind = "postgis"\nname = "gis"\n'
        'writer = { dsn = "host=db", password = { file = "data/secrets/gis" } }\n'
    )
    toy.refresh(NEWEST - timedelta(days=20))  # settings are kept by a run

    make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)

    with tarfile.open(tmp_path / "toy.tar") as opened:
        kept = b"".join(opened.extractfile(name).read() for name in opened.getnames())  # type: ignore[union-attr]
    assert b"data/secrets/gis" in kept  # where it is
    assert word.encode() not in kept


def test_a_backup_is_for_its_owner_alone(tar: Path) -> None:
    assert tar.stat().st_mode & 0o077 == 0


def test_a_backup_is_never_overwritten(toy: ToyRegion, tmp_path: Path) -> None:
    (tmp_path / "toy.tar").write_text("yesterday's")
    with pytest.raises(UsageError, match="never overwritten"):
        make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    assert (tmp_path / "toy.tar").read_text() == "yesterday's"


# --- versions ---


def test_a_backup_of_a_newer_program_is_refused_with_its_version(tar: Path, tmp_path: Path) -> None:
    with tarfile.open(tar) as opened:
        header = json.load(opened.extractfile("backup.json"))  # type: ignore[arg-type]
    header |= {"program": "9.9.0", "schemas": header["schemas"] | {"ledger.sqlite": 99}}
    bad = rewritten(tar, tmp_path / "bad.tar", {"backup.json": json.dumps(header).encode()})

    with pytest.raises(InputError, match=r"Colluvium 9\.9\.0.*schema version 99"):
        restore(bad, tmp_path / "new")


def test_an_older_ledger_is_backed_up_and_restored_as_it_is(toy: ToyRegion, tmp_path: Path) -> None:
    path = toy.data / "ledger.sqlite"
    older = KNOWN_SCHEMAS["ledger.sqlite"] - 1
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA user_version = {older}")

    report = make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    restore(tmp_path / "toy.tar", tmp_path / "new")

    assert report.header.schemas["ledger.sqlite"] == older
    assert read_version(path) == older
    assert read_version(tmp_path / "new" / "ledger.sqlite") == older


def test_a_ledger_of_the_first_schema_is_backed_up_and_restored(toy: ToyRegion, tmp_path: Path) -> None:
    for path in toy.data.glob("ledger*"):
        path.unlink()
    folder = next((toy.data / "layers").glob("*/*/")).relative_to(toy.data)
    with closing(open_database(toy.data / "ledger.sqlite", MIGRATIONS[:1], "ledger")) as database:
        database.execute(
            "INSERT INTO layer VALUES ('toy-1', '2026-03-02', 0, 1, 'd', '2026', NULL, ?, '{}')",
            (json.dumps({"folder": str(folder)}),),
        )

    report = make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    restore(tmp_path / "toy.tar", tmp_path / "new")

    assert (report.layers, report.left_out) == (1, 0)
    assert (tmp_path / "new" / folder / "class.tif").exists()
    assert read_version(tmp_path / "new" / "ledger.sqlite") == 1


def test_schema_says_when_a_newer_program_was_here(toy: ToyRegion) -> None:
    assert colluvium("schema", "-c", str(toy.config)).returncode == 0
    with closing(sqlite3.connect(toy.data / "readings.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")

    done = colluvium("schema", "-c", str(toy.config), "--json")

    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert not said["usable"]
    assert [item["file"] for item in said["schemas"] if item["newer"]] == ["readings.sqlite"]
    assert [schema.on_disk for schema in read_schemas(toy.data)][1] == 99


def test_a_damaged_database_is_not_backed_up(toy: ToyRegion, tmp_path: Path) -> None:
    path = toy.data / "readings.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:40_000] = b"\xff" * (40_000 - 4096)
    path.write_bytes(content)

    with pytest.raises(ColluviumError, match=r"readings\.sqlite"):
        make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)

    assert not list(tmp_path.glob("*.tar"))


# --- the commands ---


def test_a_backup_goes_through_a_pipe(toy: ToyRegion, tmp_path: Path) -> None:
    made = colluvium("backup", str(STDOUT), "-c", str(toy.config))
    assert made.returncode == 0, made.stderr
    assert b"toy" in made.stderr

    done = colluvium(
        "restore", "-", "--data-dir", str(tmp_path / "new"), "--by", "A", "--reason", "b", "--json",
        input=made.stdout,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["layers"] == 10
    copy_database(tmp_path / "new" / "ledger.sqlite", tmp_path / "again.sqlite")


def test_a_compressed_backup_is_checked_by_command(toy: ToyRegion, tmp_path: Path) -> None:
    made = colluvium("backup", str(tmp_path / "toy.tar.gz"), "-c", str(toy.config), "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["layers"] == 10
    plain = sum(path.stat().st_size for path in toy.data.rglob("*") if path.is_file())
    assert (tmp_path / "toy.tar.gz").stat().st_size < plain
    assert colluvium("restore", str(tmp_path / "toy.tar.gz"), "--check").returncode == 0
    without = colluvium("restore", str(tmp_path / "toy.tar.gz"), "--data-dir", str(tmp_path / "new"))
    assert without.returncode == 2
    assert b"--by" in without.stderr
