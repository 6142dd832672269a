"""The Atom feed of CAP messages, and each message as it was sent."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree

from exporters.cap import ATOM, cap_xml
from service.api.app import create_app
from service.errors import SettingsError
from tests.fix_cap import CAP, DAY, Desk, desk_in, morning, read_valid, texts_of, with_cap
from tests.fix_region import ToyRegion
from tests.fix_site import raw_get, site_of

NS = {"a": ATOM}


@pytest.fixture
def desk(toy: ToyRegion) -> Desk:
    """A region whose western zone went from orange to red; its API is `site_of(toy)`."""
    desk = desk_in(toy.folder, morning(DAY))
    with_cap(toy)
    with desk.ledger:
        desk.show(DAY, {"west": 2, "east": 0})
        desk.send()
        desk.show(DAY + timedelta(days=1), {"west": 3, "east": 0})
        desk.send(morning(DAY + timedelta(days=1)))
    return desk


def test_the_feed_lists_messages_newest_first_and_links_to_each(desk: Desk, toy: ToyRegion) -> None:
    http = site_of(toy)

    answer = http.get("/cap")

    assert answer.headers["content-type"] == "application/atom+xml"
    feed = etree.fromstring(answer.content)
    entries = feed.findall("a:entry", NS)
    assert feed.findtext("a:id", namespaces=NS) == "http://map.example/cap"
    assert feed.findtext("a:updated", namespaces=NS) == "2026-03-11T06:00:00Z"
    assert feed.findtext("a:author/a:name", namespaces=NS) == "Toy valley"
    assert [entry.findtext("a:title", namespaces=NS) for entry in entries] == [
        "DRAFT - SYNTHETIC DATA - Red landslide warning: West, 2026-03-11",
        "DRAFT - SYNTHETIC DATA - Orange landslide warning: West, 2026-03-10",
    ]
    assert len({entry.findtext("a:id", namespaces=NS) for entry in entries}) == 2
    for entry, message in zip(entries, reversed(desk.sent), strict=True):
        (link,) = entry.findall("a:link", NS)
        assert link.get("type") == "application/cap+xml"
        found = http.get(link.get("href"))
        assert found.headers["content-type"] == "application/cap+xml"
        assert found.content == cap_xml(message)
        assert texts_of(read_valid(found.content), "identifier") == [message.identifier]


def test_the_feed_may_be_cut_and_is_not_sent_again_unchanged(desk: Desk, toy: ToyRegion) -> None:
    http = site_of(toy)
    answer = http.get("/cap?limit=1")

    assert len(etree.fromstring(answer.content).findall("a:entry", NS)) == 1
    again = http.get("/cap?limit=1", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_a_region_that_sends_no_messages_says_so(toy: ToyRegion) -> None:
    answer = site_of(toy).get("/cap")

    assert answer.status_code == 404
    assert "[cap]" in answer.json()["detail"]


def test_a_region_that_has_sent_nothing_yet_has_an_empty_feed(toy: ToyRegion) -> None:
    feed = etree.fromstring(site_of(with_cap(toy)).get("/cap").content)

    assert feed.findall("a:entry", NS) == []
    assert feed.findtext("a:updated", namespaces=NS)


@pytest.mark.parametrize(
    "identifier", ["toy-20260310T060000Z-0123456789", "nothing", "%2e%2e%2fledger", "toy' OR '1'='1", "x%00"]
)
def test_there_is_no_other_message(desk: Desk, toy: ToyRegion, identifier: str) -> None:
    assert raw_get(site_of(toy), f"/cap/{identifier}.xml").status == 404


def test_what_was_sent_stays_when_messages_are_no_longer_made(desk: Desk, toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text("utf-8").replace(CAP, ""), "utf-8")

    http = site_of(toy)

    assert http.get("/cap").status_code == 200
    assert http.get(f"/cap/{desk.sent[0].identifier}.xml").status_code == 200


def test_texts_that_cannot_be_used_stop_the_start(toy: ToyRegion, tmp_path: Path) -> None:
    with_cap(toy, CAP + 'languages = ["tlh"]\n')

    with pytest.raises(SettingsError, match="tlh"):
        create_app(toy.settings, toy.clock, bundle=None)
