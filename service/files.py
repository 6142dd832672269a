"""Files that appear whole or not at all, and digests of what is in them."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

# Folders inside the data folder in which others may be at work while a run sweeps up; they sweep themselves.
SHADOW, CHALLENGER, PROMOTED, DETECTIONS = "shadow", "challenger", "bundles", "detections"
_OTHERS = (SHADOW, CHALLENGER, PROMOTED, DETECTIONS)

_CHUNK = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed onto `path`.

    A reader sees the old file or the new one. On an error the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because GDAL and others choose a format by it.
    temporary = path.with_name(f".{uuid4().hex[:12]}.part{path.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is synced and renamed to `path`.

    `path` must not exist as a non-empty folder at the end: finished folders are never rewritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex[:12]}.part")
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                sync_file(file)
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", "utf-8")


def remove_leftovers(folder: Path) -> int:
    """Remove what a killed run left behind (`.*.part*`) below `folder`; return how many.

    Folders in which others may be at work are not looked into, nor is what a link leads to.
    """
    count = 0
    # Of what others remove meanwhile, walk says nothing; a link to a folder is not gone into.
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in _OTHERS]
        for name in [*folders, *names]:
            if not fnmatch.fnmatchcase(name, ".*.part*"):
                continue
            leftover = Path(place, name)
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
            count += 1
        folders[:] = [name for name in folders if not fnmatch.fnmatchcase(name, ".*.part*")]
    return count


def sync_file(path: Path) -> None:
    """Force a file's contents to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(*parts: Any) -> str:
    """Return the SHA-256 of JSON-able parts (numbers, strings, lists, dicts), as 64 hex digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
