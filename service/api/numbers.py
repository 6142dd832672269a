"""Stored values and figures as answers give them: unknown is None, and no digit says more than is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exporters.layer import CLASS_LABELS, NODATA, SCALE, ClassScheme


def decoded(stored: int) -> float | None:
    """Return susceptibility of a stored value, to the digit that storing it left."""
    return None if stored == NODATA else round(stored * SCALE, 3)


def label_of(stored: int, breaks: tuple[float, float, float]) -> str | None:
    """Return the class of a stored value."""
    if stored == NODATA:
        return None
    code = ClassScheme(breaks=breaks).classify(np.array([stored], np.uint8))[0]
    return CLASS_LABELS[int(code) - 1]


def rounded(value: float | np.floating[Any] | None, digits: int = 6) -> float | None:
    """Return a number that JSON can hold, 52.1 for the float32 next to it; None for None, NaN, infinity."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(str(value)) if isinstance(value, np.float32) else float(value), digits)
