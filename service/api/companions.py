"""What /point says of a cell from the rasters beside susceptibility.tif, where the layer has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window
from starlette.exceptions import HTTPException

from exporters.companions import PROBABILITY, QUANTILES, UNCERTAINTY
from exporters.layer import BEYOND_FACTORS, BEYOND_WINDOW, NODATA, Layer
from service.api.numbers import decoded
from service.api.point_models import ForecastSpread, ProbabilitySaid, UncertaintySaid
from service.api.site import Site
from service.place import Cell


def uncertainty_at(site: Site, layer: Layer, cell: Cell | None) -> UncertaintySaid | None:
    """Return the spread and the marks of a cell. Raises HTTPException where the file is gone."""
    if not layer.members or cell is None:
        return None
    stored, marks = _cell(site, layer, UNCERTAINTY, cell).tolist()
    spread = decoded(stored)
    if spread is None or marks == NODATA:
        return None
    return UncertaintySaid(
        spread=spread,
        members=layer.members,
        factors_outside=bool(marks & BEYOND_FACTORS),
        window_outside=bool(marks & BEYOND_WINDOW),
    )


def probability_at(site: Site, layer: Layer, cell: Cell | None) -> ProbabilitySaid | None:
    """Return the probability of a cell. Raises HTTPException where the file is gone."""
    if layer.odds is None or cell is None:
        return None
    value = float(_cell(site, layer, PROBABILITY, cell)[0])
    if not np.isfinite(value):
        return None
    # Rare events need digits, not decimals.
    return ProbabilitySaid(value=float(f"{value:.4g}"), per=layer.odds.per, event_rate=layer.odds.event_rate)


def spread_at(site: Site, layer: Layer, cell: Cell | None) -> ForecastSpread | None:
    """Return the quantiles of a forecast at a cell. Raises HTTPException where the file is gone."""
    if layer.forecast is None or not layer.forecast.has_quantiles or cell is None:
        return None
    p10, p50, p90 = (decoded(stored) for stored in _cell(site, layer, QUANTILES, cell).tolist())
    if p10 is None or p50 is None or p90 is None:
        return None
    return ForecastSpread(p10=p10, p50=p50, p90=p90, members=layer.forecast.members)


def _cell(site: Site, layer: Layer, name: str, cell: Cell) -> npt.NDArray[Any]:
    path = site.file(layer, name)
    try:
        with rasterio.open(path, sharing=False) as dataset:
            return np.asarray(dataset.read(window=Window(cell.column, cell.row, 1, 1))[:, 0, 0])
    except rasterio.errors.RasterioIOError as error:
        raise HTTPException(503, f"{name} of {layer.id} cannot be read: {error}") from error
