"""Windows that a forecast completes: what of them is forecast, and that members differ in that alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.forecast_members import together, with_tail
from service.manifest import VariableSpec
from service.reading_values import NOTHING_MORE, ForecastIssue, Readings, Selection, SeriesDay
from service.reservoirs import Reservoirs
from service.sequences import WindowSet, build_windows
from tests.fix_windows import BELOW, FIRST, RAIN, STEP, Shelf, make_region, make_settings, steady
from tests.service.test_sequences import two_lakes

NAN = float("nan")
ISSUED = datetime(2024, 3, 1, tzinfo=UTC)
LENGTH, AHEAD, DAY = 5, 2, 8  # window of days 3 to 7, of which 6 and 7 are forecast
BOTH = (BELOW, RAIN)


class NoRasters:
    """An index of raster products that holds none."""

    def days(self, _: str, days: Sequence[date], *__: object) -> list[tuple[()]]:
        return [() for _ in days]


@dataclass
class Foretold(Shelf):
    """A shelf with forecasts for its gauges' places: ahead[member][day][gauge]."""

    ahead: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 0, 0), np.float32))
    rasters: NoRasters = field(default_factory=NoRasters)  # type: ignore[assignment]

    def values(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None = None,
        suspects: Collection[SeriesDay] = (),
    ) -> Readings:
        return super().values(variable, days, as_of)

    def forecast_values(
        self, variable: str, days: Sequence[date], issue: ForecastIssue, as_of: datetime | None = None
    ) -> Readings:
        return Shelf(self.gauges, self.ahead[issue.member or 0]).values(variable, days, as_of)


def selection(member: int = 0, factors: dict[int, float] | None = None) -> Selection:
    said = tuple((FIRST + timedelta(days=day), factor) for day, factor in (factors or {}).items())
    return Selection(
        forecast=ForecastIssue("ahead", ISSUED, FIRST + timedelta(days=DAY - AHEAD), member, said)
    )


def build(
    folder: Path,
    shelf: Foretold,
    chosen: Selection,
    *,
    variables: tuple[VariableSpec, ...] = (RAIN,),
    length: int = LENGTH,
    reservoirs: Reservoirs | None = None,
    reach_km: float = 5.0,
) -> WindowSet:
    return build_windows(
        make_settings(folder, max_distance_km=reach_km),
        make_region(1, 4),
        shelf,
        variables,
        FIRST + timedelta(days=DAY),
        window_days=length,
        lag_days=1,
        reservoirs=reservoirs,
        selection=chosen,
    )


def test_the_days_of_the_forecast_are_its_own_times_the_correction(tmp_path: Path) -> None:
    rain = steady(20, 1.0)
    shelf = Foretold([(0, 0)], rain, ahead=steady(20, 8.0)[None])
    windows = build(tmp_path, shelf, selection(factors={6: 0.5}))
    assert (windows.windows[:, :, 0] == [1, 1, 1, 4, 8]).all()
    assert windows.forecast == pytest.approx(np.full(4, AHEAD / LENGTH))
    assert windows.observed == pytest.approx(np.full(4, 1 - AHEAD / LENGTH))
    assert windows.coverage == 1
    # No reading of a day of the forecast is asked for, and no surface of it is kept.
    assert max(shelf.asked) == FIRST + timedelta(days=DAY - AHEAD - 1)
    kept = {path.name[:10] for path in (tmp_path / "data" / "surfaces" / "rain").iterdir()}
    assert kept == {(FIRST + timedelta(days=day)).isoformat() for day in (3, 4, 5)}


def test_the_series_behind_a_forecast_are_the_gauges_of_its_readings(tmp_path: Path) -> None:
    shelf = Foretold([(0, 0)], steady(20, 1.0), ahead=steady(20, 8.0)[None])
    ahead = build(tmp_path, shelf, selection())
    now = build(tmp_path, shelf, NOTHING_MORE)
    np.testing.assert_array_equal(ahead.basis, now.basis)


def test_a_day_without_forecast_rain_is_missing_and_never_zero(tmp_path: Path) -> None:
    ahead = steady(20, 8.0)
    ahead[7] = NAN
    windows = build(tmp_path, Foretold([(0, 0)], steady(20, 1.0), ahead=ahead[None]), selection())
    assert not windows.complete.any()


amount = st.one_of(st.just(NAN), st.floats(0, 200, width=32))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), with_levels=st.booleans())
def test_a_member_made_from_its_last_days_is_that_made_from_scratch(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, with_levels: bool
) -> None:
    gauges = [(0.0, 0.0), (2 * STEP, 40.0), (4 * STEP, 0.0)]
    cells = data.draw(st.lists(amount, min_size=12, max_size=12))
    ahead = np.full((2, 20, 3), NAN, np.float32)
    ahead[:, DAY - AHEAD : DAY] = np.array(cells, np.float32).reshape(2, AHEAD, 3)
    levels = {"r0": steady(20, 90.0)[:, 0], "r1": np.arange(20, dtype=np.float32)}
    shelf = Foretold(gauges, steady(20, 1.0, 2.0, 3.0), levels, ahead=ahead)
    variables, lakes = (BOTH, two_lakes()) if with_levels else ((RAIN,), None)
    number = variables.index(RAIN)
    folder = tmp_path_factory.mktemp("members")
    reach_km = 2.5 * STEP / 1000

    def made(member: int) -> WindowSet:
        return build(
            folder, shelf, selection(member), variables=variables, reservoirs=lakes, reach_km=reach_km
        )

    base, whole = made(0), made(1)
    tail = build(folder, shelf, selection(1), length=AHEAD, reach_km=reach_km)

    member = with_tail(base, tail, number)
    both = together([base, member])

    known = base.complete & whole.complete
    np.testing.assert_array_equal(both.complete, known)
    np.testing.assert_array_equal(
        member.windows[member.corner_rows[known]], whole.windows[whole.corner_rows[known]]
    )
    assert np.isfinite(member.windows).all()
    everywhere = np.ones(make_region().forcing.k ** 2, bool)
    for cell in np.flatnonzero(known).tolist():
        inside = base.partial.get(cell, everywhere) & whole.partial.get(cell, everywhere)
        np.testing.assert_array_equal(both.partial.get(cell, everywhere), inside)


def test_another_amount_in_any_member_gives_another_digest(tmp_path: Path) -> None:
    def digest(second: float) -> str:
        shelf = Foretold([(0, 0)], steady(20, 1.0), ahead=np.stack([steady(20, 8.0), steady(20, second)]))
        base = build(tmp_path, shelf, selection(0))
        tail = build(tmp_path, shelf, selection(1), length=AHEAD)
        return together([base, with_tail(base, tail, 0)]).digest

    assert digest(9.0) == digest(9.0) != digest(9.5)
