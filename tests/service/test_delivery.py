"""The outbox at work: order, waiting, parking, and no exporter in another's way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from exporters.base import ExportRefused, ExportUnavailable
from exporters.layer import Layer
from service.delivery import deliver_pending
from service.ledger import Ledger
from tests.exporters.fix_layer import make_layer
from tests.fix_region import NOW, Clock

DAYS = [date(2026, 3, day) for day in (1, 2, 3)]


class Recorder:
    """An exporter that notes what it is asked, and fails as told by layer id."""

    def __init__(self, name: str, **failures: Exception) -> None:
        self.name = name
        self.failures = {key.replace("_", "-"): error for key, error in failures.items()}
        self.asked: list[str] = []

    def deliver(self, layer: Layer) -> None:
        """Note a delivery."""
        self.asked.append(layer.id)
        if layer.id in self.failures:
            raise self.failures[layer.id]

    def withdraw(self, layer: Layer) -> None:
        """Note a withdrawal."""
        self.asked.append(f"-{layer.id}")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", Clock()) as opened, opened.transaction():
        for number, day in enumerate(DAYS, start=1):
            opened.add_layer(make_layer(tmp_path / str(day), day, id=f"l-{number}"), {}, ["a", "b"])
    with Ledger(tmp_path / "ledger.sqlite", Clock()) as opened:
        yield opened


def figures(ledger: Ledger, name: str) -> tuple[int, int, int, int]:
    """Pending, parked, attempts, errors."""
    (count,) = ledger.outbox_counts([name])
    return count.pending, count.parked, count.attempts, count.errors


def test_layers_and_withdrawals_are_delivered_once_and_in_order(ledger: Ledger) -> None:
    first = ledger.layer("l-1")
    assert first is not None
    ledger.withdraw(first, "A. Rossi", "why", ["a"])
    exporter = Recorder("a")

    assert deliver_pending(ledger, [exporter], NOW) == 4
    assert deliver_pending(ledger, [exporter], NOW) == 0

    assert exporter.asked == ["l-1", "l-2", "l-3", "-l-1"]
    assert figures(ledger, "a") == (0, 0, 4, 0)


def test_one_that_is_away_keeps_its_order_waits_longer_each_time_and_blocks_no_other(ledger: Ledger) -> None:
    away = Recorder("a", l_2=ExportUnavailable("a: not mounted"))
    other = Recorder("b")

    assert deliver_pending(ledger, [away, other], NOW) == 4
    assert away.asked == ["l-1", "l-2"]  # l-3 does not overtake
    assert figures(ledger, "b") == (0, 0, 3, 0)

    waits, now = [], NOW
    for _ in range(8):
        (first, _) = ledger.pending("a")
        assert first.retry_at is not None
        waits.append(first.retry_at - now)
        assert deliver_pending(ledger, [away], first.retry_at - timedelta(seconds=1)) == 0
        now = first.retry_at
        deliver_pending(ledger, [away], now)
    assert waits == sorted(waits)
    assert waits[0] == timedelta(minutes=1)
    assert waits[-1] == timedelta(hours=1)

    away.failures.clear()
    deliver_pending(ledger, [away], now + timedelta(hours=1))
    assert figures(ledger, "a")[:2] == (0, 0)


def test_a_refusal_for_good_is_parked_counted_and_named_and_the_next_goes_on(ledger: Ledger) -> None:
    exporter = Recorder("a", l_1=ExportRefused("a: wrong schema"))

    deliver_pending(ledger, [exporter], NOW)
    deliver_pending(ledger, [exporter], NOW + timedelta(days=1))

    assert exporter.asked == ["l-1", "l-2", "l-3"]
    assert figures(ledger, "a") == (0, 1, 3, 1)
    assert ledger.outbox_counts(["a"])[0].last_error == "a: wrong schema"


def test_an_exporter_with_a_mistake_in_it_blocks_no_other_and_loses_nothing(ledger: Ledger) -> None:
    broken, other = Recorder("a", l_1=KeyError("oops")), Recorder("b")

    assert deliver_pending(ledger, [broken, other], NOW) == 3

    assert figures(ledger, "a") == (3, 0, 1, 1)
    assert figures(ledger, "b") == (0, 0, 3, 0)


def test_a_request_to_stop_is_no_failure_of_the_exporter(ledger: Ledger) -> None:
    stopped = Recorder("a")
    stopped.deliver = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]

    with pytest.raises(KeyboardInterrupt):
        deliver_pending(ledger, [stopped], NOW)

    assert figures(ledger, "a") == (3, 0, 0, 0)
