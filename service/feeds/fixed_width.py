"""Lines of fixed-width text into readings: a day a line, or a month a line as in GHCN-Daily."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from datetime import date, datetime

from service.feeds.lines import Line, is_text
from service.feeds.parsing import CellFault, Days, Numbers
from service.quality import Observation, Reason, Rejection
from service.settings_csv import Columns, FixedWidth

_DAYS = 31


def fixed_width_reader(
    fixed: FixedWidth, file: str, encoding: str, days: Days, numbers: Numbers
) -> Callable[[Line], Iterator[Observation | Rejection]]:
    """Return a reader of lines, which raises CellFault for one that cannot be used at all."""

    def read(line: Line) -> Iterator[Observation | Rejection]:
        text = line.text
        if not is_text(text):
            raise CellFault(
                Reason.ENCODING, f"holds bytes that are not {encoding}; set the feed's 'encoding'"
            )
        if fixed.select is not None and _cut(text, fixed.select) != fixed.selected:
            if line.last and not line.ended and len(text) < fixed.select[1]:
                raise CellFault(Reason.TRUNCATED, _SHORT)
            return
        series = _cut(text, fixed.series)
        if not series:
            raise CellFault(Reason.UNKNOWN_SERIES, "names no series")
        last_column = max(columns[1] for columns in (fixed.value, fixed.quality) if columns)
        if fixed.month is not None:
            last_column += (_DAYS - 1) * fixed.step
        # Blanks cut off at a line's end are no loss; a line without a newline may have lost more.
        if line.last and not line.ended and len(text) < last_column:
            raise CellFault(Reason.TRUNCATED, _SHORT)
        if fixed.month is not None:
            yield from month(line, series, fixed.month)
            return
        assert fixed.day is not None  # noqa: S101 - for the type checker
        written = _cut(text, fixed.day)
        yield from one(line, series, written, lambda: days.read(written), 0)

    def month(line: Line, series: str, columns: Columns) -> Iterator[Observation | Rejection]:
        written = _cut(line.text, columns)
        try:
            first = datetime.strptime(written, fixed.month_format).date()  # noqa: DTZ007 - a month has no zone
        except ValueError as error:
            raise CellFault(
                Reason.DATE, f"{written!r} is not a month of the form {fixed.month_format!r} (month_format)"
            ) from error
        length = calendar.monthrange(first.year, first.month)[1]
        for place in range(_DAYS):
            name = f"{first.year:04}-{first.month:02}-{place + 1:02}"

            def at(number: int = place + 1) -> tuple[date, str]:
                if number > length:
                    raise CellFault(
                        Reason.DATE, f"the month has {length} days, and there is a value for day {number}"
                    )
                return days.of(first.replace(day=number))

            yield from one(line, series, name, at, place * fixed.step)

    def one(
        line: Line, series: str, written: str, at: Callable[[], tuple[date, str]], offset: int
    ) -> Iterator[Observation | Rejection]:
        cell = _cut(line.text, fixed.value, offset)
        flag = "" if fixed.quality is None else _cut(line.text, fixed.quality, offset)
        raw = f"{cell} {flag}".strip()
        try:
            value = numbers.read(cell)
            if value is None:
                return
            day, ends_at = at()
            if flag and flag not in fixed.quality_accepted:
                raise CellFault(Reason.FLAGGED, f"the source doubts {cell} itself: quality flag {flag!r}")
        except CellFault as fault:
            yield Rejection(file, line.row, raw, fault.reason, fault.detail, series, written)
            return
        yield Observation(series, day, value, ends_at, file, line.row, raw)

    return read


_SHORT = "the file ends without a newline before this row's last column, so it may be cut"


def _cut(text: str, columns: Columns, offset: int = 0) -> str:
    return text[columns[0] - 1 + offset : columns[1] + offset].strip()
