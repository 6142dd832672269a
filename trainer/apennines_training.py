"""The Apennines' bundle: trained, exported with what is to be said about it, and kept while inputs stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.bundle import read_manifest
from service.errors import BundleError
from service.factor_stack import FactorStack
from service.files import digest_of, sha256_file
from service.manifest import Training
from service.readings import Archive
from service.region import Region
from service.settings import Settings
from trainer.apennines_model import (
    FACTORS,
    LAG_DAYS,
    LAST_TRAINING_DAY,
    Plan,
    Trained,
    cross_validate,
    train_spatial,
    train_temporal,
)
from trainer.bundle import export_bundle
from trainer.inventory import InventorySource, read_inventory
from trainer.squares import read_squares, square_patches

Progress = Callable[[str, int, int], None]
# Fewer dated landslides than this cannot show that warnings would be right.
EVENTS_TO_WARN = 50
REPORT = "training.json"
_VERSION = 2  # of the procedure; part of the digest


def train_bundle(
    settings: Settings,
    region: Region,
    stack: FactorStack,
    archive: Archive,
    plan: Plan,
    progress: Progress,
) -> dict[str, Any]:
    """Train and export the bundle to `settings.bundle.path`, or keep the one that came of these inputs.

    Returns what the summary says of it: events, samples, metrics, and a plain statement.
    """
    squares_path = Path(settings.training["squares"])
    inventory_path = Path(settings.training["inventory"])
    digests = {
        "factor_stack": stack.digest,
        "squares": sha256_file(squares_path),
        "inventory": sha256_file(inventory_path),
        "readings": digest_of([sha256_file(path) for path in settings.feed_files]),
        "plan": digest_of(_VERSION, repr(plan), settings.forcing.model_dump()),
    }
    folder = settings.bundle.path
    if (kept := _kept(folder, digests)) is not None:
        return kept
    squares = square_patches(read_squares(squares_path), _dem(settings), region.grid, FACTORS)
    spatial, spatial_fit, held_out = train_spatial(
        squares, stack.bands, plan, lambda done, total: progress("spatial branch", done, total)
    )
    auc = cross_validate(
        squares, stack.bands, plan, lambda done, total: progress("cross-validation", done, total)
    )
    source = InventorySource(path=inventory_path, form="italica")
    trained = train_temporal(
        settings,
        region,
        stack,
        archive,
        read_inventory(source, region.grid.crs, settings.timezone),
        spatial,
        spatial_fit,
        {"held-out blocks (chose the epoch)": held_out, **auc},
        plan,
        lambda done, total: progress("temporal branch", done, total),
    )
    said = say_plainly(trained)
    told = {
        "path": str(folder),
        "name": "apennines-cnn-lstm",
        "squares": {
            "positive": int(squares.label.sum()),
            "negative": int((squares.label == 0).sum()),
            "in_between_left_out": squares.between,
            "incomplete_left_out": squares.incomplete,
            "auc_cnn_only": trained.squares,
        },
        "events": asdict(trained.events),
        "events_used": [
            {"id": event.id, "day": event.day.isoformat(), "accuracy_m": event.accuracy_m}
            for event in trained.used
        ],
        "samples": trained.samples,
        "kinds": trained.kinds,
        "negatives_not_found": trained.shortfalls,
        "evaluation": {
            name: {**found.metrics(), "intervals": found.intervals, "samples": found.samples}
            for name, found in trained.evaluation.items()
        },
        "rain_test": trained.rain.model_dump(mode="json"),
        "breaks": list(trained.classes.breaks),
        "best_epochs": {"spatial": trained.spatial.best_epoch, "temporal": trained.temporal.best_epoch},
        "may_warn": False,
        "said_plainly": said,
    }
    # A finished bundle is never rewritten; this one is no longer what its inputs give.
    if folder.exists():
        shutil.rmtree(folder)
    export_bundle(
        trained.model,
        folder,
        name="apennines-cnn-lstm",
        version="1",
        created=datetime.now(UTC).replace(microsecond=0),
        classes=trained.classes,
        training=_training(region, trained, plan, digests),
        rain_test=trained.rain,
        withhold_warnings=_withheld(trained),
        lag_days=LAG_DAYS,
        forcing_cell=region.forcing.k,
        notes=[said, *_notes(trained)],
        report={REPORT: (json.dumps(told, indent=2, sort_keys=True) + "\n").encode()},
    )
    return told


def say_plainly(trained: Trained) -> str:
    """Say in one paragraph how little stands behind the model."""
    events, test = trained.events, trained.evaluation.get("test")
    auc = f"{test.auc:.2f}" if test else "not known"
    low, high = test.intervals.get("auc", (float("nan"), float("nan"))) if test else (0.0, 0.0)
    return (
        f"The timing rests on {events.train} landslides to train, {events.validation} to choose the epoch "
        f"and {events.test} to test: {events.complete} of {events.in_range} dated events within range of a "
        f"gauge have a complete window at all four nodes, {events.until_2010} of them until 2010, and only "
        f"{events.located} are located to 1 km or better on the terrain. On the test part the AUC is {auc} "
        f"({low:.2f} to {high:.2f} over resampled groups), which is a case study and no evidence that a "
        "warning would be right. The pattern in space comes from the landslides of one storm, May 2023."
    )


def _withheld(trained: Trained) -> str | None:
    if trained.events.complete >= EVENTS_TO_WARN:
        return None
    return (
        f"only {trained.events.complete} dated landslides stand behind it; "
        f"{EVENTS_TO_WARN} are needed before it may warn"
    )


def _training(region: Region, trained: Trained, plan: Plan, digests: dict[str, str]) -> Training:
    metrics = {
        f"{part} {name}": value
        for part, found in trained.evaluation.items()
        for name, value in found.metrics().items()
    }
    metrics |= {f"squares AUC, {name}": value for name, value in trained.squares.items()}
    return Training(
        region=region.id,
        data=(
            "space: squares of 1.28 km mapped after 16-17 May 2023 (Sen12Landslides); time: dated "
            "landslides of ITALICA v2 with a complete window of ARPAE gauges, against dated negatives"
        ),
        synthetic=False,
        samples=trained.samples,
        events=trained.events.complete,
        sampling_ratio=trained.sampling_ratio,
        split=(
            f"by place and storm (30 days); test: groups with an event after {LAST_TRAINING_DAY}; "
            f"squares: held-out blocks of {plan.validation_block_km:g} km"
        ),
        seed=plan.seed,
        metrics=metrics,
        digests=digests,
    )


def _notes(trained: Trained) -> list[str]:
    return [
        "An event that is not located to its cell, or lies off the terrain, and its negatives on other days, "
        "carry the region's mean spatial embedding: they teach the temporal side alone.",
        "Elevation is close to a position, and the storm of May 2023 fell on the hills: the metrics show the "
        "CNN with and without it. Factors of flow are not inputs: a square does not hold its upstream area.",
        "Events are weighted to count as much as their negatives: the index is relative to one to one.",
        "Not the paper's: L2 0.2 on the spatial branch, where 0.01 gives a state too delicate to quantise; "
        "on the temporal branch none, batch 16 and 60 epochs, where 0.01 and few events leave no response "
        "to rain.",
        "Class breaks: quantiles 50, 80 and 95 % of the index over a seeded sample of cells and days, fixed.",
        f"Negatives that could not be found: {trained.shortfalls or 'none'}.",
    ]


def _kept(folder: Path, digests: dict[str, str]) -> dict[str, Any] | None:
    """Return the report of the bundle in place where it came of the same inputs."""
    if not folder.exists():
        return None
    try:
        manifest, _ = read_manifest(folder)
    except BundleError:
        return None
    report = folder / "report" / REPORT
    if manifest.training.digests != digests or not report.exists():
        return None
    return dict(json.loads(report.read_text("utf-8")))


def _dem(settings: Settings) -> Path:
    dem = settings.factors.dem or settings.grid.dem
    if dem is None:
        raise BundleError("the squares need a DEM: give grid.dem or factors.dem")
    return dem
