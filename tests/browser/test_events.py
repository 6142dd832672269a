"""Landslides on the map page, what the map showed before each, and how often it was right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP, PHONE, Served, Visit
from tests.browser.test_accessibility import violations
from tests.fix_outcomes import inventory, verified
from tests.fix_places import lonlat_of
from tests.fix_region import ToyRegion

Serve = Callable[[ToyRegion], Served]
Open = Callable[..., Visit]

CELLS = ((20, 12), (12, 30), (40, 30), (50, 12), (28, 44), (8, 56))


@pytest.fixture
def known(valley: ToyRegion) -> ToyRegion:
    """The valley with an inventory and its verification."""
    put(valley)
    return valley


def put(toy: ToyRegion) -> None:
    """Put six events into the region's ledger, each at a place of its own."""
    events = inventory(*(lonlat_of(*cell) for cell in CELLS))
    with toy.ledger() as ledger:
        for event in events:
            ledger.events.add(event)
        ledger.verifications.keep(verified(events))


def test_the_panel_tells_hits_misses_and_how_few_they_are(
    known: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(known), "?panel=verify")
    panel = seen.page.locator("#panel-verify")

    expect(panel).to_contain_text("Hits: 1. Misses: 1. Undecided: 1. No map: 1.")
    expect(panel).to_contain_text("Only 2 landslides could be decided.")
    expect(panel).to_contain_text("SYNTHETIC inputs")
    expect(panel).to_contain_text("2 landslides were decided: too few for more than a first look.")
    expect(panel.get_by_role("row", name="orange or more")).to_contain_text("6")  # nobody looked
    expect(panel.get_by_role("img", name="Area under the curve 0.78")).to_be_visible()
    expect(panel.get_by_role("listitem")).to_have_count(6)
    expect(panel.get_by_role("button", name="not held against a map yet")).to_have_count(1)


def test_before_the_first_verification_it_says_that_this_is_not_no_misses(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), "?panel=verify")

    expect(seen.page.locator("#panel-verify")).to_contain_text("That is not the same as no misses.")
    expect(seen.page.locator("#panel-verify")).to_contain_text("The inventory is empty.")
    assert "The map before it" not in seen.page.locator("#panel-verify").inner_text()


def test_a_click_on_a_sign_says_what_the_map_showed_before(
    known: ToyRegion, serve: Serve, visit: Open
) -> None:
    lon, lat = lonlat_of(*CELLS[0])
    seen = visit(serve(known), f"?lon={lon:.5f}&lat={lat:.5f}&z=14")
    box = seen.page.locator("canvas.maplibregl-canvas").bounding_box()
    assert box is not None
    seen.until("document.querySelector('#with-events').checked")
    card = seen.page.locator(".event-card")

    for _ in range(20):  # until the signs are drawn
        seen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        if card.count():
            break
        seen.page.wait_for_timeout(200)

    expect(card).to_contain_text("The map before it: hit")
    expect(card).to_contain_text("very high")
    expect(card).to_contain_text("orange")
    expect(card).to_contain_text("0.71; 93 % of the map lay below")
    assert "Ada" not in card.inner_text()


def test_the_keyboard_chooses_an_event_and_focus_stays(known: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(known), "?panel=verify")
    button = seen.page.get_by_role("button", name="5 March 2026")

    button.focus()
    seen.page.keyboard.press("Enter")

    expect(seen.page.locator(".event-card")).to_contain_text("The map before it: hit")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()


def test_events_can_be_hidden_and_the_address_keeps_that(known: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(known))
    expect(seen.page.locator(".legend")).to_contain_text("the map before was")

    seen.page.get_by_label("Landslides that happened").uncheck()

    expect(seen.page.locator(".legend")).not_to_contain_text("the map before was")
    seen.until("location.search.includes('hide=events')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_it(
    known: ToyRegion, serve: Serve, visit: Open, scheme: str, size: dict[str, int]
) -> None:
    seen = visit(serve(known), color_scheme=scheme, viewport=size)
    seen.page.click("#tab-verify")
    seen.page.get_by_role("button", name="4 March 2026").click()
    expect(seen.page.locator(".event-card")).to_contain_text("miss")
    seen.page.get_by_text("More tables").click()
    expect(seen.page.get_by_role("row", name="more 0 MA 0 CA 1 CA 0 CA")).to_be_visible()
    expect(seen.page.get_by_role("row", name="West 1 1 2")).to_be_visible()
    seen.settle()

    assert violations(seen) == []


def test_the_plain_page_with_events_has_no_violations(known: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(known))

    seen.page.goto(f"{seen.address}/plain")

    expect(seen.page.get_by_role("heading", name="Was the map right?")).to_be_visible()
    assert violations(seen) == []


def test_all_tabs_fit_beside_the_map(known: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(known))

    room = seen.page.evaluate(
        "(() => { const row = document.querySelector('.tabs'); return row.clientWidth - row.scrollWidth; })()"
    )

    assert room >= 0
