"""Real forecast layers at one place: a single run has its window and its reasons, an ensemble its spread."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fix_forecast import FEED, add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_places import client_of, look, make_valley
from tests.fix_region import LAST_DAY, NOW, Clock, ToyRegion
from tests.service.api.test_forecasts import CELL

TODAY = LAST_DAY + timedelta(days=1)
AHEAD = days_from(TODAY, 4)
RAIN = {day: 12.0 + 6 * number for number, day in enumerate(AHEAD)}


@pytest.fixture(scope="module")
def single_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valley with today's nowcast and two leads of a deterministic forecast; never changed by a test."""
    toy = make_valley(tmp_path_factory.mktemp("single") / "valley")
    add_forecast_feed(toy)
    toy.clock = Clock(NOW)
    issue(toy, RAIN)
    toy.refresh(TODAY)
    refresh_leads(toy, 1, 2)
    return toy.folder


@pytest.fixture
def single(single_template: Path) -> ToyRegion:
    """The same, to look at."""
    return ToyRegion(single_template, Clock(NOW + timedelta(hours=1)))


def rain_of(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in said["window"]["variables"] if one["name"] == "rain")
    return found


@pytest.mark.parametrize("lead", [1, 2])
def test_a_single_run_shows_its_days_ahead_and_explains_what_was_published(
    single: ToyRegion, lead: int
) -> None:
    said = look(client_of(single), CELL, lead=lead)

    rain, days = rain_of(said), said["window"]["days"]
    assert days[-1] == (TODAY + timedelta(days=lead - 1)).isoformat()
    assert rain["kinds"][-lead:] == ["forecast"] * lead
    assert "forecast" not in rain["kinds"][:-lead]
    assert rain["values"][-lead:] == pytest.approx(list(RAIN.values())[:lead])
    assert said["reasons"]["agrees"] is True
    assert said["reasons"]["published"] == said["value"]["susceptibility"]
    assert (said["layer"]["forecast"]["feed"], said["forecast_spread"]) == (FEED, None)


@pytest.mark.parametrize("lead", [1, 2])
def test_what_changes_is_told_against_the_same_issue_one_day_earlier(single: ToyRegion, lead: int) -> None:
    http = client_of(single)
    before = look(http, CELL, lead=lead - 1)

    change = look(http, CELL, lead=lead)["reasons"]["change"]

    assert change["layer"] == before["layer"]["id"]
    assert change["before"] == before["value"]["susceptibility"]
    parts = [part for part in change["parts"].values() if part is not None]
    assert sum(parts) == pytest.approx(change["change"], abs=0.009)
    assert change["says"] is None


def test_an_ensemble_has_a_spread_and_no_single_reason(single_template: Path, tmp_path: Path) -> None:
    shutil.copytree(single_template, tmp_path / "toy")
    toy = ToyRegion(tmp_path / "toy", Clock(NOW + timedelta(hours=2)))
    later = toy.clock().replace(hour=6, minute=0, second=0, microsecond=0)
    issue(toy, [dict.fromkeys(AHEAD, 8.0 * n) for n in range(7)], at=later.time())
    refresh_leads(toy, 1)

    said = look(client_of(toy), CELL, lead=1)

    assert said["layer"]["forecast"]["members"] == 7
    spread = said["forecast_spread"]
    assert spread["p10"] <= spread["p50"] == said["value"]["susceptibility"] <= spread["p90"]
    assert spread["p10"] < spread["p90"]
    assert said["window_missing"]["code"] == said["reasons_missing"]["code"] == "forecast"


def test_a_past_forecast_keeps_a_past_of_nowcasts(single_template: Path, tmp_path: Path) -> None:
    shutil.copytree(single_template, tmp_path / "toy")
    toy = ToyRegion(tmp_path / "toy", Clock(NOW + timedelta(days=1, hours=1)))
    toy.set_rain({(TODAY, gauge): 0.5 for gauge in ("north", "south")})
    toy.ingest()
    toy.refresh(TODAY + timedelta(days=1))
    http = client_of(toy)
    nowcast = look(http, CELL, day=TODAY + timedelta(days=1))
    forecast = look(http, CELL, day=TODAY + timedelta(days=1), lead=1)
    assert nowcast["value"] != forecast["value"]

    said = look(http, CELL, day=TODAY + timedelta(days=2), lead=2, days=3)

    assert said["past"]["susceptibility"][-2] == nowcast["value"]["susceptibility"]
    assert said["reasons"]["change"]["before"] == forecast["value"]["susceptibility"]
