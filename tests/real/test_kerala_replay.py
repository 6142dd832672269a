"""The six years of the Kerala dams as they were published, the checks on: every reading lands once.

tests/benchmarks/replay_kerala.py does the same on every single day, and lists the faults found.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from service.quality import Reason
from service.reading_values import Suspect
from tests.fix_kerala import (
    DATA,
    Replay,
    is_whole,
    landing,
    noon,
    read_raw,
    read_table,
    replayed,
    view_days,
)

# As the two files hold them: written by hand, in no form that says which day is meant.
BROKEN_DAYS = ("07-12-2025", "10.042024", "09.04.2.23")
IMPOSSIBLE = 97343.0  # m: Anathode on 17 February 2022, whose decimal point was lost
WAYANAD = date(2024, 7, 30)
BANASURA = ("rain", "Banasura Sagar", WAYANAD)
DAILY = (date(2024, 7, 1), date(2024, 9, 1))  # around the landslides

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set COLLUVIUM_SHARED_DATA"),
    pytest.mark.slow,
]


def days_of(first: date, last: date, every: int) -> list[date]:
    """Return every so many days, and the last."""
    days = [first + timedelta(days=n) for n in range(0, (last - first).days, every)]
    return [*days, last]


def quiet(done: int, total: int) -> None:
    """Show nothing."""


def rejections(replay: Replay, feed: str) -> set[tuple[str, str, Reason]]:
    """Return dam, day and reason of what a feed's rows were turned away for."""
    found = replay.archive.log.rejections(feed, limit=100_000)
    return {(item.series, item.day, item.reason) for item in found}


def doubts(replay: Replay, variable: str, day: date, dam: str) -> list[Suspect]:
    """Return what is doubted of a dam on a day."""
    return [item for item in replay.archive.suspects(variable, day, day) if item.at.series == dam]


def the_day_of_the_landslides_is_not_lost(replay: Replay) -> None:
    """Good, or doubted as an extreme that a person may accept: 234.6 mm counts in the end."""
    key = BANASURA
    for suspect in doubts(replay, "rain", WAYANAD, key[1]):
        assert suspect.extreme
        replay.archive.accept(suspect.number, "A. Person", "the landslides of that night", replay.now)
    assert replay.standing("rain", [WAYANAD])[key] == pytest.approx(234.6)


def test_the_raw_files_replayed_land_every_reading_once(tmp_path: Path) -> None:
    """Rain and level of both dams, newest first: daily around the landslides, else every ten days.

    The files go back three weeks, so each record comes twice or more.
    """
    source = read_raw()
    first, last = source.records[0].known, source.records[-1].known
    days = sorted({*days_of(first, last, 10), *days_of(*DAILY, 1)})
    expected = source.values()
    with replayed(source, tmp_path, days, 21, quiet) as replay:
        found = {variable: landing(replay, variable, expected) for variable in ("rain", "level")}
        assert is_whole(found), found
        for variable, counts in found.items():
            assert counts["landed"] == sum(key[0] == variable for key in expected)
            assert counts["deliveries known already"] > counts["landed"]
            # Three days a dam are written so that nobody knows which is meant: listed, they cost no other.
            assert rejections(replay, variable) == {
                (dam, day, Reason.DATE) for dam in source.dams for day in BROKEN_DAYS
            }
        # Nothing was known before its day came, and the checks hold nothing against it that came later:
        # what a day's layer was made from can be made again.
        before, then = (noon(WAYANAD - timedelta(days=back)) for back in (1, 0))
        assert BANASURA not in replay.standing("rain", [WAYANAD], before)
        assert replay.standing("rain", [WAYANAD], then)[BANASURA] == pytest.approx(234.6)
        span = days_of(WAYANAD, last, 1)[1:]
        assert replay.standing("rain", span, then) == {}
        assert len(replay.views) >= 10
        for (variable, day), seen in replay.views.items():
            assert replay.standing(variable, view_days(day), noon(day)) == seen
        places = {item.id: item for item in replay.archive.series("level")}
        assert {name: (item.lat, item.lon, item.highest) for name, item in places.items()} == {
            name: (head["latitude"], head["longitude"], float(head["MWL"]))
            for name, head in source.dams.items()
        }
        the_day_of_the_landslides_is_not_lost(replay)


def test_the_tidy_table_lands_every_one_of_its_rows_once(tmp_path: Path) -> None:
    """36,429 rows of 18 dams, read every two weeks with the three before."""
    source = read_table()
    assert len(source.records) == 36_429
    first, last = source.records[0].known, source.records[-1].known
    expected = source.values()
    with replayed(source, tmp_path, days_of(first, last, 14), 20, quiet) as replay:
        found = {variable: landing(replay, variable, expected) for variable in ("rain", "level")}
        assert is_whole(found), found
        # What did not land holds no value, or one that is rejected with its reason.
        assert [found[variable]["rejected"] for variable in ("rain", "level")] == [0, 1]
        for counts in found.values():
            assert counts["landed"] + counts["rejected"] + counts["blank"] == 36_429
        assert rejections(replay, "rain") == set()
        (at,) = [key for key, value in expected.items() if value == IMPOSSIBLE]
        assert rejections(replay, "level") == {(at[1], at[2].isoformat(), Reason.RANGE)}
        assert replay.archive.series("level")[0].highest is not None
        # Days on which no dam was published at all, in six years: they stay unknown, and never become zero.
        missing = sorted({*days_of(first, last, 1)} - {record.known for record in source.records})
        assert len(missing) == 150
        assert replay.standing("rain", missing) == replay.standing("level", missing) == {}
        # The checks saw the whole of it as it came.
        assert replay.archive.judged_row() == replay.archive.newest_row()
        stale = {
            item.at.day
            for item in replay.archive.suspects("level")
            if "stale_page" in {finding.check for finding in item.findings}
        }
        assert {date(2022, 5, 23), date(2022, 11, 28), date(2025, 6, 16)} <= stale
        the_day_of_the_landslides_is_not_lost(replay)
