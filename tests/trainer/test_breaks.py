"""Class breaks by rule, and the sample of cells and days that they are cut from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from rasterio.windows import Window

from exporters.layer import SCALE, store
from service.errors import InputError
from service.factor_stack import FactorStack
from service.readings import Archive
from service.region import open_region
from service.workshop import archive_path
from tests.fix_region import FIRST_DAY, LAST_DAY, make_toy_region
from trainer.breaks import (
    BreakRule,
    EqualBreaks,
    FalseAlarmBreaks,
    JenksBreaks,
    QuantileBreaks,
    breaks_of,
    natural_breaks,
)
from trainer.dataset import Variable
from trainer.index_sample import TWO_YEARS, sample_index
from trainer.region_dataset import Opened, WindowRule

CODES = st.lists(st.integers(0, 250), min_size=2, max_size=60).filter(lambda codes: len(set(codes)) > 1)
RULES = st.sampled_from([EqualBreaks(), QuantileBreaks(), JenksBreaks(), FalseAlarmBreaks()])
RULE = WindowRule((Variable("rain", "mm"),), window_days=5, lag_days=1, patch=7)
FEW_DAYS = 30


def squares(values: npt.NDArray[np.int64], cuts: tuple[int, ...]) -> float:
    """Sum of squares about the mean of each class."""
    parts = np.split(np.sort(values), np.searchsorted(np.sort(values), cuts))
    return sum(float(((part - part.mean()) ** 2).sum()) for part in parts if part.size)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 14), min_size=4, max_size=30).filter(lambda codes: len(set(codes)) >= 4))
def test_natural_breaks_are_the_best_of_all_that_there_are(values: list[int]) -> None:
    found = natural_breaks(np.bincount(values), 4)
    tried = [squares(np.array(values), cuts) for cuts in combinations(sorted(set(values))[1:], 3)]
    assert squares(np.array(values), tuple(found)) == pytest.approx(min(tried), abs=1e-9)


def test_natural_breaks_of_four_clumps_lie_between_them() -> None:
    codes = np.concatenate([np.arange(at, at + 9) for at in (10, 60, 150, 230)]).astype(np.uint8)
    assert breaks_of(JenksBreaks(), codes).classes.codes == (60, 150, 230)


@settings(max_examples=80, deadline=None)
@given(RULES, CODES)
def test_every_rule_gives_breaks_that_a_layer_can_be_cut_at(rule: BreakRule, codes: list[int]) -> None:
    sample = np.array(codes, np.uint8)
    if isinstance(rule, JenksBreaks) and len(set(codes)) < 4:
        with pytest.raises(InputError, match="stored values"):
            breaks_of(rule, sample)
        return
    first, second, third = breaks_of(rule, sample, non_events=sample).classes.codes
    assert 0 < first < second < third <= 250


def test_quantiles_hold_the_stated_shares() -> None:
    codes = np.arange(1, 241).astype(np.uint8)
    found = breaks_of(QuantileBreaks(shares=(0.25, 0.5, 0.75)), codes)
    below = [(codes < code).mean() for code in found.classes.codes]
    assert below == pytest.approx([0.25, 0.5, 0.75], abs=0.01)
    assert "0.25, 0.5, 0.75 of 240 sampled cells and days" in found.words


def test_equal_intervals_span_the_sample() -> None:
    found = breaks_of(EqualBreaks(), np.array([50, 60, 250], np.uint8))
    assert found.classes.breaks == (0.4, 0.6, 0.8)


def test_no_more_than_the_stated_share_of_non_events_lies_on_or_above_a_break() -> None:
    random = np.random.default_rng(0)
    quiet = store(random.beta(2, 5, 500))
    rates = (0.4, 0.1, 0.02)
    found = breaks_of(FalseAlarmBreaks(rates=rates), np.zeros(0, np.uint8), quiet)
    for code, rate in zip(found.classes.codes, rates, strict=True):
        assert (quiet >= code).mean() <= rate < (quiet >= code - 1).mean()
    assert "false alarm rates of 40 %, 10 %, 2 % of 500 samples" in found.words
    with pytest.raises(InputError, match="validation part"):
        breaks_of(FalseAlarmBreaks(), quiet)


def test_breaks_that_coincide_are_moved_apart_and_that_is_said() -> None:
    crowded = np.array([3] * 50 + [4], np.uint8)
    found = breaks_of(QuantileBreaks(), crowded)
    assert found.classes.codes == (3, 4, 5)
    assert "gave 0.012, 0.012, 0.012, moved apart" in found.words
    assert breaks_of(QuantileBreaks(), np.array([249] + [250] * 50, np.uint8)).classes.codes == (
        248,
        249,
        250,
    )


@pytest.mark.parametrize(
    ("codes", "words"), [([], "0 of 0"), ([3, 255], "1 of 2 are unknown"), ([7, 7, 7], "0.028 in all of 3")]
)
def test_a_sample_that_no_break_can_divide_is_refused(codes: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        breaks_of(EqualBreaks(), np.array(codes, np.uint8))


def test_a_rule_is_a_table_of_settings() -> None:
    read = TypeAdapter(BreakRule).validate_python
    assert read({"rule": "quantile", "shares": [0.3, 0.6, 0.9]}) == QuantileBreaks(shares=(0.3, 0.6, 0.9))
    assert read({"rule": "jenks"}) == JenksBreaks()
    for wrong in (
        {"rule": "quantile", "shares": [0.9, 0.6, 0.3]},
        {"rule": "false_alarm", "rates": [0.1, 0.2, 0.3]},
        {"rule": "by eye"},
    ):
        with pytest.raises(ValidationError):
            read(wrong)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    toy = make_toy_region(tmp_path_factory.mktemp("region"))
    toy.ingest()
    declared = toy.settings
    region = open_region(declared)
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(archive_path(declared)))
        factors = stack.enter_context(FactorStack.open(declared.stack_path, region.grid))
        yield Opened(declared, region, archive, factors, None)


def wetness(patches: npt.NDArray[np.float32], windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    assert np.isfinite(patches).all()
    assert patches.shape[1:] == (1, 7, 7)
    return np.asarray(1 - np.exp(-windows.sum(axis=(1, 2)) / 50), np.float64)


def test_the_sample_is_seeded_and_spread_over_days_and_cells(opened: Opened) -> None:
    name = [opened.stack.bands[0].name]
    found = sample_index(
        opened, wetness, name, RULE, FIRST_DAY, LAST_DAY, cells=150, seed=4, least_days=FEW_DAYS
    )
    assert len(found.susceptibility) == len(found.xy) == len(found.day) == 150 - found.without_window
    assert len(np.unique(found.xy, axis=0)) == len(found.xy)
    assert len(set(found.day)) > 40
    # A window of 5 days that ends a day before: the first day that can have one, and the last.
    assert (found.first, found.last) == (FIRST_DAY + timedelta(days=5), LAST_DAY)
    assert found.first <= min(found.day)
    assert max(found.day) <= found.last
    again = sample_index(
        opened, wetness, name, RULE, FIRST_DAY, LAST_DAY, cells=150, seed=4, least_days=FEW_DAYS
    )
    assert (found.codes == again.codes).all()
    other = sample_index(
        opened, wetness, name, RULE, FIRST_DAY, LAST_DAY, cells=150, seed=5, least_days=FEW_DAYS
    )
    assert found.day != other.day
    assert "seed 4" in found.words
    assert breaks_of(QuantileBreaks(), found.codes).classes.codes[0] == round(
        float(np.median(found.codes.astype(float)))
    )


def test_a_sampled_cell_has_the_patch_and_the_window_of_its_day(opened: Opened) -> None:
    names = [band.name for band in opened.stack.bands if band.categories is None][:1]
    seen = []

    def remember(
        patches: npt.NDArray[np.float32], windows: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float64]:
        seen.extend(patches[:, 0, 3, 3].tolist())
        return np.full(len(patches), 0.5)

    found = sample_index(opened, remember, names, RULE, FIRST_DAY, LAST_DAY, cells=60, least_days=FEW_DAYS)
    grid = opened.region.grid
    rows, columns = grid.cells_at(found.xy[:, 0], found.xy[:, 1])
    whole = opened.stack.read(names, Window(0, 0, grid.width, grid.height))[0]
    assert np.array(seen) == pytest.approx(whole[rows, columns])
    assert found.codes.tolist() == [round(0.5 / SCALE)] * len(found.day)


def test_fewer_than_two_years_are_refused_unless_stated(opened: Opened) -> None:
    name = [opened.stack.bands[0].name]
    with pytest.raises(InputError, match=rf"need {TWO_YEARS} days .* holds whole windows for 64"):
        sample_index(opened, wetness, name, RULE, date(2024, 1, 1), LAST_DAY)
    with pytest.raises(InputError, match="holds whole windows for 0"):
        sample_index(opened, wetness, name, RULE, date(2010, 1, 1), date(2013, 1, 1), least_days=FEW_DAYS)


def test_a_region_without_whole_patches_is_refused(opened: Opened, tmp_path: Path) -> None:
    wide = WindowRule(RULE.variables, window_days=5, lag_days=1, patch=99)
    with pytest.raises(InputError, match="complete 99 x 99 patch"):
        sample_index(
            opened, wetness, [opened.stack.bands[0].name], wide, FIRST_DAY, LAST_DAY, least_days=FEW_DAYS
        )
