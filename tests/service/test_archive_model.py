"""Promise: whatever comes in, in any order, each view of the archive is that of a plain model.

The model keeps a list of what was said and asks it again for every view. It has no index, no SQL, no order
but that of the statements.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import UsageError
from service.quality import Quality
from service.reading_values import Doubt, Finding, ForecastIssue, Reading, SeriesDay, SeriesPosition
from service.readings import Archive
from service.stamps import to_stamp

START = datetime(2026, 3, 10, tzinfo=UTC)
DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(2)]
HOURS = 6  # of the game: everything becomes known at one of them
SERIES = ("A", "B")
PLACES = [SeriesPosition(name, 11.0, 44.0) for name in SERIES]
NOWHERE = Path("there/is/no/file")  # an archive that is not made lies in memory

Kind = Literal["good", "suspect", "accepted", "rejected"]
Cell = tuple[str, date]


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


@dataclass(frozen=True)
class Said:
    """One statement about a series and day: `hour` is when it became known, `turn` when it came in."""

    hour: int
    turn: int
    kind: Kind
    value: float
    check: str = ""

    @property
    def order(self) -> tuple[int, int]:
        return self.hour, self.turn


class Model:
    """All that was said."""

    def __init__(self) -> None:
        self.said: dict[Cell, list[Said]] = defaultdict(list)
        self.ahead: list[tuple[int, int | None, str, date, Said]] = []
        self.turn = 0

    def say(self, cell: Cell, hour: int, kind: Kind, value: float, check: str = "") -> None:
        self.turn += 1
        self.said[cell].append(Said(hour, self.turn, kind, value, check))

    def arrive(self, cell: Cell, value: float, now: int, own: int | None, *, assumed: bool) -> None:
        fixed = own is not None and not assumed
        hour = now if own is None else own
        before = [item for item in self.good(cell) if not fixed or item.hour <= hour]
        last = max(before, key=lambda item: item.order, default=None)
        if last is not None and last.value == value and not (fixed and last.hour < hour):
            return
        if last is not None and not fixed:
            hour = max(now, last.hour)
        self.say(cell, hour, "good", value)

    def doubt(self, cell: Cell, value: float, check: str, evidence: int | None) -> None:
        about = [item for item in self.said[cell] if item.value == value]
        if any(item.kind in ("accepted", "rejected") or item.check == check for item in about):
            return
        first = min(item.hour for item in about if item.kind == "good")
        self.say(cell, max(first, evidence or 0), "suspect", value, check)

    def decide(self, cell: Cell, value: float, now: int, kind: Kind) -> None:
        self.say(cell, max(now, *(item.hour for item in self.said[cell])), kind, value)

    def good(self, cell: Cell) -> list[Said]:
        return [item for item in self.said[cell] if item.kind in ("good", "accepted")]

    # --- views ---

    def decision(self, cell: Cell, value: float, by: int) -> Kind | None:
        decisions = [
            item
            for item in self.said[cell]
            if item.value == value and item.hour <= by and item.kind in ("accepted", "rejected")
        ]
        return max(decisions, key=lambda item: item.order).kind if decisions else None

    def checks(self, cell: Cell, value: float, by: int) -> set[str]:
        return {
            item.check for item in self.said[cell] if item.value == value and item.hour <= by and item.check
        }

    def stands(self, cell: Cell, by: int, *, trusting: bool = False) -> Said | None:
        """What stands at an hour; `trusting`: if no check had doubted anything."""

        def may(item: Said) -> bool:
            decision = self.decision(cell, item.value, by)
            if decision is not None:
                return decision == "accepted"
            return trusting or not self.checks(cell, item.value, by)

        candidates = [item for item in self.good(cell) if item.hour <= by and may(item)]
        return max(candidates, key=lambda item: item.order, default=None)

    def suspects(self, by: int) -> set[tuple[Cell, float, frozenset[str], Kind | None, bool]]:
        found = set()
        for cell, items in self.said.items():
            for value in {item.value for item in items}:
                checks, decision = self.checks(cell, value, by), self.decision(cell, value, by)
                would = self.stands(cell, by, trusting=True)
                is_open = decision is None and would is not None and would.value == value
                if checks:
                    found.add((cell, value, frozenset(checks), decision, is_open))
        return found

    def foretold(self, issue: int, member: int | None, cell: Cell, by: int) -> float | None:
        said = [
            item
            for issued, of, series, day, item in self.ahead
            if (issued, of, series, day) == (issue, member, *cell) and item.hour <= by
        ]
        return max(said, key=lambda item: item.order).value if said else None


class Game:
    """Plays moves on the archive and on the model alike."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.model = archive, Model()
        archive.add_series("gauges", "rain", PLACES, at(-1000))

    def arrive(self, cell: Cell, value: float, now: int, own: int | None, *, assumed: bool) -> None:
        known_at = None if own is None else at(own)
        reading = Reading("gauges", "rain", *cell, value, known_at, known_at_assumed=assumed)
        self.archive.add([reading], at(now))
        self.model.arrive(cell, value, now, own, assumed=assumed)

    def again(self, pick: int, now: int, own: int | None) -> None:
        """Deliver once more what was delivered before."""
        cells = sorted((cell, item.value) for cell in self.model.said for item in self.model.good(cell))
        if cells:
            self.arrive(*cells[pick % len(cells)], now, own, assumed=False)

    def doubt(self, pick: int, check: str, evidence: int | None) -> None:
        cells = sorted({(cell, item.value) for cell in self.model.said for item in self.model.good(cell)})
        if cells:
            cell, value = cells[pick % len(cells)]
            when = None if evidence is None else at(evidence)
            finding = Finding(check, "why", extreme=check == "step")
            self.archive.doubt(
                [Doubt(SeriesDay("gauges", "rain", *cell), value, (finding,), when)], at(HOURS)
            )
            self.model.doubt(cell, value, check, evidence)

    def decide(self, pick: int, now: int, kind: Kind) -> None:
        listed = self.archive.suspects("rain", open_only=False)
        if not listed:
            return
        suspect = listed[pick % len(listed)]
        cell = (suspect.at.series, suspect.at.day)
        act = self.archive.accept if kind == "accepted" else self.archive.reject
        if self.model.decision(cell, suspect.value, HOURS * 2) is not None:
            with pytest.raises(UsageError, match="already"):
                act(suspect.number, "A. Rossi", "seen", at(now))
        else:
            act(suspect.number, "A. Rossi", "seen", at(now))
            self.model.decide(cell, suspect.value, now, kind)

    def reject_standing(self, cell: Cell, now: int) -> None:
        standing = self.model.stands(cell, HOURS * 2)
        place = SeriesDay("gauges", "rain", *cell)
        if standing is None:
            with pytest.raises(UsageError, match="no good reading"):
                self.archive.reject_reading(place, "A. Rossi", "wrong", at(now))
        else:
            self.archive.reject_reading(place, "A. Rossi", "wrong", at(now))
            self.model.decide(cell, standing.value, now, "rejected")

    def take_back(self, cell: Cell, now: int) -> None:
        rejected = [
            row
            for row in self.archive.history("gauges", "rain", *cell)
            if row.quality is Quality.REJECTED
            and self.model.decision(cell, row.value, HOURS * 2) == "rejected"
        ]
        if rejected:
            self.archive.accept(rejected[-1].row, "B. Neri", "right after all", at(now))
            self.model.decide(cell, rejected[-1].value, now, "accepted")

    def foretell(self, cell: Cell, value: float, now: int, issue: int, member: int | None) -> None:
        self.archive.add_series("outlook", "rain", PLACES, at(-1000))
        reading = Reading("outlook", "rain", *cell, value, None, at(issue), member)
        self.archive.add([reading], at(now))
        before = [
            item
            for issued, of, series, day, item in self.model.ahead
            if (issued, of, series, day) == (issue, member, *cell)
        ]
        last = max(before, key=lambda item: item.order, default=None)
        if last is None or last.value != value:
            self.model.turn += 1
            hour = max(now, last.hour) if last else now
            self.model.ahead.append((issue, member, *cell, Said(hour, self.model.turn, "good", value)))

    # --- views ---

    def compare(self, by: int | None) -> None:
        """Compare all that the archive shows as of an hour; None: now."""
        as_of, hour = (None, HOURS * 2) if by is None else (at(by), by)
        archive, model = self.archive, self.model
        cells = [(series, day) for day in DAYS for series in SERIES]
        for trusting in (False, True):
            lifted = [SeriesDay("gauges", "rain", *cell) for cell in cells] if trusting else []
            seen = archive.values("rain", DAYS, as_of, suspects=lifted)
            assert [item.id for item in seen.series] == list(SERIES)
            for row, day in enumerate(DAYS):
                stand = [model.stands((series, day), hour, trusting=trusting) for series in SERIES]
                assert numbers(seen.value[row]) == [item and item.value for item in stand]
                newest = max((item.hour for item in stand if item), default=None)
                assert seen.known_at_by_day[row] == (None if newest is None else to_stamp(at(newest)))
        told = {
            (
                (item.at.series, item.at.day),
                item.value,
                frozenset(finding.check for finding in item.findings),
                item.decided,
                item in archive.suspects(as_of=as_of),
            )
            for item in archive.suspects(as_of=as_of, open_only=False)
        }
        assert told == model.suspects(hour)
        self.compare_forecasts(as_of, hour)

    def compare_forecasts(self, as_of: datetime | None, hour: int) -> None:
        known = [item for item in self.model.ahead if item[4].hour <= hour]
        issues = {issued for issued, *_ in known}
        told = self.archive.issues("rain", as_of)
        assert [item.issued_at for item in told] == [at(issued) for issued in sorted(issues, reverse=True)]
        for item in told:
            of_issue = [said for said in known if at(said[0]) == item.issued_at]
            assert set(item.members) == {said[1] for said in of_issue}
            assert (item.first, item.last) == (
                min(said[3] for said in of_issue),
                max(said[3] for said in of_issue),
            )
            assert item.known_at == at(min(said[4].hour for said in of_issue))
            for member in item.members:
                issue = ForecastIssue("outlook", item.issued_at, item.first, member)
                seen = self.archive.forecast_values("rain", DAYS, issue, as_of)
                number = (item.issued_at - START) // timedelta(hours=1)
                for row, day in enumerate(DAYS):
                    assert numbers(seen.value[row]) == [
                        self.model.foretold(number, member, (series, day), hour) for series in SERIES
                    ]

    def compare_newest(self) -> None:
        """Compare what only the newest knowledge is asked for."""
        archive, model, now = self.archive, self.model, HOURS * 2
        standing = {cell: item for cell in list(model.said) if (item := model.stands(cell, now)) is not None}
        days = [day for _, day in standing]
        assert (archive.first_day(), archive.newest_day("rain")) == (
            min(days, default=None),
            max(days, default=None),
        )
        shown = {(item.series, item.day): item for item in archive.newest_by_day("rain", DAYS[0])}
        assert set(shown) == {cell for cell, items in model.said.items() if items}
        for cell, reading in shown.items():
            if cell in standing:
                assert (reading.quality, reading.value) == (Quality.GOOD, standing[cell].value)
            else:
                assert reading.quality is not Quality.GOOD
        for until in DAYS:
            newest = {
                series: max(day for name, day in shown if name == series and day <= until)
                for series in SERIES
                if any(name == series and day <= until for name, day in shown)
            }
            assert archive.latest_readings("rain", until) == [
                shown[series, day] for series, day in sorted(newest.items())
            ]

    def compare_open(self) -> None:
        """Compare the counts of open suspects, which the archive keeps up to date as it goes."""
        counts = Counter(
            ("gauges", check)
            for _, _, checks, _, is_open in self.model.suspects(HOURS * 2)
            if is_open
            for check in checks
        )
        assert self.archive.suspect_counts() == dict(counts)


def numbers(values: object) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]  # type: ignore[attr-defined]


# Most of what happens, happens to one day: that is where orders matter.
CELLS = st.sampled_from([("A", DAYS[0])] * 4 + [("A", DAYS[1]), ("B", DAYS[0]), ("B", DAYS[1])])
VALUES = st.sampled_from([12.5, 234.625, 0.0])
HOUR = st.integers(0, HOURS)
OWN = st.one_of(st.none(), HOUR)
PICK = st.integers(0, 20)
ARRIVE = st.tuples(st.just("arrive"), CELLS, VALUES, HOUR, OWN, st.booleans())
AGAIN = st.tuples(st.just("again"), PICK, HOUR, OWN)
DOUBT = st.tuples(st.just("doubt"), PICK, st.sampled_from(["step", "flat_line"]), OWN)
DECIDE = st.tuples(st.just("decide"), PICK, HOUR, st.sampled_from(["accepted", "rejected"]))
REJECT = st.tuples(st.just("reject_standing"), CELLS, HOUR)
TAKE_BACK = st.tuples(st.just("take_back"), CELLS, HOUR)
FORETELL = st.tuples(st.just("foretell"), CELLS, VALUES, HOUR, HOUR, st.sampled_from([None, 0, 1]))
MOVES = st.one_of(ARRIVE, ARRIVE, AGAIN, DOUBT, DOUBT, DECIDE, REJECT, TAKE_BACK, FORETELL)


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, min_size=6, max_size=20))
def test_every_view_of_any_history_is_that_of_the_model(moves: list[tuple[object, ...]]) -> None:
    with Archive(NOWHERE, lambda: START, make=False) as archive:
        game = Game(archive)
        for name, *given_ in moves:
            if name == "arrive":
                *most, assumed = given_
                game.arrive(*most, assumed=assumed and most[-1] is not None)  # type: ignore[arg-type]
            else:
                getattr(game, str(name))(*given_)
            game.compare_open()
        for by in (None, *range(-1, HOURS + 1)):
            game.compare(by)
        game.compare_newest()
