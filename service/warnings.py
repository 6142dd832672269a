"""Warning levels of zones: from share and growth of high and very high area, with hysteresis.

    figures_of(areas) -> list[ZoneFigures]                  what a layer says of each zone
    decide(figures, settings, before, ...) -> ZoneWarning   the level of one zone, after the day before

A zone rises to a level where enough of it is high or very high and that share has grown enough. It keeps the
level while enough of the rise still stands above the share before it, and goes down only after several days
in a row that speak for less. What is not known never lowers a level: a day counts as calm only where the
cells that spoke for the rise still speak. It may be raised, where the known cells alone are enough for the
whole zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from exporters.layer import CLASS_LABELS, LEVEL_LABELS, ZoneArea, ZoneWarning
from service.settings_warnings import LevelRule, WarningSettings

HIGH_LABELS = CLASS_LABELS[2:]

# Keys of ZoneWarning.numbers. Shares are of the zone's known cells, but for `unknown_share`: of its cells.
SHARE = "share"
GROWTH = "growth"  # the larger of those below
GROWTH_DAYS = {1: "growth_1_day", 7: "growth_7_days"}
ABOVE_REFERENCE = "above_reference"  # share minus reference_share
HIGH_AREA = "high_area_m2"
UNKNOWN_SHARE = "unknown_share"
# What the next day goes on with, beside `reference_share` and `calm_days`.
REFERENCE_UNKNOWN = "reference_unknown"  # unknown share of the zone when the level rose
CALM_LEVEL = "calm_level"  # the highest level that the calm days in a row spoke for

_ROUNDING = 1e-9


@dataclass(frozen=True)
class ZoneFigures:
    """What a layer says of a zone; growth maps days back (1, 7) to that of high and very high together."""

    zone: str
    name: str
    high_m2: float
    known_m2: float
    unknown_m2: float
    growth: dict[int, float] = field(default_factory=dict)  # in share of the common footprint
    growth_m2: dict[int, float] = field(default_factory=dict)
    footprint_m2: dict[int, float] = field(default_factory=dict)  # layers of earlier versions do not say

    @property
    def area_m2(self) -> float:
        """The zone's cells, known or not."""
        return self.known_m2 + self.unknown_m2

    @property
    def share(self) -> float | None:
        """Share of high and very high among the known cells; None where none is known."""
        return self.high_m2 / self.known_m2 if self.known_m2 else None

    @property
    def unknown_share(self) -> float:
        """Share of the zone's cells that nothing is known of; 1 for a zone without cells."""
        return self.unknown_m2 / self.area_m2 if self.area_m2 else 1.0

    def judged_growth(self, max_unknown: float) -> dict[int, float]:
        """Growth that speaks for the zone: counted on all but `max_unknown` of it."""
        least = (1 - max_unknown) * self.area_m2
        return {
            days: value
            for days, value in self.growth.items()
            if self.footprint_m2.get(days, self.area_m2) >= least - _ROUNDING
        }


def figures_of(areas: Sequence[ZoneArea]) -> list[ZoneFigures]:
    """Return the figures of each zone; of a region without zones, those of the whole."""
    by_zone: dict[str, list[ZoneArea]] = {}
    for area in areas:
        by_zone.setdefault(area.zone, []).append(area)
    if len(by_zone) > 1:
        by_zone.pop("", None)
    return [_figures(parts) for parts in by_zone.values()]


def decide(
    figures: ZoneFigures,
    settings: WarningSettings,
    before: ZoneWarning | None,
    shown: ZoneWarning | None = None,
    *,
    decided_at: datetime,
    unconfirmed: bool = False,
) -> ZoneWarning:
    """Return the level of a zone.

    `before` is what was decided with the nowcast of the newest day before. `shown` is what an earlier
    revision of the same day and lead says: it stands where this one does not know. One whose layer cannot be
    compared with this one (another model, mask, zones) has no `reference_share` (see `incomparable`).
    """
    judged = figures.judged_growth(settings.max_unknown)
    known = figures.share is not None and figures.unknown_share <= settings.max_unknown and bool(judged)
    rise = _rise_on_all(figures, judged, settings) if known else _rise_on_some(figures, settings)
    doubt = _doubt(figures, settings, before)
    if doubt is None and figures.share is not None:
        state = _known(figures, figures.share, rise, settings, before)
        if state.level == 0 and not known:
            state = _State(None, f"not known: {_too_much(figures, settings)}")
    else:
        state = _unknown(figures, rise, settings, before, shown, str(doubt))
    numbers: dict[str, float | None] = {
        SHARE: figures.share,
        GROWTH: max(judged.values(), default=None),
        **{key: figures.growth.get(days) for days, key in GROWTH_DAYS.items()},
        ABOVE_REFERENCE: _above(figures.share, state.reference),
        HIGH_AREA: figures.high_m2 if figures.known_m2 else None,
        UNKNOWN_SHARE: figures.unknown_share,
        REFERENCE_UNKNOWN: state.reference_unknown,
        CALM_LEVEL: state.calm_level,
    }
    return ZoneWarning(
        zone=figures.zone,
        name=figures.name,
        level=state.level,
        previous=before.level if before else None,
        rule=state.rule,
        numbers=numbers,
        reference_share=state.reference,
        calm_days=state.calm_days,
        unconfirmed=unconfirmed and bool(state.level),
        decided_at=decided_at,
    )


def incomparable(warning: ZoneWarning) -> ZoneWarning:
    """Return what another model, mask or map of zones decided: its level stands, its shares mean nothing."""
    return warning.model_copy(update={"reference_share": None})


def state_of(warning: ZoneWarning) -> tuple[str, int | None, float | None, int, float | None, float | None]:
    """Return what the next day's decision goes on with."""
    numbers = warning.numbers
    return (
        warning.zone,
        warning.level,
        warning.reference_share,
        warning.calm_days,
        numbers.get(REFERENCE_UNKNOWN),
        numbers.get(CALM_LEVEL),
    )


@dataclass(frozen=True)
class _State:
    """A level, why, and what the next day goes on with."""

    level: int | None
    rule: str
    reference: float | None = None
    reference_unknown: float | None = None
    calm_days: int = 0
    calm_level: int | None = None


@dataclass(frozen=True)
class _Rise:
    """The level that a day's share and growth reach, 0 for none, and the growth that reached it."""

    level: int
    days: int = 1
    growth: float = 0.0
    caveat: str = ""


def _rise_on_all(figures: ZoneFigures, judged: dict[int, float], settings: WarningSettings) -> _Rise:
    """The larger growth counts."""
    days = max(judged, key=lambda back: judged[back])
    return _Rise(_raised(settings, figures.share or 0.0, judged[days]), days, judged[days])


def _rise_on_some(figures: ZoneFigures, settings: WarningSettings) -> _Rise:
    """As if whatever is unknown were calm: what is reached nevertheless is reached."""
    if not figures.growth_m2 or not figures.area_m2:
        return _Rise(0)
    days = max(figures.growth_m2, key=lambda back: figures.growth_m2[back])
    area = figures.area_m2
    level = _raised(settings, figures.high_m2 / area, figures.growth_m2[days] / area)
    return _Rise(level, days, figures.growth[days], ", on the known cells alone")


def _known(
    figures: ZoneFigures, share: float, rise: _Rise, settings: WarningSettings, before: ZoneWarning | None
) -> _State:
    """Enough is known to raise, keep or lower."""
    held = (before.level or 0) if before else 0
    reference, base_unknown = _reference(figures, settings, before)
    stands = 0
    if reference is not None:
        above = share - reference
        fits = (n for n in range(1, held + 1) if above >= _kept(settings, n) - _ROUNDING)
        stands = max(fits, default=0)
    speaks = max(rise.level, stands)
    if speaks < held and before is not None:
        return _calmer(settings, before, held, speaks, reference, base_unknown)
    if speaks == 0:
        return _State(0, _green(settings))
    if rise.level == speaks:
        return _risen(settings, rise, held, figures, reference, base_unknown)
    return _State(
        held,
        f"stays {LEVEL_LABELS[held]}: {_standing(settings, held, share, reference or 0.0)}",
        reference,
        base_unknown,
    )


def _risen(
    settings: WarningSettings,
    rise: _Rise,
    held: int,
    figures: ZoneFigures,
    reference: float | None,
    base_unknown: float | None,
    why: str = "",
) -> _State:
    """A day that reaches the level that stands, or a higher one."""
    share, unknown = figures.share or 0.0, figures.unknown_share
    verb = "stays" if rise.level == held else "raised to"
    rule = f"{verb} {LEVEL_LABELS[rise.level]}{rise.caveat}{why}: {_reached(settings, rise, share)}"
    if rise.level > held:
        start = max(0.0, share - rise.growth)
        reference = start if reference is None else min(reference, start)
        base_unknown = unknown if base_unknown is None else min(base_unknown, unknown)
    return _State(rise.level, rule, reference, base_unknown)


def _calmer(
    settings: WarningSettings,
    before: ZoneWarning,
    held: int,
    speaks: int,
    reference: float | None,
    base_unknown: float,
) -> _State:
    """A day that speaks for less than the level that stands."""
    days, needed = before.calm_days + 1, settings.lower_after_days
    highest = max(int(before.numbers.get(CALM_LEVEL) or 0), speaks)
    least = f"less than {_points(_kept(settings, held))} stand above the {reference or 0:.1%} before the rise"
    if days < needed:
        rule = (
            f"stays {LEVEL_LABELS[held]}: {least}; it goes down after {needed} such days in a row "
            f"({days} so far)"
        )
        return _State(held, rule, reference, base_unknown, days, highest)
    since = f"for {days} days in a row" if days > 1 else "today"
    rule = f"lowered to {LEVEL_LABELS[highest]}: {since} {least}"
    if highest == 0:
        return _State(0, rule)
    if speaks < highest:
        return _State(highest, rule, reference, base_unknown, 1, speaks)
    return _State(highest, rule, reference, base_unknown)


def _unknown(
    figures: ZoneFigures,
    rise: _Rise,
    settings: WarningSettings,
    before: ZoneWarning | None,
    shown: ZoneWarning | None,
    doubt: str,
) -> _State:
    """Too little is known to lower a level, or to call a zone green."""
    earlier = max((item for item in (shown, before) if item), key=lambda item: item.level or 0, default=None)
    held = (earlier.level or 0) if earlier else 0
    reference = earlier.reference_share if earlier and held else None
    base_unknown = earlier.numbers.get(REFERENCE_UNKNOWN) if earlier and held else None
    if rise.level and rise.level >= held:
        return _risen(settings, rise, held, figures, reference, base_unknown, f" ({doubt})")
    if not held or earlier is None:
        return _State(None, f"not known: {doubt}")
    calm = earlier.numbers.get(CALM_LEVEL)
    rule = f"stays {LEVEL_LABELS[held]}: {doubt}, and what is not known lowers no level"
    return _State(held, rule, reference, base_unknown, earlier.calm_days, None if calm is None else int(calm))


def _doubt(figures: ZoneFigures, settings: WarningSettings, before: ZoneWarning | None) -> str | None:
    """Say why this day cannot speak for less; None where it can.

    A zone that rose while much of it was unknown may go down on the same cells.
    """
    if figures.share is None:
        return "no cell of the zone is known"
    held = before is not None and bool(before.level)
    _, base_unknown = _reference(figures, settings, before)
    limit = max(settings.max_unknown, base_unknown if held else 0.0)
    if figures.unknown_share > limit + _ROUNDING:
        return _too_much(figures, settings)
    lost = figures.unknown_share - base_unknown
    if held and lost > settings.max_lost + _ROUNDING:
        return f"{lost:.0%} of the zone fell silent since it rose (more than {settings.max_lost:.0%})"
    if not figures.judged_growth(limit):
        if figures.growth:
            return (
                "too little of the zone can be compared with 1 or 7 days before (less than "
                f"{1 - limit:.0%}): other gauges report"
            )
        return "there is no map of 1 or 7 days before that it can be compared with"
    return None


def _reference(
    figures: ZoneFigures, settings: WarningSettings, before: ZoneWarning | None
) -> tuple[float | None, float]:
    """Return the share before the rise that the level rests on, and how much was unknown then."""
    if before is None or not before.level:
        return None, figures.unknown_share
    if before.reference_share is not None:
        kept = before.numbers.get(REFERENCE_UNKNOWN)
        return before.reference_share, figures.unknown_share if kept is None else kept
    # Another model's shares mean nothing here: as if this one had just reached the level.
    reached = (figures.share or 0.0) - _rule(settings, before.level).growth
    return max(0.0, reached), min(figures.unknown_share, settings.max_unknown)


def _raised(settings: WarningSettings, share: float, growth: float) -> int:
    """Return the highest level that a share and its growth reach; 0 for none."""
    reached = 0
    for level in range(1, len(LEVEL_LABELS)):
        rule = _rule(settings, level)
        if share >= rule.share - _ROUNDING and growth >= rule.growth - _ROUNDING:
            reached = level
    return reached


def _rule(settings: WarningSettings, level: int) -> LevelRule:
    return (settings.yellow, settings.orange, settings.red)[level - 1]


def _kept(settings: WarningSettings, level: int) -> float:
    return settings.keep * _rule(settings, level).growth


def _above(share: float | None, reference: float | None) -> float | None:
    return None if share is None or reference is None else share - reference


def _figures(parts: Sequence[ZoneArea]) -> ZoneFigures:
    high = [part for part in parts if part.label in HIGH_LABELS]
    days = set.intersection(*(set(part.change_ratio) & set(part.change_m2) for part in high))
    return ZoneFigures(
        zone=parts[0].zone,
        name=parts[0].name,
        high_m2=sum(part.area_m2 for part in high),
        known_m2=sum(part.area_m2 for part in parts),
        unknown_m2=parts[0].unknown_m2,
        growth={back: sum(part.change_ratio[back] for part in high) for back in sorted(days)},
        growth_m2={back: sum(part.change_m2[back] for part in high) for back in sorted(days)},
        footprint_m2=dict(parts[0].footprint_m2),
    )


# --- words ---


def _points(share: float) -> str:
    return f"{share * 100:.1f} points"


def _green(settings: WarningSettings) -> str:
    rule = settings.yellow
    return (
        f"green: yellow needs {rule.share:.1%} high or very high, and {_points(rule.growth)} more than 1 or "
        "7 days before"
    )


def _reached(settings: WarningSettings, rise: _Rise, share: float) -> str:
    rule = _rule(settings, rise.level)
    ago = "the day before" if rise.days == 1 else f"{rise.days} days before"
    return (
        f"{share:.1%} is high or very high (from {rule.share:.1%}), {_points(rise.growth)} more than {ago} "
        f"(from {_points(rule.growth)})"
    )


def _standing(settings: WarningSettings, level: int, share: float, reference: float) -> str:
    return (
        f"{share:.1%} is high or very high, {_points(share - reference)} above the {reference:.1%} before "
        f"the rise ({_points(_kept(settings, level))} keep it)"
    )


def _too_much(figures: ZoneFigures, settings: WarningSettings) -> str:
    return f"{figures.unknown_share:.0%} of the zone is unknown (more than {settings.max_unknown:.0%})"
