"""The daemon keeps the verification fresh by itself."""

from __future__ import annotations

import time

import pytest

from exporters.verification import Verification
from tests.fix_region import LAST_DAY, ToyRegion
from tests.fix_verify import event
from tests.service.test_daemon import daemon


def newest(toy: ToyRegion, within_s: float = 400) -> Verification:
    """Wait for the first verification that is kept."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with toy.ledger() as ledger:
            found = ledger.verifications.newest()
        if found is not None:
            return found
        time.sleep(0.3)
    raise AssertionError(f"the daemon kept no verification within {within_s} s")


@pytest.mark.slow
def test_after_a_refresh_the_maps_are_held_against_what_happened(toy: ToyRegion) -> None:
    with toy.ledger() as ledger:
        ledger.events.add(event(20.5, 30.5, day_from=LAST_DAY, day=LAST_DAY))
    with daemon(toy):
        record = newest(toy)
    assert (record.region, record.of) == ("toy", "display")
    assert record.maps >= 1
