"""Whether a region's spatial states are kept on the disk, or recomputed for each layer."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.factor_stack import FactorStack
from service.manifest import Manifest
from service.region import Region
from service.settings import InferenceSettings, Settings
from service.state import Keep, state_bytes, state_digest, whole_record

# Left free beside the states, bytes a cell: what the next layers take.
_SPARE_BYTES_PER_CELL = 2


log = structlog.get_logger()


@dataclass(frozen=True)
class Kept:
    """What was decided, and the figures behind it, bytes."""

    keep: Keep
    reason: str
    need: int  # of all states of the bundle when they are kept so
    have: int  # of those that are there and whole
    free: int

    @property
    def fell_back(self) -> bool:
        """Whether the disk, and not the settings, decided against storing."""
        return self.keep == "recomputed" and self.reason != _ASKED["recomputed"]


_ASKED = {"stored": 'inference.state = "stored"', "recomputed": 'inference.state = "recomputed"'}


def kept_here(settings: Settings, region: Region, stack: FactorStack, manifest: Manifest) -> Kept:
    """Decide for a region's bundle, and say so in the log."""
    digests = state_digests(region, stack, manifest, settings.inference.min_patch_observed)
    kept = choose_keep(settings.inference, manifest, digests, settings.data_dir / "state", region)
    say = log.warning if kept.fell_back else log.info
    say("spatial state", keep=kept.keep, reason=kept.reason)
    return kept


def choose_keep(
    settings: InferenceSettings, manifest: Manifest, digests: Sequence[str], folder: Path, region: Region
) -> Kept:
    """Decide for all states of a bundle at once; `digests` as `state_digests` gives them.

    "auto" stores them where inference.state_disk_budget_gb and the free disk allow it. States that are there
    already need no more room.
    """
    cells, k = len(region.forcing.active), region.forcing.k
    full = state_bytes(manifest, cells, k)
    free = free_bytes(folder)
    have = sum(_stored_bytes(folder / digest[:16], digest) for digest in digests)
    small = state_bytes(manifest, cells, k, keep="recomputed")
    if settings.state == "recomputed" and manifest.kind == "factored":
        return Kept("recomputed", _ASKED["recomputed"], small, min(have, small), free)
    if settings.state == "stored" or manifest.kind == "whole":
        return Kept("stored", _ASKED["stored"], full, have, free)
    budget = settings.state_disk_budget_gb
    if budget is not None and full > budget * 1e9:
        reason = f"{full / 1e9:.2f} GB of states, inference.state_disk_budget_gb allows {budget:g}"
        return Kept("recomputed", reason, small, min(have, small), free)
    missing = max(0, full - have)
    if missing and missing + cells * k**2 * _SPARE_BYTES_PER_CELL > free:
        reason = f"{missing / 1e9:.2f} GB of states are to be stored, {free / 1e9:.2f} GB are free"
        return Kept("recomputed", reason, small, min(have, small), free)
    return Kept("stored", "the disk has room for it", full, have, free)


def state_digests(
    region: Region, stack: FactorStack, manifest: Manifest, min_patch_observed: float
) -> list[str]:
    """Return the digests of the states of a bundle's main model and, where they have their own, members."""
    numbers = manifest.member_numbers if manifest.kind == "factored" else ()
    each = [manifest, *(manifest.of_member(number) for number in numbers)]
    return [state_digest(region, stack, one, min_patch_observed) for one in each]


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder that may not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def folder_bytes(folder: Path) -> int:
    """Return the bytes that a folder's files take; holes do not count, nor does what is removed meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).lstat().st_blocks * 512
    return total


def _stored_bytes(place: Path, digest: str) -> int:
    record = whole_record(place, digest)
    if record is None or not record.stored:
        return 0
    return sum(path.stat().st_size for path in place.glob("*.bin"))
