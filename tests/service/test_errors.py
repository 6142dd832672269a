"""One table from error to outcome, metric label and exit status."""

from __future__ import annotations

import errno

import pytest

from service import errors
from service.errors import EXIT_CODES, ColluviumError, Outcome, StorageError, is_disk_full, policy_of


def test_every_outcome_has_the_documented_exit_status() -> None:
    assert {outcome.value: status for outcome, status in EXIT_CODES.items()} == {
        "published": 0, "unchanged": 0, "failed": 1, "usage": 2, "held": 3, "locked": 4, "abandoned": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "outcome", "label"),
    [
        (errors.SettingsError("x"), Outcome.USAGE, "usage"),
        (errors.HeldError("x"), Outcome.HELD, "held"),
        (errors.LockedError("x"), Outcome.LOCKED, "locked"),
        (KeyboardInterrupt(), Outcome.ABANDONED, "abandoned"),
        (errors.BundleError("x"), Outcome.FAILED, "bundle"),
        (OSError(errno.EIO, "x"), Outcome.FAILED, "storage"),
        (ZeroDivisionError(), Outcome.FAILED, "internal"),
    ],
)
def test_each_error_means_one_outcome(error: BaseException, outcome: Outcome, label: str) -> None:
    assert policy_of(error) == (outcome, label)


def test_every_error_of_ours_has_a_label_of_its_own_kind() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ColluviumError)
    ]
    for kind in set(kinds) - {ColluviumError}:
        assert policy_of(kind("x")).reason != "internal", kind


def test_a_full_disk_is_recognised_through_its_causes() -> None:
    error = StorageError("could not write")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")

    assert is_disk_full(error)
    assert not is_disk_full(StorageError("something else"))
