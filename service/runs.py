"""Runs: the lock, the sweep after a kill, each day's attempt with its row in the ledger, catch-up."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from exporters.layer import LayerStatus
from service.cap_threads import keep_cap
from service.checks.judge import ensure_judged
from service.display import list_layers, mark_withdrawn, show_latest
from service.errors import (
    ColluviumError,
    HeldError,
    Outcome,
    StorageError,
    is_disk_full,
    policy_of,
)
from service.files import remove_leftovers
from service.forecast_scores import keep_scores
from service.hillshade import ensure_hillshade
from service.kept import sweep_kept
from service.layer_windows import archive_variables
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import ProgressCallback
from service.refresh import refresh
from service.refreshed import OnStage, Refreshed, Stages
from service.retention import remove_marked, retire_layers
from service.settings import Settings
from service.state_list import prune_states
from service.surfaces import SurfaceStore, prune
from service.workshop import Workshop, ledger_path, lock_path, open_workshop

# Whether a whole backfill failed, from worst to best.
_WORST_FIRST = (Outcome.FAILED, Outcome.ABANDONED, Outcome.LOCKED, Outcome.USAGE)

log = structlog.get_logger()

ChooseDays = Callable[[Workshop], Sequence[date | None]]


def run_days(
    settings: Settings,
    settings_path: Path,
    choose: ChooseDays,
    *,
    purpose: str,
    clock: Callable[[], datetime],
    leads: Sequence[int] = (),
    as_of: datetime | None = None,
    by_hand: bool = True,
    on_state: ProgressCallback | None = None,
    on_day: ProgressCallback | None = None,
    on_stage: OnStage = lambda _: None,
) -> list[Refreshed]:
    """Refresh the days that `choose` names, oldest first, and then those `leads` days ahead of today.

    The region's lock is held. A day that fails is recorded and does not stop the next; a request to stop ends
    the run after recording the day in hand as abandoned. Errors before the first day come back as one
    Refreshed without a day. Withdrawn days are published again only `by_hand`: where a person named the day.
    """
    kind = "refresh" if as_of is None else "replay"
    results: list[Refreshed] = []
    with Ledger(ledger_path(settings), clock) as ledger:
        try:
            with exclusive(lock_path(settings), purpose):
                sweep(settings, ledger)
                with open_workshop(
                    settings, settings_path, ledger, clock, as_of=as_of, progress=on_state
                ) as shop:
                    if as_of is None:
                        # An ingest that was killed may have left readings that no check has seen.
                        ensure_judged(shop.archive, settings, clock())
                    wanted = [
                        *((day, 0) for day in choose(shop)),
                        *ahead_of_today(shop, leads, by_hand=by_hand),
                    ]
                    for number, (day, lead) in enumerate(wanted):
                        results.append(attempt(shop, day, lead, by_hand=by_hand, on_stage=on_stage))
                        if on_day is not None:
                            on_day(number + 1, len(wanted))
                        if results[-1].outcome == Outcome.ABANDONED:
                            break
                    if as_of is None:
                        prune_states(settings.data_dir / "state", state_folders(shop))
                        if leads and not (results and results[-1].outcome == Outcome.ABANDONED):
                            keep_scores(shop)
                if as_of is None:
                    retire_layers(ledger, settings.retention, clock().astimezone(settings.timezone).date())
                    sweep_kept(settings.data_dir, ledger)
                list_layers(settings.data_dir, ledger)
                prune_surfaces(settings)
                _shade(settings)
        except (ColluviumError, OSError, KeyboardInterrupt) as error:
            results.append(ended(ledger, None, None, error, {}, kind))
        # After a run that failed, too: a warning that stands must not lapse because the map is late.
        if as_of is None and all(result.outcome != Outcome.LOCKED for result in results):
            keep_cap(settings, ledger)
    return results


def attempt(
    shop: Workshop,
    day: date | None,
    lead: int = 0,
    *,
    by_hand: bool = True,
    on_stage: OnStage = lambda _: None,
) -> Refreshed:
    """Refresh one day, and write to the ledger how it ended. Raises only on errors of our own making."""
    kind = "refresh" if shop.as_of is None else "replay"
    run = shop.ledger.start_run(kind, day, lead)
    with bound_contextvars(region=shop.region.id, run=run, kind=kind, day=str(day or "newest"), lead=lead):
        log.info("run begins")
        return _attempt(shop, run, day, lead, by_hand=by_hand, stages=Stages(on_stage))


def _attempt(
    shop: Workshop, run: int, day: date | None, lead: int, *, by_hand: bool, stages: Stages
) -> Refreshed:
    try:
        result = refresh(shop, day, stages, lead=lead, by_hand=by_hand)
    except BaseException as error:
        failed = replace(ended(shop.ledger, run, day, error, stages.seconds), lead=lead)
        if not isinstance(error, ColluviumError | OSError | KeyboardInterrupt) and not is_disk_full(error):
            raise
        return failed
    shop.ledger.end_run(
        run,
        result.outcome,
        day=result.day,
        layer_id=result.layer.id if result.layer and not result.replay else None,
        cells=result.layer.cells if result.layer else None,
        seconds=result.seconds,
    )
    log.info(
        "run ended",
        outcome=result.outcome.value,
        day=str(result.day),
        layer=result.layer.id if result.layer else None,
        status=result.layer.status.value if result.layer else None,
        seconds=round(sum(result.seconds.values()), 3),
    )
    return result


def sweep(settings: Settings, ledger: Ledger) -> None:
    """Put right what a killed run left: open rows, half files, layers never recorded or only half removed.

    Only the holder of the lock may call this. Raises StorageError where the ledger does not know several
    layers: a kill leaves one at the most, so the ledger is then not the one that belongs to them.
    """
    dead = ledger.close_dead_runs()
    # A withdrawal writes its files inside a transaction, and so they are none of these leftovers.
    with ledger.transaction():
        removed = remove_leftovers(settings.data_dir)
    removed += remove_marked(ledger)
    recorded = ledger.folders()
    layers = settings.data_dir / "layers"
    orphans = [path for path in layers.glob("*/*") if path.is_dir() and str(path) not in recorded]
    if len(orphans) > 1:
        raise StorageError(
            f"{len(orphans)} layers in {layers} are not in the ledger {ledger.path}, which was lost or "
            "replaced; either restore it from a backup or move that folder aside"
        )
    for folder in orphans:
        shutil.rmtree(folder)
        removed += 1
    mark_withdrawn(ledger)
    show_latest(settings.data_dir, ledger)
    list_layers(settings.data_dir, ledger)
    if dead or removed:
        log.warning("swept up after a run that died", runs=dead, files=removed)


def state_folders(shop: Workshop) -> list[Path]:
    """Return the folders of the states that a workshop uses."""
    return [shop.state.folder, *(member.state.folder for member in shop.members)]


def prune_surfaces(settings: Settings) -> None:
    """Remove daily surfaces past their retention; one that is wanted again is rebuilt from the archive."""
    prune(SurfaceStore(settings.data_dir / "surfaces"), settings.retention.surface_days)


def catch_up_days(shop: Workshop) -> list[date | None]:
    """Return the days that should have a better layer than they have, oldest first.

    From the ledger, never from the scheduler: days since the newest layer, days that ended without one,
    degraded and unconfirmed ones, and the newest one again, in case its readings were corrected. Withdrawn
    days stay out. Of the days that no reading reaches, only today is tried, so that the ledger says once why
    it is held.
    """
    horizon = shop.today - timedelta(days=shop.settings.schedule.catch_up_days)
    latest = shop.ledger.latest()
    if latest is None:
        return [None]
    newest = [shop.archive.newest_day(variable) for variable in archive_variables(shop.bundle.manifest)]
    lag = timedelta(days=shop.bundle.manifest.lag_days)
    reached = min((day for day in newest if day is not None), default=latest.day) + lag
    first = max(horizon, shop.ledger.first_day() or latest.day)
    days: list[date | None] = []
    for offset in range((shop.today - first).days + 1):
        day = first + timedelta(days=offset)
        layer = shop.ledger.newest_revision(day)
        if layer is not None and layer.status == LayerStatus.WITHDRAWN:
            continue
        if day > reached and day != shop.today:
            continue
        # One that rests on doubtful readings is made again as soon as a person has decided about them.
        good = layer is not None and layer.status == LayerStatus.COMPLETE and not layer.unconfirmed
        if not good or day == latest.day:
            days.append(day)
    return days


def ahead_of_today(shop: Workshop, leads: Iterable[int], *, by_hand: bool) -> list[tuple[date, int]]:
    """Return the day and lead of each forecast that is issued today; withdrawn ones only `by_hand`."""
    found = []
    for lead in leads:
        day = shop.today + timedelta(days=lead)
        layer = shop.ledger.newest_revision(day, lead)
        if by_hand or layer is None or layer.status != LayerStatus.WITHDRAWN:
            found.append((day, lead))
    return found


def span(since: date, until: date) -> list[date | None]:
    """Return all days from `since` to `until`."""
    return [since + timedelta(days=offset) for offset in range((until - since).days + 1)]


def _shade(settings: Settings) -> None:
    """Make the page's base map where it is missing; without it the map is as true, and less easy to read."""
    try:
        ensure_hillshade(settings)
    except (ColluviumError, OSError) as error:
        log.warning("no hillshade for the page", reason=str(error))


def overall(results: Iterable[Refreshed]) -> Outcome:
    """Return the outcome that stands for all of them."""
    counts = Counter(result.outcome for result in results)
    for outcome in (*_WORST_FIRST, Outcome.PUBLISHED, Outcome.UNCHANGED, Outcome.HELD):
        if counts[outcome]:
            return outcome
    return Outcome.UNCHANGED


def ended(
    ledger: Ledger,
    run: int | None,
    day: date | None,
    error: BaseException,
    seconds: dict[str, float],
    kind: str = "refresh",
) -> Refreshed:
    """Write to ledger and log how an error ended a run; where `run` is None, its row begins here."""
    outcome, label = policy_of(error)
    reason = str(error) or type(error).__name__
    if outcome == Outcome.ABANDONED:
        reason = "asked to stop; nothing was left half done"
    if is_disk_full(error):
        label, reason = "storage", _disk_full_reason(ledger.path, error)
    level = log.warning if isinstance(error, HeldError) or outcome == Outcome.ABANDONED else log.error
    level("run ended", outcome=outcome.value, day=str(day) if day else None, reason=reason)
    # On a full disk the ledger may be unwritable too; the sweep of the next run closes the row.
    with contextlib.suppress(StorageError, OSError):
        run = ledger.start_run(kind, day) if run is None else run
        ledger.end_run(run, outcome, day=day, label=label, reason=reason, seconds=seconds)
    return Refreshed(outcome, day, reason=reason, seconds=seconds)


def _disk_full_reason(path: Path, error: BaseException) -> str:
    free = shutil.disk_usage(path.parent).free
    return (
        f"the disk that holds {path.parent} is full ({free / 2**20:.1f} MiB free): {error}. "
        "Nothing half done was kept and the last good layer stays; free some space and run it again"
    )
