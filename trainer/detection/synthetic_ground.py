"""Made-up ground of some square kilometres, and scars on it.

Scars begin on steep ground, run down it, are longer than wide, and mostly small: their areas follow the
inverse gamma distribution of Malamud et al. (2004), their length to width Taylor et al. (2018).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from service.errors import InputError
from trainer.terrain import terrain_bands

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Path2 = npt.NDArray[np.float64]  # (k, 2): row and column, in cells

HURST = 0.9  # of the surface; higher is smoother
# Malamud et al. (2004), eq. 3: areas in km², of an event's landslides mapped whole.
_RHO, _A_KM2, _S_KM2 = 1.40, 1.28e-3, -1.32e-4
SMALLEST_M2, LARGEST_M2 = 900.0, 60_000.0  # nine pixels of 10 m, and what a patch can hold
STEEP_DEG = 22.0  # half of the ground this steep may fail, much less of what is 8 degrees flatter
_HILL_M = 60.0  # what is finer than this is no hill, and mostly below what elevation models from space know
_STOPS_DEG = 7.0  # debris comes to rest on ground as flat as this
_STEP = 0.5  # cells, of a walk downslope


def make_ground(
    rng: np.random.Generator, size: int, median_slope_deg: float, cell_size_m: float, base_m: float
) -> Float32:
    """Return elevation of ridges and valleys, float32 (size, size), metres.

    Half the cells are steeper than `median_slope_deg`; the lowest lies at `base_m`.
    """
    whole = 2 * size  # a spectral surface repeats itself at its border; half of it is cut off
    rough, folds = (_spectral(rng, whole, HURST) for _ in range(2))
    # One less its absolute value has sharp ridges and rounded floors.
    surface = (0.6 * rough + 0.9 * (1 - np.abs(folds)))[:size, :size]
    surface = ndimage.gaussian_filter(surface, max(_HILL_M / cell_size_m, 0.5))
    east, south = rng.normal(0.0, 0.8, 2)
    rows, columns = np.mgrid[0:size, 0:size] / size
    surface = surface + east * columns + south * rows
    gradient = np.hypot(*np.gradient(surface, cell_size_m))
    surface = surface * np.tan(np.radians(median_slope_deg)) / max(float(np.median(gradient)), 1e-12)
    return np.asarray(surface - surface.min() + base_m, np.float32)


def _spectral(rng: np.random.Generator, size: int, hurst: float) -> Float:
    """Fractional Brownian surface of standard deviation 1 by its spectrum, amplitude f^-(H + 1)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    amplitude = frequency ** -(hurst + 1)
    amplitude[0, 0] = 0.0
    shape = amplitude.shape
    surface = np.fft.irfft2(
        amplitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)), (size, size)
    )
    return np.asarray(surface / surface.std())


def slope_of(elevation_m: Float32, cell_size_m: float) -> Float32:
    """Return slope in degrees (Horn 1981), float32 (h, w), the outermost cells as their neighbours."""
    slope = terrain_bands(elevation_m, cell_size_m, ["slope"])["slope"]
    return np.pad(slope[1:-1, 1:-1], 1, mode="edge")


def scar_areas_m2(rng: np.random.Generator, count: int) -> Float:
    """Draw areas of scars, float64 (count,), between SMALLEST_M2 and LARGEST_M2."""
    areas = np.empty(0)
    while len(areas) < count:
        # If x is of a gamma distribution of shape rho, a / x is of the inverse one.
        drawn = (_A_KM2 / rng.gamma(_RHO, size=4 * count + 8) + _S_KM2) * 1e6
        areas = np.concatenate([areas, drawn[(drawn >= SMALLEST_M2) & (drawn <= LARGEST_M2)]])
    return areas[:count]


def draw_scars(elevation_m: Float32, rng: np.random.Generator, count: int, cell_size_m: float = 10.0) -> Bool:
    """Return where `count` scars lie, bool (h, w); fewer where they meet or no steep ground is left.

    Raises InputError for a terrain with holes.
    """
    check_whole(elevation_m)
    scars = np.zeros(elevation_m.shape, bool)
    if count < 1:
        return scars
    smooth = ndimage.gaussian_filter(elevation_m.astype(np.float64), max(20.0 / cell_size_m, 0.5))
    slope = slope_of(elevation_m, cell_size_m)
    chance = _chance_of_failing(slope, smooth)
    if chance.sum() <= 0:
        return scars
    heads = rng.choice(chance.size, count, p=(chance / chance.sum()).ravel())
    for head, area in zip(heads, scar_areas_m2(rng, count), strict=True):
        ratio = float(np.clip(rng.lognormal(np.log(2.5), 0.4), 1.2, 8.0))
        width = np.sqrt(4 * area / (np.pi * ratio)) / cell_size_m  # of an ellipse; in cells
        path = walk_down(smooth, divmod(int(head), chance.shape[1]), ratio * width)
        path = path[: _comes_to_rest(path, slope)]
        _stamp(scars, path, _profile(rng, len(path), width))
    return scars


def _comes_to_rest(path: Path2, slope_deg: Float32) -> int:
    """Return how many points of a way down lie above ground too flat to go on; the head always does."""
    rows, columns = path.round().astype(int).T
    flat = np.flatnonzero(slope_deg[rows, columns] < _STOPS_DEG)
    return max(int(flat[0]), 1) if len(flat) else len(path)


def _chance_of_failing(slope_deg: Float32, smooth: Float) -> Float:
    steep = 1 / (1 + np.exp(-(slope_deg.astype(np.float64) - STEEP_DEG) / 2.0))
    steep[slope_deg < STEEP_DEG - 8] = 0.0
    # Water gathers in hollows, where the ground curves upwards.
    curvature = ndimage.laplace(smooth)
    spread = float(curvature.std()) or 1.0
    return np.asarray(steep * np.clip(1 + 0.5 * curvature / spread, 0.3, 2.0))


def walk_down(surface: Float, start: tuple[int, int], length: float) -> Path2:
    """Return the way down from a cell, float64 (k, 2), rows and columns; it ends early at the edge."""
    height, width = surface.shape
    place, heading = np.array(start, np.float64), np.zeros(2)
    places = [place.copy()]
    for _ in range(round(length / _STEP)):
        row = min(max(round(place[0]), 1), height - 2)
        column = min(max(round(place[1]), 1), width - 2)
        down = np.array(
            [
                surface[row - 1, column] - surface[row + 1, column],
                surface[row, column - 1] - surface[row, column + 1],
            ]
        )
        norm = float(np.hypot(*down))
        heading = 0.7 * heading + (0.3 * down / norm if norm > 0 else 0.0)
        speed = float(np.hypot(*heading))
        if speed < 0.05:  # a pit: nowhere to go
            break
        place = place + _STEP * heading / speed
        if not (0 <= place[0] <= height - 1 and 0 <= place[1] <= width - 1):
            break
        places.append(place.copy())
    return np.array(places)


def _profile(rng: np.random.Generator, count: int, width: float) -> Float:
    """Half width along the way down: a round head, a narrower track, a foot that spreads a little."""
    along = np.linspace(0, 1, count)
    shape = 0.75 + 0.45 * np.exp(-(((along - 0.2) / 0.2) ** 2)) + 0.2 * np.exp(-(((along - 0.9) / 0.15) ** 2))
    ragged = ndimage.gaussian_filter1d(rng.standard_normal(count), 3) * 0.5
    return np.asarray(np.maximum(0.5 * width * shape * np.clip(1 + ragged, 0.6, 1.4), 0.75))


def _stamp(mask: Bool, path: Path2, radii: Float) -> None:
    """Set the cells of `mask` within a radius of each point of a path."""
    reach = int(np.ceil(radii.max())) + 1
    offsets = np.arange(-reach, reach + 1)
    nearest = np.floor(path).astype(np.int64)
    rows = nearest[:, 0, None, None] + offsets[None, :, None]  # (k, 2 reach + 1, 1)
    columns = nearest[:, 1, None, None] + offsets[None, None, :]
    apart = (rows - path[:, 0, None, None]) ** 2 + (columns - path[:, 1, None, None]) ** 2
    inside = apart <= radii[:, None, None] ** 2
    inside &= (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    rows, columns = np.broadcast_to(rows, inside.shape), np.broadcast_to(columns, inside.shape)
    mask[rows[inside], columns[inside]] = True


def along(shape: tuple[int, int], path: Path2, radius: float) -> Bool:
    """Return the cells within `radius` cells of a path: bool (h, w)."""
    mask = np.zeros(shape, bool)
    _stamp(mask, path, np.full(len(path), max(radius, 0.6)))
    return mask


def check_whole(elevation_m: Float32) -> None:
    """Raise InputError for a terrain that is not two-dimensional, too small, or has holes."""
    if elevation_m.ndim != 2 or min(elevation_m.shape) < 8:
        raise InputError(f"a terrain of shape {elevation_m.shape} cannot be painted; 8 by 8 cells at least")
    if not np.isfinite(elevation_m).all():
        raise InputError(
            f"the terrain has {int((~np.isfinite(elevation_m)).sum())} cells without elevation; fill them, "
            "or cut them off"
        )
