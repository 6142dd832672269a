"""What readers of the data folder follow: latest.json, forecasts.json, the collection, withdrawn items.

All of it is written from the ledger, inside a transaction: a withdrawal needs no lock and may run beside a
refresh, and whoever writes last must have seen what the other did.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from exporters.forecasts import current_forecasts, issue_day
from exporters.layer import Layer
from exporters.stac import COLLECTION, ITEM, layer_item_text, write_collection, write_item
from service.files import replacing, write_json
from service.ledger import Ledger

LATEST = "latest.json"
FORECASTS = "forecasts.json"


def show_latest(data_dir: Path, ledger: Ledger) -> None:
    """Bring latest.json and forecasts.json in line with the ledger; last of all, because readers follow them.

    Both at once: a new nowcast ends the forecasts that were issued before it.
    """
    with ledger.transaction():
        _show_forecasts(data_dir, ledger)
        latest = ledger.latest()
        if latest is None:
            (data_dir / LATEST).unlink(missing_ok=True)
        else:
            write_json(data_dir / LATEST, _shown(latest, data_dir))


def forecasts_shown(ledger: Ledger) -> list[Layer]:
    """Return the forecasts that are current by the ledger's clock and whose files are kept, by lead."""
    now, latest = ledger.clock(), ledger.latest()
    # A day more than needed: days are the region's, and the clock's may be ahead of them.
    recent = ledger.layers(now.date() - timedelta(days=1))
    found = current_forecasts(recent, latest.day if latest is not None else None, now)
    return [layer for layer in found if ledger.removed_at(layer.id) is None]


def _show_forecasts(data_dir: Path, ledger: Ledger) -> None:
    """Write forecasts.json; a region without forecasts has none.

    Each carries `valid_to`: who reads the file later than that knows that the day has passed.
    """
    path = data_dir / FORECASTS
    found = forecasts_shown(ledger)
    if not found:
        path.unlink(missing_ok=True)
        return
    listed = [
        _shown(layer, data_dir)
        | {
            "lead": layer.lead,
            "issue_day": issue_day(layer).isoformat(),
            "unconfirmed": layer.unconfirmed,
            "valid_to": layer.valid_to.isoformat(),
        }
        for layer in found
    ]
    write_json(path, {"forecasts": listed})


def _shown(layer: Layer, data_dir: Path) -> dict[str, Any]:
    return {
        "layer": layer.id,
        "day": layer.day.isoformat(),
        "status": layer.status.value,
        "data_until": layer.data_until.isoformat(),
        "issued_at": layer.issued_at.isoformat(),
        "path": str(layer.folder.relative_to(data_dir)),
    }


def list_layers(data_dir: Path, ledger: Ledger) -> None:
    """Write the STAC collection of the layers on display; once a run, since it lists all of them."""
    path = data_dir / "layers" / COLLECTION
    with ledger.transaction():
        if ledger.latest() is None:
            path.unlink(missing_ok=True)
            return
        # Picked here, while those without files are still among them: where the newest revision of a day was
        # removed, an older one that had to stay must not take its place.
        newest = {(layer.day, layer.lead): layer for layer in ledger.layers(with_areas=False)}
        with replacing(path) as temporary:
            write_collection(temporary, newest.values())


def mark_withdrawn(ledger: Ledger) -> None:
    """Let the item.json of each withdrawn layer say so; one that says it already is left alone."""
    with ledger.transaction():
        for layer in ledger.layers(withdrawn_only=True):
            path = layer.folder / ITEM
            if path.exists() and path.read_text("utf-8") != layer_item_text(layer):
                with replacing(path) as temporary:
                    write_item(layer, temporary)
