"""The outbox at work: each exporter gets what it missed, in order; none waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from exporters.base import Exporter, ExportRefused, ExportUnavailable
from exporters.folder import FolderExporter
from service.ledger import Ledger
from service.ledger_rows import Delivery
from service.settings import Settings

_LONGEST_WAIT = timedelta(hours=1)

log = structlog.get_logger()


def open_exporters(settings: Settings) -> tuple[Exporter, ...]:
    """Return the exporters that the settings name."""
    return tuple(FolderExporter(exporter.name, exporter.path) for exporter in settings.exporters)


def deliver_pending(ledger: Ledger, exporters: Sequence[Exporter], now: datetime) -> int:
    """Deliver what is pending and return how many entries were delivered.

    An exporter that is unavailable keeps its place in the queue and is tried again later; one that refuses
    for good has that entry parked, counted and named in the log.
    """
    count = 0
    for exporter in exporters:
        for delivery in ledger.pending(exporter.name):
            if delivery.retry_at is not None and delivery.retry_at > now:
                break
            if not _deliver(ledger, exporter, delivery, now):
                break
            count += 1
    return count


def _deliver(ledger: Ledger, exporter: Exporter, delivery: Delivery, now: datetime) -> bool:
    """Try one entry; False stops this exporter's queue for now."""
    layer = ledger.layer(delivery.layer_id)
    if layer is None:
        ledger.delivery_failed(delivery, f"layer {delivery.layer_id} is not in the ledger", None)
        return True
    try:
        if delivery.act == "deliver":
            exporter.deliver(layer)
        else:
            exporter.withdraw(layer)
    except ExportRefused as error:
        log.error("export parked", exporter=exporter.name, layer=layer.id, reason=str(error))
        ledger.delivery_failed(delivery, str(error), None)
        return True
    except Exception as error:
        if not isinstance(error, ExportUnavailable | OSError):
            # A mistake of ours in one exporter must neither stop the others nor fail the refresh.
            log.exception("export failed unexpectedly", exporter=exporter.name, layer=layer.id)
        wait = min(timedelta(minutes=2 ** min(delivery.attempts, 6)), _LONGEST_WAIT)
        log.warning("export waits", exporter=exporter.name, layer=layer.id, reason=str(error))
        ledger.delivery_failed(delivery, str(error), now + wait)
        return False
    ledger.delivered(delivery)
    return True
