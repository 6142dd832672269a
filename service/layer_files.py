"""The rasters of one layer while it is made: what the strips go into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.cog import PROVENANCE, LayerTags, LayerWriter, write_provenance
from exporters.cog_files import StripCog
from exporters.companions import open_probability, open_quantiles, open_uncertainty
from service.inference import LayerStrip, training_range_shares
from service.layer_windows import LayerWindows
from service.threads import Behind
from service.workshop import Workshop


class LayerFiles:
    """Writes the rasters of a layer into `folder`: always the three, and beside them what the model gives."""

    def __init__(self, shop: Workshop, made: LayerWindows, lead: int, folder: Path) -> None:
        self._shop, self._made, self._folder = shop, made, folder
        grid, odds = shop.region.grid, shop.bundle.manifest.odds
        self._tags = LayerTags(
            region=shop.region.id,
            day=made.windows.day,
            model=f"{shop.bundle.manifest.name} {shop.bundle.manifest.version}",
            synthetic=shop.settings.region.synthetic,
            attribution=shop.settings.region.attribution,
            lead=lead,
        )
        place: dict[str, Any] = {
            "crs": grid.crs,
            "transform": grid.transform,
            "shape": (grid.height, grid.width),
            "tags": self._tags,
            "threads": shop.workers,
        }
        self._layer = LayerWriter(folder, scheme=shop.scheme, **place)
        self._uncertainty: StripCog | None = None
        self._probability: StripCog | None = None
        self._quantiles: StripCog | None = None
        if shop.members and not made.members:
            self._uncertainty = open_uncertainty(folder, members=len(shop.members), **place)
        if odds is not None:
            self._probability = open_probability(folder, odds=odds, **place)
        if made.forecast is not None and made.forecast.has_quantiles:
            self._quantiles = open_quantiles(folder, forecast=made.forecast, **place)
        # What the layer rests on is known before its first strip.
        self._behind = Behind("provenance")
        self._behind.do(self._write_provenance)

    def write(self, strip: LayerStrip) -> npt.NDArray[np.uint8]:
        """Write a strip; return its classes. Raises what `LayerWriter.write` raises."""
        for out, values in (
            (self._uncertainty, strip.uncertainty),
            (self._probability, strip.probability),
            (self._quantiles, strip.quantiles),
        ):
            if out is not None and values is not None:
                out.write(strip.row, values)
        return self._layer.write(strip.row, strip.stored)

    def finish(self) -> None:
        """Make the COGs, and provenance.tif. Raises ValueError for missing rows, OSError for a full disk."""
        self._layer.finish()
        for out in (self._uncertainty, self._probability, self._quantiles):
            if out is not None:
                out.finish()
        self._behind.finish()

    def close(self) -> None:
        """Give up what is not finished."""
        self._behind.close()
        self._layer.close()
        for out in (self._uncertainty, self._probability, self._quantiles):
            if out is not None:
                out.close()

    def _write_provenance(self) -> None:
        shop, windows = self._shop, self._made.windows
        forcing = shop.region.forcing
        manifest = shop.bundle.manifest
        ranges = training_range_shares(shop.state, manifest, windows)
        each = [training_range_shares(shop.state, manifest, one).windows for one in self._made.members]
        write_provenance(
            self._folder / PROVENANCE,
            crs=forcing.grid.crs,
            transform=forcing.grid.transform,
            k=forcing.k,
            shape=(forcing.rows, forcing.columns),
            cells=forcing.active,
            values={
                "observed": windows.observed,
                "filled": windows.filled,
                "carried": windows.carried,
                "forecast": windows.forecast,
                "distance_km": windows.distance_km,
                "windows_outside_training": np.mean(each, axis=0) if each else ranges.windows,
                "cells_outside_training": ranges.factors,
                "basis": windows.basis,
            },
            tags=self._tags,
            threads=shop.workers,
        )
