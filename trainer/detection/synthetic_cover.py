"""What covers made-up ground: five backgrounds, and what on them is bare without having slid.

A canvas is reflectance (13, h, w); things are laid on it with an opacity, so that borders mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from service.errors import InputError
from trainer.detection.synthetic_ground import Bool, Float, Float32, along, draw_scars, walk_down
from trainer.detection.synthetic_spectra import Spectrum, spectrum, wetted


@dataclass(frozen=True)
class Background:
    """A kind of country. Counts are per square kilometre, shares of the ground they can lie on."""

    name: str
    says: str
    median_slope_deg: tuple[float, float]
    base_m: tuple[float, float]
    vegetation: dict[str, float]  # material -> weight
    soils: tuple[str, ...]  # of scars, and of everything else that is bare
    vigour: tuple[float, float]  # 1: green; the rest is dry grass
    fields: float = 0.0  # share of the gentle ground in parcels
    crops: tuple[str, ...] = ("crop", "pasture", "dry_grass", "bare")
    clearings: float = 0.0  # cut woods, on any slope
    bare: float = 0.0  # share of steep ground that is eroded without having slid
    rock: float = 0.0  # share of the highest ground that is rock, with scree below
    quarries: float = 0.06
    roads: float = 1.0
    streams: float = 1.5


BACKGROUNDS: dict[str, Background] = {
    item.name: item
    for item in (
        Background(
            "forest", "wooded hills of a wet climate; cut woods, forest roads, gravel in the beds",
            (17, 27), (200, 900), {"broadleaf": 3.0, "conifer": 1.5, "pasture": 0.3},
            ("loam", "shale", "gneiss"), (0.85, 1.0), fields=0.3, clearings=1.2, roads=1.2, bare=0.005,
        ),
        Background(
            "cropland", "hills of parcels between hedges, from green to ploughed",
            (8, 16), (100, 500), {"broadleaf": 1.2, "shrub": 1.0, "pasture": 2.0},
            ("loam", "marl"), (0.7, 1.0), fields=0.85, clearings=0.5, bare=0.01, roads=2.0,
        ),
        Background(
            "dry_hills", "shrub, dry grass and badlands of a dry climate",
            (13, 23), (800, 2200), {"shrub": 2.5, "dry_grass": 2.0, "pasture": 0.4},
            ("loam", "marl", "limestone"), (0.35, 0.75), fields=0.3, bare=0.03, roads=0.8, streams=1.0,
            crops=("dry_grass", "bare", "bare", "crop"),
        ),
        Background(
            "alpine", "conifers, meadows, rock with scree below, snow that is left",
            (24, 34), (1400, 2600), {"conifer": 2.0, "pasture": 2.0, "shrub": 0.7},
            ("gneiss", "gravel", "limestone"), (0.65, 0.95), rock=0.15, clearings=0.3, roads=0.4, bare=0.02,
        ),
        Background(
            "red_hills", "evergreen hills on red earth; tea and terraces, earth roads",
            (15, 25), (300, 1500), {"broadleaf": 3.0, "shrub": 0.8, "pasture": 0.8},
            ("laterite", "loam"), (0.8, 1.0), fields=0.45, clearings=0.8, roads=1.8,
            crops=("crop", "shrub", "pasture", "bare"), bare=0.01,
        ),
    )
}  # fmt: skip


def background_of(name: str) -> Background:
    """Return a background by name. Raises InputError for one that is not there."""
    if name not in BACKGROUNDS:
        raise InputError(f"no background {name!r}; there are {', '.join(BACKGROUNDS)}")
    return BACKGROUNDS[name]


class Canvas:
    """Reflectance in the making: float32 (13, h, w)."""

    def __init__(
        self,
        background: Background,
        elevation_m: Float32,
        slope_deg: Float32,
        rng: np.random.Generator,
        cell_size_m: float,
    ) -> None:
        self.background, self.rng, self.cell_size_m = background, rng, cell_size_m
        self.elevation_m, self.slope_deg = elevation_m, slope_deg
        self.shape: tuple[int, int] = (elevation_m.shape[0], elevation_m.shape[1])
        self.km2 = elevation_m.size * cell_size_m**2 / 1e6
        self.smooth = ndimage.gaussian_filter(elevation_m.astype(np.float64), max(20 / cell_size_m, 0.5))
        self.image = np.zeros((13, *self.shape), np.float32)

    def lay(self, material: Spectrum, opacity: npt.NDArray[np.generic] | float) -> None:
        """Lay a material over what is there; `opacity` is (h, w), 0 to 1."""
        cover = np.broadcast_to(np.asarray(opacity, np.float32), self.shape)
        rows, columns = (np.flatnonzero(cover.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return
        # Most things are small: only the box around what is covered is mixed.
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        part = self.image[(slice(None), *box)]
        part += cover[box] * (material[:, None, None] - part)

    def cells(self, metres: float) -> float:
        """Return a length in cells."""
        return metres / self.cell_size_m

    def noise(self, reach_m: float) -> Float32:
        """Return smooth noise, float32 (h, w), of standard deviation 1."""
        sigma = max(self.cells(reach_m), 0.3)
        # Wide noise is made on a coarser grid: the same to the eye, and quick.
        by = max(int(sigma // 4), 1)
        small = tuple(-(-side // by) + 8 for side in self.shape)
        drawn = ndimage.gaussian_filter(self.rng.standard_normal(small), sigma / by)
        wide = ndimage.zoom(drawn, by, order=1) if by > 1 else drawn
        cut = wide[: self.shape[0], : self.shape[1]]
        return np.asarray((cut - cut.mean()) / max(float(cut.std()), 1e-9), np.float32)

    def soil(self) -> Spectrum:
        """Draw a soil of this country: two of its soils mixed, more or less wet, brighter or darker."""
        first, second = self.rng.choice(self.background.soils, 2)
        share = self.rng.uniform(0.0, 1.0)
        mixed = share * spectrum(first) + (1 - share) * spectrum(second)
        return wetted(mixed, self.rng.uniform(0.0, 0.7)) * np.float32(self.rng.uniform(0.85, 1.2))

    def count(self, per_km2: float) -> int:
        """Draw how many of a thing there are."""
        return int(self.rng.poisson(per_km2 * self.km2))


def cover(canvas: Canvas) -> None:
    """Paint the country, all but its landslides."""
    _vegetation(canvas)
    _rock_and_scree(canvas)
    _eroded(canvas)
    _parcels(canvas)
    _clearings(canvas)
    _healed(canvas)
    _quarries(canvas)
    _streams(canvas)
    _roads(canvas)
    _villages(canvas)


def _vegetation(canvas: Canvas) -> None:
    background = canvas.background
    names = list(background.vegetation)
    weights = np.exp(
        np.stack([1.3 * canvas.noise(90) + np.log(background.vegetation[name]) for name in names])
    )
    weights /= weights.sum(axis=0)
    for name, weight in zip(names, weights, strict=True):
        canvas.image += weight * spectrum(name)[:, None, None]
    dry = 1 - canvas.rng.uniform(*background.vigour)
    canvas.lay(spectrum("dry_grass"), np.clip(dry * (1 + 0.5 * canvas.noise(120)), 0, 1))
    canvas.lay(canvas.soil(), np.clip(0.05 + 0.08 * canvas.noise(25), 0, 0.5))
    canvas.image *= np.clip(1 + 0.10 * canvas.noise(12), 0.6, 1.4)


def _rock_and_scree(canvas: Canvas) -> None:
    share = canvas.background.rock * canvas.rng.uniform(0.2, 1.8)
    if share <= 0:
        return
    height = canvas.elevation_m - canvas.elevation_m.mean()
    rank = height / max(float(height.std()), 1e-6) + 0.05 * (canvas.slope_deg - 30) + 0.5 * canvas.noise(60)
    edge = float(np.quantile(rank, 1 - min(share, 0.6)))
    rock = 1 / (1 + np.exp(-(rank - edge) * 6))
    canvas.lay(canvas.soil(), 0.9 * rock)
    for start in _starts(canvas, rock > 0.6, canvas.count(2.0)):
        path = walk_down(canvas.smooth, start, canvas.cells(canvas.rng.uniform(80, 350)))
        canvas.lay(canvas.soil(), 0.85 * along(canvas.shape, path, canvas.cells(canvas.rng.uniform(8, 22))))
    if canvas.rng.random() < 0.4:
        canvas.lay(spectrum("snow"), np.clip(2 * (canvas.noise(40) - 1.8), 0, 1) * (rank > edge))


def _eroded(canvas: Canvas) -> None:
    """Lay bare steep ground that wears away: soil and slope as of scars, the hardest to tell."""
    share = canvas.background.bare * canvas.rng.uniform(0.0, 2.0)
    steep = canvas.slope_deg > 15
    if share <= 0 or not steep.any():
        return
    rank = canvas.noise(30) + 0.5 * canvas.noise(10)
    edge = float(np.quantile(rank[steep], 1 - min(share, 0.5)))
    canvas.lay(canvas.soil(), np.clip((rank - edge) * 2, 0, 0.9) * steep)


def _parcels(canvas: Canvas) -> None:
    gentle = 1 / (1 + np.exp((canvas.slope_deg - 14 - 2 * canvas.noise(60)) / 1.5))
    patchy = canvas.noise(150)
    wanted = canvas.background.fields
    if wanted <= 0:
        return
    here = gentle * (patchy <= np.quantile(patchy, wanted))
    side = canvas.cells(canvas.rng.uniform(70, 170))
    height, width = canvas.shape
    count = max(int(height * width / side**2), 2)
    seeds = canvas.rng.uniform(0, 1, (count, 2)) * (height, width)
    # Parcels are longer one way: distances are measured in a stretched and turned frame.
    turn, stretch = canvas.rng.uniform(0, np.pi), canvas.rng.uniform(1.0, 2.2)
    frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * [
        [stretch],
        [1 / stretch],
    ]
    rows, columns = np.mgrid[0:height, 0:width]
    distance, parcel = cKDTree(seeds @ frame.T).query(
        np.column_stack([rows.ravel(), columns.ravel()]) @ frame.T, k=2
    )
    nearest = parcel[:, 0].reshape(canvas.shape)
    colours = np.stack([_crop(canvas) for _ in range(count)])
    opacity = (0.9 * here).astype(np.float32)
    canvas.image += opacity * (np.moveaxis(colours[nearest], 2, 0) - canvas.image)
    hedge = (distance[:, 1] - distance[:, 0]).reshape(canvas.shape) < canvas.cells(9)
    canvas.lay(spectrum("broadleaf"), 0.7 * hedge * here * (canvas.rng.random() < 0.7))


def _crop(canvas: Canvas) -> Spectrum:
    name = str(canvas.rng.choice(canvas.background.crops))
    gain = np.float32(canvas.rng.uniform(0.85, 1.15))
    if name == "bare":
        return canvas.soil() * gain
    part = np.float32(canvas.rng.uniform(0.0, 0.35))
    return (spectrum(name) * (1 - part) + canvas.soil() * part) * gain


def _clearings(canvas: Canvas) -> None:
    grown = np.clip(0.8 + 0.15 * canvas.noise(15), 0, 1)
    for _ in range(canvas.count(canvas.background.clearings)):
        inside = _rectangle(canvas, (50, 220), (40, 120))
        soil = canvas.rng.uniform(0.2, 0.9)
        ground = soil * canvas.soil() + (1 - soil) * spectrum("dry_grass")
        canvas.lay(ground.astype(np.float32), inside * grown)


def _healed(canvas: Canvas) -> None:
    """Lay landslides of years ago, grown over: in no inventory of this event."""
    if canvas.rng.random() < 0.25:
        old = draw_scars(canvas.elevation_m, canvas.rng, 1 + canvas.count(0.8), canvas.cell_size_m)
        canvas.lay(canvas.soil(), old * canvas.rng.uniform(0.08, 0.28))


def _quarries(canvas: Canvas) -> None:
    ragged = 1 + 0.25 * canvas.noise(40)
    for _ in range(canvas.count(canvas.background.quarries)):
        row, column = canvas.rng.uniform(0, 1, 2) * canvas.shape
        rows, columns = np.ogrid[0 : canvas.shape[0], 0 : canvas.shape[1]]
        radius = canvas.cells(canvas.rng.uniform(30, 110))
        inside = np.hypot(rows - row, columns - column) < radius * ragged
        canvas.lay(canvas.soil(), 0.95 * inside)


def _streams(canvas: Canvas) -> None:
    bed, drop = np.zeros(canvas.shape, bool), spectrum("water")
    for start in _starts(canvas, np.ones(canvas.shape, bool), canvas.count(canvas.background.streams)):
        path = walk_down(canvas.smooth, start, canvas.cells(3000))
        bed |= along(canvas.shape, path[len(path) // 4 :], canvas.cells(canvas.rng.uniform(5, 18)))
    if not bed.any():
        return
    gravel = spectrum("gravel") * np.float32(canvas.rng.uniform(0.8, 1.1))
    canvas.lay(gravel, 0.85 * bed * np.clip(0.4 + 0.6 * canvas.noise(50), 0, 1))
    inner = ndimage.binary_erosion(bed)
    canvas.lay(drop, 0.8 * inner * (canvas.noise(30) > -0.2))


def _roads(canvas: Canvas) -> None:
    for _ in range(canvas.count(canvas.background.roads)):
        earth = canvas.rng.random() < 0.6
        material = canvas.soil() if earth else spectrum("asphalt")
        width = canvas.cells(canvas.rng.uniform(4, 9 if earth else 14))
        canvas.lay(material, 0.8 * along(canvas.shape, _road(canvas), width / 2))


def _road(canvas: Canvas) -> Float:
    """Return a way across that keeps to the contours, float64 (k, 2)."""
    height, width = canvas.shape
    place = canvas.rng.uniform(0, 1, 2) * (height - 1, width - 1)
    angle = canvas.rng.uniform(0, 2 * np.pi)
    heading = np.array([np.sin(angle), np.cos(angle)])
    places = [place]
    for _ in range(2 * max(height, width)):
        row, column = min(max(round(place[0]), 1), height - 2), min(max(round(place[1]), 1), width - 2)
        south = canvas.smooth[row + 1, column] - canvas.smooth[row - 1, column]
        east = canvas.smooth[row, column + 1] - canvas.smooth[row, column - 1]
        level = np.array([-east, south])
        norm = float(np.hypot(*level))
        if norm > 0:
            level = level / norm * np.sign(level @ heading or 1.0)
            heading = heading + 0.25 * level
        heading = heading + canvas.rng.normal(0, 0.08, 2)
        heading = heading / np.hypot(*heading)
        place = place + 0.7 * heading
        if not (0 <= place[0] <= height - 1 and 0 <= place[1] <= width - 1):
            break
        places.append(place)
    return np.array(places)


def _villages(canvas: Canvas) -> None:
    if canvas.rng.random() > 0.2:
        return
    middle = canvas.rng.uniform(0.1, 0.9, 2) * canvas.shape
    for _ in range(int(canvas.rng.integers(4, 25))):
        row, column = (middle + canvas.rng.normal(0, canvas.cells(70), 2)).astype(int)
        size = max(round(canvas.cells(canvas.rng.uniform(8, 22))), 1)
        house = np.zeros(canvas.shape, bool)
        house[max(row, 0) : max(row + size, 0), max(column, 0) : max(column + size, 0)] = True
        canvas.lay(spectrum("roof") * np.float32(canvas.rng.uniform(0.7, 1.3)), 0.8 * house)


def _rectangle(canvas: Canvas, long_m: tuple[float, float], wide_m: tuple[float, float]) -> Bool:
    row, column = canvas.rng.uniform(0, 1, 2) * canvas.shape
    turn = canvas.rng.uniform(0, np.pi)
    rows, columns = np.ogrid[0 : canvas.shape[0], 0 : canvas.shape[1]]
    forth = (rows - row) * np.cos(turn) + (columns - column) * np.sin(turn)
    aside = (columns - column) * np.cos(turn) - (rows - row) * np.sin(turn)
    length, width = canvas.cells(canvas.rng.uniform(*long_m)), canvas.cells(canvas.rng.uniform(*wide_m))
    return np.asarray((np.abs(forth) < length / 2) & (np.abs(aside) < width / 2))


def _starts(canvas: Canvas, where: Bool, count: int) -> list[tuple[int, int]]:
    places = np.flatnonzero(where)
    if not len(places) or count < 1:
        return []
    drawn = canvas.rng.choice(places, count)
    return [divmod(int(place), canvas.shape[1]) for place in drawn]
