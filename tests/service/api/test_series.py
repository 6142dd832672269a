"""/series: what gauges and reservoirs last said, and of withheld feeds nothing but the name."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.quality import Quality
from service.reading_values import Reading
from service.readings import Archive
from service.workshop import archive_path
from tests.fix_places import change_settings, client_of, make_valley, set_levels, strict_json
from tests.fix_region import GAUGES, LAST_DAY, ToyRegion, read_rain


@pytest.fixture
def valley(tmp_path: Path) -> ToyRegion:
    """A region with gauges and a lake."""
    return make_valley(tmp_path / "valley")


def ask(toy: ToyRegion) -> tuple[Any, dict[str, Any]]:
    answer = client_of(toy, loaded=False).get("/series")
    assert answer.status_code == 200, answer.text
    found = strict_json(answer.text)
    return found, {feature["id"]: feature for feature in found["features"]}


def test_every_series_has_its_place_its_newest_reading_and_thirty_days(valley: ToyRegion) -> None:
    rain = read_rain(valley.folder / "rain.csv")
    found, series = ask(valley)
    assert found["withheld"] == []
    assert set(series) == {"gauges/rain/north", "gauges/rain/south", "dams/level/lake"}
    for gauge in GAUGES:
        said = series[f"gauges/rain/{gauge}"]["properties"]
        days = [LAST_DAY - timedelta(days=back) for back in range(29, -1, -1)]
        expected = [{"day": day.isoformat(), "value": rain[day, gauge]} for day in days]
        assert said["days"] == expected
        assert said["latest"] == expected[-1] | {"quality": "good", "reason": ""}
        assert (said["unit"], said["variable"], said["feed"]) == ("mm", "rain", "gauges")
        lon, lat = series[f"gauges/rain/{gauge}"]["geometry"]["coordinates"]
        assert 8 < lon < 10
        assert 44 < lat < 46
    assert series["dams/level/lake"]["properties"]["unit"] == "m above sea level"


def test_a_missing_day_is_absent_and_a_rejected_newest_reading_says_so(tmp_path: Path) -> None:
    toy = make_valley(tmp_path / "valley")
    day = LAST_DAY
    toy.set_rain({(day, "north"): None, (day - timedelta(days=3), "north"): None, (day, "south"): None})
    (toy.data / "readings.sqlite").unlink()
    toy.ingest()
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        rejected = Reading(
            "gauges", "rain", "south", day, 907.25, quality=Quality.REJECTED, reason="flat line"
        )
        archive.add([rejected])

    _, series = ask(toy)

    north = series["gauges/rain/north"]["properties"]
    told = {item["day"] for item in north["days"]}
    assert len(told) == 28
    assert not {day.isoformat(), (day - timedelta(days=3)).isoformat()} & told
    assert north["latest"]["day"] == (day - timedelta(days=1)).isoformat()
    south = series["gauges/rain/south"]["properties"]
    assert day.isoformat() not in {item["day"] for item in south["days"]}
    assert south["latest"]["day"] == day.isoformat()
    assert (south["latest"]["quality"], south["latest"]["reason"]) == ("rejected", "flat line")


def test_of_a_withheld_feed_there_is_the_name_and_nothing_else(valley: ToyRegion) -> None:
    _, before = ask(valley)
    change_settings(valley, 'name = "gauges"', 'name = "gauges"\nredistribute = false')

    found, series = ask(valley)

    assert found["withheld"] == ["gauges"]
    assert set(series) == {"dams/level/lake"}
    assert series["dams/level/lake"] == before["dams/level/lake"]
    text = client_of(valley, loaded=False).get("/series").text
    for gauge in GAUGES:
        assert gauge not in text
        for part in before[f"gauges/rain/{gauge}"]["geometry"]["coordinates"]:
            assert str(part) not in text


def test_a_feed_that_the_settings_no_longer_name_is_withheld(valley: ToyRegion) -> None:
    change_settings(valley, 'name = "dams"', 'name = "other_dams"')
    found, series = ask(valley)
    assert found["withheld"] == ["dams"]
    assert "dams/level/lake" not in series


def test_the_thirty_days_end_with_the_newest_reading_however_long_ago(valley: ToyRegion) -> None:
    set_levels(valley, {})
    valley.clock.now += timedelta(days=100)
    _, series = ask(valley)
    lake = series["dams/level/lake"]["properties"]
    assert len(lake["days"]) == 30
    assert lake["days"][-1]["day"] == LAST_DAY.isoformat() == lake["latest"]["day"]


def test_without_an_archive_there_is_nothing_and_nothing_is_made(valley: ToyRegion) -> None:
    valley.data.rename(valley.folder / "unmounted")
    found, _ = ask(valley)
    assert found["features"] == []
    assert not valley.data.exists()


def test_the_example_of_the_description_is_an_answer() -> None:
    from service.api.examples import SERIES
    from service.api.series import SeriesCollection

    assert SeriesCollection.model_validate(SERIES).model_dump(mode="json") == SERIES
    assert date.fromisoformat(SERIES["features"][0]["properties"]["latest"]["day"])
