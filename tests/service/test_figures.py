"""What /metrics says of a real region: when the map is due, how the last run ended, drills, disk, acts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from exporters.metrics import Figures
from exporters.upkeep_metrics import UpkeepFigures
from exporters.warning_metrics import ExerciseFigures
from service.errors import Outcome
from service.figures import read_figures
from service.figures_upkeep import longest_gap
from tests.fix_region import NOW, ToyRegion

ROME = ZoneInfo("Europe/Rome")


def figures_of(toy: ToyRegion) -> Figures:
    """Read the region's figures."""
    return read_figures(toy.settings, toy.clock)


def upkeep_of(toy: ToyRegion) -> UpkeepFigures:
    """Read how the region is kept."""
    return figures_of(toy).upkeep


@pytest.mark.parametrize(
    ("expression", "gap"),
    [
        ("30 5-8 * * *", timedelta(hours=21)),
        ("* * * * *", timedelta(minutes=1)),
        ("*/10 5-8 * * *", timedelta(hours=20, minutes=10)),
        ("0 6 * * 1", timedelta(days=7)),
        ("0 6 1 1 *", None),
        ("nonsense", None),
    ],
)
def test_the_refresh_period_is_the_longest_gap_that_the_schedule_leaves(
    expression: str, gap: timedelta | None
) -> None:
    assert longest_gap(expression, ROME) == (gap.total_seconds() if gap else None)


def test_a_map_is_due_when_the_next_days_should_stand_there(toy: ToyRegion) -> None:
    with toy.config.open("a") as config:
        config.write('[schedule]\nready_by = "08:30:00"\n')
    toy.refresh(date(2026, 3, 10))

    assert upkeep_of(toy).layer_due == datetime(2026, 3, 11, 8, 30, tzinfo=UTC).timestamp()


def test_a_refresh_of_an_old_day_does_not_put_off_when_the_map_is_due(toy: ToyRegion) -> None:
    toy.refresh(date(2026, 3, 10))
    before = upkeep_of(toy).layer_due
    toy.clock.now += timedelta(days=2)
    toy.refresh(date(2026, 3, 9))

    assert upkeep_of(toy).layer_due == before


def test_without_a_map_nothing_is_due_and_nothing_has_ended(toy: ToyRegion) -> None:
    upkeep = upkeep_of(toy)

    assert upkeep.layer_due is None
    assert upkeep.last_outcome == {}
    assert upkeep.clock is not None
    assert abs(upkeep.clock - NOW.timestamp()) < 1
    assert upkeep.region == {"id": "toy", "name": "Toy valley", "synthetic": "true"}
    assert upkeep.disk_free is not None
    assert upkeep.disk_size is not None
    assert 0 < upkeep.disk_free < upkeep.disk_size


def test_the_last_refresh_says_how_it_ended(toy: ToyRegion) -> None:
    toy.refresh(date(2026, 3, 11))
    first = [name for name, here in upkeep_of(toy).last_outcome.items() if here]
    toy.refresh(date(2026, 3, 11))
    second = [name for name, here in upkeep_of(toy).last_outcome.items() if here]

    assert (first, second) == (["published"], ["unchanged"])


def ended(upkeep: UpkeepFigures) -> list[str]:
    """How the last refresh ended."""
    return [name for name, here in upkeep.last_outcome.items() if here]


def note(toy: ToyRegion, day: date, outcome: Outcome, lead: int = 0) -> None:
    """Write a run into the ledger."""
    with toy.ledger() as ledger:
        ledger.end_run(ledger.start_run("refresh", day, lead), outcome)


def test_a_backfill_by_hand_hides_no_failure_and_is_none(toy: ToyRegion) -> None:
    toy.refresh(date(2026, 3, 10))
    note(toy, date(2026, 3, 11), Outcome.FAILED)
    note(toy, date(2026, 3, 1), Outcome.PUBLISHED)
    note(toy, date(2026, 3, 12), Outcome.PUBLISHED, lead=1)

    assert ended(upkeep_of(toy)) == ["failed"]

    note(toy, date(2026, 3, 11), Outcome.PUBLISHED)
    note(toy, date(2026, 3, 2), Outcome.ABANDONED)
    note(toy, date(2026, 3, 11), Outcome.LOCKED)

    assert ended(upkeep_of(toy)) == ["published"]


def test_a_round_that_looks_again_at_the_map_on_display_does_not_end_the_failure_of_today(
    toy: ToyRegion,
) -> None:
    toy.refresh(date(2026, 3, 10))
    note(toy, date(2026, 3, 11), Outcome.FAILED)
    note(toy, date(2026, 3, 10), Outcome.UNCHANGED)

    assert ended(upkeep_of(toy)) == ["failed"]


def test_a_day_whose_readings_cannot_be_there_yet_is_not_held_until_it_is_due(toy: ToyRegion) -> None:
    toy.refresh(date(2026, 3, 10))
    note(toy, date(2026, 3, 11), Outcome.HELD)  # at six; by nine it must be there

    assert ended(upkeep_of(toy)) == ["published"]
    toy.clock.now = datetime(2026, 3, 11, 9, 1, tzinfo=UTC)
    assert ended(upkeep_of(toy)) == ["held"]


@pytest.mark.parametrize(
    ("latency", "refresh", "due"),
    [
        (6, "30 5-8 * * *", datetime(2026, 3, 11, 9, tzinfo=UTC)),
        (12, "30 5-8 * * *", datetime(2026, 3, 12, 9, tzinfo=UTC)),  # of noon; no refresh is left that day
        (12, "30 * * * *", datetime(2026, 3, 11, 13, 30, tzinfo=UTC)),
        (48, "30 5-8 * * *", datetime(2026, 3, 13, 9, tzinfo=UTC)),
    ],
)
def test_a_map_is_not_due_before_its_readings_can_be_there(
    toy: ToyRegion, latency: int, refresh: str, due: datetime
) -> None:
    text = toy.config.read_text("utf-8").replace("latency_hours = 1", f"latency_hours = {latency}")
    toy.config.write_text(f'{text}\n[schedule]\nrefresh = "{refresh}"\n', "utf-8")
    toy.refresh(date(2026, 3, 10))

    assert upkeep_of(toy).layer_due == due.timestamp()


def test_the_quickest_feed_of_a_variable_says_when_a_map_can_be_there(toy: ToyRegion) -> None:
    with toy.config.open("a") as config:
        config.write(
            '\n[[feeds]]\nname = "slow"\nkind = "raster"\nvariable = "rain"\nlatency_hours = 72\n'
            'format = "geotiff"\nunit = "mm"\npath = "slow/{day:%Y%m%d}.tif"\n'
        )
    toy.refresh(date(2026, 3, 10))

    assert upkeep_of(toy).layer_due == datetime(2026, 3, 11, 9, tzinfo=UTC).timestamp()


def test_human_acts_count_from_zero(toy: ToyRegion) -> None:
    with toy.ledger() as ledger:
        ledger.write_act("hold", "region", "Ada", "a drill")

    acts = upkeep_of(toy).acts

    assert acts["hold"] == 1
    assert acts["withdraw"] == 0


def test_a_drill_is_shown_while_it_runs_and_no_longer(toy: ToyRegion) -> None:
    with toy.ledger() as ledger, ledger.transaction():
        ledger.drills.start("west", 2, toy.clock() + timedelta(hours=1), "Ada", "the spring exercise")

    assert list(figures_of(toy).warnings.exercises) == [ExerciseFigures("west", 2)]
    toy.clock.now += timedelta(hours=2)
    assert list(figures_of(toy).warnings.exercises) == []


def test_a_feed_is_due_when_its_next_day_has_ended_and_had_its_time_to_come(toy: ToyRegion) -> None:
    (gauges,) = figures_of(toy).feeds

    # The newest day is 10 March; the 11th ends at midnight, and its readings take an hour.
    assert gauges.due == datetime(2026, 3, 12, 1, tzinfo=UTC).timestamp()
    assert gauges.readings["suspect"] == 0


def test_what_computes_is_named(toy: ToyRegion) -> None:
    figures = figures_of(toy)

    assert (figures.device, figures.provider) == ("cpu", "CPUExecutionProvider")
