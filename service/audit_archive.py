"""One ZIP archive with a checksum of every file in it: the same contents make the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

CHECKSUMS = "SHA256SUMS"
_CHUNK = 1 << 20


class EvidenceArchive:
    """Writes files below one folder of a ZIP archive, dated by the moment that the archive speaks of."""

    def __init__(self, file: Path, folder: str, moment: datetime) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self._folder = folder
        utc = moment.astimezone(UTC)
        self._moment = (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second)
        self._digests: dict[str, str] = {}

    def text(self, name: str, text: str) -> None:
        """Write a text."""
        self.data(name, text.encode())

    def json(self, name: str, value: Any) -> None:
        """Write an object as JSON."""
        self.text(name, json.dumps(value, indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n")

    def data(self, name: str, content: bytes) -> None:
        """Write bytes."""
        with self._open(name) as file:
            file.write(content)

    def copy(self, name: str, source: Path) -> None:
        """Write what a file holds, read piece by piece."""
        with source.open("rb") as read, self._open(name) as file:
            while chunk := read.read(_CHUNK):
                file.write(chunk)

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
        """Write a table as CSV (RFC 4180, UTF-8) and return its rows; nothing known is an empty field."""
        count = 0
        with self._open(name) as file:
            line = io.StringIO(newline="")
            writer = csv.writer(line)
            writer.writerow(columns)
            for row in rows:
                writer.writerow(["" if value is None else value for value in row])
                count += 1
                if line.tell() >= _CHUNK:
                    file.write(line.getvalue().encode())
                    line.seek(0)
                    line.truncate()
            file.write(line.getvalue().encode())
        return count

    def close(self) -> None:
        """Write the checksums, in the form that `sha256sum -c` reads, and end the archive."""
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self._digests.items())]
        self.text(CHECKSUMS, "".join(lines))
        self._zip.close()

    def abandon(self) -> None:
        """Close the file, whatever is in it."""
        self._zip.close()

    @contextmanager
    def _open(self, name: str) -> Iterator[_Hashing]:
        info = zipfile.ZipInfo(f"{self._folder}/{name}", self._moment)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        with self._zip.open(info, "w", force_zip64=True) as file:
            hashing = _Hashing(file)
            yield hashing
        self._digests[name] = hashing.digest


class _Hashing:
    """Passes bytes on and remembers their digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()
