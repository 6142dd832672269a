"""What a layer was made from, as far as it is at hand: to explain it, and to say why it is not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from exporters.layer import Layer
from service.api.models import Told
from service.api.site import Site
from service.bundle import Bundle
from service.errors import ColluviumError
from service.factor_stack import FactorStack
from service.forcing import RAIN
from service.ledger_rows import ShownLayer
from service.patches import PatchReader
from service.place import Cell, PlaceWindow, place_window
from service.reading_values import ForecastIssue, Selection
from service.region import Region
from service.reservoirs import Reservoirs
from service.state import SpatialState, open_state
from service.unconfirmed import selection_of
from service.workshop import reservoirs_of

_log = structlog.get_logger()


@dataclass(frozen=True)
class Record:
    """What the ledger says of the layer, of the one of the day before, and of earlier days."""

    basis: dict[str, str]
    before: Layer | None
    before_basis: dict[str, str]
    earlier: list[ShownLayer]  # oldest first, without the layer itself, on the same cells


@dataclass(frozen=True)
class Making:
    """What the layer was made from, as far as it is still at hand."""

    bundle: Bundle
    stack: FactorStack
    reservoirs: Reservoirs | None
    state: SpatialState | None
    patches: PatchReader


def read_record(site: Site, layer: Layer, days: int) -> Record:
    yesterday = layer.day - timedelta(days=1)
    lead_before = max(layer.lead - 1, 0)  # of a forecast, what the same issue said of the day before
    # A past of one day is the layer itself; what changed needs the day before all the same.
    since = layer.day - timedelta(days=max(days - 1, 1))
    own = ShownLayer.of(layer)
    with site.ledger() as ledger:
        before = ledger.current(yesterday, lead_before)
        return Record(
            basis=ledger.basis(layer.id),
            before=before,
            before_basis=ledger.basis(before.id) if before is not None else {},
            earlier=[shown for shown in ledger.shown(since, yesterday) if shown.grid == own.grid],
        )


@contextmanager
def open_making(site: Site, region: Region, layer: Layer, basis: dict[str, str]) -> Iterator[Making | Told]:
    """Open what made the layer, or say what of it is no longer at hand."""
    bundle = site.bundle
    if bundle is None:
        yield Told(code="no_bundle", says="No bundle is loaded; see the daemon's log.")
        return
    if bundle.digest != layer.model.digest:
        yield Told(
            code="other_bundle", says="The daemon has another bundle loaded than the one of this layer."
        )
        return
    try:
        stack = FactorStack.open(site.settings.stack_path, region.grid)
    except ColluviumError as error:
        _log.warning("no factor stack to explain a place with", error=str(error))
        yield Told(code="inputs_changed", says="The factor stack cannot be read; see the daemon's log.")
        return
    with stack:
        if (stack.digest, region.mask_digest) != (basis.get("stack"), basis.get("mask")):
            yield Told(code="inputs_changed", says="Factors or mask were made again since this layer.")
            return
        patches = PatchReader(region, stack, bundle.manifest, site.settings.inference.min_patch_observed)
        yield Making(
            bundle=bundle,
            stack=stack,
            reservoirs=reservoirs_of(site.settings, region, stack),
            state=open_state(
                site.settings.data_dir / "state", basis.get("state", ""), patches, region.forcing, bundle
            ),
            patches=patches,
        )


def selection_behind(site: Site, layer: Layer, basis: Mapping[str, str]) -> Selection | Told:
    """Return what a layer's windows were made from beside good readings, or why there is no one window.

    That is suspect readings taken as true, and one run of a forecast; an ensemble has a window a member.
    """
    suspects = selection_of(basis).suspects
    forecast = layer.forecast
    if forecast is None:
        return Selection(suspects)
    if forecast.members > 1:
        says = (
            "A forecast is the median of what the model made of several windows; none of them is its reason."
        )
        return Told(code="forecast", says=says)
    with site.archive() as archive:
        issues = archive.issues(RAIN, layer.issued_at, forecast.issued_at)
    for issue in issues:
        if (issue.feed, issue.issued_at) == (forecast.feed, forecast.issued_at):
            factors = tuple(sorted(forecast.rain_factors.items()))
            run = ForecastIssue(issue.feed, issue.issued_at, forecast.first_day, issue.members[0], factors)
            return Selection(suspects, run)
    says = "The forecast that this layer rests on is not in the archive of readings."
    return Told(code="inputs_changed", says=says)


def window_of(
    site: Site, making: Making, layer: Layer, basis: Mapping[str, str], cell: Cell
) -> PlaceWindow | Told:
    """Return the window as it was known when the layer was issued, so that it explains what was published."""
    selection = selection_behind(site, layer, basis)
    if isinstance(selection, Told):
        return selection
    manifest = making.bundle.manifest
    with site.archive() as archive:
        return place_window(
            site.settings.forcing,
            site.region.forcing,
            archive,
            manifest.variables,
            cell,
            layer.day,
            window_days=manifest.window_days,
            lag_days=manifest.lag_days,
            as_of=layer.issued_at,
            reservoirs=making.reservoirs,
            selection=selection,
        )
