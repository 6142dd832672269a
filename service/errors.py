"""The errors of Colluvium, and the one table that turns an error into a policy.

    ColluviumError
    ├── UsageError            the command or its arguments cannot be right
    │   └── SettingsError     the settings file, by file and key
    ├── InputError            something that was given to us is wrong
    │   ├── RegionError       grid, mask, zones
    │   ├── FactorError       factor stack and its sources
    │   ├── FeedError         a feed's files or replies, by feed, file and row
    │   └── BundleError       manifest, checksums, graphs, proof
    ├── HeldError             nothing to go on, or a person said hold
    ├── LockedError           somebody else holds the lock
    ├── DeviceError           the graphics card that was asked for cannot be used
    ├── EngineError           the cluster that was asked for cannot be used, or failed
    ├── AbandonedError        stopped on purpose before the end
    └── StorageError          disk or database of our own

A message says what happened, to what, and what to do next.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """How a run ended: the same word in ledger, log, metric and exit code."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    USAGE = "usage"
    HELD = "held"
    LOCKED = "locked"
    ABANDONED = "abandoned"


EXIT_CODES: dict[Outcome, int] = {
    Outcome.PUBLISHED: 0,
    Outcome.UNCHANGED: 0,
    Outcome.FAILED: 1,
    Outcome.USAGE: 2,
    Outcome.HELD: 3,
    Outcome.LOCKED: 4,
    Outcome.ABANDONED: 5,
}


class ColluviumError(Exception):
    """Base of every error that Colluvium raises on purpose."""


class UsageError(ColluviumError):
    """The command or its arguments cannot be right."""


class SettingsError(UsageError):
    """The settings cannot be used; the message names file and key."""


class InputError(ColluviumError):
    """Something that was given to us is wrong; nothing of ours was changed."""


class RegionError(InputError):
    """Grid, mask or zones cannot be used."""


class FactorError(InputError):
    """The factor stack, or a source of it, cannot be used."""


class FeedError(InputError):
    """A feed gave something unusable; the message names feed, file and row."""


class BundleError(InputError):
    """A bundle is refused; the one in use stays."""


class HeldError(ColluviumError):
    """There is nothing to go on, or a person holds publication."""


class LockedError(ColluviumError):
    """Another run holds the lock; the message says who."""


class DeviceError(ColluviumError):
    """A graphics card was asked for, or in use, and cannot be used."""


class EngineError(ColluviumError):
    """The cluster that was asked for cannot be used, or failed in the middle."""


class AbandonedError(ColluviumError):
    """The run was asked to stop and left nothing half done."""


class StorageError(ColluviumError):
    """Our own disk or database could not be used."""


class Policy(NamedTuple):
    """What an error means for the run: its outcome, and the label its metric carries."""

    outcome: Outcome
    reason: str


# The first row whose class matches decides, so subclasses stand above their parents.
POLICIES: tuple[tuple[type[BaseException], Policy], ...] = (
    (UsageError, Policy(Outcome.USAGE, "usage")),
    (HeldError, Policy(Outcome.HELD, "held")),
    (LockedError, Policy(Outcome.LOCKED, "locked")),
    (AbandonedError, Policy(Outcome.ABANDONED, "abandoned")),
    (KeyboardInterrupt, Policy(Outcome.ABANDONED, "abandoned")),
    (RegionError, Policy(Outcome.FAILED, "region")),
    (FactorError, Policy(Outcome.FAILED, "factors")),
    (FeedError, Policy(Outcome.FAILED, "feed")),
    (BundleError, Policy(Outcome.FAILED, "bundle")),
    (InputError, Policy(Outcome.FAILED, "input")),
    (DeviceError, Policy(Outcome.FAILED, "device")),
    (EngineError, Policy(Outcome.FAILED, "engine")),
    (StorageError, Policy(Outcome.FAILED, "storage")),
    (OSError, Policy(Outcome.FAILED, "storage")),
    (BaseException, Policy(Outcome.FAILED, "internal")),
)


def policy_of(error: BaseException) -> Policy:
    """Return the outcome and metric label of an error."""
    return next(policy for kind, policy in POLICIES if isinstance(error, kind))


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error, or what caused it, says that no space is left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # GDAL and SQLite carry the condition in words only.
        if any(words in str(seen).lower() for words in ("no space left", "disk is full", "disk full")):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
