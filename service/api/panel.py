"""Puts together what /point says of one place, from the layer, the archive and the bundle that made it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from rasterio.windows import Window as RasterWindow
from starlette.exceptions import HTTPException

from exporters.cog import INDEX_NOTE, SUSCEPTIBILITY
from exporters.layer import NODATA, Layer
from service.api.companions import probability_at, spread_at, uncertainty_at
from service.api.making import Making, Record, open_making, read_record, window_of
from service.api.models import Told
from service.api.numbers import decoded, label_of, rounded
from service.api.point_models import (
    Factor,
    KindName,
    LayerSaid,
    NamedPlace,
    Past,
    PointAnswer,
    Rank,
    Value,
    Where,
    Window,
    WindowVariable,
)
from service.api.reasons import reasons_of
from service.api.site import Site
from service.factor_stack import FactorBand
from service.forcing import RAIN
from service.ledger_rows import ShownLayer
from service.manifest import FactorSpec
from service.past import PastReader
from service.patches import NO_DATA
from service.place import Cell, PlaceWindow, find_cell
from service.region import Region
from service.sharing import withheld_because, withheld_feeds
from service.surfaces import Kind

_KINDS: dict[Kind, KindName] = {
    Kind.MISSING: "missing",
    Kind.OBSERVED: "observed",
    Kind.FILLED: "filled",
    Kind.CARRIED: "carried",
    Kind.FORECAST: "forecast",
}


def look_at(site: Site, past: PastReader, lon: float, lat: float, layer: Layer, days: int) -> PointAnswer:
    """Return what there is to say of a place. Raises HTTPException (503) where the layer's files are gone."""
    region = site.region
    _refuse_other_grid(region, layer)
    record = read_record(site, layer, days)
    cell = find_cell(region, lon, lat)
    values = _values(site, past, layer, record, cell)
    stored = values[layer.id]
    with open_making(site, region, layer, record.basis) as made:
        making, lacking = (
            made if isinstance(made, Making) else None,
            made if isinstance(made, Told) else None,
        )
        inside = cell is not None and cell.inside
        window = None
        if making is not None and cell is not None and inside:
            found = window_of(site, making, layer, record.basis, cell)
            window, lacking = (None, found) if isinstance(found, Told) else (found, None)
        unknown = _unknown(cell, making, window, lacking) if stored == NODATA else None
        reasons, reasons_missing = reasons_of(site, making, lacking, layer, record, cell, window, values)
        return PointAnswer(
            lon=lon,
            lat=lat,
            where=_where(region, cell, making, window),
            layer=LayerSaid.of(layer),
            value=Value(
                susceptibility=decoded(stored), label=label_of(stored, layer.classes.breaks), unknown=unknown
            ),
            uncertainty=uncertainty_at(site, layer, cell),
            probability=probability_at(site, layer, cell),
            forecast_spread=spread_at(site, layer, cell),
            past=_past(layer, record.earlier, values, days),
            rank=_rank(layer, record.earlier, values, days),
            window=_saidwindow_of(site, making, window)
            if making is not None and window is not None
            else None,
            window_missing=(lacking or _outside(cell)) if window is None else None,
            factors=_factors(making, cell) if making is not None and cell is not None and inside else [],
            reasons=reasons,
            reasons_missing=reasons_missing,
            note=INDEX_NOTE,
        )


def _refuse_other_grid(region: Region, layer: Layer) -> None:
    grid = region.grid
    if (layer.bounds, layer.shape) != (grid.bounds, (grid.height, grid.width)):
        raise HTTPException(
            503,
            f"the region's grid is not that of {layer.id}: refresh it, then start the daemon again",
        )


def _values(site: Site, past: PastReader, layer: Layer, record: Record, cell: Cell | None) -> dict[str, int]:
    """Return the stored value of the cell by layer, 255 where it is unknown."""
    if cell is None:
        return {layer.id: NODATA}
    site.file(layer, SUSCEPTIBILITY)  # its absence is an error today, and a gap in the past
    own = ShownLayer.of(layer)
    layers = [*record.earlier, own]
    if record.before is not None and record.before.lead:  # no nowcast, so not among them
        before = ShownLayer.of(record.before)
        layers += [before] if before.grid == own.grid else []
    stored = past.stored(layers, cell.row, cell.column)
    return {shown.id: int(value) for shown, value in zip(layers, stored, strict=True)}


def _outside(cell: Cell | None) -> Told | None:
    if cell is None:
        return Told(code="outside_region", says="The point lies outside the region.")
    if not cell.inside:
        return Told(code="outside_mask", says="The point lies outside the area that the map covers.")
    return None


def _unknown(
    cell: Cell | None, making: Making | None, window: PlaceWindow | None, lacking: Told | None
) -> Told:
    outside = _outside(cell)
    if outside is not None or cell is None:
        return outside or Told(code="not_told", says="The cause is not known.")
    if making is None or (window is None and (lacking is None or lacking.code != "forecast")):
        return Told(code="not_told", says="What this layer was made from is no longer at hand.")
    if making.state is not None and cell.forcing_cell is not None:
        flags = making.state.flags(cell.forcing_cell, cell.forcing_cell + 1)[0]
        if flags[cell.number] == NO_DATA:
            return Told(
                code="incomplete_patch",
                says="The terrain around this cell is not completely known, so the model cannot judge it.",
            )
    if window is None:
        return Told(
            code="forecast_incomplete",
            says="Readings, or the forecast that continues them, do not reach this place.",
        )
    if not window.complete:
        rain = window.variables.index(RAIN) if RAIN in window.variables else None
        dry = rain is not None and not (
            np.isfinite(window.corners[:, :, rain]).all() and window.in_range.all()
        )
        if dry:
            return Told(
                code="no_rain_in_reach", says="No gauge in reach reported rain on every day of the window."
            )
        return Told(code="no_level", says="The level of the linked reservoir is not known on every day.")
    return Told(code="not_told", says="Settings or inputs have changed since this layer was made.")


def _where(region: Region, cell: Cell | None, making: Making | None, window: PlaceWindow | None) -> Where:
    size = region.grid.cell_size_m
    if cell is None:
        return Where(
            row=None,
            column=None,
            lon=None,
            lat=None,
            cell_size_m=size,
            inside=False,
            zone=None,
            reservoir=None,
        )
    reservoir = None
    if making is not None and making.reservoirs is not None and window is not None:
        number = window.reservoir
        if number is not None:
            reservoir = NamedPlace(id=making.reservoirs.ids[number], name=making.reservoirs.names[number])
    return Where(
        row=cell.row,
        column=cell.column,
        lon=round(cell.lon, 7),
        lat=round(cell.lat, 7),
        cell_size_m=size,
        inside=cell.inside,
        zone=NamedPlace(id=cell.zone.id, name=cell.zone.name) if cell.zone is not None else None,
        reservoir=reservoir,
    )


def _past(layer: Layer, earlier: Sequence[ShownLayer], values: dict[str, int], days: int) -> Past:
    first = layer.day - timedelta(days=days - 1)
    shown = {item.day: item for item in (*earlier, ShownLayer.of(layer)) if item.day >= first}
    calendar = [first + timedelta(days=number) for number in range(days)]
    stored = [values.get(shown[day].id, NODATA) if day in shown else NODATA for day in calendar]
    there = list(shown.values())
    return Past(
        days=calendar,
        susceptibility=[decoded(value) for value in stored],
        label=[
            label_of(value, shown[day].breaks) if day in shown else None
            for day, value in zip(calendar, stored, strict=True)
        ],
        model_changes=[now.day for old, now in pairwise(there) if now.model != old.model],
    )


def _rank(layer: Layer, earlier: Sequence[ShownLayer], values: dict[str, int], days: int) -> Rank | None:
    now = values[layer.id]
    first = layer.day - timedelta(days=days - 1)
    known = [shown for shown in earlier if shown.day >= first and values.get(shown.id, NODATA) != NODATA]
    alike = [shown for shown in known if shown.model == layer.model.digest]
    if now == NODATA or not alike:
        return None
    stored = np.array([values[shown.id] for shown in alike])
    return Rank(
        share_below=round(float((stored < now).mean()), 6),
        share_equal=round(float((stored == now).mean()), 6),
        days=len(alike),
        since=alike[0].day,
        other_model_days=len(known) - len(alike),
    )


def _saidwindow_of(site: Site, making: Making, window: PlaceWindow) -> Window:
    with site.archive() as archive:
        closed = {name: withheld_feeds(site.settings, archive, name) for name in ("rain", "level")}
    said = []
    values = window.values
    for number, spec in enumerate(making.bundle.manifest.variables):
        rain = spec.name == RAIN
        if not rain and window.reservoir is None:
            continue
        withheld = withheld_because(closed["rain" if rain else "level"])
        gauge = window.nearest[-1] if rain else None
        # Where a gauge stands is part of what its feed says.
        hidden = gauge is None or gauge.partition("/")[0] in closed["rain"]
        said.append(
            WindowVariable(
                name=spec.name,
                unit=spec.unit,
                values=[None if withheld else rounded(value) for value in values[:, number]],
                kinds=[_KINDS[Kind(kind)] for kind in window.kinds[:, number]],
                nearest_gauge=None if hidden else gauge,
                nearest_gauge_km=None if hidden else rounded(window.nearest_km[-1]),
                withheld=withheld,
            )
        )
    return Window(days=list(window.days), variables=said)


def _factors(making: Making, cell: Cell) -> list[Factor]:
    specs = making.bundle.manifest.factors
    names = [spec.name for spec in specs]
    bands = [making.stack.bands[number - 1] for number in making.stack.index(names)]
    values = making.stack.read(names, RasterWindow(cell.column, cell.row, 1, 1))[:, 0, 0]
    return [_factor(spec, band, float(value)) for spec, band, value in zip(specs, bands, values, strict=True)]


def _factor(spec: FactorSpec, band: FactorBand, value: float) -> Factor:
    missing = not math.isfinite(value)
    said: dict[str, Any] = {"value": None, "category": None, "outside_range": None}
    if not missing and band.categories is not None:
        name = band.categories.get(int(value), str(int(value)))
        said["category"] = name
        said["outside_range"] = spec.categories is None or name not in spec.categories.values()
    elif not missing:
        low, high = np.float32(spec.minimum or 0.0), np.float32(spec.maximum or 0.0)
        said["value"], said["outside_range"] = rounded(value), not low <= value <= high
    return Factor(
        name=spec.name,
        unit=spec.unit,
        minimum=rounded(spec.minimum),
        maximum=rounded(spec.maximum),
        **said,
    )
