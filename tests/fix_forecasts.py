"""Forecast layers put into a region's ledger: copies of a nowcast whose every known cell is higher.

What makes real ones is tested where it lives; these are for tests of what leaves the house.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from exporters.cog import SUSCEPTIBILITY, LayerTags, LayerWriter
from exporters.companions import QUANTILES, open_quantiles
from exporters.layer import NODATA, TOP, ForecastBasis, Layer, LayerStatus
from exporters.stac import ITEM, write_item
from service.display import list_layers, show_latest
from tests.fix_region import ToyRegion

FEED = "sky"
STEP = 25  # stored units by which each day ahead is higher: 0.1
MEMBERS = 11
SPREAD = 10  # stored units from p50 to p10 and p90: 0.04


def add_forecasts(
    toy: ToyRegion,
    leads: Sequence[int] = (1, 2, 3),
    *,
    issued: date | None = None,
    members: int = MEMBERS,
    revision: int = 1,
    **changes: Any,
) -> list[Layer]:
    """Record forecasts issued on the newest nowcast's day (or on `issued`), and show them."""
    with toy.ledger() as ledger:
        nowcast = ledger.latest()
        assert nowcast is not None
        made = [
            _forecast(toy, nowcast, lead, issued or nowcast.day, members, revision, changes) for lead in leads
        ]
        for layer in made:
            with ledger.transaction():
                ledger.add_layer(layer, ledger.basis(nowcast.id), [])
        show_latest(toy.data, ledger)
        list_layers(toy.data, ledger)
    return made


def _forecast(
    toy: ToyRegion,
    nowcast: Layer,
    lead: int,
    issued: date,
    members: int,
    revision: int,
    changes: dict[str, Any],
) -> Layer:
    day = issued + timedelta(days=lead)
    shift = day - nowcast.day
    digest = f"{revision:02d}{lead:02d}{issued:%Y%m%d}".ljust(64, "f")
    folder = toy.data / "layers" / f"{day}-l{lead}" / digest[:16]
    layer = nowcast.model_copy(
        update={
            "id": f"{nowcast.region}-{day}-l{lead}-r{revision}",
            "day": day,
            "lead": lead,
            "revision": revision,
            "digest": digest,
            "status": LayerStatus.PROVISIONAL,
            "issued_at": toy.clock(),
            "valid_from": nowcast.valid_from + shift,
            "valid_to": nowcast.valid_to + shift,
            "forecast": ForecastBasis(
                feed=FEED,
                issued_at=datetime(issued.year, issued.month, issued.day, tzinfo=UTC),
                first_day=issued,
                members=members,
            ),
            "folder": folder,
            **changes,
        }
    )
    shutil.copytree(nowcast.folder, folder)
    _write_rasters(layer, lead)
    write_item(layer, folder / ITEM)
    return layer


def _write_rasters(layer: Layer, lead: int) -> None:
    with rasterio.open(layer.folder / SUSCEPTIBILITY) as raster:
        stored = np.asarray(raster.read(1), np.uint8)
        place: dict[str, Any] = {"crs": raster.crs, "transform": raster.transform, "shape": stored.shape}
    tags = LayerTags(layer.region, layer.day, "toy 1", layer.synthetic, layer.attribution, lead)
    median = _raised(stored, lead * STEP)
    writer = LayerWriter(layer.folder, scheme=layer.classes, tags=tags, threads=1, **place)
    writer.write(0, median)
    writer.finish()
    if layer.forecast is not None and layer.forecast.has_quantiles:
        out = open_quantiles(layer.folder, forecast=layer.forecast, tags=tags, threads=1, **place)
        out.write(0, np.stack([_raised(median, -SPREAD), median, _raised(median, SPREAD)]))
        out.finish()
        assert (layer.folder / QUANTILES).is_file()


def _raised(stored: npt.NDArray[np.uint8], step: int) -> npt.NDArray[np.uint8]:
    raised = np.clip(stored.astype(np.int16) + step, 0, TOP).astype(np.uint8)
    return np.where(stored == NODATA, np.uint8(NODATA), raised)
