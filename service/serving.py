"""Which bundle serves: the one that the settings name, or one that a person promoted in its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from service.files import PROMOTED
from service.ledger import Ledger
from service.settings import Settings
from service.stamps import utc_now

BUNDLES = PROMOTED  # below the data folder; each is named by the first digits of its digest


def serving_bundle(settings: Settings, ledger: Ledger) -> Path:
    """Return the folder of the bundle that serves."""
    promotion = ledger.promotions.in_force(settings.bundle.path)
    return promotion.path if promotion is not None else settings.bundle.path


def serving_path(settings: Settings, clock: Callable[[], datetime] = utc_now) -> Path:
    """Return the same for those who have no ledger open; nothing is made."""
    with Ledger(settings.data_dir / "ledger.sqlite", clock, make=False) as ledger:
        return serving_bundle(settings, ledger)


def ended_promotion(settings: Settings, ledger: Ledger) -> str | None:
    """Say where the newest promotion no longer counts, because the settings name another bundle since."""
    newest = ledger.promotions.newest()
    if newest is None or newest.holds(settings.bundle.path):
        return None
    return (
        f"the promotion of {newest.digest[:16]} by {newest.by} ended: it stood in the place of "
        f"{newest.instead_of}, and bundle.path is {settings.bundle.path}; to serve it all the same: "
        f"colluvium bundle promote {newest.path}"
    )
