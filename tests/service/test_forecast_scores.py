"""Past forecasts against what came: the bias that is corrected, and the scores that are told."""

from __future__ import annotations

import json
from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from exporters.layer import Layer
from service.cli import main_group
from service.forecast_bias import Compared, compare_rain, rain_factors
from service.forecast_scores import ForecastScores, measure_scores, read_scores
from service.readings import Archive
from service.region import open_region
from service.settings_forecast import ForecastSettings
from service.workshop import archive_path
from tests.fix_forecast import FEED, add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_region import LAST_DAY, ToyRegion, read_rain

TODAY = LAST_DAY + timedelta(days=1)
AHEAD = days_from(TODAY, 4)


@pytest.fixture
def region(toy: ToyRegion) -> ToyRegion:
    add_forecast_feed(toy, "bias_days = 30\nbias_min_days = 10\nfactor_max = 4\nfactor_min = 0.25")
    return toy


def issue_past(toy: ToyRegion, times: float, *, days: int = 25, reach: int = 3) -> None:
    """Put an issue for each past day into the archive that gives `times` what then came."""
    rain = read_rain(toy.folder / "rain.csv")
    for on in days_from(TODAY - timedelta(days=days), days):
        known = [day for day in days_from(on, reach + 1) if day < TODAY]
        issue(
            toy,
            {day: {gauge: times * rain[day, gauge] for gauge in ("north", "south")} for day in known},
            on=on,
        )


def scores_of(toy: ToyRegion, today: date = TODAY) -> ForecastScores:
    crs = open_region(toy.settings).grid.crs
    with Archive(archive_path(toy.settings), toy.clock) as archive, toy.ledger() as ledger:
        compared = compare_rain(toy.settings, archive, crs, today)
        return measure_scores(toy.settings, ledger, compared, today - timedelta(days=30), today)


def layer_of(toy: ToyRegion, lead: int) -> Layer:
    (result,) = refresh_leads(toy, lead)
    assert result.layer is not None, result.reason
    return result.layer


# --- the bias and its correction ---


def test_rain_that_was_always_half_of_what_came_is_doubled_and_the_layer_says_so(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    plain = layer_of(region, 2)
    assert plain.forecast is not None
    assert plain.forecast.rain_factors == {}
    assert any("not corrected" in note for note in plain.notes)

    issue_past(region, 0.5)
    corrected = layer_of(region, 2)

    assert corrected.forecast is not None
    assert corrected.forecast.rain_factors == {TODAY: 2.0, AHEAD[1]: 2.0}
    assert any("2026-03-11 x 2, 2026-03-12 x 2" in note for note in corrected.notes)
    # What was made of it is what the true amount makes.
    issue(region, dict.fromkeys(AHEAD, 40.0), at=time(3))
    text = region.config.read_text()
    region.config.write_text(text.replace("bias_min_days = 10", "bias_min_days = 30"))
    true = layer_of(region, 2)
    assert true.forecast is not None
    assert true.forecast.rain_factors == {}
    assert (corrected.folder / "class.tif").read_bytes() == (true.folder / "class.tif").read_bytes()
    assert (plain.folder / "susceptibility.tif").read_bytes() != (
        true.folder / "susceptibility.tif"
    ).read_bytes()


def test_the_correction_stays_within_its_bounds(region: ToyRegion) -> None:
    issue_past(region, 100.0)
    issue(region, dict.fromkeys(AHEAD, 20.0))
    layer = layer_of(region, 1)
    assert layer.forecast is not None
    assert layer.forecast.rain_factors == {TODAY: 0.25}


def test_a_replay_corrects_by_what_was_known_then(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    plain = layer_of(region, 1)
    then = region.clock()
    region.clock.now += timedelta(hours=1)
    rain = read_rain(region.folder / "rain.csv")
    # The readings of old turn out to be twice as high.
    issue_past(region, 1.0)
    region.set_rain({key: 2 * value for key, value in rain.items()})
    region.ingest()
    now = layer_of(region, 1)
    (replay,) = refresh_leads(region, 1, as_of=then)
    assert now.forecast is not None
    assert now.forecast.rain_factors == {TODAY: 2.0}
    assert replay.layer is not None
    assert replay.layer.forecast is not None
    # The past issues were known then, and what came was as they said.
    assert replay.layer.forecast.rain_factors == {TODAY: 1.0}
    assert plain.digest != now.digest


def pair(ahead: int, forecast: list[float], observed: list[float], day: date = TODAY) -> Compared:
    return Compared(day, ahead, np.array(forecast), np.array(observed))


def test_rain_is_compared_as_far_as_a_layer_of_the_farthest_lead_may_need_it(region: ToyRegion) -> None:
    issue_past(region, 0.5, reach=6)
    # Three leads, and an issue that may be a day old.
    assert [score.ahead for score in scores_of(region).rain] == [0, 1, 2, 3, 4]


def test_dry_days_do_not_count_as_days_enough() -> None:
    settings = ForecastSettings(bias_min_days=3, bias_days=30)
    wet = [pair(0, [10.0, 30.0], [20.0, 40.0])] * 2
    dry = [pair(0, [0.1, 0.0], [0.0, 0.3])] * 20
    assert rain_factors(wet + dry, settings) == {}
    assert rain_factors(wet + wet[:1] + dry, settings) == {0: round((90 + 3.0) / (60 + 1.0), 3)}


rains = st.lists(st.floats(0, 300), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.integers(0, 3), rains), max_size=40), st.floats(0.05, 20))
def test_the_factor_undoes_a_constant_bias_within_its_bounds(
    said: list[tuple[int, list[float]]], times: float
) -> None:
    settings = ForecastSettings(bias_min_days=1, bias_days=30, factor_min=0.2, factor_max=5)
    factors = rain_factors(
        [pair(ahead, rain, [one * times for one in rain]) for ahead, rain in said], settings
    )
    for factor in factors.values():
        assert 0.2 <= factor <= 5
        if 0.2 < times < 5:
            assert factor == pytest.approx(times, abs=6e-4)


def test_the_settings_refuse_more_days_than_can_be() -> None:
    with pytest.raises(ValueError, match=r"bias_min_days = 40 can never be reached"):
        ForecastSettings(bias_days=30, bias_min_days=40)


# --- the scores ---


def test_hits_misses_and_false_alarms_are_those_counted_by_hand(region: ToyRegion) -> None:
    yesterday = LAST_DAY
    before = yesterday - timedelta(days=1)
    came = {"north": 12.0, "south": 30.0}
    region.set_rain({(before, gauge): amount for gauge, amount in came.items()})
    region.set_rain({(yesterday, "north"): 0.0, (yesterday, "south"): 10.0})
    region.ingest()
    issue(
        region,
        {before: {"north": 10.0, "south": 9.9}, yesterday: {"north": 11.0, "south": 4.0}},
        on=before,
    )
    # Only the first issue of a day counts.
    issue(region, dict.fromkeys([before, yesterday], 99.0), on=before, at=time(12))
    issue(region, {yesterday: {"north": 1.0, "south": 12.0}, TODAY: 70.0}, on=yesterday)

    scores = scores_of(region)

    same_day, next_day = scores.rain
    assert (same_day.ahead, same_day.days, same_day.pairs) == (0, 2, 4)
    assert (same_day.hits, same_day.misses, same_day.false_alarms) == (2, 1, 0)
    assert same_day.hit_rate == pytest.approx(2 / 3)
    assert same_day.false_alarm_ratio == 0
    assert same_day.bias == pytest.approx((10 + 9.9 + 1 + 12) / (12 + 30 + 0 + 10))
    assert (next_day.ahead, next_day.days, next_day.pairs) == (1, 1, 2)
    assert (next_day.hits, next_day.misses, next_day.false_alarms) == (0, 1, 1)
    assert next_day.hit_rate == 0
    assert next_day.false_alarm_ratio == 1
    assert next_day.bias == pytest.approx(15 / 10)
    assert scores.wet_mm == 10
    assert scores.feed == FEED


def test_an_ensemble_is_scored_by_the_mean_of_its_members(region: ToyRegion) -> None:
    region.set_rain({(LAST_DAY, gauge): 20.0 for gauge in ("north", "south")})
    region.ingest()
    issue(region, [{LAST_DAY: 4.0}, {LAST_DAY: 26.0}], on=LAST_DAY)
    (score,) = scores_of(region).rain
    assert score.forecast_mm == 15
    assert score.hits == 2


def test_high_area_of_forecasts_is_held_against_the_nowcasts_of_the_same_days(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 200.0))
    forecasts = [layer_of(region, lead) for lead in (1, 2)]
    region.clock.now += timedelta(days=1)
    region.set_rain({(TODAY, gauge): 1.0 for gauge in ("north", "south")})
    region.ingest()
    (result,) = region.refresh(AHEAD[1])
    nowcast = result.layer
    assert nowcast is not None

    scores = scores_of(region, AHEAD[2])

    def high(layer: Layer) -> float:
        return sum(
            area.ratio or 0 for area in layer.areas if area.zone == "" and area.label in ("high", "very_high")
        )

    (area,) = scores.areas  # the nowcast of the second lead's day is still to come
    assert (area.lead, area.days) == (1, 1)
    assert area.forecast_ratio == pytest.approx(high(forecasts[0]))
    assert area.nowcast_ratio == pytest.approx(high(nowcast))
    assert area.bias == pytest.approx(high(forecasts[0]) / high(nowcast))


def test_areas_of_another_model_are_not_compared(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 200.0))
    layer_of(region, 1)
    region.clock.now += timedelta(days=1)
    region.set_rain({(TODAY, gauge): 1.0 for gauge in ("north", "south")})
    region.ingest()
    region.config.write_text(region.config.read_text() + "[classes]\nbreaks = [0.2, 0.4, 0.6]\n")
    (result,) = region.refresh(AHEAD[1])
    assert result.layer is not None
    assert scores_of(region, AHEAD[2]).areas == ()


def test_a_run_of_forecasts_keeps_the_scores_for_others_to_read(region: ToyRegion) -> None:
    with region.ledger() as ledger:
        assert read_scores(ledger) is None
    issue_past(region, 0.5, days=12)
    issue(region, dict.fromkeys(AHEAD, 20.0))
    layer_of(region, 1)
    with region.ledger() as ledger:
        kept = read_scores(ledger)
    assert kept is not None
    measured = scores_of(region)
    assert kept.rain == measured.rain
    assert [score.ahead for score in kept.rain] == [0, 1, 2, 3]
    assert all(score.bias == pytest.approx(0.5, abs=1e-3) for score in kept.rain)


# --- the command ---


def colluvium(toy: ToyRegion, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, [*arguments, "-c", str(toy.config)], catch_exceptions=False)


@pytest.fixture
def clocked(region: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> ToyRegion:
    for module in ("service.commands.forecast", "service.commands.work"):
        monkeypatch.setattr(f"{module}.utc_now", region.clock)
    return region


def test_the_command_tells_scores_by_lead(clocked: ToyRegion) -> None:
    issue_past(clocked, 0.5)
    said = json.loads(colluvium(clocked, "forecast", "scores", "--json").output)
    assert said["feed"] == FEED
    assert [row["ahead"] for row in said["rain"]] == [0, 1, 2, 3]
    assert said["rain"][0]["bias"] == pytest.approx(0.5, abs=1e-3)
    assert said["rain"][0]["factor"] == pytest.approx(2.0, abs=2e-3)
    assert {"hit_rate", "false_alarm_ratio"} <= set(said["rain"][0])
    text = colluvium(clocked, "forecast", "scores").output
    assert "bias 0.50, correction 2" in text
    assert "nothing to compare yet" in text  # no forecast layer yet


def test_the_command_scores_up_to_the_day_that_it_is_told(clocked: ToyRegion) -> None:
    issue_past(clocked, 0.5, days=12)
    today = json.loads(colluvium(clocked, "forecast", "scores", "--json").output)
    clocked.clock.now += timedelta(days=200)
    assert json.loads(colluvium(clocked, "forecast", "scores", "--json").output)["rain"] == []

    told = json.loads(colluvium(clocked, "forecast", "scores", "--until", str(LAST_DAY), "--json").output)
    earlier = LAST_DAY - timedelta(days=2)
    less = json.loads(colluvium(clocked, "forecast", "scores", "--until", str(earlier), "--json").output)

    assert told["until"] == today["until"] == str(LAST_DAY)
    assert told["rain"] == today["rain"]
    assert less["rain"][0]["days"] == today["rain"][0]["days"] - 2


def test_backfill_makes_todays_forecasts_after_the_nowcast(clocked: ToyRegion, tmp_path: Path) -> None:
    issue(clocked, dict.fromkeys(AHEAD, 20.0))
    summary = json.loads(colluvium(clocked, "backfill", "--json", "--no-deliver").output)
    assert [(row["day"], row["lead"], row["outcome"]) for row in summary["results"]] == [
        (str(day), lead, "published") for lead, day in enumerate(AHEAD)
    ]
    assert tmp_path.exists()


def test_refresh_makes_one_lead_and_refuses_a_day_that_is_not_its(clocked: ToyRegion) -> None:
    issue(clocked, dict.fromkeys(AHEAD, 20.0))
    said = json.loads(colluvium(clocked, "refresh", "--lead", "2", "--json", "--no-deliver").output)
    assert (said["day"], said["lead"], said["status"]) == (str(AHEAD[2]), 2, "provisional")
    assert said["forecast"]["feed"] == FEED
    wrong = CliRunner().invoke(
        main_group, ["refresh", "--lead", "1", "--day", str(TODAY), "-c", str(clocked.config)]
    )
    assert "do not agree" in str(wrong.exception)
