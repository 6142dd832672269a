"""Splits as protocols state them: train, validation and test rows of a dataset, by place, time or both.

    make_folds(plan, data, seed) -> tuple[Fold, ...]
    Stratified   random within the labels: 70/15/15 (Teng et al. 2026), 80/20 (Azarafza et al. 2021)
    Blocks       whole squares of ground, with a buffer of at least a patch between train and test
    Zones        each zone of the region in turn is the test part
    Years        later years are the test part, or years in turn
    SpaceTime    test: other ground and other years at once; what shares either is left out

Rows that must not be parted (`keep`) are groups: one place, places nearer than a patch, one storm. Where
places and storms chain into one group that no side could hold, whole storms choose their side, every place
follows most of its samples, and the rest of it is left out. Splits by ground keep places; the same storm then
stands on both sides unless `keep` names it, and `words_of` says so. Validation rows are taken from the
training side by the same units, so the epoch is not chosen on neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree

from service.errors import InputError
from trainer.dataset import Dataset, Indices
from trainer.splits import group_samples, spatial_blocks

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Fold:
    """Rows of a dataset, each rising; no row twice. `left_out` rows are on no side."""

    name: str
    train: Indices
    validation: Indices
    test: Indices
    left_out: Indices


class _Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: tuple[Literal["place", "storm"], ...] = ("place", "storm")
    place_distance_m: Annotated[float, Field(ge=0)] | None = None  # None: one patch
    storm_days: Annotated[int, Field(ge=0)] = 0  # days within so many of a storm go with it
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15  # share of the rows that are not test


class Stratified(_Plan):
    """Random groups, the share of landslides the same on each side as near as whole groups allow."""

    kind: Literal["stratified"] = "stratified"
    test: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15 / 0.85


class Blocks(_Plan):
    """Squares of ground of `block_km`, in `folds` folds."""

    kind: Literal["blocks"] = "blocks"
    keep: tuple[Literal["place", "storm"], ...] = ("place",)
    block_km: Annotated[float, Field(gt=0)]
    folds: Annotated[int, Field(ge=2)] = 5
    buffer_m: Annotated[float, Field(ge=0)] | None = None  # None: one patch; less is refused


class Zones(_Plan):
    """Leave one zone out: as many folds as zones with samples of both labels."""

    kind: Literal["zones"] = "zones"
    keep: tuple[Literal["place", "storm"], ...] = ("place",)
    buffer_m: Annotated[float, Field(ge=0)] | None = None


class Years(_Plan):
    """By year of the sample's day: `test_from` and later are the test part; None: years in turn, in folds."""

    kind: Literal["years"] = "years"
    test_from: int | None = None
    folds: Annotated[int, Field(ge=2)] = 5


class SpaceTime(_Plan):
    """Test rows lie on other ground and in other years than every training row."""

    kind: Literal["space_time"] = "space_time"
    block_km: Annotated[float, Field(gt=0)]
    folds: Annotated[int, Field(ge=2)] = 4
    buffer_m: Annotated[float, Field(ge=0)] | None = None


SplitPlan = Annotated[Stratified | Blocks | Zones | Years | SpaceTime, Field(discriminator="kind")]


def make_folds(
    plan: Stratified | Blocks | Zones | Years | SpaceTime, data: Dataset, seed: int
) -> tuple[Fold, ...]:
    """Divide a dataset; the same plan, dataset and seed give the same folds.

    Raises InputError where a side stays without samples of both labels, or there are fewer groups than folds.
    """
    units = _Units.of(plan, data)
    random = np.random.default_rng(seed)
    if isinstance(plan, Stratified):
        everyone = np.arange(len(data))
        test, parted = units.choose(everyone, plan.test, random)
        names, tests, apart = ["random"], [test], [parted]
    elif isinstance(plan, Blocks):
        tests, apart = _block_tests(plan.block_km, plan.folds, _buffer(plan.buffer_m, data), data, random)
        names = [f"block fold {number}" for number in range(1, len(tests) + 1)]
    elif isinstance(plan, Zones):
        names, tests, apart = _zone_tests(data, _buffer(plan.buffer_m, data))
    elif isinstance(plan, Years):
        names, tests = _year_tests(plan.test_from, plan.folds, data)
        apart = [np.zeros(len(data), bool) for _ in tests]
    else:
        names, tests, apart = _space_time(plan, data, random)
    folds = [
        _fold(name, test, away, plan, data, units, random)
        for name, test, away in zip(names, tests, apart, strict=True)
    ]
    return tuple(folds)


def words_of(plan: Stratified | Blocks | Zones | Years | SpaceTime) -> str:
    """Say in a sentence how samples were divided."""
    if isinstance(plan, Stratified):
        rest = 1 - plan.test
        shares = (rest * (1 - plan.validation), rest * plan.validation, plan.test)
        what = "stratified at random, " + "/".join(f"{share:.0%}" for share in shares)
    elif isinstance(plan, Blocks):
        what = f"squares of {plan.block_km:g} km in {plan.folds} folds, a buffer of a patch or more between"
    elif isinstance(plan, Zones):
        what = "one zone left out at a time"
    elif isinstance(plan, Years):
        what = f"by year, test from {plan.test_from}" if plan.test_from else f"years in {plan.folds} folds"
    else:
        what = f"other ground (squares of {plan.block_km:g} km) and other years at once, {plan.folds} folds"
    kept = " and ".join({"place": "one place", "storm": "one storm"}[name] for name in plan.keep)
    parted = [name for name in ("place", "storm") if name not in plan.keep]
    said = f"{what}; {kept} never on both sides" if kept else what
    return f"{said}; the same {' and '.join(parted)} may be" if parted else said


@dataclass(frozen=True)
class _Units:
    """What must stay together."""

    label: npt.NDArray[np.int64]  # (n,)
    place: Indices  # (n,) group of places; every sample its own where places may be parted
    storm: Indices  # (n,) group of storms, alike
    joint: Indices  # (n,) connected by either

    @classmethod
    def of(cls, plan: _Plan, data: Dataset) -> _Units:
        distance = plan.place_distance_m
        if distance is None:
            distance = max(data.patch, 1) * data.cell_size_m

        def groups(*by: str) -> Indices:
            wanted = tuple(name for name in by if name in plan.keep)
            if not wanted:
                return np.arange(len(data))
            return group_samples(
                data.samples, storm_days=plan.storm_days, place_distance_m=distance, by=wanted
            )

        return cls(data.label, groups("place"), groups("storm"), groups("place", "storm"))

    def choose(self, rows: Indices, share: float, random: np.random.Generator) -> tuple[Bools, Bools]:
        """Return which rows (of all n) hold `share` of each label, and which can be on neither side."""
        chosen, parted = np.zeros(len(self.label), bool), np.zeros(len(self.label), bool)
        joint = _numbered(self.joint[rows])
        if np.bincount(joint).max() <= share * len(rows):
            chosen[rows] = _stratified(joint, self.label[rows], share, random)
            return chosen, parted
        by_storm = _stratified(_numbered(self.storm[rows]), self.label[rows], share, random)
        # A sample that shares its storm with no other has no say.
        voice = (np.bincount(self.storm)[self.storm] > 1)[rows]
        place = _numbered(self.place[rows])
        votes = np.bincount(place, weights=np.where(voice, np.where(by_storm, 1, -1), 0))
        alone = np.zeros(len(votes), bool)
        alone[place[by_storm & ~voice]] = True
        here = ((votes > 0) | ((votes == 0) & alone))[place]
        chosen[rows] = here
        parted[rows[voice & (by_storm != here)]] = True
        chosen &= ~parted
        return chosen, parted

    def elsewhere(self, test: Bools) -> Bools:
        """Return rows that are not test rows but stand with one of them."""
        with_place = np.isin(self.place, self.place[test])
        with_storm = np.isin(self.storm, self.storm[test])
        return np.asarray((with_place | with_storm) & ~test)


def _numbered(groups: Indices) -> Indices:
    return np.asarray(np.unique(groups, return_inverse=True)[1].reshape(-1), np.int64)


def _stratified(
    groups: Indices, label: npt.NDArray[np.int64], share: float, random: np.random.Generator
) -> Bools:
    """Return rows of random groups that hold `share` of each label, as near as whole groups allow."""
    sizes = np.stack([np.bincount(groups, weights=label == value) for value in (0, 1)], axis=1)
    wanted = share * sizes.sum(axis=0)
    order = random.permutation(len(sizes))
    # Large groups first: small ones then fill what is left exactly.
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]
    left = wanted.copy()
    chosen = np.zeros(len(sizes), bool)
    for index, group in enumerate(order):
        rest = sizes[order[index:]].sum(axis=0)
        after = left - sizes[group]
        # Taken with the chance that this side still needs it, so that large groups fall on every side.
        own = sizes[group] > 0
        need = float((np.maximum(left, 0) / np.maximum(rest, 1))[own].max())
        fits = bool((after >= -0.5 - 0.02 * wanted).all())
        if fits and random.random() < need:
            chosen[group] = True
            left = after
    return np.asarray(chosen[groups])


def _block_tests(
    block_km: float, folds: int, buffer_m: float, data: Dataset, random: np.random.Generator
) -> tuple[list[Bools], list[Bools]]:
    """Return test rows of each fold, and the rows too near to the fold's blocks to train on."""
    blocks = spatial_blocks(data.xy, block_km)
    count = int(blocks.max(initial=-1)) + 1
    if count < folds:
        raise InputError(
            f"{count} blocks of {block_km:g} km are too few for {folds} folds; "
            "either make the blocks smaller or the folds fewer"
        )
    fold_of = _even(np.bincount(blocks), folds, random)
    corners = np.floor(data.xy / (block_km * 1000))
    tests, near = [], []
    for number in range(folds):
        test = fold_of[blocks] == number
        squares = np.unique(corners[test], axis=0) * block_km * 1000
        near.append(~test & _within(data.xy, squares, block_km * 1000, buffer_m))
        tests.append(test)
    return tests, near


def _within(
    xy: npt.NDArray[np.float64], corners: npt.NDArray[np.float64], side: float, reach: float
) -> Bools:
    """Return which points lie within `reach` of any square (lower left corners, side), along an axis."""
    near = np.zeros(len(xy), bool)
    for left, bottom in corners:
        east = np.maximum(np.maximum(left - xy[:, 0], xy[:, 0] - left - side), 0)
        north = np.maximum(np.maximum(bottom - xy[:, 1], xy[:, 1] - bottom - side), 0)
        near |= np.maximum(east, north) < reach
    return near


def _even(sizes: Indices, folds: int, random: np.random.Generator) -> Indices:
    """Return a fold for each unit so that folds hold about the same number of samples: int64 (units,)."""
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of = np.zeros(len(sizes), np.int64)
    have = np.zeros(folds)
    for unit in order:
        fold_of[unit] = int(np.argmin(have))
        have[fold_of[unit]] += sizes[unit]
    return fold_of


def _zone_tests(data: Dataset, buffer_m: float) -> tuple[list[str], list[Bools], list[Bools]]:
    if not data.zone:
        raise InputError("a split by zone needs zones: set zones.path in the region's settings")
    zone = np.array(data.zone)
    names, tests, apart = [], [], []
    for name in sorted(set(data.zone) - {""}):
        test = zone == name
        if len(set(data.label[test].tolist())) == 2:
            names.append(f"zone {name}")
            tests.append(test)
            away = zone == ""
            # Along an axis: patches are squares, and overlap across a corner that is farther than their side.
            nearest, _ = cKDTree(data.xy[test]).query(data.xy, p=np.inf)
            apart.append(away | (~test & (nearest < buffer_m)))
    if len(names) < 2:
        raise InputError(
            "a split by zone needs two zones or more that hold landslides and non-landslides; "
            f"{len(names)} of {len(set(data.zone) - {''})} do"
        )
    return names, tests, apart


def _year_tests(test_from: int | None, folds: int, data: Dataset) -> tuple[list[str], list[Bools]]:
    year = np.array([sample.day.year for sample in data.samples])
    if test_from is not None:
        return [f"from {test_from}"], [year >= test_from]
    years = np.unique(year)
    if len(years) < folds:
        raise InputError(f"samples of {len(years)} years are too few for {folds} folds by year")
    parts = np.array_split(years, folds)
    return [f"{part[0]}-{part[-1]}" for part in parts], [np.isin(year, part) for part in parts]


def _space_time(
    plan: SpaceTime, data: Dataset, random: np.random.Generator
) -> tuple[list[str], list[Bools], list[Bools]]:
    ground, near = _block_tests(plan.block_km, plan.folds, _buffer(plan.buffer_m, data), data, random)
    names, times = _year_tests(None, plan.folds, data)
    tests = [place & time for place in ground for time in times]
    apart = [
        (place ^ time) | (away & ~(place & time))
        for place, away in zip(ground, near, strict=True)
        for time in times
    ]
    named = [f"ground {number}, {name}" for number in range(1, len(ground) + 1) for name in names]
    # A corner of space and time may hold no sample or no landslide: nothing can be tested there.
    kept = [index for index, test in enumerate(tests) if len(set(data.label[test].tolist())) == 2]
    if not kept:
        raise InputError(
            f"none of the {len(tests)} parts of ground and years holds landslides and non-landslides; "
            "either make the blocks larger or the folds fewer"
        )
    return [named[i] for i in kept], [tests[i] for i in kept], [apart[i] for i in kept]


def _buffer(stated: float | None, data: Dataset) -> float:
    patch = data.patch * data.cell_size_m
    if stated is not None and stated < patch:
        raise InputError(
            f"a buffer of {stated:g} m is narrower than a patch ({patch:g} m): training patches would see "
            "test ground; leave buffer_m out, or make it as wide"
        )
    return patch if stated is None else stated


def _fold(
    name: str,
    test: Bools,
    apart: Bools,
    plan: _Plan,
    data: Dataset,
    units: _Units,
    random: np.random.Generator,
) -> Fold:
    """Take what stands with a test row out of the training side, and divide the rest."""
    left_out = apart | units.elsewhere(test)
    rest = np.flatnonzero(~test & ~left_out)
    for side, rows in (("test", np.flatnonzero(test)), ("training", rest)):
        if len(set(data.label[rows].tolist())) < 2:
            raise InputError(
                f"the {side} side of {name} has {int(data.label[rows].sum())} landslides among {len(rows)} "
                f"samples ({int(left_out.sum())} left out to keep {' and '.join(plan.keep) or 'a buffer'} on "
                "one side); both labels are needed: give more samples, smaller blocks or fewer folds"
            )
    chosen, neither = units.choose(rest, plan.validation, random)
    left_out |= neither
    validation = np.flatnonzero(chosen)
    train = np.setdiff1d(rest, np.flatnonzero(chosen | neither))
    for side, rows in (("training", train), ("validation", validation)):
        if len(set(data.label[rows].tolist())) < 2:
            raise InputError(
                f"the {side} rows of {name} hold {int(data.label[rows].sum())} landslides among {len(rows)}: "
                f"{len(rest)} samples form {len(set(units.place[rest].tolist()))} places and "
                f"{len(set(units.storm[rest].tolist()))} storms; give more samples, or a smaller storm_days "
                "or place_distance_m"
            )
    return Fold(name, train, validation, np.flatnonzero(test), np.flatnonzero(left_out))
