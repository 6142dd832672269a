"""A backup: one tar file with all that cannot be made again, taken while the daemon runs.

    backup.json       what this is: region, moment, program, schema versions
    readings.sqlite   as it was at one moment
    factors.tif ...   where the factor stack lies in the data folder
    history/ rasters/ inputs that were in force; days of raster feeds
    layers/           the folders that the ledger names
    bundles/          bundles that were promoted
    detections/       outlines and pictures of scenes, as detectors found them
    ledger.sqlite     as it was at one moment, before all that is above it was copied
    checksums.json    SHA-256 and size of every file; last, so that a backup that was cut short has none

Left out: what the next run makes again (spatial states, daily surfaces, masks, replays, a challenger's
layers), and everything else that lies in the data folder. Only what is named here goes in, so a password
kept beside the data stays out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import shutil
import sqlite3
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict

from service.errors import InputError, StorageError, UsageError
from service.files import DETECTIONS, replacing
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import ProgressCallback
from service.retention import past_their_time
from service.serving import BUNDLES
from service.settings import RetentionSettings, Settings
from service.snapshot import KNOWN_SCHEMAS, LEDGER, READINGS, copy_database, read_version
from service.stamps import to_stamp

HEADER, CHECKSUMS = "backup.json", "checksums.json"
FORMAT = 1
STDOUT = Path("-")
# Beside the two databases and the files of the factor stack.
FOLDERS = ("history", "rasters", "layers", BUNDLES, DETECTIONS)

_WORK = "backup"
_SPARE = 64 * 2**20  # left to the daemon
_GZIP = (".gz", ".tgz")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackupHeader(_Value):
    """backup.json"""

    format: Literal[1] = 1
    region: str
    made_at: datetime
    program: str  # the version of Colluvium that made it
    schemas: dict[str, int]  # of the SQLite files in it
    latest: str | None  # id of the newest nowcast shown


class FileRecord(_Value):
    """What a file must be when it is read back."""

    sha256: str
    size: int


class Contents(_Value):
    """checksums.json"""

    files: dict[str, FileRecord]
    same_as: dict[str, str]  # the same file under another name, which is stored once
    left_out: tuple[str, ...]  # layers whose files are not here; the ledger that is here knows it


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds."""

    path: str
    header: BackupHeader
    files: int
    size_bytes: int
    layers: int
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """Return what `backup --json` prints."""
        return {
            "path": self.path,
            **self.header.model_dump(mode="json"),
            "files": self.files,
            "size_bytes": self.size_bytes,
            "layers": self.layers,
            "layers_left_out": self.left_out,
        }


@dataclass(frozen=True)
class _LayerRow:
    id: str
    folder: str  # relative to the data folder


def make_backup(
    settings: Settings,
    target: Path,
    clock: Callable[[], datetime],
    *,
    layer_days: int | None = None,
    progress: ProgressCallback | None = None,
) -> BackupReport:
    """Write a backup of the data folder to `target`, a new file, or ("-") to standard output.

    The ledger is copied first: what it names is then never rewritten, only removed by retention, and a layer
    that goes meanwhile is marked as removed in the copy. `layer_days` leaves older layers out (never one that
    an exporter waits for, or that a person referred to).

    Raises UsageError for a file that exists, InputError where there is nothing to back up, LockedError beside
    another backup, StorageError for a database that is damaged.
    """
    data_dir = settings.data_dir
    if target != STDOUT and target.exists():
        raise UsageError(f"{target} exists already, and a backup is never overwritten; name another file")
    if not (data_dir / LEDGER).exists():
        raise InputError(f"there is no ledger in {data_dir}, so there is nothing to back up yet")
    work = data_dir / _WORK
    with exclusive(data_dir / "backup.lock", "colluvium backup"):
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        work.mkdir(parents=True)
        try:
            _refuse_full_disk(data_dir)
            copy_database(data_dir / LEDGER, work / LEDGER)
            _make_relative(work / LEDGER, data_dir)
            if layer_days is not None:
                _leave_out_old(work / LEDGER, layer_days, clock)
            copies = [LEDGER]
            if (data_dir / READINGS).exists():
                copy_database(data_dir / READINGS, work / READINGS)
                copies.append(READINGS)
            header = BackupHeader(
                region=settings.region.id,
                made_at=clock(),
                program=importlib.metadata.version("colluvium"),
                schemas={name: read_version(work / name) for name in copies},
                latest=_latest(work / LEDGER),
            )
            with _tar(target) as tar:
                return _write(tar, target, settings, work, header, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _refuse_full_disk(data_dir: Path) -> None:
    """Raise StorageError where copies of the databases would take the space that the daemon needs."""
    needed = sum((data_dir / name).stat().st_size for name in KNOWN_SCHEMAS if (data_dir / name).exists())
    free = shutil.disk_usage(data_dir).free
    if free < needed + _SPARE:
        raise StorageError(
            f"copies of the databases need {needed / 2**20:.0f} MiB and some to spare, and {data_dir} has "
            f"{free / 2**20:.0f} MiB free; free some space first"
        )


def _write(
    tar: tarfile.TarFile,
    target: Path,
    settings: Settings,
    work: Path,
    header: BackupHeader,
    progress: ProgressCallback | None,
) -> BackupReport:
    data_dir = settings.data_dir
    packer = _Packer(tar)
    packer.add_text(HEADER, header.model_dump_json(indent=2))
    if READINGS in header.schemas:
        packer.add(READINGS, work / READINGS)
    for path in _stack_files(settings):
        packer.add(path.name, path)
    for folder in ("history", "rasters", BUNDLES):
        for path in _files_below(data_dir / folder):
            packer.add(path.relative_to(data_dir).as_posix(), path)
    for found in sorted((data_dir / DETECTIONS).glob("[!.]*")):  # a scan may put another one in its place
        packer.add_folder(found.relative_to(data_dir).as_posix(), found)
    rows = _layer_rows(work / LEDGER)
    gone = []
    for number, row in enumerate(rows):
        if not packer.add_folder(row.folder, data_dir / row.folder):
            gone.append(row.id)
        if progress is not None:
            progress(number + 1, len(rows))
    _mark_removed(work / LEDGER, gone, header.made_at)
    packer.add(LEDGER, work / LEDGER)
    contents = Contents(files=packer.files, same_as=packer.same_as, left_out=tuple(gone))
    packer.add_text(CHECKSUMS, contents.model_dump_json())
    return BackupReport(
        path=str(target),
        header=header,
        files=len(contents.files) + len(contents.same_as),
        size_bytes=sum(record.size for record in contents.files.values()),
        layers=len(rows) - len(gone),
        left_out=_count_removed(work / LEDGER),
    )


class _Packer:
    """Writes files into a tar and remembers what they were."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._links: dict[tuple[int, int], str] = {}
        self.files: dict[str, FileRecord] = {}
        self.same_as: dict[str, str] = {}

    def add(self, name: str, path: Path) -> None:
        """Add one file; a hard link of one that is there already is noted, not stored again."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            key = (stat.st_dev, stat.st_ino)
            if stat.st_nlink > 1 and key in self._links:
                self.same_as[name] = self._links[key]
                return
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = stat.st_size, int(stat.st_mtime), 0o644
            reader = _Hashing(file)
            self._tar.addfile(info, reader)
            self._links[key] = name
            self.files[name] = FileRecord(sha256=reader.digest.hexdigest(), size=info.size)

    def add_folder(self, name: str, folder: Path) -> bool:
        """Add a folder's files, all or none of them; tell whether it was there to the end."""
        before = dict(self.files)
        try:
            paths = list(_files_below(folder))
            for path in paths:
                self.add(f"{name}/{path.relative_to(folder).as_posix()}", path)
        except FileNotFoundError:
            paths = []
        if not paths:
            self.files = before  # what is in the tar already has no checksum now, and is not read back
        return bool(paths)

    def add_text(self, name: str, text: str) -> None:
        """Add a text that describes the rest, and is not one of its files."""
        content = text.encode()
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._tar.addfile(info, io.BytesIO(content))


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        content = self._file.read(size)
        self.digest.update(content)
        return content


@contextmanager
def _tar(target: Path) -> Iterator[tarfile.TarFile]:
    """Yield a tar that is written from start to end; on disk it appears when it is whole."""
    if target == STDOUT:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        sys.stdout.buffer.flush()
        return
    mode: Literal["w|gz", "w|"] = "w|gz" if target.name.endswith(_GZIP) else "w|"
    with replacing(target) as temporary:
        # It holds names of people and places of readings: for its owner.
        temporary.touch(mode=0o600)
        with (
            temporary.open("wb") as file,
            tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar,
        ):
            yield tar


def _stack_files(settings: Settings) -> list[Path]:
    """Return the factor stack and what lies beside it, where it is the data folder's own."""
    stack = settings.stack_path
    if stack.parent != settings.data_dir:
        return []
    return sorted(path for path in stack.parent.glob(f"{stack.stem}.*") if path.is_file())


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the finished files of a folder, in order; of links and half written ones, none.

    What is half written is hidden and may be gone at any moment: it is not even looked into.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    for path in sorted(found):
        if not path.is_symlink() and path.is_file():
            yield path


# --- the copy of the ledger ---


def _leave_out_old(ledger: Path, layer_days: int, clock: Callable[[], datetime]) -> None:
    version = read_version(ledger)
    if version != KNOWN_SCHEMAS[LEDGER]:
        raise UsageError(
            f"the ledger has schema version {version}, and this program writes {KNOWN_SCHEMAS[LEDGER]}: "
            "older layers can be left out only by the program that wrote it; back up all of them"
        )
    with Ledger(ledger, clock) as copy:
        old = past_their_time(copy, RetentionSettings(layer_days=layer_days), clock().date())
        with copy.transaction():
            copy.mark_removed([layer.id for layer in old])
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("PRAGMA journal_mode = DELETE")


def _make_relative(ledger: Path, data_dir: Path) -> None:
    """Let places in the data folder be relative to it: an early ledger, made elsewhere, holds whole paths."""
    columns = (("layer", "json_extract(record, '$.folder')"), ("input_version", "path"))
    with closing(sqlite3.connect(ledger)) as database, database:
        for table, column in columns:
            rows = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608
            absolute = [(row, Path(place)) for row, place in rows if Path(place).is_absolute()]
            within = [
                (path.relative_to(data_dir).as_posix(), row)
                for row, path in absolute
                if path.is_relative_to(data_dir)
            ]
            value = "path = ?" if table == "input_version" else "record = json_set(record, '$.folder', ?)"
            database.executemany(f"UPDATE {table} SET {value} WHERE rowid = ?", within)  # noqa: S608


def _layer_rows(ledger: Path) -> list[_LayerRow]:
    """Return the layers whose files are kept, oldest first. StorageError: one lies elsewhere."""
    with closing(sqlite3.connect(ledger)) as database:
        kept = " WHERE removed_at IS NULL" if _has_removals(database) else ""
        rows = [
            _LayerRow(*row)
            for row in database.execute(
                f"SELECT id, json_extract(record, '$.folder') FROM layer{kept} ORDER BY day, lead, revision"  # noqa: S608
            )
        ]
    for row in rows:
        parts = PurePosixPath(row.folder).parts
        if parts[:1] != ("layers",) or ".." in parts:
            raise StorageError(
                f"the ledger says that {row.id} lies at {row.folder}, which is not below layers/ of its data "
                "folder; a backup cannot hold it"
            )
    return rows


def _mark_removed(ledger: Path, identities: list[str], moment: datetime) -> None:
    if not identities:
        return
    with closing(sqlite3.connect(ledger)) as database:
        if not _has_removals(database):
            raise StorageError(
                f"the files of {identities[0]} are gone, and this old ledger has no place to say so; "
                "open it with 'colluvium status' first"
            )
        with database:
            database.executemany(
                "UPDATE layer SET removed_at = ? WHERE id = ?",
                [(to_stamp(moment), identity) for identity in identities],
            )


def _count_removed(ledger: Path) -> int:
    with closing(sqlite3.connect(ledger)) as database:
        if not _has_removals(database):
            return 0
        return int(database.execute("SELECT count(*) FROM layer WHERE removed_at IS NOT NULL").fetchone()[0])


def _has_removals(database: sqlite3.Connection) -> bool:
    return any(row[1] == "removed_at" for row in database.execute("PRAGMA table_info(layer)"))


def _latest(ledger: Path) -> str | None:
    with closing(sqlite3.connect(ledger)) as database:
        row = database.execute(
            "SELECT id FROM layer a WHERE lead = 0 AND withdrawn_at IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM layer b WHERE b.day = a.day AND b.lead = 0 AND b.revision > a.revision)"
            " ORDER BY day DESC LIMIT 1"
        ).fetchone()
    return str(row[0]) if row else None
