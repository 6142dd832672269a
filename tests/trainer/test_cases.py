"""The real cases' own parts, on made-up squares and made-up rain."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from scipy.stats import spearmanr

from service.errors import InputError
from service.region import Grid
from tests.trainer.fix_dataset import made_up
from trainer.cases.dated_data import DatedCase, storm_folds, year_folds
from trainer.cases.fits import Wanted, fit_all, fit_one
from trainer.cases.resampling import resample
from trainer.cases.rules import RULES, FittedRule, best_threshold, rain_event, true_skill
from trainer.cases.squares_data import NAMES, gap_m, square_folds, statistics_of
from trainer.cases.squares_rank import soft_labels, spearman
from trainer.dataset import save_dataset
from trainer.folds import Fold
from trainer.sample_kinds import Kind, Sample
from trainer.splits import spatial_blocks
from trainer.squares import (
    SQUARE_M,
    Square,
    complete_patches,
    neighbour_counts,
    nodata_around,
    square_patches,
)

GRID = Grid(CRS.from_epsg(32632), left=600_005.0, top=4_900_010.0, cell_size_m=30.0, height=220, width=220)
PATCH = 39


def lattice(columns: int, rows: int) -> list[Square]:
    """Squares side by side, from a corner that is not on the grid's cells; every other one a landslide."""
    return [
        Square(
            f"s{row}-{column}", 600_640.0 + column * SQUARE_M, 4_899_340.0 - row * SQUARE_M,
            80 if (row + column) % 2 else 0,
        )
        for row in range(rows)
        for column in range(columns)
    ]  # fmt: skip


def ground(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(500, 40, (GRID.height, GRID.width)).astype(np.float32)


def write_dem(path: Path, elevation: npt.NDArray[np.float32]) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=GRID.width, height=GRID.height, count=1, dtype="float32",
        crs=GRID.crs, transform=Affine(30, 0, GRID.left, 0, -30, GRID.top), nodata=-32768,
    ) as dem:  # fmt: skip
        dem.write(np.where(np.isnan(elevation), -32768, elevation), 1)
    return path


def cells_inside(square: Square) -> npt.NDArray[np.bool_]:
    """Cells whose whole area lies in the square: bool (h, w)."""
    left = GRID.left + np.arange(GRID.width) * 30
    top = GRID.top - np.arange(GRID.height) * 30
    across = (left >= square.left) & (left + 30 <= square.left + SQUARE_M)
    down = (top <= square.top) & (top - 30 >= square.top - SQUARE_M)
    return down[:, None] & across[None, :]


# Squares


def test_nothing_from_outside_a_square_reaches_its_patch(tmp_path: Path) -> None:
    square = lattice(4, 4)[5]
    elevation = ground()
    inside = cells_inside(square)
    before = square_patches([square], write_dem(tmp_path / "a.tif", elevation), GRID, NAMES, PATCH)

    elsewhere = np.where(inside, elevation, ground(seed=1) + 3000)
    gone = np.where(inside, elevation, np.float32(np.nan))
    for number, changed in enumerate((elsewhere, gone)):
        dem = write_dem(tmp_path / f"b{number}.tif", changed)
        after = square_patches([square], dem, GRID, NAMES, PATCH)
        np.testing.assert_array_equal(after.patches, before.patches)


def test_a_patch_follows_the_ground_inside_its_square(tmp_path: Path) -> None:
    square = lattice(4, 4)[5]
    elevation = ground()
    before = square_patches([square], write_dem(tmp_path / "a.tif", elevation), GRID, NAMES, PATCH)
    raised = np.where(cells_inside(square), elevation + 100, elevation)
    after = square_patches([square], write_dem(tmp_path / "b.tif", raised), GRID, NAMES, PATCH)
    np.testing.assert_allclose(after.patches[0, 0], before.patches[0, 0] + 100, atol=1e-3)
    np.testing.assert_allclose(after.patches[0, 1:], before.patches[0, 1:], atol=1e-3)


def test_the_widest_patch_fits_every_square_and_a_wider_one_does_not(tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", ground())
    squares = lattice(4, 4)
    assert square_patches(squares, dem, GRID, NAMES, PATCH).incomplete == 0
    with pytest.raises(InputError, match="none of 16 squares has a complete patch"):
        complete_patches(squares, dem, GRID, NAMES, 42)


def test_a_square_with_a_hole_is_left_out_and_counted(tmp_path: Path) -> None:
    elevation = ground()
    squares = lattice(4, 4)
    rows, columns = np.nonzero(cells_inside(squares[0]))
    elevation[int(rows.mean()), int(columns.mean())] = np.nan
    found = square_patches(squares, write_dem(tmp_path / "dem.tif", elevation), GRID, NAMES, PATCH)
    assert found.incomplete == 1
    assert found.ids == tuple(square.id for square in squares[1:])


def test_neighbours_and_missing_ground_are_counted_around_a_square(tmp_path: Path) -> None:
    squares = lattice(4, 4)
    assert neighbour_counts(squares).reshape(4, 4).tolist() == [
        [3, 5, 5, 3], [5, 8, 8, 5], [5, 8, 8, 5], [3, 5, 5, 3]
    ]  # fmt: skip
    elevation = ground()
    elevation[:, 150:] = np.nan
    shares = nodata_around(squares, write_dem(tmp_path / "dem.tif", elevation), GRID).reshape(4, 4)
    assert shares[1, 1] < 0.01
    assert 0.6 < shares[1, 3] < 0.7


def test_nine_statistics_are_those_of_elevation_slope_and_curvature() -> None:
    patches = np.random.default_rng(0).normal(0, 1, (3, 6, 5, 5)).astype(np.float32)
    found = statistics_of(patches, NAMES)
    curvature = patches[0, 5] - patches[0, 4]
    assert found.shape == (3, 9)
    np.testing.assert_allclose(found[0, :3], [patches[0, 0].mean(), patches[0, 0].std(), patches[0, 0].max()])
    np.testing.assert_allclose(found[0, 6:], [curvature.mean(), curvature.std(), curvature.max()], rtol=1e-5)


# Folds of the squares


@given(seed=st.integers(0, 50), block_km=st.sampled_from([4.0, 6.0, 10.0]))
def test_ground_of_a_squares_width_lies_between_held_out_and_training_squares(
    seed: int, block_km: float
) -> None:
    xy, label = scattered(seed)
    folds = square_folds(xy, label, block_km, seed, folds=3)
    block = spatial_blocks(xy, block_km)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(xy)))
    for fold in folds:
        side = np.concatenate([fold.train, fold.validation])
        assert gap_m(xy, fold.test, side) >= SQUARE_M - 1
        assert not set(block[fold.train]) & set(block[fold.validation])
        assert not set(block[side]) & set(block[fold.test])
        assert not set(side) & set(fold.test)


def test_a_random_split_keeps_every_square_and_leaves_neighbours_on_both_sides() -> None:
    xy, label = scattered(3)
    folds = square_folds(xy, label, SQUARE_M / 1000, 0, folds=3, buffer_m=0.0)
    assert all(len(fold.left_out) == 0 for fold in folds)
    assert min(gap_m(xy, fold.test, fold.train) for fold in folds) < SQUARE_M


def test_squares_of_one_label_cannot_be_divided() -> None:
    xy, label = scattered(0)
    with pytest.raises(InputError, match="holds both labels"):
        square_folds(xy, np.zeros_like(label), 6.0, 0, folds=3)


def scattered(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Two of three squares of a lattice of 20 by 20, with labels."""
    random = np.random.default_rng(seed)
    steps = np.array([(x, y) for x in range(20) for y in range(20)], np.float64)
    chosen = np.sort(random.choice(len(steps), 270, replace=False))
    return steps[chosen] * SQUARE_M + 640, random.integers(0, 2, len(chosen))


# Ranks


def test_soft_labels_are_ranks_among_the_training_squares_alone() -> None:
    pixels = np.array([0, 0, 10, 300, 40, 7])
    train = np.array([0, 1, 2, 3])
    found = soft_labels(pixels, train)
    np.testing.assert_allclose(found, [0.25, 0.25, 0.625, 0.875, 0.75, 0.5])
    other = pixels.copy()
    other[4] = 100_000
    np.testing.assert_array_equal(soft_labels(other, train)[:4], found[:4])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40))
def test_spearman_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(values, np.float64) for values in zip(*pairs, strict=True))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert np.isnan(spearman(first, second))
    else:
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)


# Intervals of any statistic


def mean_of(wanted: npt.NDArray[np.float64], score: npt.NDArray[np.float64]) -> float:
    return float((score - wanted).mean())


def test_a_score_does_not_differ_from_itself_and_pairs_share_their_draws() -> None:
    random = np.random.default_rng(0)
    wanted, block = np.zeros(120), np.repeat(np.arange(12), 10)
    score = random.normal(0, 1, 12)[block]
    found = resample(mean_of, wanted, {"a": score, "b": score, "c": score + 0.1}, block, resamples=200)
    assert found.difference("a", "b").low == found.difference("a", "b").high == 0
    shifted = found.difference("c", "a")
    assert (shifted.value, shifted.low, shifted.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.difference("a", "c").low == pytest.approx(-0.1)
    assert found.values["a"].low < found.values["a"].value < found.values["a"].high


def test_samples_of_one_block_count_as_one() -> None:
    score = np.random.default_rng(1).normal(0, 1, 12)[np.repeat(np.arange(12), 10)]
    together = resample(mean_of, np.zeros(120), {"a": score}, np.repeat(np.arange(12), 10)).values["a"]
    alone = resample(mean_of, np.zeros(120), {"a": score}, np.arange(120)).values["a"]
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_statistic_that_no_draw_defines_is_refused() -> None:
    with pytest.raises(InputError, match="none of 50 draws of 2 blocks"):
        resample(true_skill, np.array([1.0, 1.0]), {"a": np.zeros(2)}, np.arange(2), resamples=50)
    with pytest.raises(InputError, match="no score"):
        resample(true_skill, np.array([1.0, 0.0]), {}, np.arange(2))


# Rainfall thresholds


def rain(*days: float, length: int = 30) -> npt.NDArray[np.float32]:
    """A window whose last days are given; dry before."""
    window = np.zeros((1, length), np.float32)
    window[0, length - len(days) :] = days
    return window


@pytest.mark.parametrize(
    ("days", "length", "total"),
    [
        ((12.0, 20.0, 5.0), 3, 37.0),
        ((12.0, 0.0, 5.0), 3, 17.0),  # one dry day does not end it
        ((12.0, 0.0, 0.0, 5.0), 1, 5.0),  # two do
        ((12.0, 0.9), 1, 12.0),  # a day below a millimetre is dry
        ((12.0, 0.0, 0.0), 0, 0.0),
        ((0.0,), 0, 0.0),
    ],
)
def test_a_rain_event_ends_with_two_dry_days(days: tuple[float, ...], length: int, total: float) -> None:
    found = rain_event(rain(*days))
    assert (found[0].tolist(), found[1].tolist()) == ([length], pytest.approx([total]))


def test_the_three_day_rule_warns_from_its_threshold_on() -> None:
    windows = np.concatenate([rain(99, 0, 0, 0), rain(1, 10, 10, 10), rain(0, 20, 20, 20), rain(5, 5, 5)])
    label = np.array([0, 1, 1, 0])
    rule = RULES["three_day_sum"].fit(windows, label)
    assert rule.threshold == pytest.approx(30.0)
    assert (rule.exceedance(windows) >= 0).tolist() == [False, True, True, False]


def test_an_intensity_duration_rule_finds_the_exponent_that_parts_the_samples() -> None:
    random = np.random.default_rng(0)
    windows = np.zeros((400, 30), np.float32)
    length, total = random.integers(1, 12, 400), random.uniform(5, 300, 400)
    for row in range(400):
        windows[row, 30 - length[row] :] = total[row] / length[row]
    line = 60 * length**-0.6
    label = (total / length >= line).astype(np.int64)
    rule = RULES["intensity_duration"].fit(windows, label)
    assert "D^-0.6" in rule.words
    assert true_skill(label.astype(float), (rule.exceedance(windows) >= 0).astype(float)) == 1.0


def test_a_rule_of_many_choices_is_fitted_on_what_it_is_given_alone() -> None:
    random = np.random.default_rng(2)
    windows = random.exponential(6, (200, 30)).astype(np.float32)
    label = (windows[:, -3:].sum(axis=1) > 20).astype(np.int64)
    for rule in RULES.values():
        first: FittedRule = rule.fit(windows[:150], label[:150])
        changed = windows.copy()
        changed[150:] *= 50
        again = rule.fit(changed[:150], label[:150])
        assert again.words == first.words
        np.testing.assert_array_equal(again.exceedance(windows), first.exceedance(windows))


def test_a_rule_needs_both_classes() -> None:
    with pytest.raises(InputError, match="3-day sum cannot be fitted on 2 samples of one class"):
        RULES["three_day_sum"].fit(np.concatenate([rain(1), rain(2)]), np.array([1, 1]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=30))
def test_no_threshold_has_more_skill_than_the_best_one(rows: list[tuple[bool, int]]) -> None:
    label = np.array([int(one) for one, _ in rows])
    score = np.array([value for _, value in rows], np.float64)
    if len(set(label.tolist())) < 2:
        return

    def skill(threshold: float) -> float:
        return true_skill(label.astype(np.float64), (score >= threshold).astype(np.float64))

    found = best_threshold(label, score)
    assert skill(found) == pytest.approx(max(skill(value) for value in score))


# Folds of dated samples


def dated(seed: int = 0, storms: int = 14) -> DatedCase:
    """Events of some storms over many years, each with days without one at its place."""
    random = np.random.default_rng(seed)
    first = date(2003, 1, 10)
    samples, storm = [], []
    for number in range(storms):
        when = first + timedelta(days=number * 250)
        for event in range(int(random.integers(1, 4))):
            place, name = f"event-{number}-{event}", f"{number}-{event}"
            samples.append(Sample(0.0, 0.0, place, when, 1, Kind.EVENT, f"s{number}", 1e4, name))
            storm.append(number)
            for offset in random.choice(np.arange(40, storms * 250), 8, replace=False):
                day = first + timedelta(days=int(offset))
                samples.append(Sample(0.0, 0.0, place, day, 0, Kind.TEMPORAL_WET, None, 1e4, name))
                storm.append(number)
    windows = random.exponential(5, (len(samples), 30, 1)).astype(np.float32)
    return DatedCase(
        tuple(samples), {0: windows}, np.array(storm), "EPSG:32632", 30, 30, 5, storms, {}, "made-up"
    )


def days_between(case: DatedCase, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> int:
    return int(np.abs(case.day[one][:, None] - case.day[other][None, :]).min())


@pytest.mark.parametrize("seed", range(3))
def test_held_out_years_share_no_day_of_rain_with_training(seed: int) -> None:
    case = dated(seed)
    folds = year_folds(case, 4, seed)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(case.samples)))
    years = np.array([sample.day.year for sample in case.samples])
    for fold in folds:
        side = np.concatenate([fold.train, fold.validation])
        assert days_between(case, fold.test, side) >= 31
        assert not set(years[fold.train]) & set(years[fold.validation])


@pytest.mark.parametrize("seed", range(3))
def test_a_held_out_storm_is_on_no_other_side(seed: int) -> None:
    case = dated(seed)
    for fold in storm_folds(case, 4, seed):
        side = np.concatenate([fold.train, fold.validation])
        assert not set(case.storm[fold.test]) & set(case.storm[side])
        assert not set(case.storm[fold.train]) & set(case.storm[fold.validation])
        assert days_between(case, fold.test, side) >= 3


def test_too_few_storms_are_refused() -> None:
    with pytest.raises(InputError, match="3 storms are too few for 5 folds"):
        storm_folds(dated(storms=3), 5, 0)


# Fits that are kept


def test_a_finished_fit_is_read_and_not_made_again(tmp_path: Path) -> None:
    data = save_dataset(made_up(80), tmp_path / "data")
    rows = np.arange(80)
    fold = Fold("one", rows[:50], rows[50:60], rows[60:], rows[:0])
    wanted = Wanted("gaussian_nb", {}, tmp_path / "data", data.digest, fold, 0, tmp_path / "fits")
    first = fit_one(wanted)
    assert (len(first.train), len(first.validation), len(first.test)) == (50, 10, 20)
    (kept,) = (tmp_path / "fits").iterdir()
    written = kept.stat().st_mtime_ns
    again = fit_all({"same": wanted})["same"]
    np.testing.assert_array_equal(again.test, first.test)
    assert kept.stat().st_mtime_ns == written

    fit_one(replace(wanted, fold=replace(fold, train=rows[:49])))
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_a_fit_cut_short_on_disk_is_named(tmp_path: Path) -> None:
    data = save_dataset(made_up(80), tmp_path / "data")
    rows = np.arange(80)
    fold = Fold("one", rows[:50], rows[50:60], rows[60:], rows[:0])
    wanted = Wanted("gaussian_nb", {}, tmp_path / "data", data.digest, fold, 0, tmp_path / "fits")
    fit_one(wanted)
    (kept,) = (tmp_path / "fits").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(InputError, match="holds no finished fit"):
        fit_one(wanted)
