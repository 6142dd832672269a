"""The files of a feed on our own disk."""

from __future__ import annotations

import glob
from collections.abc import Collection
from pathlib import Path

from service.feeds.base import FeedFault
from service.feeds.compressed import plain_suffix


def local_files(given: str, suffixes: Collection[str], series_file: Path | None, feed: str) -> list[Path]:
    """Return the files that a path, a folder or a glob stands for, sorted; the series file is none of them.

    Of a folder those that end as stated, compressed or not. Raises FeedFault where there is none.
    """
    path = Path(given)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [item for item in path.iterdir() if plain_suffix(item) in suffixes]
        *some, last = sorted(suffixes)
        named = f"{', '.join(some)} or {last}" if some else last
        what = f"the folder {path} holds no {named} file"
    elif any(letter in given for letter in "*?["):
        found = [Path(item) for item in glob.glob(given, recursive=True)]  # noqa: PTH207 - `given` may be absolute
        what = f"no file matches {given}"
    else:
        raise FeedFault("missing", f"feed {feed}: no such file or folder: {path}; correct the feed's 'path'")
    files = sorted(
        item
        for item in found
        if item.is_file()
        and not item.name.startswith(".")
        and not (series_file and series_file.exists() and item.samefile(series_file))
    )
    if not files:
        raise FeedFault("missing", f"feed {feed}: {what}")
    return files
