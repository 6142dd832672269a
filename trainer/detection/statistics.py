"""Mean and standard deviation of every band, over the training part and nothing else, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.detection.manifest import BandStatistics
from service.errors import InputError
from service.progress import ProgressCallback
from trainer.detection.data import PatchSet


def fit_statistics(
    patches: PatchSet, indices: Sequence[int] | npt.NDArray[np.integer], progress: ProgressCallback
) -> tuple[BandStatistics, ...]:
    """Return mean and standard deviation (of the population) per band, over the patches at `indices`.

    One patch is in memory at a time: Welford (1962), patches merged as in Chan, Golub and LeVeque (1979).
    NaN is left out. Raises InputError for a band that is unknown everywhere, or the same everywhere.
    """
    if len(indices) == 0:
        raise InputError(f"{patches.name}: statistics of no patches; the training part is empty")
    channels = len(patches.bands)
    count, mean, squares = (np.zeros(channels) for _ in range(3))
    for done, index in enumerate(indices, start=1):
        values = patches.read(int(index)).image.reshape(channels, -1).astype(np.float64)
        known = np.isfinite(values)
        n = known.sum(axis=1)
        here = np.divide(np.where(known, values, 0).sum(axis=1), n, out=np.zeros(channels), where=n > 0)
        spread = (np.where(known, values - here[:, None], 0) ** 2).sum(axis=1)
        total = np.maximum(count + n, 1)
        apart = here - mean
        squares += spread + apart**2 * count * n / total
        mean += apart * n / total
        count += n
        progress(done, len(indices))
    found = []
    for name, n, middle, square in zip(patches.bands, count, mean, squares, strict=True):
        if n == 0:
            raise InputError(f"{patches.name}: {name} is unknown in every training patch; leave the band out")
        std = float(np.sqrt(square / n))
        # Below the rounding of float32 a band says nothing, and dividing by it would make noise of it.
        if std <= 1e-6 * max(abs(middle), 1e-12):
            raise InputError(
                f"{patches.name}: {name} is {middle:g} everywhere in the training part; leave the band out"
            )
        found.append(BandStatistics(name=name, mean=float(middle), std=std))
    return tuple(found)
