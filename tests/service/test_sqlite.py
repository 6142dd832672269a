"""Promises of our SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from service.errors import StorageError, is_disk_full
from service.sqlite import open_database, transaction

FIRST = "CREATE TABLE one (a INTEGER PRIMARY KEY, b TEXT); -- a comment; with a semicolon\n"
SECOND = """
CREATE TABLE two (c TEXT);
CREATE TRIGGER keeps BEFORE DELETE ON two BEGIN SELECT RAISE(ABORT, 'stays; always'); END;
INSERT INTO two VALUES ('x;y');
"""


def test_a_fresh_file_gets_every_migration_and_its_version(tmp_path: Path) -> None:
    database = open_database(tmp_path / "made" / "a.sqlite", [FIRST, SECOND], "book")
    assert database.execute("PRAGMA user_version").fetchone() == (2,)
    assert database.execute("SELECT c FROM two").fetchone() == ("x;y",)
    with pytest.raises(sqlite3.IntegrityError, match="stays; always"):
        database.execute("DELETE FROM two")
    database.close()


def test_what_is_committed_survives_a_power_cut_and_readers_see_it_while_others_write(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.sqlite", [FIRST], "book")
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA foreign_keys").fetchone() == (1,)
    database.close()


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(tmp_path: Path) -> None:
    old = open_database(tmp_path / "a.sqlite", [FIRST], "book")
    old.execute("INSERT INTO one VALUES (1, 'kept')")
    old.close()
    new = open_database(tmp_path / "a.sqlite", [FIRST, SECOND], "book")
    assert new.execute("SELECT b FROM one").fetchone() == ("kept",)
    assert new.execute("SELECT count(*) FROM two").fetchone() == (1,)
    new.close()


def test_a_migration_that_fails_leaves_the_old_version_whole(tmp_path: Path) -> None:
    open_database(tmp_path / "a.sqlite", [FIRST], "book").close()
    with pytest.raises(StorageError, match=r"a\.sqlite"):
        open_database(tmp_path / "a.sqlite", [FIRST, "CREATE TABLE two (c); CREATE TABLE one (d);"], "book")
    again = open_database(tmp_path / "a.sqlite", [FIRST], "book")
    assert again.execute("SELECT name FROM sqlite_master WHERE name = 'two'").fetchone() is None
    again.close()


def test_a_newer_file_is_refused_by_name_with_both_versions_and_what_to_do(tmp_path: Path) -> None:
    open_database(tmp_path / "a.sqlite", [FIRST, SECOND], "book").close()
    with pytest.raises(
        StorageError, match=r"book .*a\.sqlite has schema version 2.* up to 1.*install"
    ) as caught:
        open_database(tmp_path / "a.sqlite", [FIRST], "book")
    assert "backup" in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"not a database, but long enough to be read as one" * 30)
    with pytest.raises(StorageError, match=r"a\.sqlite is damaged or not a SQLite database"):
        open_database(path, [FIRST], "book")
    assert path.read_bytes().startswith(b"not a database")


def test_a_path_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot open the book .*a\.sqlite"):
        open_database(tmp_path / "file" / "a.sqlite", [FIRST], "book")


def test_a_transaction_that_fails_keeps_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.sqlite", [FIRST], "book")
    with pytest.raises(sqlite3.IntegrityError), transaction(database):
        database.executemany("INSERT INTO one VALUES (?, 'lost')", [(1,), (1,)])
    with transaction(database):
        database.execute("INSERT INTO one VALUES (2, 'kept')")
    assert database.execute("SELECT b FROM one").fetchall() == [("kept",)]
    database.close()


def test_a_full_disk_is_a_storage_error_that_names_the_file_and_loses_nothing_older(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.sqlite", [FIRST], "book")
    database.execute("INSERT INTO one VALUES (1, 'older')")
    database.execute("PRAGMA max_page_count = 4")
    with pytest.raises(StorageError, match=r"no space left for .*a\.sqlite.*free space") as caught:  # noqa: SIM117
        with transaction(database):
            database.executemany("INSERT INTO one (b) VALUES (?)", [("x" * 4000,)] * 50)
    assert is_disk_full(caught.value)
    assert database.execute("SELECT b FROM one").fetchall() == [("older",)]
    database.close()


def test_a_migration_that_ends_inside_a_statement_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends inside a statement"):
        open_database(tmp_path / "a.sqlite", ["CREATE TRIGGER t DELETE ON x BEGIN SELECT 1"], "book")
