"""What readers of the data folder follow: latest.json is the nowcast, forecasts.json what is expected."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

from service.display import FORECASTS, show_latest
from tests.fix_forecasts import add_forecasts
from tests.fix_region import Clock, ToyRegion

DAY = date(2026, 3, 5)
ISSUED = datetime(2026, 3, 5, 6, tzinfo=UTC)


def listed(toy: ToyRegion) -> list[dict[str, object]]:
    path = toy.data / FORECASTS
    return list(json.loads(path.read_text("utf-8"))["forecasts"]) if path.exists() else []


def test_forecasts_json_lists_the_current_ones_and_latest_json_stays_the_nowcast(toy: ToyRegion) -> None:
    toy.clock.now = ISSUED
    toy.refresh(DAY)
    latest = toy.latest()

    made = add_forecasts(toy)

    assert toy.latest() == latest
    assert [(one["layer"], one["lead"]) for one in listed(toy)] == [(layer.id, layer.lead) for layer in made]
    for one, layer in zip(listed(toy), made, strict=True):
        assert (toy.data / str(one["path"])) == layer.folder
        assert (one["issue_day"], one["unconfirmed"]) == (DAY.isoformat(), False)


def test_a_nowcast_of_the_next_day_and_the_passing_of_days_end_forecasts(toy: ToyRegion) -> None:
    toy.clock.now = ISSUED
    toy.refresh(DAY)
    add_forecasts(toy)

    toy.clock.now = ISSUED + timedelta(days=2)
    with toy.ledger() as ledger:
        show_latest(toy.data, ledger)
    assert [one["lead"] for one in listed(toy)] == [2, 3]

    toy.refresh(DAY + timedelta(days=1))
    assert not (toy.data / FORECASTS).exists()


def test_what_is_withdrawn_or_removed_is_not_listed_and_brings_no_older_one_back(toy: ToyRegion) -> None:
    toy.clock = Clock(ISSUED)
    toy.refresh(DAY)
    add_forecasts(toy)
    (revised,) = add_forecasts(toy, [1], revision=2)
    assert listed(toy)[0]["layer"] == revised.id

    with toy.ledger() as ledger:
        ledger.withdraw(revised, "A. Rossi", "wrong issue", [])
        with ledger.transaction():
            ledger.mark_removed([layer.id for layer in ledger.layers() if layer.lead == 3])
        show_latest(toy.data, ledger)

    assert [one["lead"] for one in listed(toy)] == [2]
