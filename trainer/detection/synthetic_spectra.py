"""Reflectance of materials in Sentinel-2's thirteen bands, roughly, for made-up scenes.

Rounded by hand to the level and shape that the ECOSTRESS library (Meerdink et al. 2019) and the USGS library
version 7 (Kokaly et al. 2017) show for such materials, water vapour and cirrus as the atmosphere leaves them.
They are no measurements: they serve for scars that look like bare ground, and bare ground that is no scar.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Spectrum = npt.NDArray[np.float32]  # (13,), reflectance, in the order of OPTICAL

OPTICAL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_TABLE: dict[str, tuple[float, ...]] = {
    # vegetation: the red edge, water at 1.6 and 2.2 µm
    "broadleaf": (0.025, 0.028, 0.052, 0.030, 0.080, 0.24, 0.30, 0.32, 0.335, 0.32, 0.002, 0.160, 0.075),
    "conifer": (0.020, 0.022, 0.036, 0.024, 0.055, 0.15, 0.185, 0.20, 0.21, 0.205, 0.002, 0.095, 0.045),
    "shrub": (0.035, 0.042, 0.070, 0.065, 0.105, 0.19, 0.22, 0.24, 0.255, 0.25, 0.003, 0.210, 0.130),
    "pasture": (0.035, 0.042, 0.080, 0.055, 0.120, 0.28, 0.34, 0.36, 0.375, 0.36, 0.003, 0.220, 0.120),
    "crop": (0.035, 0.042, 0.075, 0.045, 0.110, 0.32, 0.42, 0.45, 0.465, 0.44, 0.003, 0.210, 0.100),
    "dry_grass": (0.065, 0.080, 0.120, 0.160, 0.190, 0.215, 0.24, 0.26, 0.275, 0.28, 0.005, 0.340, 0.250),
    # soils and rock: rising towards 1.6 µm, clay takes some back at 2.2 µm
    "loam": (0.075, 0.090, 0.125, 0.165, 0.190, 0.205, 0.22, 0.235, 0.25, 0.26, 0.006, 0.330, 0.290),
    "marl": (0.130, 0.150, 0.190, 0.225, 0.240, 0.25, 0.26, 0.265, 0.275, 0.28, 0.007, 0.330, 0.260),
    "shale": (0.055, 0.065, 0.080, 0.100, 0.110, 0.115, 0.12, 0.13, 0.135, 0.14, 0.004, 0.185, 0.165),
    "laterite": (0.040, 0.045, 0.075, 0.170, 0.210, 0.235, 0.25, 0.265, 0.28, 0.28, 0.006, 0.340, 0.300),
    "limestone": (0.170, 0.190, 0.220, 0.250, 0.260, 0.265, 0.27, 0.275, 0.28, 0.28, 0.008, 0.330, 0.290),
    "gneiss": (0.095, 0.105, 0.125, 0.145, 0.155, 0.16, 0.165, 0.17, 0.175, 0.18, 0.005, 0.210, 0.185),
    "gravel": (0.140, 0.160, 0.190, 0.210, 0.220, 0.23, 0.235, 0.24, 0.245, 0.24, 0.006, 0.270, 0.230),
    # the rest
    "asphalt": (0.080, 0.090, 0.100, 0.110, 0.115, 0.12, 0.125, 0.13, 0.135, 0.14, 0.005, 0.165, 0.150),
    "roof": (0.100, 0.115, 0.140, 0.190, 0.205, 0.22, 0.235, 0.25, 0.26, 0.26, 0.006, 0.300, 0.270),
    "water": (0.035, 0.035, 0.035, 0.020, 0.018, 0.014, 0.013, 0.012, 0.01, 0.01, 0.001, 0.006, 0.004),
    "snow": (0.850, 0.880, 0.870, 0.840, 0.830, 0.81, 0.79, 0.76, 0.74, 0.62, 0.030, 0.090, 0.080),
    "cloud": (0.620, 0.600, 0.580, 0.590, 0.590, 0.60, 0.60, 0.61, 0.61, 0.42, 0.080, 0.420, 0.330),
}
MATERIALS = tuple(_TABLE)
_SPECTRA = {name: np.array(values, np.float32) for name, values in _TABLE.items()}
# How much of the light water in the pores takes: soils darken most where they reflect most (Lobell and Asner
# 2002 find roughly half at saturation, more in the short-wave infrared).
_WET = np.array(
    [0.45, 0.45, 0.47, 0.48, 0.48, 0.48, 0.48, 0.48, 0.48, 0.5, 0.3, 0.6, 0.68],
    np.float32,
)


def spectrum(name: str) -> Spectrum:
    """Return a material's reflectance: float32 (13,), in the order of OPTICAL. Raises KeyError."""
    return _SPECTRA[name].copy()


def wetted(dry: Spectrum, wetness: float) -> Spectrum:
    """Return the reflectance of a soil of `wetness` 0 (dry) to 1 (saturated)."""
    return (dry * (1 - wetness * _WET)).astype(np.float32)
