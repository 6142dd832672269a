"""What readers of the data folder follow: latest.json, the collection, the items of withdrawn layers.

All of it is written from the ledger, inside a transaction: a withdrawal needs no lock and may run beside a
refresh, and whoever writes last must have seen what the other did.
"""

from __future__ import annotations

from pathlib import Path

from exporters.stac import COLLECTION, ITEM, layer_item_text, write_collection, write_item
from service.files import replacing, write_json
from service.ledger import Ledger


def show_latest(data_dir: Path, ledger: Ledger) -> None:
    """Bring latest.json in line with the ledger; last of all, because readers follow it."""
    path = data_dir / "latest.json"
    with ledger.transaction():
        latest = ledger.latest()
        if latest is None:
            path.unlink(missing_ok=True)
            return
        write_json(
            path,
            {
                "layer": latest.id,
                "day": latest.day.isoformat(),
                "status": latest.status.value,
                "data_until": latest.data_until.isoformat(),
                "issued_at": latest.issued_at.isoformat(),
                "path": str(latest.folder.relative_to(data_dir)),
            },
        )


def list_layers(data_dir: Path, ledger: Ledger) -> None:
    """Write the STAC collection of the layers on display; once a run, since it lists all of them."""
    path = data_dir / "layers" / COLLECTION
    with ledger.transaction():
        if ledger.latest() is None:
            path.unlink(missing_ok=True)
            return
        # Picked here, while those without files are still among them: where the newest revision of a day was
        # removed, an older one that had to stay must not take its place.
        newest = {(layer.day, layer.lead): layer for layer in ledger.layers()}
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
