"""A backup brought back: read and checked whole beside what is there, then put in its place by renaming.

What was there is moved into before-restore-<moment>/, never removed: a restore may be the wrong decision too.
What is named by the digest of what it was made from (states, surfaces, masks) stays where it is.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import uuid4

from pydantic import ValidationError

from service.backup import CHECKSUMS, FOLDERS, HEADER, STDOUT, BackupHeader, Contents, FileRecord
from service.display import list_layers, mark_withdrawn, show_latest
from service.errors import InputError, StorageError, UsageError
from service.files import SHADOW, sync_file, sync_folder
from service.ledger import Ledger
from service.lock import exclusive
from service.restore_checks import (
    acts_since,
    messages_since,
    refuse_another_region,
    refuse_mounts,
    refuse_root,
)
from service.snapshot import KNOWN_SCHEMAS, LEDGER, READINGS, check_database, read_schemas
from service.stamps import to_stamp

_CHUNK = 1 << 20
_DESCRIPTION_BYTES = 512 * 2**20  # a hundred thousand layers need a tenth of it
# By digest, so they are as good after a restore as before; making them again takes longest.
_STAYS = ("state", "surfaces", "region")
_ASIDE = "before-restore-"
_UNFINISHED = "A restore did not come to its end; run it again with --replace.\n"


@dataclass(frozen=True)
class RestoreReport:
    """What a backup holds, and where it is now."""

    header: BackupHeader
    files: int
    size_bytes: int
    layers: int
    data_dir: Path | None = None  # None: it was only checked
    set_aside: Path | None = None
    # Since the backup: in what was set aside alone.
    lost_acts: tuple[str, ...] = ()  # of people; no longer in force
    lost_messages: tuple[str, ...] = ()  # CAP that went out; nothing updates or cancels it now

    def to_json(self) -> dict[str, Any]:
        """Return what `restore --json` prints."""
        return {
            **self.header.model_dump(mode="json"),
            "files": self.files,
            "size_bytes": self.size_bytes,
            "layers": self.layers,
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "set_aside": str(self.set_aside) if self.set_aside else None,
            "lost_acts": list(self.lost_acts),
            "lost_messages": list(self.lost_messages),
        }


def check_backup(source: Path) -> RestoreReport:
    """Read a backup from start to end and compare every file with its checksum. Nothing is written.

    Raises InputError that names what is wrong with it.
    """
    with _opened(source) as tar:
        header, contents = _read(tar, source, None)
    return _report(header, contents)


def restore_backup(
    source: Path,
    data_dir: Path,
    by: str,
    reason: str,
    clock: Callable[[], datetime],
    *,
    replace: bool = False,
) -> RestoreReport:
    """Bring a backup ("-": from standard input) back as the data folder `data_dir`.

    A folder that holds a region needs `replace`, and keeps it in before-restore-<moment>/. The restored
    journal says who did that and why. Nothing is changed until all of the backup was read and found good.

    Raises UsageError for a folder that is not empty or of another region or user, InputError for a backup
    that is damaged or that a newer program wrote, LockedError where a daemon, a run or a backup uses the
    folder, StorageError where something in it cannot be moved.
    """
    if not replace and (there := _contents(data_dir)):
        raise UsageError(
            f"{data_dir} is not empty ({there[0].name}, ...); with --replace, what is there is moved to "
            f"{_ASIDE}<moment> inside it"
        )
    refuse_root(data_dir)
    with (
        exclusive(data_dir / "daemon.lock", "colluvium restore"),
        exclusive(data_dir / "lock", "colluvium restore"),
        exclusive(data_dir / "backup.lock", "colluvium restore"),
    ):
        refuse_mounts(_moving(data_dir))
        stage = data_dir / f".{uuid4().hex[:12]}.part"
        stage.mkdir()
        try:
            with _opened(source) as tar:
                header, contents = _read(tar, source, stage)
            _check(stage, source, header)
            was = _ledger_that_was(data_dir)
            refuse_another_region(was, header.region)
            lost, unknown = acts_since(was, header.made_at), messages_since(was, header.made_at)
            _write_act(stage / LEDGER, header, by, reason, clock())
            aside = _swap(stage, data_dir, clock())
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        if header.schemas[LEDGER] == KNOWN_SCHEMAS[LEDGER]:
            # An older ledger is left as it is: the program that is started next decides what becomes of it.
            with Ledger(data_dir / LEDGER, clock) as ledger:
                mark_withdrawn(ledger)
                show_latest(data_dir, ledger)
                list_layers(data_dir, ledger)
    return replace_fields(
        _report(header, contents),
        data_dir=data_dir,
        set_aside=aside,
        lost_acts=lost,
        lost_messages=unknown,
    )


def _report(header: BackupHeader, contents: Contents) -> RestoreReport:
    folders = {PurePosixPath(name).parts[:3] for name in contents.files if name.startswith("layers/")}
    return RestoreReport(
        header=header,
        files=len(contents.files) + len(contents.same_as),
        size_bytes=sum(record.size for record in contents.files.values()),
        layers=len(folders),
    )


# --- reading ---


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        if source == STDOUT:
            with tarfile.open(fileobj=sys.stdin.buffer, mode="r|*") as tar:
                yield tar
        else:
            with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                yield tar
    except FileNotFoundError as error:
        if error.filename != str(source):
            raise
        raise UsageError(f"there is no backup {source}") from error
    except (tarfile.TarError, EOFError) as error:
        raise InputError(
            f"{source} is not a backup, or was cut short ({error}); nothing was changed. Take another one"
        ) from error


def _read(tar: tarfile.TarFile, source: Path, stage: Path | None) -> tuple[BackupHeader, Contents]:
    """Read all files, into `stage` where there is one, and compare them with their checksums."""
    header: BackupHeader | None = None
    contents: Contents | None = None
    found: dict[str, FileRecord] = {}
    for member in tar:
        file = tar.extractfile(member) if member.isfile() else None
        if file is None:
            raise InputError(
                f"{source} holds {member.name!r}, which is no plain file; it is not a backup of ours"
            )
        if member.name == HEADER:
            header = _header(_text(file, member, source), source)
        elif header is None:
            raise InputError(f"{source} does not begin with {HEADER}; it is not a backup of Colluvium")
        elif member.name == CHECKSUMS:
            contents = _contents_of(_text(file, member, source), source)
        else:
            _check_name(member.name, source)
            if member.name in found:
                raise InputError(f"{source} holds {member.name} twice; it is not a backup of ours")
            found[member.name] = _take(file, stage / member.name if stage is not None else None)
    if header is None or contents is None:
        raise InputError(
            f"{source} was cut short: it has no {CHECKSUMS}. Nothing was changed; take another one"
        )
    for name, record in contents.files.items():
        if found.get(name) != record:
            raise InputError(
                f"{name} in {source} is not what was backed up; nothing was changed. Take another one"
            )
    for name in found.keys() - contents.files.keys():  # of a layer that went away while it was copied
        if stage is not None:
            (stage / name).unlink()
    for name, original in contents.same_as.items():
        _check_name(name, source)
        if original not in contents.files:
            raise InputError(f"{source} has {name} as the same as {original}, which it does not hold")
        if stage is not None:
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).hardlink_to(stage / original)
    return header, contents


def _header(text: str, source: Path) -> BackupHeader:
    try:
        header = BackupHeader.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{source} is a backup that this program cannot read: {error}") from error
    for name, version in header.schemas.items():
        known = KNOWN_SCHEMAS.get(name, 0)
        if version > known:
            raise InputError(
                f"{source} was made by Colluvium {header.program}: its {name} has schema version {version}, "
                f"and this program knows versions up to {known}. Restore it with that version"
            )
    return header


def _contents_of(text: str, source: Path) -> Contents:
    try:
        return Contents.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{CHECKSUMS} of {source} cannot be read: {error}") from error


def _text(file: IO[bytes], member: tarfile.TarInfo, source: Path) -> str:
    if member.size > _DESCRIPTION_BYTES:
        raise InputError(f"{member.name} of {source} has {member.size} bytes; it is not a backup of ours")
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{member.name} of {source} is no text; it is not a backup of ours") from error


def _check_name(name: str, source: Path) -> None:
    """Refuse what would not lie where a backup's files lie: an archive may have been made by anybody."""
    path = PurePosixPath(name)
    inside = not path.is_absolute() and ".." not in path.parts and path.as_posix() == name
    below = len(path.parts) > 1 and path.parts[0] in FOLDERS
    taken = name.startswith(".") or name.endswith("lock") or name in (*FOLDERS, *_STAYS)
    if not inside or not (below or (len(path.parts) == 1 and not taken)):
        raise InputError(
            f"{source} holds {name!r}, which does not belong into a data folder; nothing was changed"
        )


def _take(file: IO[bytes], target: Path | None) -> FileRecord:
    digest, size = hashlib.sha256(), 0
    if target is None:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return FileRecord(sha256=digest.hexdigest(), size=size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += out.write(chunk)
    sync_file(target)
    return FileRecord(sha256=digest.hexdigest(), size=size)


def _check(stage: Path, source: Path, header: BackupHeader) -> None:
    """Check that the databases are whole, what the header says, and that every layer kept has its files."""
    if not (stage / LEDGER).exists():
        raise InputError(f"{source} holds no ledger; it is not a backup of a region")
    for name in (LEDGER, READINGS):
        if (stage / name).exists():
            check_database(stage / name)
    said = {schema.name: schema.on_disk for schema in read_schemas(stage) if schema.on_disk is not None}
    if said != header.schemas:
        raise InputError(f"{source} says that its schemas are {header.schemas}, and they are {said}")
    with closing(sqlite3.connect(stage / LEDGER)) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(layer)")}
        kept = " WHERE removed_at IS NULL" if "removed_at" in columns else ""
        rows = database.execute(f"SELECT id, json_extract(record, '$.folder') FROM layer{kept}").fetchall()  # noqa: S608
    for identity, folder in rows:
        parts = PurePosixPath(folder).parts
        if parts[:1] != ("layers",) or ".." in parts:  # retention would remove it there one day
            raise InputError(f"{source} says that {identity} lies at {folder}, which is no place for a layer")
        if not (stage / folder).is_dir():
            raise InputError(
                f"{source} lacks the files of {identity}, which its ledger names; take another backup"
            )


# --- putting it in place ---


def _write_act(ledger: Path, header: BackupHeader, by: str, reason: str, now: datetime) -> None:
    """Append to the journal, whatever the ledger's schema: that table is as it ever was."""
    what = f"{header.region}: backup of {header.made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute(
            "INSERT INTO journal (at, act, subject, by_whom, reason) VALUES (?, 'restore', ?, ?, ?)",
            (to_stamp(now), what, by, reason),
        )
    sync_file(ledger)


def _swap(stage: Path, data_dir: Path, now: datetime) -> Path | None:
    """Put the staged files in place; return where those that were there are now.

    Meanwhile a file that is no database stands for the ledger: after a kill in between, every program that is
    started refuses the folder, and none begins a new region in it. Restoring again finishes the work.
    """
    for folder in [path for path in stage.rglob("*") if path.is_dir()]:
        sync_folder(folder)
    moving = _moving(data_dir)
    moving.sort(key=lambda path: not path.name.startswith(LEDGER))
    aside = data_dir / f"{_ASIDE}{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
    if moving:
        aside.mkdir()
    marker = stage / "unfinished"
    marker.write_text(_UNFINISHED * 8, "utf-8")
    for path in [path for path in moving if path.name.startswith(LEDGER)]:
        path.rename(aside / path.name)
    marker.rename(data_dir / LEDGER)
    sync_folder(data_dir)
    for path in [path for path in moving if not path.name.startswith(LEDGER)]:
        path.rename(aside / path.name)
    for path in sorted(stage.iterdir(), key=lambda path: path.name == LEDGER):
        path.rename(data_dir / path.name)
    sync_folder(data_dir)
    return aside if moving else None


def _moving(data_dir: Path) -> list[Path]:
    return [path for path in _contents(data_dir) if path.name not in _STAYS]


def _ledger_that_was(data_dir: Path) -> Path:
    """Return where the ledger is that goes: after a restore that was killed, it is set aside already."""
    ledger = data_dir / LEDGER
    aside = [path for path in sorted(data_dir.glob(f"{_ASIDE}*/{LEDGER}")) if not _is_marker(path)]
    return aside[-1] if aside and _is_marker(ledger) else ledger


def _is_marker(ledger: Path) -> bool:
    if not ledger.exists():
        return False
    with ledger.open("rb") as file:
        return file.read(len(_UNFINISHED)) == _UNFINISHED.encode()


def _contents(data_dir: Path) -> list[Path]:
    """Return what a data folder holds, beside locks, half written files and what was set aside before."""
    if not data_dir.exists():
        return []
    try:
        return sorted(
            path
            for path in data_dir.iterdir()
            if not path.name.startswith((".", _ASIDE))
            and not path.name.endswith(".lock")
            and path.name not in ("lock", "lost+found", SHADOW)
        )
    except OSError as error:
        raise StorageError(
            f"cannot read {data_dir}: {error.strerror}; is it a folder of this user?"
        ) from error
