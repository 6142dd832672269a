"""What stood when: which layers were on display at each moment of a span, from the ledger's stamps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from exporters.forecasts import current_forecasts
from exporters.layer import Layer, LayerStatus
from service.ledger import Ledger
from service.ledger_rows import Standing


@dataclass(frozen=True)
class Display:
    """What was on display from one moment to the next: the nowcast, and the forecasts by lead."""

    since: datetime
    until: datetime
    nowcast: str | None  # None: there was no map
    forecasts: tuple[str, ...]


def displays(ledger: Ledger, start: datetime, end: datetime) -> list[Display]:
    """Return what was on display from `start` to `end`, oldest first, without gaps.

    As it was then: what was withdrawn, removed or published later changes nothing.
    """
    standings = ledger.standings()
    layers = _forecast_layers(ledger, standings, start, end)
    moments = {start}
    for standing in standings:
        moments.update(
            moment
            for moment in (standing.issued_at, standing.withdrawn_at, standing.removed_at)
            if moment is not None and start < moment < end
        )
    moments.update(layer.valid_to for layer in layers if start < layer.valid_to < end)
    found: list[Display] = []
    ordered = sorted(moments)
    for since, until in zip(ordered, [*ordered[1:], end], strict=True):
        now = _at(standings, layers, since)
        if found and (found[-1].nowcast, found[-1].forecasts) == now:
            found[-1] = Display(found[-1].since, until, *now)
        else:
            found.append(Display(since, until, *now))
    return found


def _at(
    standings: Sequence[Standing], forecasts: Sequence[Layer], moment: datetime
) -> tuple[str | None, tuple[str, ...]]:
    newest: dict[date, Standing] = {}
    gone = set()
    issued = set()
    for standing in standings:  # by day, lead, revision
        if standing.issued_at > moment:
            continue
        issued.add(standing.id)
        if _is_past(standing.withdrawn_at, moment):
            gone.add(standing.id)
        if standing.lead == 0:
            newest[standing.day] = standing
    shown = [
        standing
        for standing in newest.values()
        if standing.id not in gone and not _is_past(standing.removed_at, moment)
    ]
    nowcast = max(shown, key=lambda standing: standing.day, default=None)
    then = [
        layer.model_copy(update={"status": LayerStatus.WITHDRAWN}) if layer.id in gone else layer
        for layer in forecasts
        if layer.id in issued
    ]
    current = current_forecasts(then, nowcast.day if nowcast else None, moment)
    return nowcast.id if nowcast else None, tuple(layer.id for layer in current)


def _forecast_layers(
    ledger: Ledger, standings: Iterable[Standing], start: datetime, end: datetime
) -> list[Layer]:
    """Return the forecasts that might have stood in the span, as they were published."""
    found = []
    for standing in standings:
        # A day more on the early side: days are the region's.
        if standing.lead == 0 or standing.issued_at >= end or (start.date() - standing.day).days > 1:
            continue
        layer = ledger.layer(standing.id)
        if layer is not None and layer.valid_to > start:
            found.append(
                layer.model_copy(update={"status": LayerStatus.PROVISIONAL})
                if layer.status == LayerStatus.WITHDRAWN
                else layer
            )
    return found


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now
