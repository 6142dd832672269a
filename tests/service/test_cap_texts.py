"""What CAP messages say, in which language, and which settings of them are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.cap import cap_xml
from exporters.layer import LayerStatus
from service.cap_texts import read_texts
from service.errors import SettingsError
from service.settings_warnings import CapSettings
from tests.fix_cap import (
    CAP,
    DAY,
    Desk,
    morning,
    open_desk,
    read_valid,
    rings_of,
    texts_of,
    toy_settings,
    warning,
)

NEXT = DAY + timedelta(days=1)
GREEN = {"west": 0, "east": 0}
ORANGE = {"west": 2, "east": 0}


@pytest.fixture
def desk(toy_template: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = open_desk(toy_template, tmp_path / "desk")
    with desk.ledger:
        yield desk


def test_a_message_says_zone_level_day_figures_and_what_the_index_is_not(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    (alert,) = desk.send()

    root = read_valid(cap_xml(alert))

    assert texts_of(root, "info/headline") == [
        "DRAFT - SYNTHETIC DATA - Orange landslide warning: West, 2026-03-10"
    ]
    (description,) = texts_of(root, "info/description")
    assert "30.0 % of the assessed ground of West (7.00 km²)" in description
    assert "Change within 1 d: +0.50 km²." in description
    assert "no probability" in description
    assert texts_of(root, "sent") == ["2026-03-10T06:00:00-00:00"]
    assert texts_of(root, "info/senderName") == ["Survey of Demo"]
    assert texts_of(root, "info/area/areaDesc") == ["West"]
    assert texts_of(root, "info/area/geocode/value") == ["west"]
    parameters = dict(
        zip(texts_of(root, "info/parameter/valueName"), texts_of(root, "info/parameter/value"), strict=True)
    )
    assert parameters["colluvium:level"] == "orange"
    assert parameters["colluvium:rule"] == "raised: 30.0% is high or very high"
    assert parameters["colluvium:share"] == "0.3"
    assert "colluvium:growth_7_days" not in parameters  # not known, which is not zero


def test_the_polygon_is_the_zones(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    (alert,) = desk.send()

    (ring,) = rings_of(read_valid(cap_xml(alert)))

    lon, lat = 9.0077, 45.1445  # the middle of the western half
    assert shapely.contains(ring, shapely.Point(lon, lat))
    assert not shapely.contains(ring, shapely.Point(lon + 0.0155, lat))


def test_each_language_has_its_own_info_and_the_same_figures(desk: Desk) -> None:
    desk.use(CAP + 'languages = ["it", "de", "fr", "en"]\n')
    desk.show(DAY, ORANGE)
    (alert,) = desk.send()

    root = read_valid(cap_xml(alert))

    assert texts_of(root, "info/language") == ["it", "de", "fr", "en"]
    headlines = texts_of(root, "info/headline")
    assert "Arancione" in headlines[0]
    assert "ENTWURF" in headlines[1]
    assert len(set(headlines)) == 4
    shares = ["30,0 %", "30,0 %", "30,0 %", "30.0 %"]
    assert all(share in text for share, text in zip(shares, texts_of(root, "info/description"), strict=True))


def test_headlines_fit_small_displays_however_long_a_zones_name_is(desk: Desk) -> None:
    name = "Unione dei comuni " * 20
    desk.show(
        DAY, ORANGE, warnings=(warning("west", 2, False, desk.clock()).model_copy(update={"name": name}),)
    )
    (alert,) = desk.send()

    assert len(alert.infos[0].headline) <= 160
    assert alert.infos[0].headline.endswith("…, 2026-03-10")
    assert alert.area.description == name


def test_a_draft_is_not_for_the_public_and_an_actual_message_names_who_decided(
    toy_template: Path, tmp_path: Path
) -> None:
    draft = open_desk(toy_template, tmp_path / "draft")
    actual = open_desk(toy_template, tmp_path / "actual")
    real = CAP + 'status = "Actual"\nactual_by = "A. Rossi"\n'
    actual.settings = toy_settings(actual.folder, real, synthetic=False)
    roots = []
    for desk in (draft, actual):
        with desk.ledger:
            desk.show(DAY, ORANGE)
            (alert,) = desk.send()
            roots.append(read_valid(cap_xml(alert)))

    assert [texts_of(root, "scope") for root in roots] == [["Restricted"], ["Public"]]
    assert texts_of(roots[0], "restriction")
    assert not texts_of(roots[1], "restriction")
    assert "A. Rossi" in texts_of(roots[1], "source")[0]
    assert "DRAFT" not in texts_of(roots[1], "info/headline")[0]


NOT_ASKED_FOR = "\x00 <b>&amp;</b> \u200f \ud83c".encode("utf-16", "surrogatepass").decode(
    "utf-16", "replace"
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=300) | st.just(NOT_ASKED_FOR))
def test_whatever_stands_in_a_text_the_xml_is_valid(desk: Desk, text: str) -> None:
    if not desk.sent:
        desk.show(DAY, ORANGE)
        desk.send()
    info = desk.sent[0].infos[0].model_copy(update={"headline": text, "contact": text})
    area = desk.sent[0].area.model_copy(update={"description": f"zone {text}", "geocodes": (("a", text),)})
    message = desk.sent[0].model_copy(update={"infos": (info,), "area": area, "note": text})

    read_valid(cap_xml(message))


# --- settings ---


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('status = "Actual"\n', "actual_by"),
        ('status = "Actual"\nactual_by = " "\n', "actual_by"),
        ('status = "Actual"\nactual_by = "A. Rossi"\n', "synthetic"),
        ('languages = ["en", "en"]\n', "twice"),
        ("languages = []\n", "languages"),
        ('web = "javascript:alert(1)"\n', "http"),
        ("min_level = 0\n", "min_level"),
        ("polygon_points = 3\n", "polygon_points"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        toy_settings(tmp_path, CAP + more)


def test_a_sender_that_the_standard_does_not_allow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="sender"):
        toy_settings(tmp_path, '\n[cap]\nsender = "A, B & C"\n')


def test_texts_of_another_language_are_taken_from_a_file_or_refused_by_name(desk: Desk) -> None:
    shipped = json.loads(files("exporters").joinpath("cap_texts.json").read_text("utf-8"))["en"]
    path = desk.folder / "texts.json"
    desk.use(CAP + 'languages = ["eo"]\ntexts = "texts.json"\n')
    assert desk.settings.cap is not None

    path.write_text(json.dumps({"eo": shipped | {"level.2": "Oranĝa"}}), "utf-8")
    assert read_texts(desk.settings.cap)[0].say("level.2") == "Oranĝa"
    for broken, told in (
        ({"de": shipped}, "no texts in 'eo'"),
        ({"eo": {key: text for key, text in shipped.items() if key != "do.3"}}, "lack do.3"),
        ({"eo": shipped | {"do.3": "$password"}}, r"do.3 holds \$password"),
        ({"eo": shipped | {"do.3": "100 $"}}, "do.3 holds a lone"),
    ):
        path.write_text(json.dumps(broken), "utf-8")
        with pytest.raises(SettingsError, match=told):
            read_texts(desk.settings.cap)


@pytest.mark.parametrize("language", ["de", "it", "fr"])
def test_every_shipped_language_is_complete_and_asks_for_nothing_that_is_not_there(language: str) -> None:
    (texts,) = read_texts(CapSettings(sender="a@example.org", languages=(language,)))

    assert texts.say("headline.now", level="1", zone="2", day="3")
    assert texts.number(1.25, 2) == "1,25"


def test_a_degraded_map_is_said_to_be_one(desk: Desk) -> None:
    desk.show(DAY, ORANGE, status=LayerStatus.DEGRADED, coverage=0.61)
    (alert,) = desk.send()

    assert "coverage 61 %" in alert.infos[0].description


def test_a_region_without_zones_is_warned_as_a_whole(toy_template: Path, tmp_path: Path) -> None:
    desk = open_desk(toy_template, tmp_path / "desk")
    desk.settings = desk.settings.model_copy(update={"zones": None})
    with desk.ledger:
        desk.show(DAY, {"": 2})
        (alert,) = desk.send()

    assert alert.area.description == "whole region"
    assert alert.area.geocodes == ()
    assert len(alert.area.polygons) == 1


def test_what_was_sent_on_a_day_can_be_found_and_counted(desk: Desk) -> None:
    desk.show(DAY, ORANGE)
    desk.send()
    desk.show(NEXT, GREEN)
    desk.send(morning(NEXT))
    cap = desk.ledger.cap

    assert [message.kind for message in cap.sent(morning(DAY, 0), morning(NEXT, 0))] == ["Alert"]
    assert [message.kind for message in cap.newest(10)] == ["Cancel", "Alert"]
    assert cap.counts() == {("Alert", "Draft"): 1, ("Cancel", "Draft"): 1}
    assert cap.find(desk.sent[0].identifier) == desk.sent[0]
    assert cap.find("toy-nothing") is None
