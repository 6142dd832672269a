"""Lines and cells of delimited text, streamed; faults of the whole file named by file and row."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.feeds.base import FeedFault
from service.feeds.compressed import open_unpacked

_LONGEST_LINE = 1 << 20
_MOST_BYTES = 1 << 32
_SEPARATORS = (",", ";", "\t", "|")


class Line(NamedTuple):
    """A line that is not blank: its row in the file (from 1), its text, and how the file goes on."""

    row: int
    text: str
    last: bool
    ended: bool  # by a newline


def read_lines(
    path: Path, encoding: str, feed: str, label: str = "", most_bytes: int = _MOST_BYTES
) -> Iterator[Line]:
    """Yield the lines of a text file, compressed or not, that are not blank.

    Bytes that are no text arrive as lone surrogates (see `is_text`), so that one of them costs one row.
    `label` names the file in messages; default: its path.

    Raises FeedFault where the file is missing, empty, unreadable, a web page or JSON.
    """
    label = label or str(path)
    held: Line | None = None
    row = 0
    try:
        name = codecs.lookup(encoding).name
        # A byte order mark is not part of the first column's name.
        with (
            open_unpacked(path, most_bytes, label, feed) as raw,
            io.TextIOWrapper(
                raw, "utf-8-sig" if name == "utf-8" else name, errors="surrogateescape", newline=""
            ) as file,
        ):
            while text := file.readline(_LONGEST_LINE):
                row += 1
                ended = text[-1] in "\r\n"
                if len(text) >= _LONGEST_LINE and not ended:
                    raise FeedFault(
                        "not_csv",
                        f"feed {feed}: {label} row {row} is longer than a table's row can be; not CSV?",
                    )
                text = text.rstrip("\r\n")
                if not text or text.isspace():
                    continue
                if held is None:
                    _refuse_documents(text, label, row, feed)
                else:
                    yield held
                held = Line(row, text, False, ended)
    except LookupError as error:
        raise FeedFault(
            "settings", f"feed {feed}: unknown encoding {encoding!r}; use utf-8, latin-1, cp1252 or utf-16"
        ) from error
    except UnicodeError as error:
        raise FeedFault(
            "encoding",
            f"feed {feed}: {label} row {row + 1} cannot be decoded as {encoding}: {error}; "
            "set the feed's 'encoding'",
        ) from error
    except OSError as error:
        raise FeedFault("unreadable", f"feed {feed}: {label} cannot be read: {error.strerror}") from error
    if held is None:
        raise FeedFault("empty", f"feed {feed}: {label} is empty")
    yield held._replace(last=True)


def split(text: str, separator: str) -> list[str]:
    """Return a line's cells. Raises csv.Error for a quote that does not end within the line."""
    if '"' not in text:
        return text.split(separator)
    return next(csv.reader([text], delimiter=separator, strict=True))


def is_text(text: str) -> bool:
    """Tell whether every byte could be decoded."""
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)


def read_header(
    line: Line, separator: str, wanted: Sequence[str], label: str, encoding: str, feed: str
) -> list[str]:
    """Return the names in a header line. Raises FeedFault that says what is expected and what is there."""
    if not is_text(line.text):
        raise FeedFault(
            "encoding",
            f"feed {feed}: {label} row {line.row} holds bytes that are not {encoding}; "
            "set the feed's 'encoding'",
        )
    try:
        names = [name.strip() for name in split(line.text, separator)]
    except csv.Error as error:
        raise FeedFault("columns", f"feed {feed}: {label} row {line.row}: {error}") from error
    missing = [name for name in wanted if name not in names]
    if missing:
        raise FeedFault(
            "columns",
            f"feed {feed}: {label} row {line.row} lacks the column{'s' if len(missing) > 1 else ''} "
            f"{_listed(missing)}; expected are {_listed(wanted)}, there are {_listed(names)}"
            + _separator_hint(line.text, separator, wanted),
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise FeedFault(
            "columns", f"feed {feed}: {label} row {line.row} names the column {_listed(twice)} more than once"
        )
    return names


def find_separator(text: str, first: str, wanted: Sequence[str]) -> str:
    """Return the first separator that splits a header into all wanted names; `first` if none does."""
    for separator in (first, *_SEPARATORS):
        try:
            names = {name.strip() for name in split(text, separator)}
        except csv.Error:
            continue
        if names.issuperset(wanted):
            return separator
    return first


def _separator_hint(text: str, separator: str, wanted: Sequence[str]) -> str:
    other = find_separator(text, separator, wanted)
    if other != separator:
        return f"; they are there with separator = {other!r}: set it"
    # None of them splits into what is wanted, but the given one does not split at all.
    if separator not in text:
        for candidate in _SEPARATORS:
            if candidate in text:
                return f"; the columns seem to be separated by {candidate!r}: set separator = {candidate!r}"
    return ""


def _refuse_documents(text: str, label: str, row: int, feed: str) -> None:
    start = text.lstrip("\ufeff \t")
    shown = start[:60]
    if start.startswith("<"):
        raise FeedFault(
            "not_csv",
            f"feed {feed}: {label} row {row} looks like a web page, not CSV: {shown!r}; "
            "its source probably answered with an error, so fetch it again",
        )
    if start.startswith(("{", "[")):
        raise FeedFault("not_csv", f"feed {feed}: {label} row {row} looks like JSON, not CSV: {shown!r}")
    if "\0" in start:
        raise FeedFault(
            "not_csv",
            f"feed {feed}: {label} row {row} is binary, not text in the feed's encoding; "
            "if it came from a spreadsheet program, set encoding = 'utf-16' or save it as CSV",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
