"""The course of the learning rate."""

from __future__ import annotations

import math


def share_of_rate(step: int, steps: int, warm_up: float) -> float:
    """Return the share of the learning rate at a step counted from 0 of so many in all.

    It rises in a line over the share `warm_up` of the steps, one step at least where that is not 0 (Goyal et
    al. 2017), and falls from 1 towards 0 as a cosine (Loshchilov and Hutter 2017, without restarts).
    """
    rising = math.ceil(steps * warm_up)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
