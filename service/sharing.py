"""Which feeds' readings may be shown to others.

A feed with `redistribute = false` makes layers, and that is all: none of its numbers leaves the house. A feed
that the archive knows and the settings no longer name is treated alike, since nobody says that it may.
"""

from __future__ import annotations

from service.readings import Archive
from service.settings import Settings


def withheld_feeds(settings: Settings, archive: Archive, variable: str) -> tuple[str, ...]:
    """Return the names of feeds of a variable (rain, level) whose readings may not be shown, sorted."""
    shared = {feed.name for feed in settings.feeds if feed.redistribute and feed.variable == variable}
    known = {feed.name for feed in settings.feeds if feed.variable == variable}
    known |= {series.feed for series in archive.series(variable)}
    return tuple(sorted(known - shared))


def withheld_because(feeds: tuple[str, ...]) -> str | None:
    """Return why values that rest on these feeds too are not shown; None where there are none."""
    if not feeds:
        return None
    named = ", ".join(feeds)
    return f"not shown: it rests on readings that may not be passed on (feed {named})"
