"""Whether a map still looks like those of the model's training years.

The population stability index (PSI; Lewis 1994, Siddiqi 2006) of two distributions over the same bins is
sum (p - q) ln(p / q): 0 where they are equal; by custom above 0.1 is worth a look and above 0.25 a shift.
One day is no sample of the years, a storm least of all. A map is therefore held against each kind of day that
the bundle's reference knows, and what counts is the PSI to the one that it resembles most. High means: no day
of the training years looked like this. It does not say why; nor does a low one say that the map is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporters.layer import NODATA, TOP, Layer
from service.inference import LayerStrip
from service.manifest import Manifest

SHIFT = 0.25  # PSI by custom: above it two distributions differ
_LEAST_SHARE = 1e-4  # a bin's, so that one without a cell has a logarithm
_LEAST_KNOWN = 0.9  # of the cells that could be known

Counts = npt.NDArray[np.int64]


class OutputCounter:
    """Counts a layer's susceptibility while it is written."""

    def __init__(self) -> None:
        self.by_code: Counts = np.zeros(NODATA + 1, np.int64)
        self._outside = 0

    def add(self, strip: LayerStrip) -> None:
        """Count one strip."""
        self.by_code += np.bincount(strip.stored.ravel(), minlength=NODATA + 1)
        self._outside += strip.outside

    def tell(self, layer: Layer, manifest: Manifest, could_be_known: int) -> Layer:
        """Return the layer with what its susceptibility says about the model.

        No stability without a reference, with one of another region, or where fewer than nine in ten of the
        cells that could be known are: on less ground a difference may be the ground's.
        """
        known = int(self.by_code[: TOP + 1].sum())
        if not known:
            return layer
        stability = None
        reference = manifest.reference if manifest.training.region == layer.region else None
        if reference is not None and known >= _LEAST_KNOWN * could_be_known:
            stability = nearest_psi(binned(self.by_code, reference.edges), np.array(reference.kinds))
        return layer.model_copy(
            update={"output_stability": stability, "outside_ratio": self._outside / known}
        )


def binned(by_code: Counts, edges: Sequence[int]) -> Counts:
    """Return counts by bin (len(edges) + 1,) of counts by stored code (256,); 251 and above are unknown."""
    return np.add.reduceat(by_code[: TOP + 1], [0, *edges])


def nearest_psi(counts: Counts, kinds: npt.NDArray[np.integer]) -> float:
    """Return the least PSI of counts (bins,) to one of kinds (n, bins)."""
    return float(psi(counts, kinds).min())


def psi(counts: Counts, others: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return the PSI of counts (bins,) against each of others (n, bins); the least share is 0.0001."""
    p, q = _shares(counts), _shares(others)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def _shares(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    shares = counts / counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.maximum(shares, _LEAST_SHARE), np.float64)
