"""Rasters that lie beside susceptibility.tif where a model gives them.

uncertainty.tif      of an ensemble. Band 1 `spread`: standard deviation of susceptibility over the main
                     model and its members, uint8, value = stored * 0.004, 255 unknown. Band 2
                     `out_of_domain`: bits of what lies outside the training ranges, 255 unknown
probability.tif      of a model with a stated event rate: float32, NaN unknown, 0 to 1
quantiles.tif        of a forecast with enough members. Bands `p10`, `p50`, `p90`: quantiles of susceptibility
                     over what the model made of each member, uint8 as the spread; p50 is what is published
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from affine import Affine
from rasterio.crs import CRS

from exporters.cog import SYNTHETIC_NOTE, LayerTags
from exporters.cog_files import StripCog
from exporters.cog_header import Band, Notes
from exporters.layer import BEYOND_FACTORS, BEYOND_WINDOW, NODATA, SCALE, TOP, ForecastBasis, Layer, Odds

UNCERTAINTY = "uncertainty.tif"
PROBABILITY = "probability.tif"
QUANTILES = "quantiles.tif"
QUANTILE_BANDS = {"p10": 0.1, "p50": 0.5, "p90": 0.9}


class MarkBit(NamedTuple):
    """One bit of the band `out_of_domain`."""

    value: int
    name: str
    meaning: str


MARK_BITS = (
    MarkBit(
        BEYOND_FACTORS,
        "factors",
        "a factor of the cell lies outside its training range, or its patch is not wholly observed",
    ),
    MarkBit(
        BEYOND_WINDOW, "window", "a window of its forcing cell's corners lies outside the training ranges"
    ),
)


def companions_of(layer: Layer) -> tuple[str, ...]:
    """Return the names of the files that lie beside a layer's usual ones."""
    beside = {
        UNCERTAINTY: bool(layer.members),
        PROBABILITY: layer.odds is not None,
        QUANTILES: layer.forecast is not None and layer.forecast.has_quantiles,
    }
    return tuple(name for name, there in beside.items() if there)


def open_uncertainty(
    folder: Path,
    *,
    crs: CRS,
    transform: Affine,
    shape: tuple[int, int],
    members: int,
    tags: LayerTags,
    threads: int,
) -> StripCog:
    """Begin uncertainty.tif; strips are uint8 (2, rows, width)."""
    bits = {f"BIT_{bit.value}": f"{bit.name}: {bit.meaning}" for bit in MARK_BITS}
    outside = {"MEANING": "what lies outside the training ranges, by bits; 0: nothing"}
    said = {"COLLUVIUM_SCALE": f"{SCALE:g}", "COLLUVIUM_MEMBERS": str(members)}
    return StripCog(
        folder / UNCERTAINTY,
        crs=crs,
        transform=transform,
        shape=shape,
        dtype="uint8",
        nodata=NODATA,
        # Bits have no average, and a spread averaged over a slope hides where the models disagree.
        resampling="NEAREST",
        threads=threads,
        notes=Notes(
            (
                Band(f"spread x {TOP}", tags={"MEANING": spread_meaning(members)}),
                Band("out_of_domain", tags=outside | bits),
            ),
            said | tags.to_tags("Uncertainty of landslide susceptibility"),
        ),
    )


def open_probability(
    folder: Path,
    *,
    crs: CRS,
    transform: Affine,
    shape: tuple[int, int],
    odds: Odds,
    tags: LayerTags,
    threads: int,
) -> StripCog:
    """Begin probability.tif; strips are float32 (rows, width)."""
    said = tags.to_tags("Probability of a landslide")
    # Not the index's note, which says that it is no probability.
    note = f"{odds_meaning(odds)} {SYNTHETIC_NOTE}" if tags.synthetic else odds_meaning(odds)
    said |= {
        "TIFFTAG_IMAGEDESCRIPTION": (
            f"Probability of a landslide per {odds.per}, {tags.region}, {tags.when}. {note}"
        ),
        "COLLUVIUM_NOTE": note,
        "COLLUVIUM_EVENT_RATE": repr(odds.event_rate),
        "COLLUVIUM_PER": odds.per,
        "COLLUVIUM_POSITIVES_SHARE": repr(odds.positives_share),
    }
    return StripCog(
        folder / PROBABILITY,
        crs=crs,
        transform=transform,
        shape=shape,
        dtype="float32",
        nodata=float("nan"),
        resampling="AVERAGE",
        threads=threads,
        notes=Notes((Band(f"probability per {odds.per}", "1"),), said),
    )


def open_quantiles(
    folder: Path,
    *,
    crs: CRS,
    transform: Affine,
    shape: tuple[int, int],
    forecast: ForecastBasis,
    tags: LayerTags,
    threads: int,
) -> StripCog:
    """Begin quantiles.tif; strips are uint8 (3, rows, width), in the order of QUANTILE_BANDS."""
    said = {
        "COLLUVIUM_SCALE": f"{SCALE:g}",
        "COLLUVIUM_FORECAST": f"{forecast.feed}, {forecast.members} members",
    }
    bands = tuple(
        Band(f"{name} x {TOP}", tags={"MEANING": quantile_meaning(share, forecast)})
        for name, share in QUANTILE_BANDS.items()
    )
    return StripCog(
        folder / QUANTILES,
        crs=crs,
        transform=transform,
        shape=shape,
        dtype="uint8",
        nodata=NODATA,
        resampling="AVERAGE",
        threads=threads,
        notes=Notes(bands, said | tags.to_tags("Quantiles of landslide susceptibility")),
    )


def quantile_meaning(share: float, forecast: ForecastBasis) -> str:
    """Say what a quantile is of."""
    return (
        f"susceptibility that {share:.0%} of {forecast.members} members of {forecast.feed} do not exceed, "
        "each run through the model"
    )


def spread_meaning(members: int) -> str:
    """Say what the spread is over."""
    return f"standard deviation of susceptibility over the main model and {members} more trained like it"


def odds_meaning(odds: Odds) -> str:
    """Say what the probability rests on."""
    return (
        f"It rests on a stated rate of {odds.event_rate:g} per {odds.per}, and is as good as that rate: "
        f"susceptibility at a share of positives of {odds.positives_share:g}, corrected after King and Zeng "
        "2001."
    )
