"""The colours of tiles and pictures, as tables from a stored value to RGBA.

    CLASS_TABLE           class.tif: 0 unknown, 1..4 low to very high, in CLASS_COLOURS
    SUSCEPTIBILITY_TABLE  susceptibility.tif: 0..250, 255 unknown
    DIFFERENCE_TABLE      `difference_code`: 0 unknown on a day, 1..7 from three classes lower to three higher
    SHADE_TABLE           hillshade: 0 unknown, 1..255 dark to light

Unknown is transparent in all of them. A colour stands for one value, so that `stored_of` reads values back
from a picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.layer import CLASS_COLOURS, CLASS_LABELS, CLASS_NODATA, NODATA, TOP

Table = npt.NDArray[np.uint8]

# ColorBrewer PuOr with seven classes, from fewer to more: safe for the colour-blind.
DIFFERENCE_COLOURS = (
    (84, 39, 136),
    (153, 142, 195),
    (216, 218, 235),
    (247, 247, 247),
    (254, 224, 182),
    (241, 163, 64),
    (179, 88, 6),
)
_STEPS = len(CLASS_LABELS) - 1


def difference_code(now: npt.NDArray[np.uint8], then: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return class now minus class then, plus 4, for classes of any shape; 0 where either is unknown."""
    both = (now != CLASS_NODATA) & (then != CLASS_NODATA)
    return np.where(both, now.astype(np.int16) - then + _STEPS + 1, 0).astype(np.uint8)


def lightness_and_hue(rgb: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return CIE L*, a*, b* of sRGB colours 0..255 (..., 3) under D65 (IEC 61966-2-1; CIE 15)."""
    light = np.asarray(rgb, np.float64) / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = light @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def stored_of(rgba: npt.NDArray[np.uint8], table: Table) -> npt.NDArray[np.uint8]:
    """Return the stored values behind colours (..., 4) of a picture that was drawn with `table`.

    Any transparent colour is the table's unknown. Raises ValueError for a colour that is not in the table.
    """
    known = {tuple(colour): value for value, colour in enumerate(table.tolist()) if colour[3]}
    unknown = NODATA if table is SUSCEPTIBILITY_TABLE else 0
    colours, places = np.unique(rgba.reshape(-1, 4), axis=0, return_inverse=True)
    values = np.empty(len(colours), np.uint8)
    for index, colour in enumerate(map(tuple, colours.tolist())):
        if colour[3] and colour not in known:
            raise ValueError(f"{colour} is no colour of this table")
        values[index] = known[colour] if colour[3] else unknown
    return values[places.ravel()].reshape(rgba.shape[:-1])


def _susceptibility_colours() -> npt.NDArray[np.uint8]:
    """251 colours along the line through the class colours, evenly spaced to the eye (CIE 1976 distance).

    A fifth of the spacing goes by the 8-bit channels themselves: where the eye wants steps below one level
    of a channel, two values would share a colour.
    """
    places = np.linspace(0, 1, len(CLASS_COLOURS))
    fine = np.linspace(0, 1, 10_001)
    line = np.stack([np.interp(fine, places, channel) for channel in np.array(CLASS_COLOURS).T], axis=1)
    seen = np.linalg.norm(np.diff(lightness_and_hue(line), axis=0), axis=1)
    levels = np.abs(np.diff(line, axis=0)).max(axis=1)
    steps = 0.8 * seen / seen.sum() + 0.2 * levels / levels.sum()
    along = np.concatenate([[0.0], np.cumsum(steps)])
    even = np.interp(np.linspace(0, along[-1], TOP + 1), along, fine)
    chosen = np.stack([np.interp(even, fine, channel) for channel in line.T], axis=1)
    return np.asarray(np.rint(chosen), np.uint8)


def _table(first: int, colours: npt.NDArray[Any]) -> Table:
    table = np.zeros((256, 4), np.uint8)
    table[first : first + len(colours), :3] = colours
    table[first : first + len(colours), 3] = 255
    table.flags.writeable = False
    return table


CLASS_TABLE = _table(1, np.array(CLASS_COLOURS))
SUSCEPTIBILITY_TABLE = _table(0, _susceptibility_colours())
DIFFERENCE_TABLE = _table(1, np.array(DIFFERENCE_COLOURS))
SHADE_TABLE = _table(1, np.arange(1, 256)[:, None].repeat(3, axis=1))
