"""The exporter port: what carries a finished layer out of the house, and the two ways it can fail.

ExportError
├── ExportUnavailable     not now: the target is away, full or closed to us; try again later
└── ExportRefused         never: the target cannot take this layer until a person changes something
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from exporters.gauges import Bulletin
from exporters.layer import Layer, LayerStatus
from exporters.outcomes import Outcomes


class ExportError(Exception):
    """Base of what an exporter raises on purpose; the message names the target and what to do next."""


class ExportUnavailable(ExportError):
    """The target cannot be reached or written now; the same delivery may succeed later."""


class ExportRefused(ExportError):
    """The target will not take this layer however often it is tried."""


@runtime_checkable
class Exporter(Protocol):
    """Delivers finished layers, in order, as often as it is asked: a repeated delivery changes nothing."""

    @property
    def name(self) -> str:
        """What the settings call this exporter."""
        ...

    def deliver(self, layer: Layer) -> None:
        """Bring a layer to the target, whole or not at all. Raises ExportUnavailable or ExportRefused."""
        ...

    def withdraw(self, layer: Layer) -> None:
        """Mark a delivered layer as withdrawn at the target; one never delivered is no error."""
        ...


@runtime_checkable
class KnowsItsLayers(Protocol):
    """An exporter whose target can say what it holds, so that one restored from a backup is caught up."""

    def holdings(self) -> dict[str, LayerStatus]:
        """Return the status of each layer at the target, by id. Raises as `deliver` does."""
        ...


@runtime_checkable
class TakesBulletins(Protocol):
    """An exporter that also shows gauges and reservoirs."""

    def deliver_bulletin(self, bulletin: Bulletin) -> None:
        """Bring series and readings at the target in line; repeated, it changes nothing."""
        ...


@runtime_checkable
class TakesOutcomes(Protocol):
    """An exporter that also shows events, and what the maps before them showed."""

    def deliver_outcomes(self, outcomes: Outcomes) -> None:
        """Bring events and verification at the target in line; repeated, it changes nothing."""
        ...
