"""Forecasts as they leave the house: which are current, how STAC tells them, what metrics say of them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.folder import FORECASTS, LATEST, FolderExporter
from exporters.forecast_metrics import AreaScoreFigures, ForecastFigures, RainScoreFigures
from exporters.forecasts import current_forecasts, issue_day
from exporters.layer import ForecastBasis, Layer, LayerStatus
from exporters.stac import ITEM, entries_on_disk, layer_item, write_collection, write_item
from exporters.stac_forecast import SCHEMA
from tests.exporters.fix_layer import finished_layer, make_layer
from tests.exporters.test_metrics import figures, samples
from tests.exporters.test_stac import read_json, validate_offline

TODAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASIS = ForecastBasis(feed="sky", issued_at=datetime(2026, 3, 1, tzinfo=UTC), first_day=TODAY, members=11)


def ahead(folder: Path, lead: int, issued: date = TODAY, revision: int = 1, **changes: Any) -> Layer:
    """Return a forecast; nothing is written."""
    day = issued + timedelta(days=lead)
    start = datetime.combine(issued, time(6), UTC)
    values = {
        "id": f"demo-{day}-l{lead}-r{revision}",
        "lead": lead,
        "revision": revision,
        "status": LayerStatus.PROVISIONAL,
        "issued_at": start,
        "forecast": BASIS.model_copy(update={"issued_at": start.replace(hour=0), "first_day": issued}),
    }
    place = folder / "layers" / f"{day}-l{lead}" / f"{revision:016d}"
    return make_layer(place, day, **{**values, **changes})


def test_of_each_lead_the_newest_forecast_is_current(tmp_path: Path) -> None:
    old = [ahead(tmp_path, lead, TODAY - timedelta(days=1)) for lead in (1, 2, 3)]
    new = [ahead(tmp_path, lead) for lead in (1, 2, 3)]
    revised = ahead(tmp_path, 2, revision=2)

    found = current_forecasts([*new, *old, revised, make_layer(tmp_path)], TODAY, NOON)

    assert found == [new[0], revised, new[2]]
    assert {issue_day(layer) for layer in found} == {TODAY}


def test_a_nowcast_of_a_later_day_ends_older_forecasts_of_days_to_come(tmp_path: Path) -> None:
    made = [ahead(tmp_path, lead) for lead in (1, 2, 3)]

    assert current_forecasts(made, TODAY + timedelta(days=1), NOON) == []
    assert current_forecasts(made, None, NOON) == made


def test_a_day_is_current_until_it_ends(tmp_path: Path) -> None:
    made = [ahead(tmp_path, lead) for lead in (1, 2)]
    end = made[0].valid_to

    assert current_forecasts(made, TODAY, end - timedelta(seconds=1)) == made
    assert current_forecasts(made, TODAY, end) == made[1:]


def test_two_issues_speak_of_one_day_and_the_later_counts(tmp_path: Path) -> None:
    yesterday = TODAY - timedelta(days=1)
    # Today's run made its first lead only; yesterday's third is of the day after tomorrow.
    earlier = [ahead(tmp_path, lead, yesterday) for lead in (1, 2, 3)]
    today = ahead(tmp_path, 1)

    assert current_forecasts([*earlier, today], yesterday, NOON) == [today, earlier[2]]


@given(
    made=st.lists(
        st.tuples(st.integers(1, 3), st.integers(-3, 1), st.integers(1, 3), st.booleans()), max_size=12
    ),
    nowcast=st.one_of(st.none(), st.integers(-3, 0)),
)
def test_what_is_current_is_never_withdrawn_late_past_or_twice_of_a_lead_or_day(
    made: list[tuple[int, int, int, bool]], nowcast: int | None
) -> None:
    layers = [
        ahead(
            Path("x"),
            lead,
            TODAY + timedelta(days=back),
            revision,
            **({"status": LayerStatus.WITHDRAWN} if withdrawn else {}),
        )
        for lead, back, revision, withdrawn in made
    ]
    newest = None if nowcast is None else TODAY + timedelta(days=nowcast)

    found = current_forecasts(layers, newest, NOON)

    assert len({layer.lead for layer in found}) == len({layer.day for layer in found}) == len(found)
    for layer in found:
        assert layer.status != LayerStatus.WITHDRAWN
        assert layer.valid_to > NOON
        assert newest is None or issue_day(layer) >= newest
        revisions = [one.revision for one in layers if (one.day, one.lead) == (layer.day, layer.lead)]
        assert layer.revision == max(revisions)


def test_the_item_of_a_forecast_has_the_forecast_extension_and_says_it_in_words(tmp_path: Path) -> None:
    layer = ahead(tmp_path, 2)

    item = layer_item(layer)

    validate_offline(item)
    said = item.to_dict(transform_hrefs=False)
    assert SCHEMA in said["stac_extensions"]
    properties = said["properties"]
    assert properties["forecast:reference_datetime"] == "2026-03-01T00:00:00Z"
    assert properties["forecast:horizon"] == "PT48H"
    assert properties["forecast:duration"] == "P1D"
    assert properties["datetime"] == "2026-03-03T00:00:00Z"
    assert properties["created"] == "2026-03-01T06:00:00Z"
    assert properties["colluvium:lead"] == 2
    assert properties["colluvium:forecast"]["members"] == 11
    assert "forecast 2 days ahead" in properties["title"]
    assert properties["description"].startswith("A forecast for 2026-03-03, issued on 2026-03-01")
    bands = said["assets"]["quantiles"]["raster:bands"]
    assert [band["name"] for band in bands] == ["p10", "p50", "p90"]


def test_a_reference_within_the_day_gives_a_horizon_in_hours_and_a_hindcast_none(tmp_path: Path) -> None:
    late = BASIS.model_copy(update={"issued_at": NOON + timedelta(minutes=30)})
    passed = BASIS.model_copy(update={"issued_at": NOON + timedelta(days=3)})

    def horizon(layer: Layer) -> str | None:
        return layer_item(layer).properties.get("forecast:horizon")

    assert horizon(ahead(tmp_path, 1, forecast=late)) == "PT11H30M"
    assert horizon(ahead(tmp_path, 1, forecast=passed)) is None
    assert horizon(ahead(tmp_path, 3, forecast=None)) == "PT72H"  # readings alone: from its issue day


def test_a_nowcast_has_nothing_of_a_forecast(tmp_path: Path) -> None:
    said = json.dumps(layer_item(make_layer(tmp_path)).to_dict(transform_hrefs=False))

    assert "orecast:" not in said
    assert SCHEMA not in said


def test_the_collection_sums_up_leads_references_and_horizons(tmp_path: Path) -> None:
    nowcast = finished_layer(tmp_path, TODAY)
    layers = [ahead(tmp_path, 1, issued) for issued in (TODAY - timedelta(days=1), TODAY)]
    layers += [ahead(tmp_path, 3, unconfirmed=True)]
    for layer in layers:
        layer.folder.mkdir(parents=True)
        write_item(layer, layer.folder / ITEM)
    path = tmp_path / "layers" / "collection.json"

    write_collection(path, [nowcast, *layers])

    validate_offline(pystac.Collection.from_file(str(path)))
    said = read_json(path)
    assert SCHEMA in said["stac_extensions"]
    assert said["summaries"]["colluvium:lead"] == [0, 1, 3]
    assert said["summaries"]["colluvium:unconfirmed"] == [False, True]
    assert said["summaries"]["forecast:horizon"] == ["PT24H", "PT72H"]
    assert said["summaries"]["forecast:reference_datetime"] == {
        "minimum": "2026-02-28T00:00:00Z",
        "maximum": "2026-03-01T00:00:00Z",
    }
    # What is read from the items alone is the same.
    on_disk = {entry.id: entry.reference for entry in entries_on_disk(tmp_path / "layers")}
    assert on_disk[nowcast.id] is None
    assert on_disk[layers[1].id] == BASIS.issued_at


def test_a_folder_lists_forecasts_beside_latest_which_stays_the_nowcast(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "share"
    target.mkdir()
    nowcast = finished_layer(source, TODAY)
    exporter = FolderExporter("share", target)
    exporter.deliver(nowcast)
    assert not (target / FORECASTS).exists()

    for lead in (1, 2):
        layer = ahead(source, lead)
        layer.folder.mkdir(parents=True)
        write_item(layer, layer.folder / ITEM)
        exporter.deliver(layer)

    assert read_json(target / LATEST)["layer"] == nowcast.id
    listed = read_json(target / FORECASTS)["forecasts"]
    assert [(one["lead"], one["day"]) for one in listed] == [(1, "2026-03-02"), (2, "2026-03-03")]
    assert all((target / one["path"] / ITEM).is_file() for one in listed)
    assert listed[0]["issue_day"] == "2026-03-01"
    assert listed[0]["valid_to"] == "2026-03-03T00:00:00+00:00"

    exporter.deliver(finished_layer(source, TODAY + timedelta(days=1)))
    assert not (target / FORECASTS).exists()


def test_forecasts_bring_areas_by_lead_and_leave_the_names_of_the_nowcast_alone(tmp_path: Path) -> None:
    nowcast, tomorrow = make_layer(tmp_path), ahead(tmp_path, 1, unconfirmed=True)
    issued = {1: tomorrow.issued_at, 2: tomorrow.issued_at - timedelta(days=4)}
    alone = samples(figures(nowcast))

    found = samples(figures(nowcast, forecasts=ForecastFigures([tomorrow], issued)))

    for name in ("layer_day_timestamp_seconds", "layer_status", "zone_class_area_square_meters"):
        assert found[name] == alone[name], name
    leads = {(labels["lead"], labels["class"]) for labels, _ in found["class_area_square_meters"]}
    assert {lead for lead, _ in leads} == {"0", "1"}
    assert len(leads) == len(found["class_area_square_meters"]) == 8
    # The second lead is no longer current: nothing but the moment of its issue is left of it.
    assert {labels["lead"] for labels, _ in found["forecast_issued_timestamp_seconds"]} == {"1", "2"}
    assert found["forecast_day_timestamp_seconds"] == [({"lead": "1"}, tomorrow.valid_from.timestamp())]
    assert found["forecast_reference_timestamp_seconds"] == [({"lead": "1"}, BASIS.issued_at.timestamp())]
    assert found["forecast_unconfirmed"] == [({"lead": "1"}, 1.0)]
    assert found["layer_unconfirmed"] == [({}, 0.0)]
    status = {labels["status"]: value for labels, value in found["forecast_status"]}
    assert status == {one.value: float(one == LayerStatus.PROVISIONAL) for one in LayerStatus}


def test_forecasts_without_a_nowcast_still_have_their_areas(tmp_path: Path) -> None:
    found = samples(figures(None, forecasts=ForecastFigures([ahead(tmp_path, 1)])))

    assert {labels["lead"] for labels, _ in found["class_area_square_meters"]} == {"1"}
    assert "layer_status" not in found


def test_a_score_that_is_not_known_is_absent_and_not_zero() -> None:
    rain = [
        RainScoreFigures(0, 30, 0.8, 0.1, 1.1, 0.9),
        RainScoreFigures(1, 2, None, None, None, None),
    ]
    area = [AreaScoreFigures(1, 3, None)]

    found = samples(figures(forecasts=ForecastFigures(rain_scores=rain, area_scores=area)))

    assert found["forecast_rain_days"] == [({"ahead": "0"}, 30), ({"ahead": "1"}, 2)]
    for name in ("hit_rate", "false_alarm_ratio", "bias_ratio", "factor"):
        ((labels, _),) = found[f"forecast_rain_{name}"]
        assert labels == {"ahead": "0"}
    assert found["forecast_high_area_days"] == [({"lead": "1"}, 3)]
    assert "forecast_high_area_bias_ratio" not in found


@pytest.mark.parametrize("lead", [0, 1])
def test_an_unconfirmed_layer_says_so_in_its_description(tmp_path: Path, lead: int) -> None:
    made = ahead(tmp_path, 1) if lead else make_layer(tmp_path)
    said = layer_item(made.model_copy(update={"unconfirmed": True})).properties["description"]

    assert "Unconfirmed" in said
    assert "Unconfirmed" not in layer_item(made).properties["description"]
