"""/events and /verification: what happened, what the map had shown. Not verified is null; nobody is named."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from exporters.event import Event
from exporters.verification import Verification
from service.api.events import EventCollection
from service.api.examples_events import EVENTS, VERIFICATION
from service.api.verification import VerificationAnswer
from service.verify import verify
from tests.fix_outcomes import WHO, WHY, WORDS, detected, inventory, verification, verified
from tests.fix_places import lonlat_of, strict_json
from tests.fix_region import ToyRegion
from tests.fix_site import site_of
from tests.service.api.conftest import layers_by_day

LAST = date(2026, 3, 5)  # of the published toy


def known(toy: ToyRegion, events: list[Event] | None = None, record: Verification | None = None) -> None:
    """Put an inventory and its verification into the ledger."""
    events = inventory() if events is None else events
    with toy.ledger() as ledger:
        for event in events:
            ledger.events.add(event)
        ledger.verifications.keep(record or verified(events))


def get(toy: ToyRegion, path: str, **query: Any) -> Any:
    answer = site_of(toy).get(path, params=query)
    assert answer.status_code == 200, answer.text
    return strict_json(answer.text)


def uids(toy: ToyRegion, **query: Any) -> list[str]:
    return [feature["id"] for feature in get(toy, "/events", **query)["features"]]


def test_before_anything_happened_or_was_verified_it_says_so(published: ToyRegion) -> None:
    said = get(published, "/events")
    assert (said["matched"], said["verified_at"], said["synthetic"], said["features"]) == (0, None, None, [])

    said = get(published, "/verification")
    assert said["verification"] is None
    assert said["missing"]["code"] == "not_verified"


def test_each_landslide_says_what_the_map_before_it_showed(changing: ToyRegion) -> None:
    known(changing)

    said = {feature["id"]: feature["properties"] for feature in get(changing, "/events")["features"]}

    hit = said["hit"]
    assert (hit["outcome"], hit["before"]["class"], hit["before"]["level"]) == ("hit", "very_high", "orange")
    assert hit["outline"]["type"] == "Polygon"
    assert (hit["day_from"], hit["day"], hit["missing"]) == ("2026-03-05", "2026-03-05", None)
    assert (said["miss"]["outcome"], said["miss"]["outline"]) == ("miss", None)
    unknown = said["unknown"]["before"]
    assert (unknown["layer"], unknown["susceptibility"], unknown["level"]) == (None, None, None)
    assert unknown["why"] == "why it is unknown"


def test_one_that_no_verification_knows_is_neither_hit_nor_miss(changing: ToyRegion) -> None:
    known(changing)

    said = {feature["id"]: feature["properties"] for feature in get(changing, "/events")["features"]}

    for uid, code in (("new", "not_verified"), ("visit", "nothing_seen")):
        assert (said[uid]["outcome"], said[uid]["before"]) == (None, None)
        assert said[uid]["missing"]["code"] == code


def test_nobody_is_named_and_nobodys_words_are_told(changing: ToyRegion) -> None:
    known(changing)
    http = site_of(changing)

    said = "".join(http.get(path).text for path in ("/events", "/verification", "/plain", "/metrics"))

    assert "very_high" in said
    assert not any(words in said for words in (WHO, WHY, WORDS))


def test_events_are_found_by_day_kind_source_outcome_and_place_the_newest_first(changing: ToyRegion) -> None:
    events = inventory((9.0, 45.0), (9.5, 45.5), (9.1, 45.1))
    known(changing, events)

    assert uids(changing) == ["new", "hit", "miss", "undecided", "visit", "unknown"]
    assert uids(changing, kind="nothing_seen") == ["visit"]
    assert uids(changing, source="detected") == ["hit", "undecided"]
    assert uids(changing, outcome="miss") == ["miss"]
    assert uids(changing, bbox="8.9,44.9,9.05,45.05") == ["hit"]
    assert uids(changing, since="2026-03-05") == ["new", "hit"]
    # One of a span of days may have happened on any of them.
    assert "undecided" in uids(changing, since="2026-03-02", until="2026-03-02")
    assert "undecided" not in uids(changing, since="2026-03-04")
    said = get(changing, "/events", limit=2)
    assert (said["matched"], len(said["features"])) == (6, 2)


def test_what_was_retracted_is_no_longer_told(changing: ToyRegion) -> None:
    known(changing)
    with changing.ledger() as ledger:
        ledger.events.retract("hit", "B. Bianchi", "it was a quarry")

    assert "hit" not in uids(changing)


@pytest.mark.parametrize(
    "query",
    [
        {"since": "2026-03-02", "until": "2026-03-01"},
        {"bbox": "9,45,8,46"},
        {"bbox": "9,45,10"},
        {"bbox": "nan,45,10,46"},
        {"kind": "flood"},
        {"limit": 0},
        {"limit": 5001},
    ],
)
def test_what_cannot_be_meant_is_refused_as_a_problem(published: ToyRegion, query: dict[str, Any]) -> None:
    answer = site_of(published).get("/events", params=query)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/events", "/verification"])
def test_an_answer_that_did_not_change_is_not_sent_again(changing: ToyRegion, path: str) -> None:
    known(changing)
    http = site_of(changing)
    first = http.get(path)

    assert http.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert http.head(path).status_code == 200
    with changing.ledger() as ledger:
        ledger.verifications.keep(verification([], notes=("another",)))
    assert http.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 200
    assert http.post(path).status_code == 405


def test_the_record_is_told_whole_and_a_ratio_of_nothing_is_null(changing: ToyRegion) -> None:
    events = inventory()
    known(changing, events)

    said = get(changing, "/verification")["verification"]

    assert Verification.model_validate(said) == verified(events)
    assert said["zones"][0]["levels"][0]["false_alarm_ratio"]["value"] is None


def test_the_challengers_record_is_not_shown(changing: ToyRegion) -> None:
    with changing.ledger() as ledger:
        ledger.verifications.keep(verification([], of="challenger"))

    assert get(changing, "/verification")["verification"] is None
    assert "colluvium_verification_events" not in site_of(changing).get("/metrics").text


def test_the_metrics_of_a_served_region_have_the_record(changing: ToyRegion) -> None:
    known(changing)

    text = site_of(changing).get("/metrics").text

    assert 'colluvium_verification_events{outcome="miss"} 1.0' in text


def test_the_plain_page_tells_hits_and_misses_and_how_few_they_are(changing: ToyRegion) -> None:
    http = site_of(changing)
    assert "No landslide was held against the maps yet" in http.get("/plain").text

    known(changing)

    text = http.get("/plain").text
    assert "1 hit, 1 miss, 1 undecided, 1 unknown" in text
    assert "too few for more than a first look" in text
    assert "<td>2026-03-01 to 2026-03-03</td>" in text


def test_what_a_verification_of_the_served_maps_finds_is_told(changing: ToyRegion) -> None:
    where = lonlat_of(20, 30)
    slide = detected("slide", place=where, outline=None, accuracy_m=60.0, day_from=LAST, day=LAST)
    with changing.ledger() as ledger:
        ledger.events.add(slide)
        record = verify(changing.settings, ledger, changing.clock)
        ledger.verifications.keep(record)

    (feature,) = get(changing, "/events")["features"]

    layer = layers_by_day(changing)[LAST]
    assert feature["properties"]["outcome"] == record.events[0].outcome
    assert feature["properties"]["before"]["layer"] == layer.id
    assert Verification.model_validate(get(changing, "/verification")["verification"]) == record
    assert f'outcome="{record.events[0].outcome}"}} 1.0' in site_of(changing).get("/metrics").text


def test_the_examples_of_the_description_are_what_is_answered() -> None:
    assert EventCollection.model_validate(EVENTS).features[0].properties.day == date(2026, 3, 31)
    assert VerificationAnswer.model_validate(VERIFICATION).missing is None
