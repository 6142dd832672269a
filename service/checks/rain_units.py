"""Rain in another unit: inches for millimetres, or back, by the ratio to neighbours and satellite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import Evidence, Mask, Panel, Values

_INCH_MM = 25.4
_WET_MM = 5.0  # of the reference: below, ratios are noise
_DAYS = 10  # over which one gauge's ratio is taken
_LEAST_DAYS = 4
_LEAST_GAUGES = 5
_SPREAD = 0.9  # of the logarithm of the ratio, as a mean absolute deviation from the factor
_GAUGE_SPREAD = 1.1  # of one gauge, the greatest deviation: a factor of three either way
_STEPS_MM = (1.0, 0.5, 0.254, 0.2, 0.1)  # in which gauges and pages give rain
_SAME_STEPS = 0.98  # of a feed's values before
_OTHER_STEPS = 0.5  # of a page: fewer than this are in the feed's steps
_LEAST_BEFORE = 30  # values from which a feed's steps are known
_STEP_DAYS = 25
_SIZE = 4.0  # times, or a fourth of, the median of the wet values before


def _reference(panel: Panel, *, other_feeds: bool) -> Values:
    """Return the median of neighbours and satellite at wet or doubtful cells, NaN elsewhere: (T, n)."""
    found = np.full(panel.shape, np.nan)
    rows, columns = np.nonzero(panel.value > 0)
    if not len(rows):
        return found
    near = panel.around(rows, columns)
    if other_feeds:
        feeds = np.append(panel.feed, -1)[panel.neighbours[columns]]
        near[:, :-1][feeds == panel.feed[columns][:, None]] = np.nan
    ordered = np.sort(near, axis=1)
    count = np.isfinite(near).sum(axis=1)
    at = np.arange(len(rows))
    low = ordered[at, np.maximum(count - 1, 0) // 2]
    high = ordered[at, np.minimum(count // 2, near.shape[1] - 1)]
    found[rows, columns] = (low + high) / 2
    return found


def _log_ratio(panel: Panel, reference: Values) -> Values:
    """Logarithm of value to reference where the ratio says something, NaN elsewhere: (T, n)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        telling = (np.fmax(reference, panel.value / _INCH_MM) >= _WET_MM) & (reference >= 0.5)
        return np.asarray(np.where(telling, np.log(panel.value / reference), np.nan))


def _rain_unit(panel: Panel) -> Iterator[Hit]:
    ratios = _log_ratio(panel, _reference(panel, other_feeds=True))
    told: Mask = np.zeros(panel.shape, dtype=bool)
    for feed in range(len(panel.feeds)):
        yield from _pages(panel, panel.columns_of(feed), ratios, told)
        yield from _other_steps(panel, panel.columns_of(feed), told)
    yield from _gauges(panel, _log_ratio(panel, _reference(panel, other_feeds=False)), told)


def _factor(ratios: Values, tolerance: float) -> float | None:
    """Return the logarithm of the unit's factor that these ratios have, or None."""
    middle = float(np.median(ratios))
    for factor in (np.log(_INCH_MM), -np.log(_INCH_MM)):
        near = abs(middle - factor) <= np.log1p(tolerance)
        if near and float(np.mean(np.abs(ratios - factor))) <= _SPREAD:
            return float(factor)
    return None


def _pages(panel: Panel, columns: np.ndarray, ratios: Values, told: Mask) -> Iterator[Hit]:
    """A whole day of a feed against what does not come from it."""
    tolerance = float(panel.rule("unit_tolerance")[columns][0])
    for row in np.flatnonzero(np.isfinite(ratios[:, columns]).sum(axis=1) >= _LEAST_GAUGES):
        here = columns[np.isfinite(ratios[row, columns])]
        factor = _factor(ratios[row, here], tolerance)
        if factor is None:
            continue
        detail = (
            f"{len(here)} gauges of feed {panel.feeds[panel.feed[here[0]]]} have"
            f" {np.exp(np.median(ratios[row, here])):.3g} times the rain of others: {_meaning(factor)}"
        )
        evidence = Evidence(
            cell
            for other in here
            for cell in ((int(row), int(other)), *panel.neighbour_cells(int(row), int(other)))
        )
        for column in columns[panel.value[row, columns] > 0]:
            told[row, column] = True
            yield Hit(int(row), int(column), detail, evidence, satellite=panel.satellite is not None)


def _gauges(panel: Panel, ratios: Values, told: Mask) -> Iterator[Hit]:
    """One gauge over several days against its neighbours."""
    finite = np.isfinite(ratios)
    counted = np.cumsum(finite, axis=0)
    within = counted.copy()
    within[_DAYS:] -= counted[:-_DAYS]
    far = np.abs(np.nan_to_num(ratios)) > np.log(_INCH_MM) / 2
    for row, column in zip(*np.nonzero(finite & far & (within >= _LEAST_DAYS)), strict=True):
        first = max(int(row) - _DAYS + 1, 0)
        days = np.flatnonzero(finite[first : row + 1, column])[-_LEAST_DAYS:] + first
        factor = _factor(ratios[days, column], float(panel.rule("unit_tolerance")[column]))
        if factor is None or np.abs(ratios[days, column] - factor).max() > _GAUGE_SPREAD:
            continue
        detail = (
            f"{np.exp(np.median(ratios[days, column])):.3g} times the rain of neighbours on {len(days)} days"
            f" to {panel.day(row)}: {_meaning(factor)}"
        )
        for day in days:
            if not told[day, column]:
                told[day, column] = True
                around = panel.neighbour_cells(int(day), int(column))
                evidence = Evidence([(int(row), int(column)), *around])
                yield Hit(int(day), int(column), detail, evidence, satellite=panel.satellite is not None)


def _other_steps(panel: Panel, columns: np.ndarray, told: Mask) -> Iterator[Hit]:
    """A page whose numbers are not in the steps of the feed's before, and of another size."""
    value = panel.trusted[:, columns]
    wet = value > 0
    with np.errstate(invalid="ignore"):
        fits = np.stack([wet & (np.abs(value / q - np.round(value / q)) < 0.02) for q in _STEPS_MM])
    of_row, fit_of_row = wet.sum(axis=1), fits.sum(axis=2)
    sound = np.ones(len(value), dtype=bool)
    for row in np.flatnonzero(of_row >= _LEAST_GAUGES):
        before = np.arange(max(int(row) - _STEP_DAYS, 0), int(row))
        before = before[sound[before]]
        many = of_row[before].sum()
        if many < _LEAST_BEFORE:
            continue
        usual = np.flatnonzero(fit_of_row[:, before].sum(axis=1) >= _SAME_STEPS * many)
        if not len(usual) or fit_of_row[usual[0], row] >= _OTHER_STEPS * of_row[row]:
            continue
        now, then = (np.median(value[at][wet[at]]) for at in (row, before))
        if 1 / _SIZE < now / then < _SIZE:
            continue
        sound[row] = False
        detail = (
            f"{of_row[row] - fit_of_row[usual[0], row]} of {of_row[row]} wet gauges of feed"
            f" {panel.feeds[panel.feed[columns[0]]]} are not in steps of {_STEPS_MM[usual[0]]:g} mm as"
            f" before, and their median is {now:.3g} mm against {then:.3g}: another unit"
        )
        page = Evidence((int(row), int(column)) for column in columns[wet[row]])
        for column in columns[wet[row] & ~told[row, columns]]:
            told[row, column] = True
            yield Hit(int(row), int(column), detail, page)


def _meaning(factor: float) -> str:
    return "millimetres taken for inches" if factor > 0 else "inches where millimetres are meant"


RAIN_UNIT = Check(
    CheckName.RAIN_UNIT,
    ("rain",),
    extreme=False,
    what="Rain 25.4 times, or a 25.4th of, what others have: on one day, in the median of at least five"
    " gauges of a feed against neighbours of other feeds and the satellite; or on the last four wet days of"
    " ten of one gauge against all neighbours, none of them farther than a factor of three from it. Ratios"
    " are taken where the reference has 5 mm or more. A feed that nothing else covers is doubted where half"
    " of the wet values of a page, five at least, are not in the steps in which 98 % of those of the 25 days"
    " before are given (1, 0.5, 0.254, 0.2 or 0.1 mm), and their median is four times what it was,"
    " or a fourth of it.",
    why="Between gauges 40 km apart, rain of 5 mm and more differs by a factor of two to three on a day"
    " (a mean absolute logarithm of up to 0.9); the median of five, or four days on end, at 25.4 within"
    " unit_tolerance is no weather.",
    source="Ratio of the inch to the millimetre.",
    measured="Kerala 0.04 % of rain (14, on 3 and 4 June 2025: 4.17, 0.162, 0.0039 mm); ARPAE 0.006 % (4).",
    cannot="A feed in inches from its first day on that nothing else covers, or whose numbers stay in the"
    " same steps, or that stays so for more than 25 days without anybody acting on it; a feed of fewer than"
    " five wet gauges on the day; centimetres or tenths of a millimetre.",
    find=_rain_unit,
)
