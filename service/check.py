"""`colluvium check`: is everything there that a refresh needs?"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Literal

from exporters.base import ExportError
from service.bundle import Bundle, check_region
from service.challenger import challenger_bundle
from service.engines.dask_check import look_at_engine
from service.errors import ColluviumError
from service.factor_stack import FactorStack
from service.feed_log import Problem
from service.feeds.base import Batch
from service.feeds.opening import open_feeds
from service.fetching import Deadline, fetch_all
from service.files import CHALLENGER
from service.ingest import known_days
from service.ledger import Ledger
from service.manifest import Manifest
from service.progress import ProgressCallback
from service.quality import Observation, Rejection
from service.readings import Archive
from service.region import Region, open_region
from service.runtime import chosen_device, onnx_runtime
from service.serving import ended_promotion, serving_bundle
from service.settings import Settings
from service.settings_outlets import FolderExporter, PostgisExporter
from service.stamps import utc_now
from service.state_keep import choose_keep, folder_bytes, state_digests
from service.workshop import archive_path, ledger_path

# One day's layer compresses to about this; the state is exact.
_LAYER_BYTES_PER_CELL = 1.0
_UNCERTAINTY_BYTES_PER_CELL = 1.0  # a byte of spread, a byte of marks that are mostly zero
_PROBABILITY_BYTES_PER_CELL = 4.0  # float32 hardly compresses


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warn", "fail"]
    message: str

    def to_json(self) -> dict[str, str]:
        """Return it for scripts."""
        return asdict(self)


def run_checks(settings: Settings, progress: ProgressCallback) -> list[Check]:
    """Look at everything, and go on after a failure, so that one call names all of them."""
    checks = [Check("settings", "ok", f"region {settings.region.id}, data in {settings.data_dir}")]
    region: Region | None = None
    bundle: Bundle | None = None

    def look(name: str, action: Callable[[], Check]) -> None:
        try:
            checks.append(action())
        except (ColluviumError, ExportError, OSError) as error:
            checks.append(Check(name, "fail", str(error)))

    def look_at_region() -> Check:
        nonlocal region
        region = open_region(settings)
        grid = region.grid
        return Check(
            "region",
            "ok",
            f"{grid.height} x {grid.width} cells of {grid.cell_size_m:g} m in {grid.crs.to_string()}, "
            f"{len(region.forcing.active)} forcing cells, {len(region.zones)} zones",
        )

    def look_at_bundle() -> Check:
        nonlocal bundle
        with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
            serving, ended = serving_bundle(settings, ledger), ended_promotion(settings, ledger)
        bundle = Bundle.load(serving)
        check_region(bundle.manifest, settings.region.id, settings.bundle.allow_transfer)
        manifest = bundle.manifest
        words = f"{manifest.name} {manifest.version}, proven; {manifest.may_warn_reason}"
        if serving != settings.bundle.path:
            words += f"; promoted in place of {settings.bundle.path}"
        if ended is not None:
            words += f"; {ended}"
        return Check("bundle", "ok" if manifest.may_warn and ended is None else "warn", words)

    def look_at_challenger() -> Check:
        path, _, name = challenger_bundle(settings)
        Bundle.load(path)
        return Check("challenger", "ok", f"{name}, proven; its layers are kept and not shown")

    def look_at_engine_now() -> Check:
        state, words = look_at_engine(settings, region, bundle)
        return Check("engine", state, words)

    feeds = _Feeds(settings)
    steps: list[tuple[str, Callable[[], Check]]] = [
        ("runtime", lambda: _look_at_runtime(settings)),
        ("region", look_at_region),
        ("bundle", look_at_bundle),
        *([("challenger", look_at_challenger)] if settings.bundle.challenger is not None else []),
        ("factors", lambda: _look_at_factors(settings, region, bundle)),
        *([("engine", look_at_engine_now)] if settings.engine.kind == "dask" else []),
        *[(f"feed {feed.name}", partial(feeds.look, number)) for number, feed in enumerate(settings.feeds)],
        *[
            (f"exporter {section.name}", partial(_look_at_exporter, section, settings))
            for section in settings.exporters
        ],
        ("disk", lambda: _look_at_disk(settings, region, bundle)),
    ]
    for number, (name, action) in enumerate(steps, start=1):
        look(name, action)
        progress(number, len(steps))
    if not settings.feeds:
        checks.append(Check("feeds", "fail", "no [[feeds]]: without readings there is no map"))
    return checks


def _look_at_runtime(settings: Settings) -> Check:
    device = chosen_device(settings.inference.device)
    words = f"onnxruntime {onnx_runtime().__version__}, {device.provider}: {device.reason}"
    return Check("runtime", "warn" if device.fell_back else "ok", words)


def _look_at_factors(settings: Settings, region: Region | None, bundle: Bundle | None) -> Check:
    if region is None or bundle is None:
        return Check("factors", "warn", "not looked at: region or bundle failed")
    if not settings.stack_path.exists():
        return Check("factors", "fail", f"no {settings.stack_path}; make it with 'colluvium factors'")
    with FactorStack.open(settings.stack_path, region.grid) as stack:
        stack.index([factor.name for factor in bundle.manifest.factors])
        return Check("factors", "ok", f"{len(stack.bands)} bands, digest {stack.digest[:16]}")


class _Feeds:
    """All feeds, fetched side by side when the first one is looked at; none can hold up the others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def look(self, number: int) -> Check:
        """Look at what a feed brought, by its place in the settings."""
        feed = self._settings.feeds[number]
        batch = self._fetched[number]
        if isinstance(batch, Exception):
            raise batch
        return _look_at_batch(feed.name, batch, self._known[feed.name])

    @cached_property
    def _known(self) -> dict[str, dict[date, str]]:
        with Archive(archive_path(self._settings), utc_now, make=False) as archive:
            return {feed.name: known_days(archive, feed.name) for feed in self._settings.feeds}

    @cached_property
    def _known_series(self) -> dict[str, dict[str, date]]:
        with Archive(archive_path(self._settings), utc_now, make=False) as archive:
            return {feed.name: archive.log.newest_by_series(feed.name) for feed in self._settings.feeds}

    @cached_property
    def _fetched(self) -> dict[int, Batch | Exception]:
        deadline = Deadline(self._settings.ingest.deadline_minutes * 60)
        feeds = open_feeds(
            self._settings,
            utc_now,
            self._known.__getitem__,
            deadline.seconds_left,
            self._known_series.__getitem__,
        )
        done = fetch_all(feeds, None, None, self._settings.ingest.parallel, deadline)
        return {item.number: item.result for item in done}


def _look_at_batch(name: str, batch: Batch, known: Mapping[date, str]) -> Check:
    readings, rejections, problems = 0, [], list(batch.problems)
    days: set[date] = set()
    series: set[str] = set()
    for item in chain(batch.rows, batch.grids):
        match item:
            case Observation():
                readings += 1
                days.add(item.day)
                series.add(item.series)
            case Rejection():
                rejections.append(item)
            case Problem():
                problems.append(item)
            case _:
                days.add(item.day)
    words = []
    if readings or not (days or known):
        words.append(f"{readings} readings of {len(series)} series")
    elif days:
        words.append(f"rasters of {len(days)} days")
    else:
        words.append(f"nothing newer than what the archive has, until {max(known)}")
    if days:
        words[0] += f", {min(days)} to {max(days)}"
    if rejections:
        first = rejections[0]
        words.append(f"{len(rejections)} unreadable, first in {first.file}, row {first.row}: {first.detail}")
    words += [str(problem) for problem in problems[:3]]
    text = "; ".join(words)
    if not days and not known:
        return Check(f"feed {name}", "fail", text)
    return Check(f"feed {name}", "warn" if rejections or problems else "ok", text)


def _look_at_exporter(section: FolderExporter | PostgisExporter, settings: Settings) -> Check:
    name = f"exporter {section.name}"
    if isinstance(section, FolderExporter):
        if not section.path.is_dir():
            return Check(
                name, "fail", f"{section.path} is no folder; mount it, or make it if it is meant to be local"
            )
        if not os.access(section.path, os.W_OK):
            return Check(name, "fail", f"{section.path} cannot be written to by this user")
        return Check(name, "ok", f"folder {section.path}")
    from service.postgis import look_at_schema, schema_of

    found = look_at_schema(section, settings)
    words = f"schema {schema_of(section, settings)} at migration {found.migration}, {found.layers} layers"
    return Check(name, "ok", words)


def _look_at_disk(settings: Settings, region: Region | None, bundle: Bundle | None) -> Check:
    folder = _existing_parent(settings.data_dir)
    free = shutil.disk_usage(folder).free
    if region is None or bundle is None:
        return Check("disk", "warn", f"{free / 2**30:.1f} GiB free; need unknown: region or bundle failed")
    manifest, asked = bundle.manifest, settings.inference
    digests: list[str] = []
    # Without factors no state is of this bundle; that they are missing is said by their own check.
    with contextlib.suppress(ColluviumError), FactorStack.open(settings.stack_path, region.grid) as stack:
        digests = state_digests(region, stack, manifest, asked.min_patch_observed)
    place = settings.data_dir / "state"
    kept = choose_keep(asked, manifest, digests, place, region)
    names = {digest[:16] for digest in digests}
    others = sum(folder_bytes(path) for path in place.glob("*") if path.name not in names)
    # At a change of model the old states and the new ones are there for a while.
    states = max(0, kept.need - kept.have) + max(0, kept.need - others)
    layers = settings.schedule.catch_up_days * _layer_bytes(region, manifest)
    if settings.bundle.challenger is not None:
        beside = sum(folder_bytes(path) for path in (settings.data_dir / CHALLENGER).glob("*/state/*"))
        states += max(0, kept.need - beside)
        layers *= 2
    members = f"with {manifest.members} members " if manifest.members else ""
    text = (
        f"{free / 2**30:.1f} GiB free on {folder}, {(states + layers) / 2**30:.1f} GiB needed: {members}"
        f"{2 * kept.need / 2**30:.2f} GiB of states ({kept.keep}) while the model changes, of which "
        f"{(kept.have + others) / 2**30:.2f} GiB are there, and {layers / 2**30:.1f} GiB of layers"
    )
    if settings.bundle.challenger is not None:
        text += "; with a challenger's state and layers"
    if kept.fell_back:
        text += f"; the states are recomputed for each layer, which takes longer: {kept.reason}"
    fits = free > states + layers
    if not fits and kept.keep == "stored":
        text += '; free some, or set inference.state = "recomputed", which stores no states and takes longer'
    return Check("disk", "fail" if not fits else "warn" if kept.fell_back else "ok", text)


def _layer_bytes(region: Region, manifest: Manifest) -> float:
    per_cell = _LAYER_BYTES_PER_CELL
    per_cell += _UNCERTAINTY_BYTES_PER_CELL if manifest.members else 0
    per_cell += _PROBABILITY_BYTES_PER_CELL if manifest.odds else 0
    return len(region.forcing.active) * region.forcing.k**2 * per_cell


def _existing_parent(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
