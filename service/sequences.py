"""Daily surfaces -> the windows behind one layer.

The contract between forcing and inference is WindowSet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class WindowSet:
    """The windows of one layer, and what they rest on. n: active forcing cells, m: distinct windows.

    A window belongs to a distinct (node, reservoir) pair. Shares are of (corner, window day, variable).
    """

    day: date
    days: tuple[date, ...]  # the window's days, oldest first
    variables: tuple[str, ...]
    windows: npt.NDArray[np.float32]  # (m, N, V), physical units, complete windows only
    corner_rows: npt.NDArray[np.int32]  # (n, 4) NW NE SW SE, rows of `windows`; -1: no window there
    partial: dict[int, npt.NDArray[np.bool_]]  # forcing cell -> (k*k,) cells in range, where not all are
    observed: npt.NDArray[np.float32]  # (n,)
    filled: npt.NDArray[np.float32]  # (n,)
    carried: npt.NDArray[np.float32]  # (n,)
    forecast: npt.NDArray[np.float32]  # (n,)
    distance_km: npt.NDArray[np.float32]  # (n,) farthest nearest-reporting gauge over days and corners; NaN
    basis: npt.NDArray[np.uint32]  # (n,) 24-bit code of the set of series behind the cell's windows
    coverage: float  # least over variables of the share of (node, day) observed or filled
    newest_known_at: str | None  # ISO time of the newest reading used
    digest: str  # of everything above that can change a layer

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Forcing cells whose four corners all have a window: (n,)."""
        return np.asarray((self.corner_rows >= 0).all(axis=1))


def window_days(day: date, length: int, lag: int) -> tuple[date, ...]:
    """Return the days of the window behind a layer of `day`: `length` days that end `lag` days before it."""
    last = day - timedelta(days=lag)
    return tuple(last - timedelta(days=back) for back in range(length - 1, -1, -1))
