"""Forecasts on the map page: a way to them and back, and no doubt about which of the two is in sight."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DAYS, DESKTOP, PHONE, SMALL, TODAY, Served, Visit, iso
from tests.browser.test_accessibility import violations
from tests.fix_forecast import add_forecast_feed
from tests.fix_forecasts import add_forecasts
from tests.fix_places import DRY_CELL, lonlat_of
from tests.fix_region import ToyRegion

Serve = Callable[[ToyRegion], Served]
Open = Callable[..., Visit]
AHEAD = {lead: TODAY + timedelta(days=lead) for lead in (1, 2, 3)}


@pytest.fixture
def forecast(valley: ToyRegion) -> ToyRegion:
    """The valley with forecasts for one to three days ahead."""
    add_forecast_feed(valley)
    add_forecasts(valley)
    return valley


def picture_of(lead: int) -> str:
    return f"toy-{iso(AHEAD[lead])}-l{lead}-r1/class"


def test_the_page_opens_on_the_nowcast_and_names_the_days_of_the_forecasts(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(forecast), viewport=SMALL)

    assert seen.picture == f"toy-{iso(TODAY)}-l0-r1/class"
    assert "FORECAST" not in seen.banner
    expect(seen.page.locator(".chip")).to_be_hidden()
    names = seen.page.locator(".leads label").all_inner_texts()
    assert [re.sub(r"\s+", " ", name) for name in names] == [
        "Today Wed, 11 Mar",
        "+1 day Thu, 12 Mar",
        "+2 days Fri, 13 Mar",
        "+3 days Sat, 14 Mar",
    ]
    expect(seen.page.get_by_role("radio", name="Today")).to_be_checked()


def test_a_forecast_is_marked_as_one_with_its_issue_in_banner_map_and_panel(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(forecast), viewport=DESKTOP)

    seen.page.get_by_text("+2 days").click()
    expect(seen.page.locator(".chip")).to_be_visible()
    seen.settle()

    assert seen.picture == picture_of(2)
    assert "FORECAST. What you see is expected for Friday, 13 March 2026, 2 days ahead, issued" in seen.banner
    assert "It was not measured. The newest map is of 11 March 2026." in seen.banner
    assert "Up to date" not in seen.banner
    expect(seen.page.locator(".chip")).to_have_text("Forecast for Friday, 13 March 2026. Not measured.")
    panel = seen.page.locator("#panel-day")
    expect(panel.get_by_role("heading", name="Forecast: Friday, 13 March 2026")).to_be_visible()
    expect(panel).to_contain_text("the median of 11 members")
    expect(panel).to_contain_text("No forecast could be held against what came yet.")
    assert "Forecast Friday, 13 March 2026" in seen.page.locator(".day-title").inner_text()
    border = "getComputedStyle(document.querySelector('.stage'), '::after').borderTopStyle"
    assert seen.page.evaluate(border) == "dashed"
    seen.until("location.search.includes('lead=2')")
    assert "day=" not in seen.page.url


def test_the_way_back_from_a_forecast_is_the_switch_the_slider_or_an_earlier_day(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(forecast), "?lead=3", viewport=SMALL)
    page = seen.page
    assert seen.picture == picture_of(3)

    page.get_by_text("Today", exact=True).click()
    seen.until(f"document.querySelector('.stage').dataset.picture === 'toy-{iso(TODAY)}-l0-r1/class'")
    expect(page.locator(".banner")).not_to_contain_text("FORECAST")

    page.get_by_text("+1 day", exact=True).click()
    seen.until(f"document.querySelector('.stage').dataset.picture === '{picture_of(1)}'")
    page.get_by_role("button", name="Day before").click()
    seen.until(f"document.querySelector('.stage').dataset.picture === 'toy-{iso(TODAY)}-l0-r1/class'")

    page.get_by_text("+1 day", exact=True).click()
    page.get_by_role("slider", name="Day of the map").focus()
    page.keyboard.press("ArrowLeft")
    seen.until(f"document.querySelector('.stage').dataset.picture === 'toy-{iso(DAYS[-2])}-l0-r1/class'")
    expect(page.get_by_role("radio", name="Today")).to_be_checked()


def test_the_slider_and_the_columns_hold_nowcasts_alone(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(forecast), viewport=SMALL)
    slider = seen.page.get_by_role("slider", name="Day of the map")

    for _ in range(3):
        seen.page.get_by_role("button", name="Next day").click()
    slider.focus()
    seen.page.keyboard.press("End")

    assert seen.picture == f"toy-{iso(TODAY)}-l0-r1/class"
    assert "11 March 2026" in str(slider.get_attribute("aria-valuetext"))
    seen.page.goto(f"{seen.address}/?day={iso(AHEAD[1])}")  # a day to come is no nowcast
    seen.settle()
    assert seen.picture == ""
    assert "There is no map of 12 March 2026" in seen.alerts


def test_the_keyboard_moves_through_the_leads(forecast: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(forecast), viewport=SMALL)

    seen.page.get_by_role("radio", name="Today").focus()
    seen.page.keyboard.press("ArrowRight")
    seen.until(f"document.querySelector('.stage').dataset.picture === '{picture_of(1)}'")
    seen.page.keyboard.press("ArrowRight")
    seen.until(f"document.querySelector('.stage').dataset.picture === '{picture_of(2)}'")

    expect(seen.page.get_by_role("radio", name="+2 days")).to_be_focused()
    outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert seen.page.evaluate(outline) != "none"


def test_a_place_of_a_forecast_has_its_spread_and_says_it_is_one(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    lon, lat = lonlat_of(*DRY_CELL)

    seen = visit(serve(forecast), f"?lead=1&place={lon:.6f},{lat:.6f}&panel=place&zone=west")

    panel = seen.page.locator("#panel-place")
    expect(panel.locator(".verdict")).to_contain_text("forecast for 12 March 2026 (+1), provisional")
    expect(panel).to_contain_text(
        re.compile(r"Eight in ten of 11 members .* end between 0\.\d{3} and 0\.\d{3}")
    )
    seen.page.click("#tab-zones")
    seen.settle()
    expect(seen.page.locator("#panel-zones")).to_contain_text("14 March 2026 (+3):")


def test_without_a_current_forecast_its_choice_is_closed_and_a_link_to_it_says_so(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    with forecast.ledger() as ledger:
        gone = ledger.current(AHEAD[2], 2)
        assert gone is not None
        ledger.withdraw(gone, "A. Rossi", "wrong issue", [])
    served = serve(forecast)
    seen = visit(served, viewport=SMALL)
    expect(seen.page.get_by_role("radio", name="+2 days")).to_be_disabled()

    linked = visit(served, "?lead=2", viewport=SMALL)

    assert "NO FORECAST. There is no current forecast for 2 days ahead." in linked.alerts
    assert linked.picture == ""
    expect(linked.page.locator(".chip")).to_have_text("No current forecast. Unknown is not low.")


def test_a_region_without_forecasts_has_no_switch(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley), viewport=SMALL)

    expect(seen.page.locator(".leads")).to_be_hidden()


def test_an_unconfirmed_map_names_the_readings_that_wait_for_a_person(
    forecast: ToyRegion, serve: Serve, visit: Open
) -> None:
    note = "UNCONFIRMED: high and very high area rises by 4 %. gauges/north 2026-03-09: 234.6 mm"
    add_forecasts(forecast, [1], revision=2, unconfirmed=True, notes=(note,))

    seen = visit(serve(forecast), "?lead=1", viewport=DESKTOP)

    assert (
        "UNCONFIRMED. The map of 12 March 2026 rests on readings that no person has confirmed" in seen.alerts
    )
    assert "gauges/north 2026-03-09: 234.6 mm" in seen.alerts
    assert "unconfirmed" in seen.page.locator(".day-facts").inner_text()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_forecast_in_sight_fits_the_screen_and_axe_finds_nothing(
    forecast: ToyRegion, serve: Serve, visit: Open, size: dict[str, int]
) -> None:
    seen = visit(serve(forecast), "?lead=1", viewport=size)

    assert seen.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    for label in seen.page.locator(".leads label").all():
        box = label.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size["width"]
    assert violations(seen) == []
