"""Cells of a table into values: numbers with units and no-data codes, days with time zones."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from service.quality import Reason
from service.stamps import to_stamp

# To the stored unit: mm of rain, m of level.
UNITS: dict[str, dict[str, float]] = {
    "rain": {"mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4},
    "level": {"m": 1.0, "cm": 0.01, "ft": 0.3048},
}

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_WITH_TIME = re.compile(r"%[HIMSfpcX]")
_REMEMBERED = 50_000
EPOCH = "epoch"  # the day_format of seconds since 1970, UTC


class CellFault(Exception):
    """A cell that cannot be read, with the reason for its rejection."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Numbers:
    """Reads numbers of one unit into the stored unit. `scale` comes before the unit: 0.1 for tenths."""

    def __init__(self, factor: float, decimal: str, nodata: Iterable[str], scale: float = 1.0) -> None:
        # 3 times 0.1 is not 0.3, 3 divided by 10 is.
        part = Fraction(scale).limit_denominator(1_000_000)
        self._times, self._by = part.numerator * factor, part.denominator
        self._comma = decimal == ","
        self._codes = {code.strip() for code in nodata}
        # A code that is a number is one however it is written: -9999 is also -9999.0.
        self._numeric_codes = {
            number for code in self._codes if _PLAIN.fullmatch(code) and math.isfinite(number := float(code))
        }

    def read(self, text: str) -> float | None:
        """Return the value in the stored unit, or None for a no-data code. Raises CellFault."""
        text = text.strip()
        if text in self._codes:
            return None
        plain = text.replace(",", ".") if self._comma and "." not in text and text.count(",") == 1 else text
        if not _PLAIN.fullmatch(plain):
            raise self._fault(text)
        number = float(plain)
        if number in self._numeric_codes:
            return None
        if self._comma and "." in text:
            raise CellFault(
                Reason.NUMBER, f'{text[:40]!r} has a decimal point, and the feed\'s setting is decimal = ","'
            )
        if not math.isfinite(number):
            raise CellFault(Reason.NOT_FINITE, f"{text[:40]!r} is not a finite number")
        return number * self._times / self._by

    def take(self, number: float) -> float | None:
        """Return a number that came as one in the stored unit; see `read`."""
        if number in self._numeric_codes:
            return None
        if not math.isfinite(number):
            raise CellFault(Reason.NOT_FINITE, f"{number!r} is not a finite number")
        return number * self._times / self._by

    def _fault(self, text: str) -> CellFault:
        if _NOT_FINITE.fullmatch(text):
            return CellFault(
                Reason.NOT_FINITE, f"{text!r} is not a finite number; if it means no data, add it to 'nodata'"
            )
        hint = ""
        if not self._comma and _WITH_COMMA.fullmatch(text):
            hint = '; for commas as decimal points set decimal = ","'
        return CellFault(Reason.NUMBER, f"{text[:40]!r} is not a number{hint}")


class Days:
    """Reads a feed's days into the region's: the day that holds the middle of the total's interval.

    `day_format` is one of strptime's, or "epoch". `shift` leads from the date that is written to the one on
    which its interval starts.
    """

    def __init__(
        self,
        day_format: str,
        zone: ZoneInfo,
        boundary: time,
        region: ZoneInfo,
        shift: timedelta = timedelta(0),
    ) -> None:
        self._shift = shift
        self._format = day_format
        self._has_time = _WITH_TIME.search(day_format) is not None
        self._zone = zone
        self._boundary = boundary
        self._region = region
        self._known: dict[str, tuple[date, str]] = {}

    def read(self, text: str) -> tuple[date, str]:
        """Return the region's day, and when the interval ends (UTC stamp). Raises CellFault."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[text] = self._read(text.strip())
        return known

    def _read(self, text: str) -> tuple[date, str]:
        try:
            if self._format == EPOCH:
                moment = datetime.fromtimestamp(int(text), UTC)
            else:
                moment = datetime.strptime(text, self._format)  # noqa: DTZ007 - the feed's zone comes below
        except (ValueError, OverflowError, OSError) as error:
            raise CellFault(
                Reason.DATE, f"{text[:40]!r} is not a day of the form {self._format!r} (day_format)"
            ) from error
        if moment.tzinfo is not None:
            moment = moment.astimezone(self._zone)
        if (self._has_time or self._format == EPOCH) and moment.time() != self._boundary:
            raise CellFault(
                Reason.DATE,
                f"{text[:40]!r} has the time {moment.time()}, and the feed's day begins at {self._boundary} "
                f"in {self._zone.key}; set day_boundary and timezone, or give daily values",
            )
        return self.of(moment.date())

    def region_day(self, moment: datetime) -> date:
        """Return the region's calendar day of a moment."""
        return moment.astimezone(self._region).date()

    def of(self, day: date) -> tuple[date, str]:
        """Return the region's day of a date that is known, and when the interval ends (UTC stamp)."""
        try:
            return interval_of(day + self._shift, self._zone, self._boundary, self._region)
        except OverflowError as error:
            raise CellFault(Reason.DATE, f"{day} is outside the calendar") from error


def interval_of(day: date, zone: ZoneInfo, boundary: time, region: ZoneInfo) -> tuple[date, str]:
    """Return the region's day of a feed's day that begins at `boundary` in `zone`, and its end (UTC stamp).

    The interval runs to the next day's boundary, so it lasts 23 or 25 hours where clocks change.
    """
    start = datetime.combine(day, boundary, zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), boundary, zone).astimezone(UTC)
    return (start + (end - start) / 2).astimezone(region).date(), to_stamp(end)
