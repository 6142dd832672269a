"""Dated landslides of ITALICA with their rain, and days without one at the same places.

    open_dated(shared, config, build, sampling) -> DatedCase
    year_folds(case, folds, seed), storm_folds(case, folds, seed) -> tuple[Fold, ...]

All events within range of a gauge count, on the terrain or off it: only their rain is used. The windows are
the service's own, ending on the day itself (lag 0) and on the day before (lag 1), for the same samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from service.errors import InputError
from service.files import digest_of, sha256_file
from service.ingest import ingest
from service.readings import Archive
from service.region import open_region
from service.settings import load_settings
from service.workshop import archive_path
from trainer.apennines import localise, write_zones
from trainer.apennines_events import GaugeRain, windows_at
from trainer.dataset import Dataset, FloatArray, Indices, Variable
from trainer.folds import Fold
from trainer.inventory import InventorySource, read_inventory
from trainer.sample_kinds import Kind, Sample, Sampling
from trainer.samples import draw_samples, storms_of

WINDOW_DAYS = 30
LAGS = (0, 1)
# Wet is 10 mm or more on the day itself; 31 days are known, so that windows of both lags are whole.
SAMPLING = Sampling(
    spatial=0, random=6, season=6, wet=12, window_days=WINDOW_DAYS + 1, lag_days=0, storm_days=3
)
VALIDATION = 0.2  # of the training side
STORM_DAYS = 3  # rain of days so near is one storm
_RAIN = (Variable(name="rain", unit="mm", log=True),)


@dataclass(frozen=True)
class DatedCase:
    """Samples with whole windows, and how many events stand behind them."""

    samples: tuple[Sample, ...]
    windows: dict[int, FloatArray]  # lag -> (n, N, 1) mm
    storm: npt.NDArray[np.int64]  # (n,) number of the storm of the event that a sample is or was drawn for
    crs: str
    in_range: int  # events with a gauge within range
    complete: int  # of these, with whole windows at both lags
    located: int  # of these, to 1 km or better
    storms: int
    shortfalls: dict[str, int]
    digest: str

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """1 for events: (n,)."""
        return np.array([sample.label for sample in self.samples], np.int64)

    @property
    def day(self) -> npt.NDArray[np.int64]:
        """Ordinals of the samples' days: (n,)."""
        return np.array([sample.day.toordinal() for sample in self.samples], np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Samples of each kind."""
        return dict(Counter(sample.kind.value for sample in self.samples))

    def against(self, kind: Kind) -> npt.NDArray[np.bool_]:
        """Return the events and the negatives of one kind: bool (n,)."""
        return np.array([sample.kind in (Kind.EVENT, kind) for sample in self.samples])

    def dataset(self, lag: int) -> Dataset:
        """Return the samples with windows that end `lag` days before their day, and nothing of the place."""
        return Dataset(
            samples=self.samples,
            factors=(),
            variables=_RAIN,
            patches=None,
            windows=self.windows[lag],
            crs=self.crs,
            cell_size_m=30.0,
            lag_days=lag,
            synthetic=False,
            digest=digest_of(self.digest, lag),
        )


def open_dated(shared: Path, config: Path, build: Path, sampling: Sampling = SAMPLING) -> DatedCase:
    """Read the rain into an archive under `build` and draw dated samples.

    Raises InputError for missing data, or where no event has whole windows.
    """
    build.mkdir(parents=True, exist_ok=True)
    settings = load_settings(localise(config, shared, build))
    write_zones(settings)
    region = open_region(settings)
    source = InventorySource(path=Path(settings.training["inventory"]), form="italica")
    inventory = read_inventory(source, region.grid.crs, settings.timezone)
    with Archive(archive_path(settings)) as archive:
        report = ingest(settings.without_forecasts(), archive, datetime.now(UTC))
        if report.failed:
            raise InputError(f"the feeds {', '.join(report.failed)} failed; there is no rain to look at")
        rain = GaugeRain(settings, region, archive)

        def windows(xy: Sequence[tuple[float, float]], days: Sequence[date], lag: int) -> FloatArray:
            return windows_at(
                settings, region, archive, np.array(xy, np.float64), days,
                window_days=WINDOW_DAYS, lag_days=lag,
            )  # fmt: skip

        near = [event for event in inventory.events if rain.reaches(event.x, event.y)]
        whole = np.ones(len(near), bool)
        for lag in LAGS:
            found = windows([(e.x, e.y) for e in near], [e.day for e in near], lag)
            whole &= np.isfinite(found).all(axis=(1, 2))
        used = [event for event, kept in zip(near, whole, strict=True) if kept]
        if not used:
            raise InputError(f"none of {len(near)} events within range of a gauge has a complete window")
        # Elsewhere in Italy a landslide falls on most days; it is no reason to pass a day over here.
        around = [event for event in inventory.events if rain.reaches(event.x, event.y, event.accuracy_m)]
        drawn = draw_samples(used, around, days=rain.days, elsewhere=_nowhere, rain=rain, sampling=sampling)
        places = [(sample.x, sample.y) for sample in drawn.samples]
        days = [sample.day for sample in drawn.samples]
        by_lag = {lag: windows(places, days, lag) for lag in LAGS}
    kept = np.flatnonzero(
        np.all([np.isfinite(values).all(axis=(1, 2)) for values in by_lag.values()], axis=0)
    )
    samples = tuple(drawn.samples[row] for row in kept)
    storms = storms_of(used, sampling.storm_gap_days)
    number_of = {name: number for number, name in enumerate(sorted(set(storms.values())))}
    return DatedCase(
        samples=samples,
        windows={lag: np.ascontiguousarray(values[kept]) for lag, values in by_lag.items()},
        storm=np.array([number_of[storms[sample.event]] for sample in samples], np.int64),
        crs=region.grid.crs.to_string(),
        in_range=len(near),
        complete=len(used),
        located=sum(event.accuracy_m <= 1_000 for event in used),
        storms=len(number_of),
        shortfalls={kind.value: count for kind, count in drawn.shortfalls.items()},
        digest=digest_of(
            inventory.digest, [sha256_file(path) for path in settings.feed_files],
            sampling.model_dump(mode="json"), settings.forcing.model_dump(mode="json"),
        ),
    )  # fmt: skip


def year_folds(case: DatedCase, folds: int, seed: int) -> tuple[Fold, ...]:
    """Hold out years, about as many events in each fold; no day of rain is on both sides.

    Training samples whose window shares a day with one that is held out are left out.
    """
    years = np.array([sample.day.year for sample in case.samples])
    known = np.unique(years)
    events = np.array([((years == year) & (case.label == 1)).sum() for year in known])
    # Years in a row, cut where the next share of the events begins.
    share = (np.cumsum(events) - events / 2) / max(1, int(events.sum()))
    part = np.minimum((share * folds).astype(np.int64), folds - 1)
    fold_of = part[np.searchsorted(known, years)]
    names = [f"{known[part == n].min()}-{known[part == n].max()}" for n in range(folds) if (part == n).any()]
    if len(names) < folds:
        raise InputError(f"the events' years fill {len(names)} of {folds} folds; make the folds fewer")
    return _folds(case, fold_of, years, names, WINDOW_DAYS + 1, seed)


def storm_folds(case: DatedCase, folds: int, seed: int) -> tuple[Fold, ...]:
    """Hold out storms, with the negatives that were drawn for their events.

    Training samples within STORM_DAYS of one that is held out are left out: they would see its storm.
    """
    if case.storms < folds:
        raise InputError(f"{case.storms} storms are too few for {folds} folds; make the folds fewer")
    fold_of = np.zeros(len(case.samples), np.int64)
    splitter = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(case.storm, groups=case.storm)):
        fold_of[test] = number
    names = [f"storms {number + 1}" for number in range(folds)]
    return _folds(case, fold_of, case.storm, names, STORM_DAYS, seed)


def _folds(
    case: DatedCase,
    fold_of: Indices,
    unit: Indices,
    names: Sequence[str],
    apart_days: int,
    seed: int,
) -> tuple[Fold, ...]:
    found = []
    for number, name in enumerate(names):
        test, rest = np.flatnonzero(fold_of == number), np.flatnonzero(fold_of != number)
        held = np.unique(case.day[test])
        after = np.clip(np.searchsorted(held, case.day[rest]), 0, len(held) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.minimum(np.abs(held[after] - case.day[rest]), np.abs(held[before] - case.day[rest]))
        kept = rest[nearest >= apart_days]
        validation = _validation(case.label[kept], unit[kept], np.random.default_rng([seed, number]))
        fold = Fold(name, kept[~validation], kept[validation], test, np.setdiff1d(rest, kept))
        for side, rows in (("train", fold.train), ("validation", fold.validation), ("test", fold.test)):
            if len(set(case.label[rows].tolist())) < 2:
                raise InputError(f"the {side} side of {name} holds one class only; make the folds fewer")
        found.append(fold)
    return tuple(found)


def _validation(
    label: npt.NDArray[np.int64], unit: Indices, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return whole units that hold about VALIDATION of the events and of the rows: bool (n,).

    Units with events come first, or those without would fill it; the smallest of them is always in.
    """
    units = random.permutation(np.unique(unit))
    events = np.array([label[unit == number].sum() for number in units])
    chosen = np.asarray(unit == units[np.argmin(np.where(events > 0, events, np.inf))])
    most = VALIDATION * np.array([label.sum(), len(label)])
    for number in units[np.argsort(events == 0, kind="stable")]:
        more = chosen | (unit == number)
        if (np.array([label[more].sum(), more.sum()]) <= most).all():
            chosen = more
    return chosen


def _nowhere(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """No other places: every negative is at its event's own."""
    del random, count
    return np.zeros((0, 2))
