"""A made-up Sentinel-2 view of a terrain with landslides on it; SYNTHETIC, and to be called so everywhere.

    paint(elevation_m, scars, rng, background, cell_size_m) -> {"B01": (h, w), ...}, reflectance
    draw_scars(elevation_m, rng, count, cell_size_m)        -> where scars lie, bool (h, w)
    BACKGROUNDS                                              the kinds of country, by name

It is no simulation of the atmosphere. It is made so that landslides cannot be told by one band: they are of
the same soils as fields, roads, clearings and river beds; what tells them is shape, slope and surroundings.
`trainer.detection.synthetic_set` writes whole sets of patches.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from service.detection.bands import BY_NAME
from service.errors import InputError
from trainer.detection.synthetic_cover import BACKGROUNDS, Background, Canvas, background_of, cover
from trainer.detection.synthetic_ground import Bool, Float, Float32, check_whole, draw_scars, slope_of
from trainer.detection.synthetic_spectra import OPTICAL, spectrum

__all__ = ["BACKGROUNDS", "OPTICAL", "Background", "draw_scars", "paint"]

_POINT_SPREAD_M = 6.0  # standard deviation of what one detector element sees
_NOISE = 0.0015  # reflectance, one standard deviation of a pixel


def paint(
    elevation_m: Float32,
    scars: Bool,
    rng: np.random.Generator,
    background: str = "forest",
    cell_size_m: float = 10.0,
    clouds: Bool | None = None,
) -> dict[str, Float32]:
    """Return reflectance by band name, float32 (h, w) each: all thirteen bands of Sentinel-2.

    `elevation_m` is float32 (h, w), row 0 north; `scars` and `clouds` are bool (h, w). The same generator
    state gives the same picture. Raises InputError for a terrain with holes, masks of another shape, or a
    background that is not in BACKGROUNDS.
    """
    kind = background_of(background)
    check_whole(elevation_m)
    for name, mask in (("scars", scars), ("clouds", clouds)):
        if mask is not None and mask.shape != elevation_m.shape:
            raise InputError(f"{name} have shape {mask.shape}, the terrain {elevation_m.shape}")
    canvas = Canvas(kind, elevation_m, slope_of(elevation_m, cell_size_m), rng, cell_size_m)
    cover(canvas)
    _lay_scars(canvas, scars)
    canvas.image *= _light(canvas)
    if clouds is not None:
        canvas.lay(spectrum("cloud"), ndimage.gaussian_filter(clouds.astype(np.float32), canvas.cells(30)))
    return _sensed(canvas)


def _lay_scars(canvas: Canvas, scars: Bool) -> None:
    """Lay each scar by itself: its soil, what is left growing in it, brighter debris at its foot."""
    numbered = ndimage.label(scars, np.ones((3, 3)))[0]
    ragged = canvas.noise(14)
    for number, where in enumerate(ndimage.find_objects(numbered), start=1):
        if where is None:
            continue
        mine = numbered[where] == number
        left = canvas.rng.uniform(0.0, 0.4)  # share that still grows, or was carried along
        opacity = np.clip(1 - left + 0.18 * ragged[where], 0.15, 1.0) * mine
        height = canvas.elevation_m[where]
        span = max(float(np.ptp(height[mine])), 1.0)
        low = 1 - np.clip((height - height[mine].min()) / span, 0, 1)
        soil = canvas.soil()[:, None, None] * (1 + canvas.rng.uniform(-0.1, 0.25) * low)
        part = canvas.image[(slice(None), *where)]
        part += opacity.astype(np.float32) * (soil.astype(np.float32) - part)


def _light(canvas: Canvas) -> Float32:
    """Return how bright the sun makes each cell: float32 (h, w), about 1 on level ground.

    Cosine of incidence with the constant of Teillet et al. (1982) for the light from the sky.
    """
    zenith = np.radians(canvas.rng.uniform(22, 55))
    azimuth = np.radians(canvas.rng.uniform(115, 170))
    south, east = np.gradient(canvas.smooth, canvas.cell_size_m)
    slope, aspect = np.arctan(np.hypot(south, east)), np.arctan2(-east, south)
    incidence = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(azimuth - aspect)
    sky = canvas.rng.uniform(0.25, 0.6)
    return np.asarray(np.clip((incidence + sky) / (np.cos(zenith) + sky), 0.2, 1.6), np.float32)


def _sensed(canvas: Canvas) -> dict[str, Float32]:
    """Return what the instrument delivers: blurred, at each band's resolution, hazy, noisy."""
    rng = canvas.rng
    haze, gains = rng.uniform(0.0, 0.012), rng.normal(1.0, 0.03, len(OPTICAL))
    sensed: dict[str, Float32] = {}
    for number, name in enumerate(OPTICAL):
        band = BY_NAME[name]
        plane = ndimage.gaussian_filter(canvas.image[number], canvas.cells(_POINT_SPREAD_M), mode="nearest")
        factor = max(round(band.resolution_m / canvas.cell_size_m), 1)
        # The mean of factor² draws is factor times quieter; a pixel's noise is the same at any resolution.
        noise = rng.normal(0.0, _NOISE, canvas.shape) + plane * rng.normal(0.0, 0.01, canvas.shape)
        plane = _coarsened(plane * gains[number] + factor * noise, factor, rng)
        scattered = haze * (490.0 / (band.centre_nm or 490.0)) ** 2
        sensed[name] = np.clip(plane + scattered, 1e-4, 1.5).astype(np.float32)
    return sensed


def _coarsened(plane: Float, factor: int, rng: np.random.Generator) -> Float:
    """Return a plane of pixels `factor` cells wide, each cell holding its pixel's mean."""
    if factor == 1:
        return plane
    top, left = (int(item) for item in rng.integers(0, factor, 2))
    height, width = plane.shape
    below, right = -(height + top) % factor, -(width + left) % factor
    padded = np.pad(plane, ((top, below), (left, right)), mode="edge")
    rows, columns = padded.shape[0] // factor, padded.shape[1] // factor
    means = padded.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    whole = means.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.ascontiguousarray(whole[top : top + height, left : left + width])
