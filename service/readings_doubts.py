"""Doubts about readings, and what persons decide about them: each is a new row, none changes another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from itertools import groupby
from typing import Literal

import numpy as np

from service.errors import UsageError
from service.feed_log import FeedLog
from service.quality import Quality
from service.reading_values import Doubt, Finding, SeriesDay, Suspect
from service.readings_rule import AGAINST_BY_PERSONS, Row, standing, verdicts
from service.readings_series import SeriesBook
from service.readings_views import Views
from service.sqlite import Database
from service.stamps import from_stamp, moment_of, to_stamp

_CHOSEN = "reading r JOIN series s ON s.number = r.series"
_SUSPECT = (
    "r.quality <> 'good' AND r.issued_at IS NULL AND r.quality = 'suspect'"
    " AND r.day BETWEEN :since AND :until AND r.known_at <= :moment"
    " AND (:variable IS NULL OR s.variable = :variable) AND (:feed IS NULL OR s.feed = :feed)"
)
_CLOSE = "DELETE FROM open_suspect WHERE reading = ?"
_LIST = "list them with 'colluvium readings --suspect'"


class Doubts:
    """Suspect readings in readings.sqlite. It writes inside the caller's transaction."""

    def __init__(self, database: Database, book: SeriesBook, views: Views, log: FeedLog) -> None:
        self._db = database
        self._book = book
        self._views = views
        self._log = log

    # --- checks ---

    def add(self, doubts: Iterable[Doubt], now: str) -> int:
        """See Archive.doubt."""
        kept: Counter[tuple[str, str]] = Counter()
        for doubt in doubts:
            number = self._book.number(doubt.at.variable, doubt.at.feed, doubt.at.series)
            rows = self._views.cell(number, doubt.at.day.isoformat()) if number is not None else []
            said = _said(rows, doubt.value)
            if number is None or said is None:
                raise ValueError(f"{doubt.at}: there is no reading {doubt.value:g} to doubt")
            verdict = verdicts(rows).get(said.value)
            if verdict is not None and verdict.quality != Quality.SUSPECT:
                continue  # a person has decided
            before = self._checks_against(rows, said.value)
            new = [finding for finding in doubt.findings if finding.check not in before]
            if not new:
                continue
            known_at, assumed = said.known_at, self._views.reading(said.row).known_at_assumed
            if doubt.known_at is not None and to_stamp(doubt.known_at) > known_at:
                known_at, assumed = to_stamp(doubt.known_at), doubt.known_at_assumed
            reason = ", ".join(finding.check for finding in new)
            row = self._insert(said, Quality.SUSPECT, reason, known_at, assumed=assumed)
            self._db.executemany(
                "INSERT INTO suspicion (reading, check_name, detail, extreme, noted_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [(row, finding.check, finding.detail, finding.extreme, now) for finding in new],
            )
            kept[doubt.at.feed, Quality.SUSPECT.value] += 1
            self.settle(number, doubt.at.day.isoformat())
        self._log.count(kept)
        return sum(kept.values())

    def _checks_against(self, rows: Iterable[Row], value: float) -> set[str]:
        numbers = [item.row for item in rows if item.quality == Quality.SUSPECT and item.value == value]
        return {
            name
            for number in numbers
            for (name,) in self._db.execute("SELECT check_name FROM suspicion WHERE reading = ?", (number,))
        }

    # --- persons ---

    def accept(self, number: int, by: str, reason: str, now: datetime) -> Suspect:
        """See Archive.accept."""
        return self._decide(number, by, reason, now, Quality.GOOD)

    def reject(self, number: int, by: str, reason: str, now: datetime) -> Suspect:
        """See Archive.reject."""
        return self._decide(number, by, reason, now, Quality.REJECTED)

    def reject_reading(self, at: SeriesDay, by: str, reason: str, now: datetime) -> int:
        """See Archive.reject_reading."""
        series = self._book.number(at.variable, at.feed, at.series)
        rows = self._views.cell(series, at.day.isoformat()) if series is not None else []
        row = standing(rows)
        if row is None:
            raise UsageError(
                f"no good reading of {at.feed}/{at.series} ({at.variable}) stands for {at.day}; "
                f"suspect ones are decided by their number: {_LIST}"
            )
        return self._write_decision(rows, row, by, reason, now, Quality.REJECTED)

    def _decide(self, number: int, by: str, reason: str, now: datetime, quality: Quality) -> Suspect:
        found = self._db.execute(
            "SELECT s.feed, s.variable, s.id, r.day, r.series, r.value FROM reading r"
            " JOIN series s ON s.number = r.series"
            " WHERE r.row = ? AND r.quality <> 'good' AND r.issued_at IS NULL",
            (number,),
        ).fetchone()
        if found is None:
            raise UsageError(f"there is no suspect reading {number}; {_LIST}")
        feed, variable, identity, text, series, value = found
        at = SeriesDay(feed, variable, identity, date.fromisoformat(text))
        rows = self._views.cell(series, text)
        verdict = verdicts(rows)[value]
        rejected_before = verdict.row == number and verdict.quality == Quality.REJECTED
        if verdict.quality != Quality.SUSPECT and not (rejected_before and quality is Quality.GOOD):
            was = "rejected" if verdict.quality == Quality.REJECTED else "accepted"
            undo = (
                f"to take that back: colluvium readings accept {verdict.row}"
                if was == "rejected"
                else "to take that back, reject the reading by its series and day"
            )
            raise UsageError(
                f"reading {number} ({feed}/{identity}, {text}, {value:g}) was {was} already, "
                f"{self._who(verdict)}; {undo}"
            )
        good = [item for item in rows if item.quality == Quality.GOOD and item.value == value]
        made = self._write_decision(rows, good[-1] if good else verdict, by, reason, now, quality)
        of_value = [item for item in rows if item.value == value and item.quality == Quality.SUSPECT]
        return Suspect(
            number=number,
            at=at,
            value=value,
            known_at=from_stamp(of_value[0].known_at if of_value else verdict.known_at),
            findings=self._findings(of_value),
            decided="accepted" if quality is Quality.GOOD else "rejected",
            by=by.strip(),
            why=self._views.reading(made).reason,
        )

    def _write_decision(
        self, rows: list[Row], row: Row, by: str, reason: str, now: datetime, quality: Quality
    ) -> int:
        if not by.strip() or not reason.strip():
            raise UsageError("say who decides (--by) and why (--reason)")
        # Never before what it decides about, or that would have the last word.
        known_at = max(to_stamp(now), rows[-1].known_at)
        made = self._insert(row, quality, reason.strip(), known_at, assumed=False)
        self._db.execute("INSERT INTO decision (reading, by_whom) VALUES (?, ?)", (made, by.strip()))
        decided = self._views.reading(made)
        self._log.count({(decided.feed, quality.value): 1})
        number = self._book.number(decided.variable, decided.feed, decided.series)
        day = decided.day.isoformat()
        if number is not None:
            if quality is Quality.GOOD:
                self._book.reaches(number, day, day)
            self.settle(number, day)
        return made

    def _insert(self, like: Row, quality: Quality, reason: str, known_at: str, *, assumed: bool) -> int:
        cursor = self._db.execute(
            "INSERT INTO reading (series, day, value, known_at, issued_at, member, product_version, quality,"
            " reason, known_at_assumed) SELECT series, day, value, ?, NULL, NULL, product_version, ?, ?, ?"
            " FROM reading WHERE row = ?",
            (known_at, quality.value, reason, assumed, like.row),
        )
        return int(cursor.lastrowid or 0)

    # --- looking ---

    def settle(self, number: int, day: str) -> None:
        """Note which doubted values of a series and day are open now that something was said of it."""
        rows = self._views.cell(number, day)
        doubted = _doubts_by_value(rows)
        if not doubted:
            return
        would_stand = standing(rows, AGAINST_BY_PERSONS)
        verdict = verdicts(rows)
        for value, of_value in doubted.items():
            is_open = _is_open(value, verdict, would_stand)
            act = "INSERT OR IGNORE INTO open_suspect VALUES (?)" if is_open else _CLOSE
            self._db.execute(act, (_number(of_value),))

    def doubted_on(self, day: str) -> set[int]:
        """Return the numbers of the series of which some value was doubted or rejected on a day."""
        rows = self._db.execute(
            "SELECT DISTINCT series FROM reading WHERE day = ? AND quality <> 'good' AND issued_at IS NULL",
            (day,),
        )
        return {number for (number,) in rows}

    def open_by_feed(self) -> dict[str, int]:
        """See Archive.open_suspects."""
        rows = self._db.execute(
            "SELECT s.feed, count(*) FROM open_suspect o JOIN reading r ON r.row = o.reading"
            " JOIN series s ON s.number = r.series GROUP BY s.feed"
        )
        return dict(rows.fetchall())

    def open_by_check(self) -> dict[tuple[str, str], int]:
        """See Archive.suspect_counts."""
        rows = self._db.execute(
            "SELECT s.feed, q.check_name, count(*) FROM open_suspect o"
            " CROSS JOIN reading f ON f.row = o.reading"
            " CROSS JOIN reading r ON r.day = f.day AND r.series = f.series AND r.value = f.value"
            " AND r.quality <> 'good' AND r.issued_at IS NULL AND r.quality = 'suspect'"
            " CROSS JOIN suspicion q ON q.reading = r.row JOIN series s ON s.number = f.series"
            " GROUP BY s.feed, q.check_name"
        )
        return {(feed, name): count for feed, name, count in rows}

    def suspects(
        self,
        variable: str | None,
        since: date | None,
        until: date | None,
        feed: str | None,
        as_of: datetime | None,
    ) -> Iterator[tuple[Suspect, bool]]:
        """Yield every doubted value, oldest day first, and whether it is open.

        It is open while no person has decided and no other value has come in its place.
        """
        scope = {
            "since": since.isoformat() if since else "",
            "until": until.isoformat() if until else "9999",
            "moment": moment_of(as_of),
            "variable": variable,
            "feed": feed,
        }
        findings: dict[int, list[Finding]] = {}
        for row, name, detail, extreme in self._db.execute(
            "SELECT r.row, q.check_name, q.detail, q.extreme FROM"  # noqa: S608
            f" {_CHOSEN} CROSS JOIN suspicion q ON q.reading = r.row WHERE {_SUSPECT} ORDER BY 1, 2",
            scope,
        ):
            findings.setdefault(row, []).append(Finding(name, detail, bool(extreme)))
        cell = (
            "SELECT c.day, c.variable, c.feed, c.id, r.known_at, r.row, r.value, r.quality, r.reason"
            " FROM cell c"
        )
        of_kind = (
            "CROSS JOIN reading r ON r.series = c.series AND r.day = c.day AND r.known_at <= :moment WHERE"
        )
        rows = self._db.execute(
            "WITH cell AS MATERIALIZED (SELECT DISTINCT r.day, s.variable, s.feed, s.id, r.series FROM"  # noqa: S608
            f" {_CHOSEN} WHERE {_SUSPECT})"
            f" {cell} {of_kind} r.quality = 'good' AND r.issued_at IS NULL UNION ALL"
            f" {cell} {of_kind} r.quality <> 'good' AND r.issued_at IS NULL ORDER BY 1, 2, 3, 4, 5, 6",
            scope,
        )
        for (day, of, name, identity), group in groupby(rows, key=lambda item: item[:4]):
            said = [Row(*item[4:]) for item in group]
            would_stand = standing(said, AGAINST_BY_PERSONS)
            at = SeriesDay(name, of, identity, date.fromisoformat(day))
            for item in self._of_cell(at, said, findings):
                yield item, _is_open(item.value, verdicts(said), would_stand)

    def _of_cell(
        self, at: SeriesDay, rows: list[Row], findings: dict[int, list[Finding]]
    ) -> Iterator[Suspect]:
        verdict = verdicts(rows)
        doubted = _doubts_by_value(rows)
        for value, of_value in doubted.items():
            decision = verdict[value] if verdict[value].quality != Quality.SUSPECT else None
            yield Suspect(
                number=_number(of_value),
                at=at,
                value=value,
                known_at=from_stamp(of_value[0].known_at),
                findings=tuple(one for item in of_value for one in findings.get(item.row, ())),
                decided=_decided(decision),
                by=self._by(decision) if decision else "",
                why=decision.reason if decision else "",
            )

    def _findings(self, rows: Iterable[Row]) -> tuple[Finding, ...]:
        return tuple(
            Finding(name, detail, bool(extreme))
            for item in rows
            for name, detail, extreme in self._db.execute(
                "SELECT check_name, detail, extreme FROM suspicion WHERE reading = ? ORDER BY check_name",
                (item.row,),
            )
        )

    def _by(self, decision: Row) -> str:
        row = self._db.execute("SELECT by_whom FROM decision WHERE reading = ?", (decision.row,)).fetchone()
        return str(row[0]) if row else ""

    def _who(self, decision: Row) -> str:
        by = self._by(decision)
        return f"{f'by {by} ' if by else ''}on {decision.known_at[:10]}: {decision.reason}"


def _doubts_by_value(rows: Iterable[Row]) -> dict[float, list[Row]]:
    found: dict[float, list[Row]] = {}
    for item in rows:
        if item.quality == Quality.SUSPECT:
            found.setdefault(item.value, []).append(item)
    return found


def _number(doubts: Iterable[Row]) -> int:
    """Return the row of the doubt that came in first: a later one may be known from before it."""
    return min(item.row for item in doubts)


def _is_open(value: float, verdict: Mapping[float, Row], would_stand: Row | None) -> bool:
    undecided = verdict[value].quality == Quality.SUSPECT
    return undecided and would_stand is not None and would_stand.value == value


def _decided(decision: Row | None) -> Literal["accepted", "rejected"] | None:
    if decision is None:
        return None
    return "rejected" if decision.quality == Quality.REJECTED else "accepted"


def _said(rows: Iterable[Row], value: float) -> Row | None:
    """Return the first good row of a value, which may have gone through float32 since it was read."""
    good = [item for item in rows if item.quality == Quality.GOOD]
    exact = [item for item in good if item.value == value]
    near = [item for item in good if np.float32(item.value) == np.float32(value)]
    return next(iter(exact or near), None)
