"""Bands by name: what a detector wants, and what a dataset or a scene has.

A band is never told by its place in a file alone: Landslide4Sense holds twelve of Sentinel-2's thirteen bands
(no B8A), a Level-2A product has no B10, Sen12Landslides has neither B01, B09 nor B10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# reflectance: 0 to 1, offsets of the processing baseline taken off. landslide4sense: the values of the
# published patches, which are scaled band by band and are no reflectance; the two must not be mixed.
Radiometry = Literal["reflectance", "landslide4sense"]


@dataclass(frozen=True)
class Band:
    """One band. Sentinel-2 from ESA's Sentinel-2 User Handbook (2015); terrain as the DEM gives it."""

    name: str
    title: str
    unit: str  # reflectance, degrees, m
    centre_nm: float | None = None  # wavelength; None: terrain
    resolution_m: float = 10.0  # as it is delivered


BANDS = (
    Band("B01", "coastal aerosol", "reflectance", 443, 60),
    Band("B02", "blue", "reflectance", 490),
    Band("B03", "green", "reflectance", 560),
    Band("B04", "red", "reflectance", 665),
    Band("B05", "red edge 1", "reflectance", 705, 20),
    Band("B06", "red edge 2", "reflectance", 740, 20),
    Band("B07", "red edge 3", "reflectance", 783, 20),
    Band("B08", "near infrared", "reflectance", 842),
    Band("B8A", "narrow near infrared", "reflectance", 865, 20),
    Band("B09", "water vapour", "reflectance", 945, 60),
    Band("B10", "cirrus", "reflectance", 1375, 60),
    Band("B11", "short-wave infrared 1", "reflectance", 1610, 20),
    Band("B12", "short-wave infrared 2", "reflectance", 2190, 20),
    Band("slope", "slope", "degrees"),
    Band("elevation", "elevation", "m"),
)
BY_NAME = {band.name: band for band in BANDS}
TERRAIN = ("slope", "elevation")
# Ghorbanzadeh et al. (2022): planes 1 to 12 are B1 to B12 without B8A, 13 is slope, 14 the DEM.
LANDSLIDE4SENSE = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "slope", "elevation",
)  # fmt: skip
SEN12LANDSLIDES = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")  # and SCL, DEM, MASK
