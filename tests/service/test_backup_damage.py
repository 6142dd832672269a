"""A backup that was damaged, or made to do harm, is refused and changes nothing."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.backup import CHECKSUMS
from service.errors import InputError, UsageError
from service.files import sha256_file
from service.restore import check_backup
from tests.service.fix_backup import backed_up, restore, rewritten
from tests.service.fix_shown import files_of, make_shown_region


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a region with ten layers; never changed by a test."""
    folder = tmp_path_factory.mktemp("shown")
    return backed_up(make_shown_region(folder / "toy").folder, folder / "toy.tar")


@settings(max_examples=20)
@given(st.floats(0, 0.999))
def test_a_backup_that_was_cut_short_is_refused(tar: Path, share: float) -> None:
    content = tar.read_bytes()
    end = content.rindex(b'{"files"')  # of what counts; zeros follow it
    cut = tar.with_name(f"cut-{share}.tar")
    cut.write_bytes(content[: int(share * end)])
    try:
        with pytest.raises((InputError, UsageError)):
            check_backup(cut)
    finally:
        cut.unlink()


def test_a_file_that_changed_on_the_way_is_named_and_nothing_is_restored(tar: Path, tmp_path: Path) -> None:
    with tarfile.open(tar) as opened:
        name = next(name for name in opened.getnames() if name.endswith("class.tif"))
    bad = rewritten(tar, tmp_path / "bad.tar", {name: b"other"})

    with pytest.raises(InputError, match=name):
        restore(bad, tmp_path / "new")

    assert not files_of(tmp_path / "new")
    with pytest.raises(InputError, match=name):
        check_backup(bad)


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "layers/../../evil", "state/x", ".hidden", "daemon.lock"]
)
def test_a_file_that_would_lie_elsewhere_is_refused(tar: Path, tmp_path: Path, name: str) -> None:
    bad = tmp_path / "bad.tar"
    with tarfile.open(tar) as old, tarfile.open(bad, "w") as new:
        for member in old:
            if member.name == CHECKSUMS:
                new.addfile(tarfile.TarInfo(name), io.BytesIO())
            new.addfile(member, old.extractfile(member))

    with pytest.raises(InputError, match="does not belong"):
        restore(bad, tmp_path / "a" / "b" / "new")

    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_a_backup_is_refused(tar: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    shutil.copyfile(tar, bad)
    with tarfile.open(bad, "a") as opened:
        link = tarfile.TarInfo("layers/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)

    with pytest.raises(InputError, match="no plain file"):
        restore(bad, tmp_path / "new")


@pytest.mark.parametrize("folder", ["/srv", "layers/../..", "../other", "history"])
def test_a_layer_that_would_be_removed_elsewhere_one_day_is_refused(
    tar: Path, tmp_path: Path, folder: str
) -> None:
    with tarfile.open(tar) as opened:
        opened.extract("ledger.sqlite", tmp_path, filter="data")
        contents = json.load(opened.extractfile(CHECKSUMS))  # type: ignore[arg-type]
    ledger = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute(
            "UPDATE layer SET record = json_set(record, '$.folder', ?) WHERE rowid = 1", (folder,)
        )
    contents["files"]["ledger.sqlite"] = {"sha256": sha256_file(ledger), "size": ledger.stat().st_size}
    change = {"ledger.sqlite": ledger.read_bytes(), CHECKSUMS: json.dumps(contents).encode()}
    bad = rewritten(tar, tmp_path / "bad.tar", change)

    with pytest.raises(InputError, match="no place for a layer"):
        restore(bad, tmp_path / "new")

    assert not files_of(tmp_path / "new")


def test_a_file_that_comes_twice_and_a_text_that_is_none_are_refused(tar: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.tar"
    with tarfile.open(tar) as old, tarfile.open(twice, "w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
            if member.name == "readings.sqlite":
                new.addfile(member, old.extractfile(member))
    with pytest.raises(InputError, match="twice"):
        restore(twice, tmp_path / "new")
    with pytest.raises(InputError, match="no text"):
        check_backup(rewritten(tar, tmp_path / "bad.tar", {CHECKSUMS: b"\xff\xfe"}))


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(InputError, match="not a backup"):
        check_backup(tmp_path / "x.tar")
    with pytest.raises(UsageError, match=r"no backup .*nowhere\.tar"):
        check_backup(tmp_path / "nowhere.tar")
