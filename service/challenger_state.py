"""How the challenger and the promotions stand: for the status screen and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from exporters.challenger_metrics import ChallengerFigures
from service.challenger import challenger_bundle, challenger_folder
from service.errors import ColluviumError, Outcome
from service.ledger import Ledger
from service.ledger_rows import Run
from service.serving import ended_promotion, serving_bundle
from service.settings import Settings
from service.snapshot import LEDGER


@dataclass(frozen=True)
class ChallengerState:
    """How far the challenger is."""

    bundle: str  # name and version; empty where they cannot be read
    digest: str
    serves: bool  # it was promoted, so there is nothing more to make
    newest_day: date | None
    behind_days: int | None  # of the newest layer on display
    last: Run | None
    last_success: datetime | None  # when its newest layer's day was last made or found unchanged
    outcomes: dict[Outcome, int]
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "bundle": self.bundle,
            "digest": self.digest,
            "serves": self.serves,
            "newest_day": self.newest_day.isoformat() if self.newest_day else None,
            "behind_days": self.behind_days,
            "last_outcome": self.last.outcome.value if self.last and self.last.outcome else None,
            "last_reason": self.last.reason if self.last else None,
            "problem": self.problem,
        }

    def to_line(self) -> str:
        """Return it for a person."""
        if self.problem is not None:
            return f"  challenger FAILED: {self.problem}"
        words = f"  challenger {self.bundle} ({self.digest[:8]}): "
        if self.serves:
            return words + "it serves"
        if self.newest_day is None:
            words += "no layer yet"
        else:
            behind = f", {self.behind_days} days behind the map on display" if self.behind_days else ""
            words += f"newest layer of {self.newest_day}{behind}, not shown"
        last = self.last
        if last is not None and last.outcome not in (None, Outcome.PUBLISHED, Outcome.UNCHANGED):
            assert last.outcome is not None  # noqa: S101 - for the type checker
            words += f"; its last run {last.outcome.value.upper()}: {last.reason}"
        return words


def read_challenger(
    settings: Settings, shown: Ledger, clock: Callable[[], datetime]
) -> ChallengerState | None:
    """Return how the settings' challenger stands; None where they name none. Nothing is made.

    What is wrong with it is said (`problem`) and never raised: page and metrics of the map go on without it.
    """
    if settings.bundle.challenger is None:
        return None
    try:
        return _read(settings, shown, clock)
    except (ColluviumError, OSError) as error:
        nothing = dict.fromkeys(Outcome, 0)
        return ChallengerState("", "", False, None, None, None, None, nothing, str(error))


def _read(settings: Settings, shown: Ledger, clock: Callable[[], datetime]) -> ChallengerState:
    _, digest, name = challenger_bundle(settings)
    promotion = shown.promotions.in_force(settings.bundle.path)
    with Ledger(challenger_folder(settings, digest) / LEDGER, clock, make=False) as own:
        displayed, newest = shown.latest(), own.latest()
        runs, success = own.runs(1, "refresh"), own.last_success()
        behind = (displayed.day - newest.day).days if displayed and newest else None
        return ChallengerState(
            bundle=name,
            digest=digest,
            serves=promotion is not None and promotion.digest == digest,
            newest_day=newest.day if newest else None,
            behind_days=max(behind, 0) if behind is not None else None,
            last=runs[0] if runs else None,
            last_success=success.ended_at if success else None,
            outcomes=dict.fromkeys(Outcome, 0) | own.outcome_counts(),
        )


def promotion_words(settings: Settings, ledger: Ledger) -> str:
    """Say which bundle was promoted, or that a promotion has ended; empty where there was none."""
    promotion = ledger.promotions.in_force(settings.bundle.path)
    if promotion is None:
        return ended_promotion(settings, ledger) or ""
    if serving_bundle(settings, ledger) == settings.bundle.path:
        return ""  # somebody went back to it
    return (
        f"serves {promotion.digest[:16]}, promoted by {promotion.by} on {promotion.at:%Y-%m-%d} in place of "
        f"{promotion.instead_of}: {promotion.reason}"
    )


def challenger_figures(
    settings: Settings, shown: Ledger, clock: Callable[[], datetime]
) -> ChallengerFigures | None:
    """Return the same for the metrics; None where there is no challenger, or its bundle cannot be read."""
    state = read_challenger(settings, shown, clock)
    if state is None or state.problem is not None:
        return None
    name, _, version = state.bundle.rpartition(" ")
    day, zone = state.newest_day, settings.timezone
    return ChallengerFigures(
        name=name,
        version=version,
        digest=state.digest,
        serves=state.serves,
        newest_day=datetime.combine(day, time(), zone).timestamp() if day else None,
        last_success=state.last_success.timestamp() if state.last_success else None,
        outcomes={outcome.value: count for outcome, count in state.outcomes.items()},
    )
