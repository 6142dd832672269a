"""The real Apennines case, from terrain, rain and landslides to layers: what `make apennines` runs.

    python -m trainer.apennines [--shared FOLDER] [--config FILE] [--build FOLDER]

Reads the shared data, writes under the build folder, and ends with its summary as one JSON object on the last
line. Refreshes are made by `colluvium backfill` in a child process, as in service; figures are that child's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import shapely
import structlog

from service.bundle import Bundle, verify
from service.errors import BundleError, InputError, SettingsError
from service.factor_stack import FactorStack
from service.files import remove_leftovers, write_json
from service.ingest import ingest
from service.lock import exclusive
from service.logs import configure_logging
from service.progress import progress_bar
from service.readings import Archive
from service.region import Region, make_grid, open_region
from service.sequences import build_windows
from service.settings import Settings, load_settings
from service.state import open_or_build_state
from service.workshop import archive_path, lock_path
from trainer.apennines_events import LOCATED_M, GaugeRain, on_terrain
from trainer.apennines_model import Plan
from trainer.apennines_pictures import picture_of_areas, picture_of_class
from trainer.apennines_proof import CellProof, hold_against_layers, prove_on_cells
from trainer.apennines_training import train_bundle
from trainer.factors import FactorStackReport, derive
from trainer.inventory import Event, InventorySource, read_inventory

Progress = Callable[[str, int, int], None]  # stage, done, total
log = structlog.get_logger()

SHARED_VARIABLE = "COLLUVIUM_SHARED_DATA"
# What config/apennines.toml says, and what is put in its place where data or build lie elsewhere.
_SHARED_IN_CONFIG, _BUILD_IN_CONFIG = "../../shared/data", "../build/apennines"
_ZONE_M = 20_000.0


@dataclass(frozen=True)
class Case:
    """What is run; the defaults are the whole case."""

    plan: Plan = Plan()  # noqa: RUF009 - frozen
    periods: tuple[tuple[date, date], ...] = (
        (date(2014, 2, 1), date(2015, 2, 28)),
        (date(2017, 7, 1), date(2017, 7, 31)),
    )
    proof_cells: int = 10_000
    least_agreement: float = 0.999  # share of classes that the quantised state must keep


CASE = Case()


def run(
    shared: Path, config: Path, build: Path, progress: Progress | None = None, case: Case = CASE
) -> dict[str, Any]:
    """Run the case and return its summary, which is also written to <build>/summary.json.

    `shared` is the folder that holds apennines/. A bundle whose inputs have not changed is kept. Raises
    InputError for missing data, and the errors of each step.
    """
    report = progress or (lambda _stage, _done, _total: None)
    build.mkdir(parents=True, exist_ok=True)
    remove_leftovers(build)
    here = localise(config, shared, build)
    settings = load_settings(here)
    write_zones(settings)
    region = open_region(settings)
    with exclusive(lock_path(settings), "the Apennines case"):
        factors = derive(settings, region, lambda done, total: report("factors", done, total))
        _ingest(settings, lambda done, total: report("ingest", done, total))
    with (
        FactorStack.open(settings.stack_path, region.grid) as stack,
        Archive(archive_path(settings)) as archive,
    ):
        trained = train_bundle(settings, region, stack, archive, case.plan, report)
        verification = verify(settings.bundle.path, samples=min(10_000, case.proof_cells))
        rain = GaugeRain(settings, region, archive)
        asked = [day for since, until in case.periods for day in _days(since, until)]
        length = case.plan.sampling.window_days
        proof = _prove(
            settings, region, stack, archive, _wettest_and_driest(rain, asked, length)[0], case, report
        )
        results: list[dict[str, Any]] = []
        backfills: list[dict[str, Any]] = []
        for number, (since, until) in enumerate(case.periods):
            report("refreshes", number, len(case.periods))
            backfills.append(_backfill(here, since, until))
            results += backfills[-1]["results"]
        layers = {date.fromisoformat(r["day"]): r for r in results if r["layer"] is not None}
        if not layers:
            raise InputError(f"no layer came of the refreshes: {[r['reason'] for r in results][:3]}")
        folders = {day: Path(layer["path"]) for day, layer in layers.items()}
        wettest, driest = _wettest_and_driest(rain, sorted(layers), length)
        events = _events_of(settings, region, stack, rain, case.periods)
        held = hold_against_layers(events, folders, region.grid, LOCATED_M)
    pictures = _pictures(build, region.id, folders, layers, wettest, driest)
    summary = {
        "region": region.id,
        "factor_stack": _stack_summary(factors),
        "bundle": {**trained, "verification": verification.model_dump(mode="json"), "proof": _proof(proof)},
        "layers": len(layers),
        "outcomes": [backfill["outcomes"] for backfill in backfills],
        "cells": sum(backfill["cells"] for backfill in backfills),
        "cells_per_s": _rate(backfills),
        "peak_rss_bytes": max(backfill["peak_rss_bytes"] for backfill in backfills),
        "wettest_day": wettest.isoformat(),
        "driest_day": driest.isoformat(),
        "class_areas_by_day": {
            day.isoformat(): layer["class_area_m2"] for day, layer in sorted(layers.items())
        },
        "events_against_layers": held,
        "pictures": pictures,
        "said_plainly": trained["said_plainly"],
    }
    write_json(build / "summary.json", summary)
    return summary


def localise(config: Path, shared: Path, build: Path) -> Path:
    """Write <build>/apennines.toml: the settings with the real paths of data and build folder; return it."""
    try:
        text = config.read_text("utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {config}: {error.strerror}") from error
    needed = shared / "apennines"
    if not needed.is_dir():
        raise InputError(
            f"no data at {needed}; either put it there or set {SHARED_VARIABLE} to the folder "
            "that holds apennines/"
        )
    text = text.replace(_SHARED_IN_CONFIG, shared.resolve().as_posix())
    text = text.replace(_BUILD_IN_CONFIG, build.resolve().as_posix())
    target = build / "apennines.toml"
    if not target.exists() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")
    return target


def write_zones(settings: Settings) -> None:
    """Write squares of 20 km over the grid as the region's zones, counted from the south-west."""
    if settings.zones is None:
        return
    left, bottom, right, top = make_grid(settings).bounds
    features = []
    for row in range(int(np.ceil((top - bottom) / _ZONE_M))):
        for column in range(int(np.ceil((right - left) / _ZONE_M))):
            x, y = left + column * _ZONE_M, bottom + row * _ZONE_M
            square = shapely.box(x, y, min(x + _ZONE_M, right), min(y + _ZONE_M, top))
            name = f"square {chr(ord('A') + column)}{row + 1}"
            properties = {"id": name.removeprefix("square ").lower(), "name": name}
            features.append(
                {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(square)}
            )
    # GeoJSON of 2008 may name its CRS, and GDAL reads it.
    crs = {"type": "name", "properties": {"name": settings.grid.crs}}
    content = {"type": "FeatureCollection", "crs": crs, "features": features}
    path = settings.zones.path
    if not path.exists() or json.loads(path.read_text("utf-8")) != json.loads(json.dumps(content)):
        write_json(path, content)


def _ingest(settings: Settings, progress: Callable[[int, int], None]) -> None:
    with Archive(archive_path(settings)) as archive:
        report = ingest(settings, archive, datetime.now(UTC), progress=progress)
    if report.failed:
        raise InputError(f"feeds failed: {json.dumps(report.to_json())}")


def _backfill(config: Path, since: date, until: date) -> dict[str, Any]:
    """Run `colluvium backfill --json` in a child of its own and return what it prints."""
    command = [sys.executable, "-m", "service.cli", "backfill", "-c", str(config), "--json"]
    command += ["--since", since.isoformat(), "--until", until.isoformat()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise InputError(f"the backfill from {since} to {until} ended with status {done.returncode}")
    found = json.loads(lines[-1])
    if done.returncode != 0:
        reasons = sorted({str(result["reason"]) for result in found["results"] if result["reason"]})
        raise InputError(f"the backfill from {since} to {until} {found['outcome']}: {'; '.join(reasons[:3])}")
    return dict(found)


def _wettest_and_driest(rain: GaugeRain, days: Sequence[date], window: int) -> tuple[date, date]:
    """Return the days whose windows held the most and the least rain, as the mean over reporting gauges."""
    sums = [float(np.nansum(rain.mean([day - timedelta(days=n + 1) for n in range(window)]))) for day in days]
    return days[int(np.argmax(sums))], days[int(np.argmin(sums))]


def _days(since: date, until: date) -> list[date]:
    return [since + timedelta(days=n) for n in range((until - since).days + 1)]


def _prove(
    settings: Settings,
    region: Region,
    stack: FactorStack,
    archive: Archive,
    day: date,
    case: Case,
    progress: Progress,
) -> CellProof:
    """Prove the bundle on real cells of the layer of `day`, with the state that the refreshes then use."""
    bundle = Bundle.load(settings.bundle.path, workers=os.cpu_count() or 1)
    manifest = bundle.manifest
    state = open_or_build_state(
        region,
        stack,
        bundle,
        settings.data_dir / "state",
        min_patch_observed=settings.inference.min_patch_observed,
        workers=os.cpu_count() or 1,
        progress=lambda done, total: progress("spatial state", done, total),
    )
    windows = build_windows(
        settings,
        region,
        archive,
        manifest.variables,
        day,
        window_days=manifest.window_days,
        lag_days=manifest.lag_days,
    )
    scheme = settings.classes or manifest.classes
    proof = prove_on_cells(region.forcing, state, bundle, windows, scheme, cells=case.proof_cells)
    if proof.largest_difference > 1e-5 or proof.class_agreement < case.least_agreement:
        raise BundleError(f"the factored bundle is not the network on real cells: {asdict(proof)}")
    return proof


def _events_of(
    settings: Settings,
    region: Region,
    stack: FactorStack,
    rain: GaugeRain,
    periods: Sequence[tuple[date, date]],
) -> list[Event]:
    """Return the events on the terrain, within range of a gauge, of the refreshed days."""
    source = InventorySource(path=Path(settings.training["inventory"]), form="italica")
    inventory = read_inventory(source, region.grid.crs, settings.timezone)
    return [
        event
        for event in inventory.events
        if any(since <= event.day <= until for since, until in periods)
        and rain.reaches(event.x, event.y)
        and on_terrain(region, stack, event)
    ]


def _pictures(
    build: Path,
    region: str,
    folders: dict[date, Path],
    layers: dict[date, dict[str, Any]],
    wettest: date,
    driest: date,
) -> list[str]:
    places = []
    for word, day in (("wettest", wettest), ("driest", driest)):
        path = build / f"{word}-{day}.png"
        picture_of_class(folders[day] / "class.tif", path, f"{region}, {day} ({word} window)")
        places.append(str(path))
    path = build / "class-areas-by-day.png"
    picture_of_areas({day: layer["class_area_m2"] for day, layer in layers.items()}, path)
    return [*places, str(path)]


def _stack_summary(factors: FactorStackReport) -> dict[str, Any]:
    return {
        "path": str(factors.path),
        "digest": factors.digest,
        "bands": [band.name for band in factors.bands],
        "cells": factors.cells,
        "seconds": round(factors.seconds, 1),
        "unchanged": factors.unchanged,
        "notes": list(factors.notes),
    }


def _proof(proof: CellProof) -> dict[str, Any]:
    return {**asdict(proof), "day": proof.day.isoformat()}


def _rate(backfills: Sequence[dict[str, Any]]) -> int | None:
    """Return cells a second over all layers made in this run; None where every day was unchanged."""
    made = [b for b in backfills if b["cells_per_s"]]
    spent = sum(b["cells"] / b["cells_per_s"] for b in made)
    return round(sum(b["cells"] for b in made) / spent) if spent else None


@click.command()
@click.option(
    "--shared",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=SHARED_VARIABLE,
    default=Path("../shared/data"),
    show_default=True,
    help="The folder that holds apennines/.",
)
@click.option("--config", type=click.Path(path_type=Path), default=Path("config/apennines.toml"))
@click.option("--build", type=click.Path(path_type=Path, file_okay=False), default=Path("build/apennines"))
def main(shared: Path, config: Path, build: Path) -> None:
    """Run the real Apennines case; the last line is its summary as one JSON object."""
    configure_logging(verbose=False)  # to stderr: stdout ends with the summary
    with progress_bar("apennines") as bar:
        stage = ""

        def progress(name: str, done: int, total: int) -> None:
            nonlocal stage
            if name != stage:
                stage = name
                click.echo(f"{name} ...", err=True)
            bar(done, total)

        summary = run(shared, config, build, progress)
    click.echo(summary["said_plainly"])
    click.echo(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
