"""Where the steps of a raster product are found: one file each, or layers of files that say their times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from service.feed_log import Problem
from service.feeds.base import FeedContext, FeedFault
from service.feeds.http import Expect, Http
from service.feeds.http_secrets import Masker
from service.feeds.raster_open import Opened, Ranges, is_packed_name, open_file, open_ranges
from service.feeds.raster_templates import Step, dated, fill, matching_files
from service.settings_raster import RasterFeed, RasterProduct

_OPEN_AT_MOST = 4
_EXPECTED: dict[str, Expect] = {"geotiff": "tiff", "netcdf": "netcdf", "raw": "any"}


@dataclass(frozen=True)
class Layer:
    """One band of a file that is open, for as long as no other files push it out."""

    opened: Opened
    band: int


class RasterSources:
    """The files of a feed's products, opened when they are asked for; a few stay open."""

    def __init__(self, settings: RasterFeed, context: FeedContext) -> None:
        self._settings = settings
        self._context = context
        self._shown = Masker()
        # What came of an address: a file that is open, nothing there (None), or why it cannot be used.
        self._open: OrderedDict[str, tuple[Opened, ExitStack]] = OrderedDict()
        self._useless: dict[str, FeedFault | None] = {}
        self._stamped: dict[str, dict[datetime, str]] = {}  # of paths without days: time -> file
        self.requests = 0
        self.problems: list[Problem] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _opened, stack in self._open.values():
            stack.close()
        self._open.clear()

    @cached_property
    def _http(self) -> Http:
        return Http(self._settings.name, self._settings.http, self._context)

    def layer(self, product: RasterProduct, version: str, step: Step) -> Layer | None:
        """Return the band that holds a step, or None where it is not there (yet).

        Raises FeedFault where what is there cannot be used, or nothing can be asked for.
        """
        place = product.place
        moment = _moment(step, self._settings.band_time)
        if dated(place):
            address: str | None = fill(place, step, version, self._zone)
        else:
            address = self._file_with(product, moment)
        opened = None if address is None else self._opened(product, address)
        if opened is None:
            return None
        if opened.times is not None:
            band = opened.times.get(moment)
            return None if band is None else Layer(opened, band)
        band = step.number + 1 if self._settings.band == "step" else self._settings.band
        if band > opened.bands:
            raise FeedFault(
                "format",
                f"feed {self._settings.name}: {opened.label} has {opened.bands} bands, and band {band} is "
                "asked for; correct the feed's 'band'",
            )
        return Layer(opened, band)

    @cached_property
    def _zone(self) -> ZoneInfo:
        return zone_of(self._settings, self._context)

    def _opened(self, product: RasterProduct, address: str) -> Opened | None:
        if address in self._open:
            self._open.move_to_end(address)
            return self._open[address][0]
        if address in self._useless:
            fault = self._useless[address]
            if fault is None:
                return None
            raise fault
        self.requests += 1
        try:
            found = self._open_local(address) if product.path else self._open_remote(address)
        except FeedFault as fault:
            self._useless[address] = fault
            raise
        if found is None:
            self._useless[address] = None
            return None
        self._open[address] = found
        while len(self._open) > _OPEN_AT_MOST:
            _, (_, stack) = self._open.popitem(last=False)
            stack.close()
        return found[0]

    def _open_local(self, address: str) -> tuple[Opened, ExitStack] | None:
        path = Path(address)
        if not path.is_file():
            return None
        return self._entered(open_file(path, str(path), self._settings, self._context.folder))

    def _open_remote(self, address: str) -> tuple[Opened, ExitStack] | None:
        shown = self._shown(address)
        packed = is_packed_name(urlsplit(address).path)
        if self._settings.read == "window" and self._settings.format == "geotiff" and not packed:
            try:
                file = self._http.open_range(address, expect="tiff")
            except FeedFault as fault:
                if fault.reason == "absent":
                    return None
                raise
            stack = ExitStack()
            stack.callback(file.close)
            try:
                return stack.enter_context(open_ranges(Ranges(file), shown, self._settings)), stack
            except FeedFault:
                stack.close()
                raise
        expect: Expect = "any" if packed else _EXPECTED[self._settings.format]
        reply = self._http.get(address, expect=expect, absent_ok=True)
        if reply is None:
            return None
        try:
            return self._entered(open_file(reply.path, shown, self._settings, self._context.folder))
        except FeedFault:
            reply.forget()
            raise

    def _entered(self, manager: AbstractContextManager[Opened]) -> tuple[Opened, ExitStack]:
        stack = ExitStack()
        return stack.enter_context(manager), stack

    def _file_with(self, product: RasterProduct, moment: datetime) -> str | None:
        """Return the file that has a layer of a moment; of several, the one changed last."""
        pattern = product.place
        if pattern not in self._stamped:
            files = []
            for name in matching_files(pattern):
                with suppress(OSError):
                    files.append((Path(name).stat().st_mtime_ns, name))
            stamped: dict[datetime, str] = {}
            for _, name in sorted(files):
                for time in self._times_in(product, name):
                    stamped[time] = name
            self._stamped[pattern] = stamped
        return self._stamped[pattern].get(moment)

    def _times_in(self, product: RasterProduct, name: str) -> Iterable[datetime]:
        try:
            opened = self._opened(product, name)
        except FeedFault as fault:
            self.problems.append(Problem(fault.reason, str(fault)))  # it spares the other files
            return ()
        if opened is None or opened.times is None:
            what = f"feed {self._settings.name}: {name} says no times; name the day in the feed's 'path'"
            self.problems.append(Problem("format", what))
            return ()
        return opened.times


def zone_of(settings: RasterFeed, context: FeedContext) -> ZoneInfo:
    """Return the zone of a feed's day boundary. Raises FeedFault where there is no such zone."""
    try:
        return ZoneInfo(settings.timezone) if settings.timezone else context.region_timezone
    except (KeyError, ValueError, OSError) as error:
        raise FeedFault(
            "settings",
            f"feed {settings.name}: unknown time zone {settings.timezone!r}; use a name such as Europe/Rome",
        ) from error


def _moment(step: Step, band_time: str) -> datetime:
    if band_time == "start":
        return step.start
    return step.end if band_time == "end" else step.start + (step.end - step.start) / 2
