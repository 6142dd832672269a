"""The outbox at work: order, waiting, parking, and a target caught up with what it lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from exporters.base import ExportRefused, ExportUnavailable
from exporters.gauges import Bulletin
from exporters.layer import Layer, LayerStatus
from service.delivery import deliver_all, deliver_lock_path, deliver_pending, visit
from service.ledger import Ledger
from service.lock import exclusive
from tests.exporters.fix_layer import make_layer
from tests.fix_region import NOW, Clock, ToyRegion

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


class Target(Recorder):
    """An exporter that can say what its target holds, and counts how often it had to reach for it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.held: dict[str, LayerStatus] = {}
        self.away: ExportUnavailable | None = None
        self.reached = 0
        self.bulletins: list[Bulletin] = []

    def holdings(self) -> dict[str, LayerStatus]:
        """Say what is held."""
        self._reach()
        return dict(self.held)

    def deliver(self, layer: Layer) -> None:
        """Hold a layer."""
        self._reach()
        super().deliver(layer)
        self.held[layer.id] = layer.status

    def withdraw(self, layer: Layer) -> None:
        """Mark a layer."""
        self._reach()
        super().withdraw(layer)
        if layer.id in self.held:
            self.held[layer.id] = LayerStatus.WITHDRAWN

    def deliver_bulletin(self, bulletin: Bulletin) -> None:
        """Keep a bulletin."""
        self._reach()
        self.bulletins.append(bulletin)

    def shown(self) -> list[str]:
        """What somebody who looks at the target sees."""
        return [identity for identity, status in self.held.items() if status != LayerStatus.WITHDRAWN]

    def _reach(self) -> None:
        self.reached += 1
        if self.away is not None:
            raise self.away


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", Clock()) as opened, opened.transaction():
        for number, day in enumerate(DAYS, start=1):
            opened.add_layer(make_layer(tmp_path / str(day), day, id=f"l-{number}"), {}, ["a", "b"])
    with Ledger(tmp_path / "ledger.sqlite", Clock()) as opened:
        yield opened


def figures(ledger: Ledger, name: str) -> tuple[int, int, int, int]:
    """Pending, parked, attempts, errors."""
    (count,) = ledger.outbox.counts([name])
    return count.pending, count.parked, count.attempts, count.errors


def bulletin() -> Bulletin:
    """Return one that says nothing."""
    return Bulletin(known_at=NOW, since=NOW.date(), series=(), readings=())


def deliver(ledger: Ledger, exporter: Recorder, now: datetime = NOW) -> int:
    """Deliver what is pending; return how many entries got through."""
    return deliver_pending(ledger, exporter, now).delivered


def withdraw(ledger: Ledger, identity: str, *exporters: str) -> None:
    """Write a withdrawal to the ledger."""
    layer = ledger.layer(identity)
    assert layer is not None
    ledger.withdraw(layer, "A. Rossi", "why", exporters)


def publish(ledger: Ledger, day: date, revision: int, **changes: datetime) -> Layer:
    """Record another revision of a day, for exporter a."""
    folder = ledger.path.parent / f"{day}-{revision}"
    layer = make_layer(folder, day, id=f"l-{day.day}-{revision}", revision=revision, **changes)
    with ledger.transaction():
        ledger.add_layer(layer, {}, ["a"])
    return layer


def test_layers_and_withdrawals_are_delivered_once_and_in_order(ledger: Ledger) -> None:
    withdraw(ledger, "l-1", "a")
    exporter = Recorder("a")

    assert deliver(ledger, exporter) == 4
    assert deliver(ledger, exporter) == 0

    assert exporter.asked == ["l-1", "l-2", "l-3", "-l-1"]
    assert figures(ledger, "a") == (0, 0, 4, 0)


def test_one_that_is_away_keeps_its_order_and_waits_longer_each_time(ledger: Ledger) -> None:
    away = Recorder("a", l_2=ExportUnavailable("a: not mounted"))

    assert deliver(ledger, away) == 1
    assert away.asked == ["l-1", "l-2"]  # l-3 does not overtake
    assert deliver(ledger, Recorder("b")) == 3

    waits, now = [], NOW
    for _ in range(8):
        (first, _) = ledger.outbox.open("a")
        assert first.retry_at is not None
        waits.append(first.retry_at - now)
        assert deliver(ledger, away, first.retry_at - timedelta(seconds=1)) == 0
        now = first.retry_at
        deliver(ledger, away, now)
    assert waits == sorted(waits)
    assert waits[0] == timedelta(minutes=1)
    assert waits[-1] == timedelta(hours=1)

    away.failures.clear()
    deliver(ledger, away, now + timedelta(hours=1))
    assert figures(ledger, "a")[:2] == (0, 0)


def test_a_refusal_for_good_is_parked_counted_and_named_and_the_next_goes_on(ledger: Ledger) -> None:
    exporter = Recorder("a", l_1=ExportRefused("a: wrong schema"))

    deliver(ledger, exporter)
    deliver(ledger, exporter, NOW + timedelta(days=1))

    assert exporter.asked == ["l-1", "l-2", "l-3"]
    assert figures(ledger, "a") == (0, 1, 3, 1)
    assert ledger.outbox.counts(["a"])[0].last_error == "a: wrong schema"


def test_what_was_parked_is_tried_again_when_a_person_says_so_and_the_journal_keeps_who(
    ledger: Ledger,
) -> None:
    exporter = Recorder("a", l_1=ExportRefused("a: wrong zones"))
    deliver(ledger, exporter)
    exporter.failures.clear()

    assert ledger.retry("a", "A. Rossi", "zones mended") == 1
    deliver(ledger, exporter)

    assert exporter.asked[-1] == "l-1"
    assert figures(ledger, "a")[:2] == (0, 0)
    assert [(act.act, act.subject, act.by) for act in ledger.journal()] == [("retry", "a", "A. Rossi")]


def test_an_exporter_with_a_mistake_in_it_loses_nothing_and_stops_nobody(ledger: Ledger) -> None:
    broken = Recorder("a", l_1=KeyError("oops"))

    done = deliver_pending(ledger, broken, NOW)

    assert done.problem == "KeyError: 'oops'"
    assert figures(ledger, "a") == (3, 0, 1, 1)


def test_a_request_to_stop_is_no_failure_of_the_exporter(ledger: Ledger) -> None:
    stopped = Recorder("a")
    stopped.deliver = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]

    with pytest.raises(KeyboardInterrupt):
        deliver_pending(ledger, stopped, NOW)

    assert figures(ledger, "a") == (3, 0, 0, 0)


# --- a target that lost something ---


def test_a_database_that_was_down_for_days_gets_everything_once_and_in_order(ledger: Ledger) -> None:
    target = Target("a")
    target.away = ExportUnavailable("a: connection refused")
    now = NOW
    for _ in range(3 * 24):
        before = target.reached
        deliver_pending(ledger, target, now)
        assert target.reached - before <= 1  # one time-out at the most, whatever waits
        now += timedelta(hours=1)
    assert figures(ledger, "a")[:2] == (3, 0)

    target.away = None
    assert deliver(ledger, target, now + timedelta(hours=1)) == 3
    assert deliver(ledger, target, now + timedelta(hours=1)) == 0

    assert target.asked == ["l-1", "l-2", "l-3"]


def test_a_database_restored_to_an_older_backup_is_caught_up_in_the_order_of_issue(ledger: Ledger) -> None:
    target = Target("a")
    deliver(ledger, target)
    del target.held["l-2"], target.held["l-3"]
    publish(ledger, date(2026, 3, 4), 1)
    target.asked.clear()

    done = deliver_pending(ledger, target, NOW)

    assert target.asked == ["l-2", "l-3", "l-4-1"]
    assert (done.put_back, done.delivered) == (2, 3)
    assert deliver_pending(ledger, target, NOW).put_back == 0


def test_an_exporter_added_later_gets_the_layers_that_stand_and_nothing_else(ledger: Ledger) -> None:
    publish(ledger, DAYS[1], 2)
    withdraw(ledger, "l-3")
    target = Target("new")

    deliver(ledger, target)

    assert target.asked == ["l-1", "l-2-2"]


def test_a_withdrawal_that_the_target_forgot_is_made_again(ledger: Ledger) -> None:
    target = Target("a")
    deliver(ledger, target)
    withdraw(ledger, "l-3", "a")
    deliver(ledger, target)
    target.held["l-3"] = LayerStatus.COMPLETE  # the backup is from before

    deliver(ledger, target)

    assert target.shown() == ["l-1", "l-2"]
    assert target.asked[-1] == "-l-3"


def test_a_day_whose_newest_layer_was_withdrawn_shows_nothing_even_where_an_older_one_came_back(
    ledger: Ledger,
) -> None:
    target = Target("a")
    deliver(ledger, target)
    publish(ledger, DAYS[2], 2)
    withdraw(ledger, "l-3-2", "a")
    deliver(ledger, target)
    target.held = dict.fromkeys(("l-1", "l-2", "l-3"), LayerStatus.COMPLETE)

    deliver(ledger, target)

    assert target.shown() == ["l-1", "l-2"]


def test_a_withdrawn_day_shows_nothing_although_its_newest_layer_was_refused(ledger: Ledger) -> None:
    target = Target("a")
    deliver(ledger, target)
    publish(ledger, DAYS[2], 2)
    target.failures = {"l-3-2": ExportRefused("a: its files are gone")}
    deliver(ledger, target)
    withdraw(ledger, "l-3-2", "a")

    deliver(ledger, target)

    assert target.shown() == ["l-1", "l-2"]


def test_what_was_parked_stays_parked_although_the_target_lacks_it(ledger: Ledger) -> None:
    target = Target("a")
    target.failures = {"l-2": ExportRefused("a: of another region")}
    deliver(ledger, target)

    assert deliver_pending(ledger, target, NOW + timedelta(days=1)).put_back == 0
    assert target.asked == ["l-1", "l-2", "l-3"]


def test_layers_whose_files_are_gone_are_not_promised_to_anybody(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.mark_removed(["l-1"])
    target = Target("new")

    deliver(ledger, target)

    assert target.asked == ["l-2", "l-3"]


# --- gauges ---


def test_a_bulletin_is_sent_when_it_says_something_new_or_the_target_may_have_lost_it(
    ledger: Ledger,
) -> None:
    target = Target("a")
    visit(ledger, target, NOW, bulletin)
    visit(ledger, target, NOW + timedelta(minutes=5), bulletin)
    assert len(target.bulletins) == 1

    visit(ledger, target, NOW + timedelta(hours=2), bulletin)
    assert len(target.bulletins) == 2

    target.held.clear()
    visit(ledger, target, NOW + timedelta(hours=2), bulletin)
    assert len(target.bulletins) == 3


def test_a_bulletin_that_does_not_get_through_costs_no_layer_and_comes_with_the_next_round(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target("a")

    def fail(_: Bulletin) -> None:
        raise ExportUnavailable("a: went away")

    with monkeypatch.context() as patched:
        patched.setattr(target, "deliver_bulletin", fail)
        done = visit(ledger, target, NOW, bulletin)
    assert (done.delivered, done.problem) == (3, "a: went away")
    assert figures(ledger, "a") == (0, 0, 3, 0)

    assert visit(ledger, target, NOW, bulletin).problem is None
    assert len(target.bulletins) == 1


# --- who delivers ---


def add_share(toy: ToyRegion, share: Path) -> None:
    """Give the region a folder exporter."""
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{share}"\n'
    )


def test_nobody_delivers_beside_another_and_a_refresh_is_in_nobodys_way(
    toy: ToyRegion, tmp_path: Path
) -> None:
    add_share(toy, tmp_path)
    with exclusive(deliver_lock_path(toy.settings, "share"), "the first"):
        (refreshed,) = toy.refresh()
        (done,) = deliver_all(toy.settings, toy.clock, "the second")
    assert refreshed.outcome == "published"
    assert "the first" in str(done.problem)
    assert not list(tmp_path.glob("layers/*/*"))

    (done,) = deliver_all(toy.settings, toy.clock, "the second")

    assert (done.delivered, done.problem) == (1, None)
    assert len(list(tmp_path.glob("layers/*/*/item.json"))) == 1


def test_a_password_that_is_missing_holds_up_its_exporter_and_no_other(
    toy: ToyRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    toy.config.write_text(
        toy.config.read_text()
        + '\n[[exporters]]\nkind = "postgis"\nname = "gis"\n'
        + 'writer = { dsn = "host=127.0.0.1 port=1", password = { env = "NO_SUCH_SECRET" } }\n'
    )
    add_share(toy, tmp_path)
    toy.refresh()

    gis, share = deliver_all(toy.settings, toy.clock, "test")

    assert "NO_SUCH_SECRET" in str(gis.problem)
    assert (share.delivered, share.problem) == (1, None)
