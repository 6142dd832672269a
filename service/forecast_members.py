"""Windows of the members of one forecast: what differs among them, and what holds for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from service.files import digest_of
from service.forcing import RAIN
from service.reading_values import ForecastIssue, Selection
from service.sequences import WindowSet, build_windows
from service.workshop import Workshop


def member_windows(shop: Workshop, base: WindowSet, others: Sequence[ForecastIssue]) -> tuple[WindowSet, ...]:
    """Return `base`, the windows of an issue's first member, and those of the `others`.

    They differ in the rain of the forecast's days.
    """
    manifest = shop.bundle.manifest
    number = next(place for place, spec in enumerate(manifest.variables) if spec.name == RAIN)
    tails = (
        build_windows(
            shop.settings,
            shop.region,
            shop.archive,
            [manifest.variables[number]],
            base.day,
            window_days=sum(item >= member.first for item in base.days),
            lag_days=manifest.lag_days,
            as_of=shop.as_of,
            selection=Selection(forecast=member),
        )
        for member in others
    )
    return (base, *(with_tail(base, tail, number) for tail in tails))


def with_tail(base: WindowSet, tail: WindowSet, number: int) -> WindowSet:
    """Return `base` with the last days of variable `number` as in `tail`, where both have a window.

    `tail` has windows of that variable alone.
    """
    both = (base.corner_rows >= 0) & (tail.corner_rows >= 0)
    # As one number each: np.unique along an axis takes several times as long, and this is once a member.
    codes = base.corner_rows[both].astype(np.int64) * len(tail.windows) + tail.corner_rows[both]
    pairs, inverse = np.unique(codes, return_inverse=True)
    windows = base.windows[pairs // max(1, len(tail.windows))]
    windows[:, -len(tail.days) :, number] = tail.windows[pairs % max(1, len(tail.windows)), :, 0]
    rows = np.full_like(base.corner_rows, -1)
    rows[both] = inverse.reshape(-1)
    return replace(
        base,
        windows=windows,
        corner_rows=rows,
        partial=_inside_all([base, tail]),
        newest_known_at=max(filter(None, (base.newest_known_at, tail.newest_known_at)), default=None),
        digest=digest_of(base.digest, tail.digest),
    )


def together(members: Sequence[WindowSet]) -> WindowSet:
    """Return what holds for all members: windows and cells that every one has."""
    if len(members) == 1:
        return members[0]
    first = members[0]
    complete = np.all([one.complete for one in members], axis=0)
    return replace(
        first,
        corner_rows=np.where(complete[:, None], first.corner_rows, -1).astype(np.int32),
        partial=_inside_all(members),
        newest_known_at=max(filter(None, (one.newest_known_at for one in members)), default=None),
        digest=digest_of([one.digest for one in members]),
    )


def _inside_all(sets: Sequence[WindowSet]) -> dict[int, npt.NDArray[np.bool_]]:
    partial = dict(sets[0].partial)
    for one in sets[1:]:
        for cell, inside in one.partial.items():
            partial[cell] = partial[cell] & inside if cell in partial else inside
    return dict(sorted(partial.items()))
