"""What outlets are told of events: the inventory without names, and the newest record of how the map did."""

from __future__ import annotations

import hashlib

from exporters.outcomes import Outcomes
from service.ledger import Ledger


def read_outcomes(ledger: Ledger) -> Outcomes:
    """Read events in force and the newest verification of what was on display."""
    return Outcomes.of(ledger.events.all(), ledger.verifications.newest("display"))


def outcomes_digest(outcomes: Outcomes) -> str:
    """Return a digest of what is told."""
    return hashlib.sha256(outcomes.model_dump_json().encode()).hexdigest()
