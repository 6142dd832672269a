"""What a server replied, on disk, and the replies that are kept so that they need not be sent again."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from service.feeds.base import FeedFault
from service.feeds.http_content import LOOKED_AT, first_words
from service.files import sha256_file

_KEPT_FOR = timedelta(days=3)  # after its last use


@dataclass(frozen=True)
class Reply:
    """One body. `unchanged`: the server said that the one kept from before still holds."""

    url: str  # that gave it, after redirects; without secrets
    path: Path  # until the feed is fetched again some days later
    content_type: str
    fetched_at: datetime
    unchanged: bool
    modified: datetime | None  # Last-Modified
    feed: str = ""

    def bytes(self) -> bytes:
        """Return the body."""
        return self.path.read_bytes()

    def text(self, encoding: str = "utf-8") -> str:
        """Return the body as text, without a byte order mark. Raises FeedFault where it is none."""
        body = self.bytes()
        try:
            return body.decode(encoding).removeprefix("\ufeff")
        except UnicodeError as error:
            self.forget()
            raise FeedFault(
                "wrong_type", f"feed {self.feed}: {self.url} is not text in {encoding}: {error}"
            ) from error

    def json(self) -> Any:
        """Return the body's JSON, NaN as None. Raises FeedFault where it is none, or ends in the middle."""
        body = self.bytes()
        try:
            return json.loads(body, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            self.forget()
            # A fault at the very end is most likely a body cut short by a server that gave no length.
            length = len(body.decode("utf-8", "replace").rstrip())
            cut = isinstance(error, json.JSONDecodeError) and (
                error.pos >= length - 1 or error.msg.startswith("Unterminated")
            )
            reason, what = ("truncated", "ends in the middle") if cut else ("wrong_type", "is not JSON")
            raise FeedFault(
                reason,
                f"feed {self.feed}: the reply of {self.url} {what} ({error}); it begins: "
                f"{first_words(body[:LOOKED_AT])!r}",
            ) from error

    def forget(self) -> None:
        """Do not keep this body: it turned out to be of no use, and is asked for in full next time."""
        _meta(self.path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Kept:
    """A body kept from before, with what its server needs to tell whether it still holds."""

    path: Path
    etag: str
    modified: str
    content_type: str
    digest: str

    @property
    def conditions(self) -> dict[str, str]:
        """Headers of a conditional request."""
        given = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in given.items() if value}

    def is_whole(self) -> bool:
        """Tell whether the body is still what came."""
        try:
            return sha256_file(self.path) == self.digest
        except OSError:
            return False


class Replies:
    """The folder of a feed's replies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def path_of(self, key: str) -> Path:
        """Return where the body of a request lies."""
        return self.folder / f"{key[:40]}.body"

    def kept(self, key: str) -> Kept | None:
        """Return what is kept of a request, if its server can be asked whether it still holds."""
        path = self.path_of(key)
        try:
            values = json.loads(_meta(path).read_text("utf-8"))
            kept = Kept(
                path,
                str(values["etag"]),
                str(values["modified"]),
                str(values["content_type"]),
                str(values["digest"]),
            )
            return kept if path.stat().st_size == values["size"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, spooled: Path, etag: str, modified: str, content_type: str, digest: str) -> Path:
        """Take a whole body in place of the one before, and return where it lies."""
        path = self.path_of(key)
        _meta(path).unlink(missing_ok=True)
        size = spooled.stat().st_size
        spooled.replace(path)
        if etag or modified:
            values = {
                "etag": etag,
                "modified": modified,
                "content_type": content_type,
                "digest": digest,
                "size": size,
            }
            temporary = path.with_name(f".{key[:40]}.part")
            temporary.write_text(json.dumps(values), "utf-8")
            temporary.replace(_meta(path))
        return path

    def touch(self, kept: Kept) -> None:
        """Note that what is kept was used now."""
        for path in (kept.path, _meta(kept.path)):
            with suppress(OSError):
                os.utime(path)

    def _sweep(self) -> None:
        """Remove what was not used for days, and what killed runs left behind: by the disk's own times."""
        oldest = time.time() - _KEPT_FOR.total_seconds()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat().st_mtime < oldest:
                        Path(entry.path).unlink()


def moment_of(header: str) -> datetime | None:
    """Return the moment that an HTTP date says (RFC 9110), or None where it says none."""
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _meta(path: Path) -> Path:
    return path.with_suffix(".json")


def _constant(name: str) -> None:
    """NaN is no JSON, but services written in Python send it for what is missing."""
    if name != "NaN":
        raise ValueError(f"{name} is not JSON")
