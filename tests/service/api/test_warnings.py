"""/warnings: the levels that stand, why, and those of past days. Unknown is never green."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
import rasterio.warp
import shapely

from exporters.layer import Layer
from service.api import examples
from service.api.page_levels import UNKNOWN
from service.api.warnings import WarningHistory, WarningList
from service.region import open_region
from tests.fix_places import client_of, strict_json
from tests.fix_region import ToyRegion
from tests.fix_warnings import NUMBERS, RULE, decide, decide_newest, start_drill
from tests.service.api.conftest import layers_by_day

LAST = date(2026, 3, 5)  # of the published toy


def get(toy: ToyRegion, path: str, **query: Any) -> Any:
    answer = client_of(toy, loaded=False).get(path, params=query)
    assert answer.status_code == 200, answer.text
    return strict_json(answer.text)


def nowcast(toy: ToyRegion) -> Layer:
    with toy.ledger() as ledger:
        found = ledger.latest()
    assert found is not None
    return found


def test_levels_come_with_the_rule_and_the_numbers_the_gravest_first(changing: ToyRegion) -> None:
    layer = decide_newest(changing, {"": 1, "east": 0, "west": 2})

    (said,) = get(changing, "/warnings")["layers"]

    assert (said["layer"], said["lead"], said["may_warn"]) == (layer.id, 0, True)
    assert [(one["zone"], one["level"], one["label"]) for one in said["levels"]] == [
        ("west", 2, "orange"),
        ("", 1, "yellow"),
        ("east", 0, "green"),
    ]
    west = said["levels"][0]
    assert (west["rule"], west["numbers"], west["previous"]) == (RULE, NUMBERS, 0)
    assert said["levels_missing"] is None


def test_a_level_that_is_not_known_is_null_and_stands_before_green(changing: ToyRegion) -> None:
    decide_newest(changing, {"east": 0, "west": None})

    (said,) = get(changing, "/warnings")["layers"]

    assert [(one["zone"], one["level"], one["label"]) for one in said["levels"]] == [
        ("west", None, None),
        ("east", 0, "green"),
    ]


def test_a_model_that_may_not_warn_has_no_levels_and_says_so(published: ToyRegion) -> None:
    (said,) = get(published, "/warnings")["layers"]

    assert said["levels"] == []
    assert said["levels_missing"]["code"] == "may_not_warn"
    zones = get(published, "/zones")
    assert zones["levels_missing"]["code"] == "may_not_warn"
    assert {feature["properties"]["warning_level"] for feature in zones["features"]} == {None}
    assert {feature["properties"]["warning"] for feature in zones["features"]} == {None}


def test_a_model_that_may_warn_but_decided_nothing_says_that(changing: ToyRegion) -> None:
    decide_newest(changing, {})

    (said,) = get(changing, "/warnings")["layers"]

    assert (said["may_warn"], said["levels"]) == (True, [])
    assert said["levels_missing"]["code"] == "not_decided"


def test_forecasts_have_levels_of_their_own(own_forecast: ToyRegion) -> None:
    decide_newest(own_forecast, {"west": 0})
    with own_forecast.ledger() as ledger:
        ahead = ledger.current(LAST + timedelta(days=2), 2)
    assert ahead is not None
    decide(own_forecast, ahead, {"west": 3})

    said = get(own_forecast, "/warnings")["layers"]

    assert [layer["lead"] for layer in said] == [0, 1, 2, 3]
    levels = {layer["lead"]: [one["level"] for one in layer["levels"]] for layer in said}
    assert levels == {0: [0], 1: [], 2: [3], 3: []}
    (only,) = get(own_forecast, "/warnings", lead=2)["layers"]
    assert only["day"] == (LAST + timedelta(days=2)).isoformat()
    leads = get(own_forecast, "/zones/west")["properties"]["leads"]
    assert {lead["lead"]: lead["warning_level"] for lead in leads} == {1: None, 2: 3, 3: None}


def test_filters_keep_a_zone_or_what_is_known_to_be_grave_enough(changing: ToyRegion) -> None:
    decide_newest(changing, {"": None, "east": 1, "west": 2})

    def zones(**query: Any) -> list[str]:
        return [one["zone"] for one in get(changing, "/warnings", **query)["layers"][0]["levels"]]

    assert zones() == ["west", "east", ""]
    assert zones(min_level=1) == ["west", "east"]
    assert zones(min_level=2) == ["west"]
    assert zones(zone="east") == ["east"]


@pytest.mark.parametrize("path", ["/warnings", "/warnings/history"])
def test_a_zone_that_no_map_has_is_not_taken_for_one_without_warnings(changing: ToyRegion, path: str) -> None:
    decide_newest(changing, {"west": 3})
    client = client_of(changing, loaded=False)

    misspelt = client.get(path, params={"zone": "wset"})

    assert misspelt.status_code == 404
    assert "zone" in misspelt.text


def test_the_levels_of_a_withdrawn_layer_stand_no_longer(changing: ToyRegion) -> None:
    days = layers_by_day(changing)
    before = decide(changing, days[LAST - timedelta(days=1)], {"west": 1})
    newest = decide(changing, days[LAST], {"west": 3})
    with changing.ledger() as ledger:
        ledger.withdraw(newest, "A. Rossi", "wrong gauge", [])

    (said,) = get(changing, "/warnings")["layers"]

    assert (said["layer"], [one["level"] for one in said["levels"]]) == (before.id, [1])
    history = get(changing, "/warnings/history", until=LAST.isoformat())["levels"]
    assert [(one["day"], one["level"]) for one in history] == [(before.day.isoformat(), 1)]


def test_without_a_map_no_level_is_known(toy: ToyRegion) -> None:
    said = get(toy, "/warnings")

    assert (said["layers"], said["behind_days"]) == ([], None)
    assert said["layers_missing"]["code"] == "no_map"


def test_an_old_map_says_how_old_its_levels_are(published: ToyRegion) -> None:
    said = get(published, "/warnings")

    assert said["today"] == "2026-03-11"
    assert said["behind_days"] == 6
    assert said["layers_missing"] is None


def test_a_drill_stands_apart_and_touches_no_level(changing: ToyRegion) -> None:
    decide_newest(changing, {"west": 0})
    start_drill(changing, "west", 3)
    start_drill(changing, "gone", 1)

    said = get(changing, "/warnings")

    assert [(one["name"], one["label"], one["reason"]) for one in said["exercises"]] == [
        ("West", "red", "monthly drill"),
        ("gone", "yellow", "monthly drill"),
    ]
    assert "A. Rossi" not in str(said)
    assert [one["level"] for one in said["layers"][0]["levels"]] == [0]
    changing.clock.now += timedelta(hours=2)
    assert get(changing, "/warnings")["exercises"] == []


def test_a_zone_tells_its_level_its_past_levels_and_where_its_name_fits(changing: ToyRegion) -> None:
    days = layers_by_day(changing)
    decide(changing, days[LAST - timedelta(days=1)], {"west": None})
    decide(changing, days[LAST], {"west": 2, "east": 0})

    said = get(changing, "/zones/west")["properties"]

    assert (said["warning_level"], said["warning"]["rule"]) == (2, RULE)
    assert [day["warning_level"] for day in said["history"]] == [None, 2]
    levels = {f["id"]: f["properties"]["warning_level"] for f in get(changing, "/zones")["features"]}
    assert levels == {"west": 2, "east": 0}
    outline = {zone.id: zone.geometry for zone in open_region(changing.settings).zones}["west"]
    lon, lat = said["label_at"]
    x, y = rasterio.warp.transform("EPSG:4326", "EPSG:32632", [lon], [lat])
    assert shapely.contains_xy(outline, x[0], y[0])


def test_the_history_is_of_the_revision_that_stands_for_each_day_and_lead(changing: ToyRegion) -> None:
    days = layers_by_day(changing)
    decide(changing, days[LAST - timedelta(days=1)], {"west": 1, "east": 0})
    decide(changing, days[LAST], {"west": 2, "east": None})

    def levels(**query: Any) -> list[tuple[str, str, int | None]]:
        found = get(changing, "/warnings/history", until=LAST.isoformat(), **query)
        return [(one["day"], one["zone"], one["level"]) for one in found["levels"]]

    assert levels() == [
        ("2026-03-04", "west", 1),
        ("2026-03-04", "east", 0),
        ("2026-03-05", "west", 2),
        ("2026-03-05", "east", None),
    ]
    assert levels(zone="west", since=LAST.isoformat()) == [("2026-03-05", "west", 2)]
    assert levels(lead=1) == []


@pytest.mark.parametrize(
    "address",
    [
        "/warnings?lead=-1", "/warnings?min_level=4", "/warnings?zone=" + "x" * 201,
        "/warnings/history?since=2026-03-06&until=2026-03-05",
        "/warnings/history?since=2020-01-01&until=2026-03-05", "/warnings/history?until=yesterday",
        "/warnings/history?lead=100",
    ],
)  # fmt: skip
def test_parameters_have_bounds(published: ToyRegion, address: str) -> None:
    assert client_of(published, loaded=False).get(address).status_code == 422


def test_the_first_days_of_the_calendar_have_no_levels(published: ToyRegion) -> None:
    assert get(published, "/warnings/history", until="0001-01-01")["levels"] == []


def test_an_answer_is_sent_again_only_when_a_level_or_a_drill_changed(changing: ToyRegion) -> None:
    http = client_of(changing, loaded=False)
    decide_newest(changing, {"west": 0})
    first = http.get("/warnings")
    same = {"If-None-Match": first.headers["etag"]}
    assert http.get("/warnings", headers=same).status_code == 304
    start_drill(changing, "west", 1)
    assert http.get("/warnings", headers=same).status_code == 200


def test_the_examples_of_the_description_are_answers() -> None:
    WarningList.model_validate(examples.WARNINGS)
    WarningHistory.model_validate(examples.WARNINGS_HISTORY)


def test_the_plain_page_names_raised_levels_their_rule_and_drills_in_words(own_forecast: ToyRegion) -> None:
    decide_newest(own_forecast, {"west": 2, "east": None}, rule="orange: <b>10 %</b>", unconfirmed=True)
    with own_forecast.ledger() as ledger:
        ahead = ledger.current(LAST + timedelta(days=1), 1)
    assert ahead is not None
    decide(own_forecast, ahead, {"west": 3, "east": 0})
    start_drill(own_forecast, "east", 3, reason="<script>")

    text = client_of(own_forecast, loaded=False).get("/plain").text

    assert "Warning levels of 2026-03-05: West: ORANGE</p>" in text
    assert "EXERCISE, NO WARNING: East plays red until" in text
    assert "<script>" not in text
    rule = "orange: &lt;b&gt;10 %&lt;/b&gt; (unconfirmed readings)"
    assert (
        f"<tr><td>West</td><td class=level-2>orange</td><td class=level-3>red</td><td>{UNKNOWN}</td>" in text
    )
    assert f"<td>{rule}</td>" in text
    assert f"<tr><td>East</td><td>{UNKNOWN}</td><td class=level-0>green</td>" in text


def test_the_plain_page_is_never_green_where_the_model_may_not_warn(published: ToyRegion) -> None:
    text = client_of(published, loaded=False).get("/plain").text

    assert "No level is not green." in text
    assert "level-0" not in text
    assert "EXERCISE" not in text


def test_a_drill_for_the_whole_region_says_so_even_without_a_map(toy: ToyRegion) -> None:
    start_drill(toy, "", 2)

    (one,) = get(toy, "/warnings")["exercises"]

    assert (one["zone"], one["name"], one["label"]) == ("", "whole region", "orange")
