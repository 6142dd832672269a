"""What a promotion is decided on: how champion and challenger were judged, and how far they agree."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from exporters.verification import Rate, Verification


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Which(_Part):
    """A bundle."""

    name: str
    version: str
    digest: str
    may_warn: bool  # here: where it was trained elsewhere it may not


class Judged(_Part):
    """The figures of one verification. AUC is of the success-rate curve over all days."""

    made_at: datetime
    model: str
    since: date | None
    until: date | None
    landslides: int  # hits and misses
    hits: int
    misses: int
    not_decided: int  # undecided and unknown
    hit_rate: Rate
    hindsight: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    auc_landslides: int

    @classmethod
    def of(cls, found: Verification) -> Judged:
        """Take the figures of a verification."""
        curve = next((curve for curve in found.curves if curve.period == "all"), None)
        return cls(
            made_at=found.made_at,
            model=found.model,
            since=found.since,
            until=found.until,
            landslides=found.hits + found.misses,
            hits=found.hits,
            misses=found.misses,
            not_decided=found.undecided + found.unknown,
            hit_rate=found.hit_rate,
            hindsight=found.hindsight,
            auc=curve.auc if curve else None,
            auc_low=curve.auc_low if curve else None,
            auc_high=curve.auc_high if curve else None,
            auc_landslides=curve.landslides if curve else 0,
        )

    def to_words(self) -> str:
        """Return one line."""
        words = f"{self.hits} of {self.landslides} landslides hit{_interval(self.hit_rate)}"
        if self.auc is not None:
            between = f" ({self.auc_low:.3f} to {self.auc_high:.3f})" if self.auc_low is not None else ""
            words += f", AUC {self.auc:.3f}{between} of {self.auc_landslides}"
        if self.not_decided:
            words += f", {self.not_decided} not decided or without a map"
        if self.hindsight:
            words += f", {self.hindsight} by a layer made in hindsight"
        return words


class Shared(_Part):
    """The landslides that both verifications decided: the others would flatter one side or the other."""

    landslides: int
    display_hits: int
    challenger_hits: int
    display_hindsight: int  # by maps that were made after the landslide
    challenger_hindsight: int

    @classmethod
    def of(cls, display: Verification, challenger: Verification) -> Shared:
        """Compare two verifications landslide by landslide."""
        ones, others = (
            {event.uid: event for event in found.events if event.outcome in ("hit", "miss")}
            for found in (display, challenger)
        )
        pairs = [(ones[uid], others[uid]) for uid in sorted(ones.keys() & others.keys())]
        return cls(
            landslides=len(pairs),
            display_hits=sum(one.outcome == "hit" for one, _ in pairs),
            challenger_hits=sum(other.outcome == "hit" for _, other in pairs),
            display_hindsight=sum(one.hindsight for one, _ in pairs),
            challenger_hindsight=sum(other.hindsight for _, other in pairs),
        )

    def to_words(self) -> str:
        """Return one line."""
        if not self.landslides:
            return "no landslide that both verifications decided"
        return (
            f"of {self.landslides} landslides that both decided, {self.display_hits} hit on display and "
            f"{self.challenger_hits} by the challenger; in hindsight {self.display_hindsight} and "
            f"{self.challenger_hindsight}"
        )


class Evidence(_Part):
    """The record of a promotion."""

    bundle: Which  # promoted
    instead: Which | None  # what served before; None: it could not be read
    display: Judged | None = None  # verification of the layers on display
    challenger: Judged | None = None  # of the layers of the promoted bundle
    shared: Shared | None = None  # None: one of the two is not verified
    agreement: dict[str, Any] | None = None  # service.challenger_compare.Agreement
    objections: tuple[str, ...] = ()  # that --force overrode
    back: bool = False  # to what had served before the last promotion
    notes: tuple[str, ...] = ()

    def to_lines(self) -> list[str]:
        """Return it for a person."""
        lines = [_which("bundle", self.bundle)]
        if self.instead is not None:
            lines.append(_which("instead of", self.instead))
        if self.back:
            return lines
        for title, judged in (("on display", self.display), ("challenger", self.challenger)):
            lines.append(f"  {title:<12} {judged.to_words() if judged else 'not verified'}")
        if self.shared is not None:
            lines.append(f"  {'side by side':<12} {self.shared.to_words()}")
        if self.agreement is not None:
            lines.append(f"  {'agreement':<12} {_agreement(self.agreement)}")
        lines += [f"  note: {note}" for note in self.notes]
        return lines


def _which(title: str, bundle: Which) -> str:
    warns = "may warn" if bundle.may_warn else "may not warn"
    return f"  {title:<12} {bundle.name} {bundle.version} ({bundle.digest[:8]}), {warns}"


def _agreement(found: dict[str, Any]) -> str:
    if not found["days"]:
        return "no day of which both have a layer"
    share = found["class_changed_ratio"]
    words = f"{found['days']} days, {found['first']} to {found['last']}"
    if share is not None:
        words += f": {share:.1%} of the cells in another class"
    if found["high_and_very_high_km2"] is not None:
        before, after = found["high_and_very_high_km2"]
        words += f", high and very high {before:.2f} -> {after:.2f} km2 a day"
    if found["days_of_other_windows"]:
        words += f"; {found['days_of_other_windows']} days from other readings or variables"
    return words


def _interval(rate: Rate) -> str:
    if rate.value is None:
        return ""
    between = f", {rate.low:.0%} to {rate.high:.0%}" if rate.low is not None else ""
    return f" ({rate.value:.0%}{between})"
