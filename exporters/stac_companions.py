"""What a layer's folder holds beside its usual files, as STAC says it."""

from __future__ import annotations

import pystac
from pystac.extensions.classification import Bitfield, Classification, ClassificationExtension
from pystac.extensions.raster import DataType, NoDataStrings, RasterBand, RasterExtension

from exporters.companions import (
    MARK_BITS,
    PROBABILITY,
    QUANTILE_BANDS,
    QUANTILES,
    UNCERTAINTY,
    odds_meaning,
    quantile_meaning,
    spread_meaning,
)
from exporters.layer import NODATA, SCALE, Layer


def companion_assets(layer: Layer) -> dict[str, pystac.Asset]:
    """Return the assets of a layer beside the usual ones."""
    assets = {}
    if layer.members:
        assets["uncertainty"] = pystac.Asset(
            f"./{UNCERTAINTY}",
            title="How far an ensemble disagrees, and what none of it was trained on",
            media_type=pystac.MediaType.COG,
            roles=["data"],
        )
    if layer.odds is not None:
        assets["probability"] = pystac.Asset(
            f"./{PROBABILITY}",
            title=f"Probability of a landslide per {layer.odds.per}",
            description=odds_meaning(layer.odds),
            media_type=pystac.MediaType.COG,
            roles=["data"],
        )
    if layer.forecast is not None and layer.forecast.has_quantiles:
        assets["quantiles"] = pystac.Asset(
            f"./{QUANTILES}",
            title=f"Quantiles of susceptibility over {layer.forecast.members} members of the forecast",
            media_type=pystac.MediaType.COG,
            roles=["data"],
        )
    return assets


def describe_companions(item: pystac.Item, layer: Layer) -> None:
    """Describe the bands of the assets that `companion_assets` gave the item."""
    if layer.members:
        spread = RasterBand.create(
            nodata=NODATA,
            data_type=DataType.UINT8,
            unit="1",
            scale=SCALE,
            offset=0.0,
            spatial_resolution=layer.cell_size_m,
        )
        spread.properties |= {"name": "spread", "description": spread_meaning(layer.members)}
        marks = RasterBand.create(
            nodata=NODATA, data_type=DataType.UINT8, spatial_resolution=layer.cell_size_m
        )
        marks.properties |= {"name": "out_of_domain", "description": "bits of what lies outside training"}
        ClassificationExtension.ext(marks).apply(bitfields=_bitfields())
        RasterExtension.ext(item.assets["uncertainty"]).apply([spread, marks])
    if layer.odds is not None:
        probability = RasterBand.create(
            nodata=NoDataStrings.NAN,
            data_type=DataType.FLOAT32,
            unit="1",
            spatial_resolution=layer.cell_size_m,
        )
        RasterExtension.ext(item.assets["probability"]).apply([probability])
    if layer.forecast is not None and layer.forecast.has_quantiles:
        bands = []
        for name, share in QUANTILE_BANDS.items():
            band = RasterBand.create(
                nodata=NODATA,
                data_type=DataType.UINT8,
                unit="1",
                scale=SCALE,
                offset=0.0,
                spatial_resolution=layer.cell_size_m,
            )
            band.properties |= {"name": name, "description": quantile_meaning(share, layer.forecast)}
            bands.append(band)
        RasterExtension.ext(item.assets["quantiles"]).apply(bands)


def _bitfields() -> list[Bitfield]:
    return [
        Bitfield.create(
            offset=bit.value.bit_length() - 1,
            length=1,
            name=bit.name,
            description=bit.meaning,
            classes=[
                Classification.create(value=0, name="inside", description="within the training ranges"),
                Classification.create(value=1, name="outside", description=bit.meaning),
            ],
        )
        for bit in MARK_BITS
    ]
