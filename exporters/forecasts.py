"""Which forecasts are current, and on which day they were issued.

A forecast of `day` at `lead` was issued on `day` - `lead`. It is current while its day has not passed and no
nowcast of a day after its issue stands: what was expected then is known better now.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Protocol, TypeVar

from exporters.layer import LayerStatus


class Dated(Protocol):
    """What a layer, or an entry made from its item, says of its place in time."""

    @property
    def day(self) -> date: ...
    @property
    def lead(self) -> int: ...
    @property
    def revision(self) -> int: ...
    @property
    def status(self) -> LayerStatus: ...
    @property
    def valid_to(self) -> datetime: ...


LayerT = TypeVar("LayerT", bound=Dated)


def issue_day(layer: Dated) -> date:
    """Return the day on which a layer was issued: a nowcast's own, of a forecast so many days before."""
    return layer.day - timedelta(days=layer.lead)


def current_forecasts(layers: Iterable[LayerT], nowcast: date | None, now: datetime) -> list[LayerT]:
    """Return the forecasts that stand at `now`, by lead: of each lead the newest, at most one a day.

    `nowcast` is the day of the newest nowcast that stands, None where there is none. A (day, lead) whose
    newest revision was withdrawn has no forecast: older revisions do not come back.
    """
    newest: dict[tuple[date, int], LayerT] = {}
    for layer in layers:
        other = newest.get((layer.day, layer.lead))
        if layer.lead > 0 and (other is None or other.revision <= layer.revision):
            newest[layer.day, layer.lead] = layer
    found: dict[int, LayerT] = {}
    for _, layer in sorted(newest.items(), key=lambda item: item[0]):
        late = nowcast is not None and issue_day(layer) < nowcast
        if not late and layer.valid_to > now and layer.status != LayerStatus.WITHDRAWN:
            found[layer.lead] = layer
    # Two issues may speak of one day; the later of them, at the shorter lead, knew more.
    nearest: dict[date, LayerT] = {}
    for lead in sorted(found):
        nearest.setdefault(found[lead].day, found[lead])
    return sorted(nearest.values(), key=lambda layer: layer.lead)
