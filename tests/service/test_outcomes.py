"""Events go to exporters that show them: once, again when they change, and to a target that lost them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from exporters.base import ExportUnavailable
from exporters.layer import Layer, LayerStatus
from exporters.outcomes import Outcomes
from service.delivery import visit
from service.ledger import Ledger
from tests.exporters.fix_layer import make_layer
from tests.fix_outcomes import inventory, verified
from tests.fix_region import NOW, Clock
from tests.service.test_delivery import bulletin


class Board:
    """An exporter that shows layers and events."""

    name = "board"

    def __init__(self) -> None:
        self.held: dict[str, LayerStatus] = {}
        self.taken: list[Outcomes] = []
        self.away = False

    def holdings(self) -> dict[str, LayerStatus]:
        """Say what is held."""
        return dict(self.held)

    def deliver(self, layer: Layer) -> None:
        """Hold a layer."""
        self.held[layer.id] = layer.status

    def withdraw(self, layer: Layer) -> None:
        """Mark a layer."""
        self.held[layer.id] = LayerStatus.WITHDRAWN

    def deliver_outcomes(self, outcomes: Outcomes) -> None:
        """Keep what became of events."""
        if self.away:
            raise ExportUnavailable("board: away")
        self.taken.append(outcomes)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", Clock()) as opened:
        layer = make_layer(tmp_path / "one", NOW.date(), id="l-1")
        opened.add_layer(layer, {}, ["board"])
        for event in inventory():
            opened.events.add(event)
        opened.verifications.keep(verified(inventory()))
        yield opened


def test_events_are_sent_once_and_again_when_something_changed(ledger: Ledger) -> None:
    board = Board()

    for _ in range(2):
        assert visit(ledger, board, NOW, bulletin).problem is None
    assert [len(outcomes.events) for outcomes in board.taken] == [6]

    ledger.events.retract("hit", "A", "it was a quarry")
    visit(ledger, board, NOW, bulletin)

    assert [len(outcomes.events) for outcomes in board.taken] == [6, 5]
    assert board.taken[-1].verification is not None


def test_they_are_sent_again_after_an_hour_so_that_a_restored_target_gets_them(ledger: Ledger) -> None:
    board = Board()

    visit(ledger, board, NOW, bulletin)
    visit(ledger, board, NOW + timedelta(hours=2), bulletin)

    assert len(board.taken) == 2
    assert board.taken[0] == board.taken[1]


def test_a_target_that_lost_its_layers_gets_them_at_once(ledger: Ledger) -> None:
    board = Board()
    visit(ledger, board, NOW, bulletin)

    board.held.clear()
    done = visit(ledger, board, NOW, bulletin)

    assert done.put_back == 1
    assert len(board.taken) == 2


def test_a_target_that_takes_no_events_now_has_its_layers_and_gets_them_later(ledger: Ledger) -> None:
    board = Board()
    board.away = True

    done = visit(ledger, board, NOW, bulletin)
    assert (done.delivered, done.problem) == (1, "board: away")

    board.away = False
    assert visit(ledger, board, NOW, bulletin).problem is None
    assert len(board.taken) == 1
