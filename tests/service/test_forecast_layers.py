"""Forecast layers: what they rest on, what they publish, and what they leave alone."""

from __future__ import annotations

import json
from datetime import date, time, timedelta

import numpy as np
import pytest
import rasterio

from exporters.layer import Layer, LayerStatus
from service.errors import Outcome, SettingsError
from service.reading_values import Reading
from service.readings import Archive
from service.refreshed import Refreshed
from service.runs import catch_up_days, run_days
from service.workshop import archive_path
from tests.fix_forecast import FEED, add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_region import LAST_DAY, ToyRegion

TODAY = LAST_DAY + timedelta(days=1)
AHEAD = days_from(TODAY, 4)


@pytest.fixture
def region(toy: ToyRegion) -> ToyRegion:
    add_forecast_feed(toy)
    return toy


def layer_of(result: Refreshed) -> Layer:
    assert result.layer is not None, result.reason
    return result.layer


def stored(layer: Layer, name: str = "susceptibility.tif") -> np.ndarray:
    with rasterio.open(layer.folder / name) as raster:
        return np.asarray(raster.read())


def test_a_forecast_that_comes_true_gives_the_map_that_the_nowcast_gives(region: ToyRegion) -> None:
    rain = {day: {"north": 12.5 + 9 * number, "south": 31.0 - number} for number, day in enumerate(AHEAD)}
    issue(region, rain)
    forecasts = [layer_of(result) for result in refresh_leads(region, 1, 2, 3)]

    region.clock.now += timedelta(days=3)
    region.set_rain({(day, gauge): amount for day in AHEAD[:3] for gauge, amount in rain[day].items()})
    region.ingest()
    nowcasts = [layer_of(result) for result in region.refresh(*AHEAD[1:])]

    for forecast, nowcast in zip(forecasts, nowcasts, strict=True):
        assert forecast.day == nowcast.day
        np.testing.assert_array_equal(stored(forecast), stored(nowcast))
        assert forecast.status == LayerStatus.PROVISIONAL
        assert nowcast.status == LayerStatus.COMPLETE


def test_a_forecast_layer_says_its_lead_its_issue_and_what_it_rests_on(region: ToyRegion) -> None:
    issued_at = issue(region, dict.fromkeys(AHEAD, 20.0))
    (result,) = refresh_leads(region, 2)
    layer = layer_of(result)

    assert (layer.day, layer.lead) == (TODAY + timedelta(days=2), 2)
    assert layer.id == f"toy-{layer.day}-l2-r1"
    assert layer.folder.parent.name == f"{layer.day}-l2"
    assert layer.data_until == LAST_DAY
    assert layer.forecast is not None
    assert (layer.forecast.feed, layer.forecast.issued_at, layer.forecast.first_day) == (
        FEED,
        issued_at,
        TODAY,
    )
    assert layer.forecast.members == 1
    assert any("deterministic" in note for note in layer.notes)
    assert not (layer.folder / "quantiles.tif").exists()
    with rasterio.open(layer.folder / "provenance.tif") as raster:
        share = raster.read(raster.descriptions.index("forecast") + 1)
    assert np.nanmax(share) == pytest.approx(2 / 30)
    with rasterio.open(layer.folder / "susceptibility.tif") as raster:
        assert raster.tags()["COLLUVIUM_LEAD"] == "2"
    with region.ledger() as ledger:
        kept = ledger.layer(layer.id)
    assert kept is not None
    assert kept.forecast == layer.forecast


def test_a_forecast_never_takes_the_place_of_a_nowcast(region: ToyRegion) -> None:
    text = (
        region.config.read_text()
        + f'[[exporters]]\nname = "share"\nkind = "folder"\npath = "{region.folder}"\n'
    )
    region.config.write_text(text)
    (result,) = region.refresh()
    nowcast = layer_of(result)
    issue(region, dict.fromkeys(AHEAD, 90.0))

    forecasts = refresh_leads(region, 1, 2, 3)

    latest = region.latest()
    assert latest is not None
    assert latest["layer"] == nowcast.id
    with region.ledger() as ledger:
        assert ledger.latest() is not None
        assert ledger.current(TODAY) is not None
        assert all(ledger.current(day) is None for day in AHEAD[1:])
        ids = [layer_of(one).id for one in forecasts]
        waiting = [entry.layer_id for entry in ledger.outbox.open("share")]
        success = ledger.last_success()
        assert success is not None
        assert success.layer_id == nowcast.id
    assert waiting == [nowcast.id, *ids]
    # The next day's nowcast stands beside the forecast of the same day.
    region.clock.now += timedelta(days=1)
    region.set_rain({(TODAY, gauge): 3.0 for gauge in ("north", "south")})
    region.ingest()
    (result,) = region.refresh()
    with region.ledger() as ledger:
        assert ledger.current(AHEAD[1]) == layer_of(result).model_copy(update={"hotspots": ()})
        kept = ledger.current(AHEAD[1], lead=1)
        assert kept is not None
        assert kept.id == ids[0]


def test_the_same_issue_publishes_nothing_new_and_a_newer_one_a_revision(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    (first,) = refresh_leads(region, 1)
    (again,) = refresh_leads(region, 1)
    between = region.clock()
    region.clock.now += timedelta(hours=6)
    newer = issue(region, dict.fromkeys(AHEAD, 60.0), at=time(6))
    region.clock.now += timedelta(hours=2)

    (second,) = refresh_leads(region, 1)

    assert again.outcome == Outcome.UNCHANGED
    assert again.layer is not None
    assert again.layer.id == layer_of(first).id
    layer = layer_of(second)
    assert (layer.revision, layer.forecast and layer.forecast.issued_at) == (2, newer)
    # What was known in between is rebuilt from the first issue.
    (replay,) = refresh_leads(region, 1, as_of=between)
    assert replay.replay
    assert layer_of(replay).digest == layer_of(first).digest
    assert layer_of(replay).folder.is_relative_to(region.data / "replays")
    np.testing.assert_array_equal(stored(layer_of(replay)), stored(layer_of(first)))


def test_each_member_goes_through_the_model_and_the_median_of_the_maps_is_published(
    region: ToyRegion,
) -> None:
    amounts = (2.0, 40.0, 8.0, 130.0, 20.0)
    maps = []
    for hour, amount in enumerate(amounts):
        issue(region, dict.fromkeys(AHEAD, amount), at=time(hour % 5))
        (result,) = refresh_leads(region, 2)
        maps.append(stored(layer_of(result))[0])
    issue(region, [dict.fromkeys(AHEAD, amount) for amount in amounts], at=time(5))

    (result,) = refresh_leads(region, 2)

    layer = layer_of(result)
    assert layer.forecast is not None
    assert layer.forecast.members == 5
    median = np.median(np.stack(maps), axis=0)
    np.testing.assert_array_equal(stored(layer)[0], median)
    low, middle, high = stored(layer, "quantiles.tif")
    np.testing.assert_array_equal(middle, median)
    known = middle != 255
    for share, band in ((0.1, low), (0.9, high)):
        expected = np.quantile(np.stack(maps)[:, known], share, axis=0)
        np.testing.assert_allclose(band[known], expected, atol=1)
        assert (band[~known] == 255).all()
    assert (low[known] < high[known]).any()
    assert layer.status == LayerStatus.PROVISIONAL


def test_with_few_members_there_is_a_median_and_no_quantiles(region: ToyRegion) -> None:
    issue(region, [dict.fromkeys(AHEAD, amount) for amount in (1.0, 10.0, 30.0)])
    (result,) = refresh_leads(region, 1)
    layer = layer_of(result)
    assert layer.forecast is not None
    assert layer.forecast.members == 3
    assert not (layer.folder / "quantiles.tif").exists()
    assert any("no quantiles" in note for note in layer.notes)


def test_of_too_many_members_some_are_evenly_chosen(toy: ToyRegion) -> None:
    add_forecast_feed(toy, "members_at_most = 2")
    issue(toy, [dict.fromkeys(AHEAD, amount) for amount in (1.0, 90.0, 90.0, 30.0)])
    (few,) = refresh_leads(toy, 1)
    issue(toy, [dict.fromkeys(AHEAD, amount) for amount in (1.0, 90.0)], at=time(3))
    (both,) = refresh_leads(toy, 1)
    layer = layer_of(few)
    assert layer.forecast is not None
    assert layer.forecast.members == 2
    np.testing.assert_array_equal(stored(layer), stored(layer_of(both)))


def test_a_model_whose_lag_is_long_enough_needs_no_forecast(region: ToyRegion) -> None:
    path = region.settings.bundle.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lag_days": 3}))
    (near, far) = refresh_leads(region, 1, 3)
    layer = layer_of(near)
    assert layer.forecast is None
    assert (layer.status, layer.data_until) == (LayerStatus.PROVISIONAL, LAST_DAY - timedelta(days=1))
    assert far.outcome == Outcome.HELD  # its window ends today


def test_a_region_that_gauges_reach_in_part_gets_degraded_forecasts(region: ToyRegion) -> None:
    region.config.write_text(
        region.config.read_text().replace("max_distance_km = 5", "max_distance_km = 0.9")
    )
    issue(region, dict.fromkeys(AHEAD, 20.0))
    (result,) = refresh_leads(region, 1)
    layer = layer_of(result)
    assert layer.status == LayerStatus.DEGRADED
    known = stored(layer)[0] != 255
    assert known.any()
    assert not known.all()


def test_without_an_issue_the_forecast_is_held_and_names_the_feed(region: ToyRegion) -> None:
    (result,) = refresh_leads(region, 1)
    assert result.outcome == Outcome.HELD
    assert f"feed '{FEED}' has brought no issue" in str(result.reason)


def test_yesterdays_forecast_is_not_used_as_todays_once_it_is_too_old(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0), on=LAST_DAY, at=time(1))
    (old,) = refresh_leads(region, 1)
    assert old.outcome == Outcome.HELD
    assert "2026-03-10 01:00 UTC, 29 h old" in str(old.reason)
    assert f"'{FEED}'" in str(old.reason)
    with region.ledger() as ledger:
        assert ledger.runs()[0].lead == 1
        assert ledger.runs()[0].outcome == Outcome.HELD


def test_a_forecast_that_ends_too_early_is_held_for_the_later_leads_only(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD[:2], 20.0))
    near, far, farther = refresh_leads(region, 2, 3, 1)
    assert near.outcome == farther.outcome == Outcome.PUBLISHED
    assert far.outcome == Outcome.HELD
    assert f"'{FEED}'" in str(far.reason)
    assert "ends with 2026-03-12" in str(far.reason)


def test_late_readings_are_bridged_by_the_issue_that_gives_their_days(region: ToyRegion) -> None:
    region.set_rain({(LAST_DAY, gauge): None for gauge in ("north", "south")})
    (region.data / "readings.sqlite").unlink()
    region.ingest()
    yesterday = issue(region, dict.fromkeys([LAST_DAY, *AHEAD], 20.0), on=LAST_DAY, at=time(12))
    issue(region, dict.fromkeys(AHEAD, 50.0))

    (result,) = refresh_leads(region, 1)

    layer = layer_of(result)
    assert layer.forecast is not None
    assert (layer.forecast.issued_at, layer.forecast.first_day) == (yesterday, LAST_DAY)
    assert layer.data_until == LAST_DAY - timedelta(days=1)


def test_where_no_issue_gives_a_missing_day_the_run_is_held_and_names_the_feed(region: ToyRegion) -> None:
    region.set_rain({(LAST_DAY, gauge): None for gauge in ("north", "south")})
    (region.data / "readings.sqlite").unlink()
    region.ingest()
    issue(region, dict.fromkeys(AHEAD, 50.0))

    (result,) = refresh_leads(region, 1)

    assert result.outcome == Outcome.HELD
    assert f"'{FEED}'" in str(result.reason)


def test_an_unfinished_day_is_forecast_even_where_readings_of_it_came_early(region: ToyRegion) -> None:
    region.set_rain({(TODAY, gauge): 0.0 for gauge in ("north", "south")})
    region.ingest()
    issue(region, dict.fromkeys(AHEAD, 50.0))
    (result,) = refresh_leads(region, 1)
    layer = layer_of(result)
    assert layer.forecast is not None
    assert layer.forecast.first_day == TODAY


def test_places_of_a_forecast_are_no_gauges(region: ToyRegion) -> None:
    (before,) = region.refresh()
    issue(region, dict.fromkeys(AHEAD, 50.0))
    (after,) = region.refresh()
    assert after.outcome == Outcome.UNCHANGED, after.reason
    assert before.day == after.day


def test_growth_is_counted_since_the_nowcasts_of_the_days_before_where_they_are_known(
    region: ToyRegion,
) -> None:
    (result,) = region.refresh()
    nowcast = layer_of(result)
    issue(region, dict.fromkeys(AHEAD, 90.0))
    first, second = (layer_of(one) for one in refresh_leads(region, 1, 2))
    now = {area.label: area for area in nowcast.areas if area.zone == ""}
    for area in (area for area in first.areas if area.zone == ""):
        assert area.change_m2[1] == pytest.approx(area.area_m2 - now[area.label].area_m2)
    assert all(1 not in area.change_m2 for area in second.areas)


def test_other_days_than_those_of_the_lead_are_refused(region: ToyRegion) -> None:
    with_day = run_days(
        region.settings, region.config, lambda _: [date(2026, 3, 12)], purpose="test", clock=region.clock
    )
    assert with_day[0].outcome == Outcome.USAGE
    assert "--lead" in str(with_day[0].reason)


def test_a_withdrawn_forecast_comes_back_only_by_hand(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    (result,) = refresh_leads(region, 1)
    with region.ledger() as ledger:
        ledger.withdraw(layer_of(result), "A. Rossi", "the model ran wild", [])
    issue(region, dict.fromkeys(AHEAD, 40.0), at=time(3))
    caught = run_days(
        region.settings,
        region.config,
        lambda _: [],
        purpose="test",
        clock=region.clock,
        leads=[1, 2],
        by_hand=False,
    )
    (by_hand,) = refresh_leads(region, 1)
    assert [one.lead for one in caught] == [2]
    assert layer_of(by_hand).revision == 2


def test_a_run_with_nothing_left_to_make_ends_in_order(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    (result,) = refresh_leads(region, 1)
    with region.ledger() as ledger:
        ledger.withdraw(layer_of(result), "A. Rossi", "the model ran wild", [])
    none = run_days(
        region.settings,
        region.config,
        lambda _: [],
        purpose="test",
        clock=region.clock,
        leads=[1],
        by_hand=False,
    )
    assert none == []


def test_a_forecast_knows_no_reading_that_became_known_after_it(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    (before,) = refresh_leads(region, 1)
    with Archive(archive_path(region.settings), region.clock) as archive:
        archive.add(
            Reading("gauges", "rain", name, LAST_DAY, 180.0, region.clock() + timedelta(hours=1))
            for name in ("north", "south")
        )
    (after,) = refresh_leads(region, 1)
    assert after.outcome == Outcome.UNCHANGED
    region.clock.now += timedelta(hours=2)
    (later,) = refresh_leads(region, 1)
    assert later.outcome == Outcome.PUBLISHED
    assert layer_of(later).data_until == layer_of(before).data_until


def test_catch_up_makes_the_nowcasts_first_and_is_not_misled_by_forecasts(region: ToyRegion) -> None:
    issue(region, dict.fromkeys(AHEAD, 20.0))
    made = run_days(
        region.settings, region.config, catch_up_days, purpose="test", clock=region.clock, leads=[1, 2, 3]
    )
    assert [(one.day, one.lead) for one in made] == [(day, lead) for lead, day in enumerate(AHEAD)]
    assert {one.outcome for one in made} == {Outcome.PUBLISHED}
    region.clock.now += timedelta(days=1)
    later = run_days(
        region.settings, region.config, catch_up_days, purpose="test", clock=region.clock, leads=[1]
    )
    # Yesterday's readings have not come: the nowcast is held, and so is the forecast of a day without them.
    assert [(one.day, one.lead, one.outcome) for one in later] == [
        (TODAY, 0, Outcome.UNCHANGED),
        (AHEAD[1], 0, Outcome.HELD),
        (AHEAD[2], 1, Outcome.HELD),
    ]


def test_an_unclear_forecast_feed_is_wrong_usage(toy: ToyRegion) -> None:
    (none,) = refresh_leads(toy, 1)
    assert none.outcome == Outcome.USAGE
    assert "forecast = true" in str(none.reason)
    add_forecast_feed(toy, 'feed = "gauges"')
    with pytest.raises(SettingsError, match="forecast = true"):
        refresh_leads(toy, 1)
