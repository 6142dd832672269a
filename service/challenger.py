"""The challenger: another bundle that makes the layers of the same days, to be judged beside what is shown.

    challenger/<bundle digest16>/
        ledger.sqlite                   its own runs and layers; no exporter, no CAP, nothing is shown
        layers/ state/ history/ kept/   its own
        readings.sqlite rasters/ ...    links to the region's readings, daily surfaces and masks

It holds a lock of its own and not the region's: it only reads the readings, and the daily surfaces and masks
that it shares with the region carry the digest of what they were made from and appear by renaming. An ingest
or a refresh never waits for it, and whatever becomes of it, the map on display is none the worse.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from service.bundle import read_manifest
from service.errors import BundleError, ColluviumError, HeldError, Outcome, UsageError
from service.files import CHALLENGER
from service.kept import sweep_kept
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import ProgressCallback
from service.refreshed import OnStage, Refreshed
from service.retention import days_of_events, retire_layers
from service.runs import attempt, ended, state_folders, sweep
from service.serving import serving_bundle
from service.settings import Settings
from service.snapshot import LEDGER, READINGS
from service.state_list import prune_states
from service.workshop import ledger_path, open_workshop

_DIGITS = 16  # of a bundle's digest, which name its folder
_LOCK = "lock"
_SHARED = ("rasters", "surfaces", "region")


@dataclass(frozen=True)
class ChallengerRun:
    """What one run of the challenger came to."""

    bundle: str  # name and version
    digest: str
    folder: Path
    results: tuple[Refreshed, ...]
    note: str = ""  # why there was nothing to do


def challenger_folder(settings: Settings, digest: str) -> Path:
    """Return where the layers of a challenger lie, by the digest of its bundle."""
    return settings.data_dir / CHALLENGER / digest[:_DIGITS]


def challenger_bundle(settings: Settings) -> tuple[Path, str, str]:
    """Return the challenger's bundle: folder, digest, and its name and version in words.

    Raises UsageError where the settings name none, BundleError where its manifest cannot be used.
    """
    path = settings.bundle.challenger
    if path is None:
        raise UsageError("the settings name no challenger; set bundle.challenger to the folder of a bundle")
    manifest, digest = read_manifest(path)
    return path, digest, f"{manifest.name} {manifest.version}"


@contextmanager
def challenger_ledger(settings: Settings, clock: Callable[[], datetime]) -> Iterator[Ledger]:
    """Open the ledger of the settings' challenger, to read; an empty one where it has made nothing yet.

    Raises what `challenger_bundle` raises.
    """
    _, digest, _ = challenger_bundle(settings)
    with Ledger(challenger_folder(settings, digest) / LEDGER, clock, make=False) as ledger:
        yield ledger


def run_challenger(
    settings: Settings,
    settings_path: Path,
    clock: Callable[[], datetime],
    *,
    since: date | None = None,
    until: date | None = None,
    on_state: ProgressCallback | None = None,
    on_day: ProgressCallback | None = None,
    on_stage: OnStage = lambda _: None,
) -> ChallengerRun:
    """Make the challenger's layers of the days that are on display, oldest first.

    Without `since`, of the days of `schedule.catch_up_days` those that it lacks, or that were made again on
    display since. A day that fails is recorded in its own ledger and does not stop the next.

    Raises UsageError where the settings name no challenger, BundleError where its manifest cannot be used,
    LockedError beside another run of the same challenger. Other errors come back as one Refreshed without a
    day, as from a refresh.
    """
    path, digest, name = challenger_bundle(settings)
    folder = challenger_folder(settings, digest)
    with Ledger(ledger_path(settings), clock, make=False) as shown:
        if _digest_of(serving_bundle(settings, shown)) == digest:
            return ChallengerRun(name, digest, folder, (), "the challenger is the bundle that serves")
        with exclusive(folder / _LOCK, "colluvium challenger run"):
            beside = settings_beside(settings, path, folder)
            _link_inputs(settings.data_dir, folder)
            with Ledger(folder / LEDGER, clock) as ledger:
                results: list[Refreshed] = []
                try:
                    sweep(beside, ledger)
                    days = days_to_make(
                        shown, ledger, since, until, timedelta(days=settings.schedule.catch_up_days)
                    )
                    if not days:
                        return ChallengerRun(
                            name, digest, folder, (), "it has the layers of all days asked for"
                        )
                    with open_workshop(beside, settings_path, ledger, clock, progress=on_state) as shop:
                        if shop.bundle.digest != digest:
                            raise BundleError("; ".join(shop.notes) or f"{path} was replaced meanwhile")
                        for number, day in enumerate(days):
                            results.append(attempt(shop, day, by_hand=False, on_stage=on_stage))
                            if on_day is not None:
                                on_day(number + 1, len(days))
                            if results[-1].outcome == Outcome.ABANDONED:
                                break
                        prune_states(folder / "state", state_folders(shop))
                    today = clock().astimezone(settings.timezone).date()
                    retire_layers(ledger, settings.retention, today, also=days_of_events(shown))
                    sweep_kept(folder, ledger)
                except (ColluviumError, OSError, KeyboardInterrupt) as error:
                    results.append(ended(ledger, None, None, error, {}))
    return ChallengerRun(name, digest, folder, tuple(results))


def days_to_make(
    shown: Ledger, own: Ledger, since: date | None, until: date | None, horizon: timedelta
) -> list[date]:
    """Return days with a nowcast on display that the challenger should make, oldest first.

    With `since` all of them until `until`; else those of the last `horizon` that it has no layer of, or an
    older one than is on display. Raises HeldError where nothing is on display in that span.
    """
    displayed = {
        item.day: item
        for item in shown.standings()
        if item.lead == 0 and item.newest and not item.withdrawn_at
    }
    if until is not None:
        displayed = {day: item for day, item in displayed.items() if day <= until}
    if since is not None:
        found = sorted(day for day in displayed if day >= since)
        if not found:
            raise HeldError(f"no layer of {since} or later is on display, so there is no day to make")
        return found
    if not displayed:
        raise HeldError("no layer is on display, so there is no day for a challenger to make")
    first = max(displayed) - max(horizon - timedelta(days=1), timedelta(0))
    made = {item.day: item.issued_at for item in own.standings() if item.lead == 0 and item.newest}
    return sorted(
        day
        for day, item in displayed.items()
        if day >= first and (day not in made or made[day] < item.issued_at)
    )


def settings_beside(settings: Settings, bundle: Path, folder: Path) -> Settings:
    """Return the region's settings for a challenger: its bundle and folder, and no way out of the house."""
    return settings.model_copy(
        update={
            "region": settings.region.model_copy(update={"data_dir": folder}),
            "factors": settings.factors.model_copy(update={"stack": settings.stack_path}),
            "bundle": settings.bundle.model_copy(update={"path": bundle, "challenger": None}),
            "exporters": (),
            "cap": None,
        }
    )


def other_folders(settings: Settings, digest: str | None) -> list[Path]:
    """Return the folders of challengers of before, which nothing removes but a person."""
    parent = settings.data_dir / CHALLENGER
    found = [place.parent for place in parent.glob(f"*/{LEDGER}")] if parent.is_dir() else []
    own = challenger_folder(settings, digest) if digest is not None else None
    return sorted(place for place in found if place != own)


def _link_inputs(data_dir: Path, folder: Path) -> None:
    """Point at what is shared with the region; relative links, so that a data folder may be moved."""
    if (data_dir / READINGS).exists():
        _link(data_dir / READINGS, folder / READINGS)
    for name in _SHARED:
        (data_dir / name).mkdir(exist_ok=True)
        _link(data_dir / name, folder / name)


def _link(source: Path, target: Path) -> None:
    wanted = os.path.relpath(source.resolve(), target.parent.resolve())
    if target.is_symlink() and str(target.readlink()) == wanted:
        return
    temporary = target.with_name(f".{uuid4().hex[:12]}.part")
    temporary.symlink_to(wanted)
    temporary.replace(target)


def _digest_of(bundle: Path) -> str | None:
    """Return a bundle's digest; None where it cannot be read, which is the refresh's to complain of."""
    with contextlib.suppress(BundleError):
        return read_manifest(bundle)[1]
    return None
