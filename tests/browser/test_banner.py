"""What the map cannot be trusted for stands in red, in words, whatever else is in sight."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import expect

from service.ledger import Ledger
from tests.browser.conftest import DAYS, SMALL, TODAY, Served, Visit, iso
from tests.fix_places import change_settings
from tests.fix_region import ToyRegion

Serve = Callable[[ToyRegion], Served]
Open = Callable[..., Visit]


def withdraw(ledger: Ledger, identity: str) -> None:
    layer = ledger.layer(identity)
    assert layer is not None
    ledger.withdraw(layer, "A. Rossi", "wrong gauge", [])


def test_a_fresh_map_says_so_calmly_and_synthetic_inputs_are_named(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), viewport=SMALL)

    assert seen.alerts == ""
    assert "Up to date. Map of 11 March 2026, complete." in seen.banner
    assert "SYNTHETIC. Made from made-up inputs." in seen.banner


def test_a_stale_map_says_how_old_it_is(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    valley.clock.now += timedelta(days=3)

    seen = visit(serve(valley), viewport=SMALL)

    assert "STALE. The newest map is of 11 March 2026: 3 days old. Today is 14 March 2026." in seen.alerts
    red = "getComputedStyle(document.querySelector('.banner .line.bad')).backgroundColor"
    assert seen.page.evaluate(red) == "rgb(176, 0, 32)"
    assert "gauges is 3 days late" in seen.banner


def test_a_degraded_map_names_its_coverage_and_what_is_hatched(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    change_settings(valley, "max_distance_km = 5", "max_distance_km = 0.9")
    valley.refresh(TODAY)

    seen = visit(serve(valley), viewport=SMALL)

    assert "DEGRADED. The map of 11 March 2026 was made with readings missing: coverage" in seen.alerts
    assert "Hatched cells are unknown, which is not low" in seen.alerts


def test_a_held_map_says_who_holds_it_and_why(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    with valley.ledger() as ledger:
        ledger.write_act("hold", "toy", "A. Rossi", "gauges <b>under repair</b>")

    seen = visit(serve(valley), viewport=SMALL)

    assert "HELD." in seen.alerts
    assert "held by A. Rossi" in seen.alerts
    assert "gauges <b>under repair</b>" in seen.alerts


def test_a_withdrawn_day_shows_no_values_and_points_to_the_newest_in_use(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    day = DAYS[2]
    with valley.ledger() as ledger:
        withdraw(ledger, f"toy-{iso(day)}-l0-r1")

    seen = visit(serve(valley), f"?day={iso(day)}", viewport=SMALL)

    assert "WITHDRAWN. The map of 7 March 2026 was withdrawn and must not be used" in seen.alerts
    assert "newest map in use is of 11 March 2026" in seen.alerts
    assert seen.picture == ""
    assert "its values must not be used" in seen.page.locator("#panel-day").inner_text()
    expect(seen.page.locator(".chip")).to_have_text("Withdrawn: its values are not shown")


def test_a_map_that_is_withdrawn_while_somebody_looks_disappears(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), viewport=SMALL)
    with valley.ledger() as ledger:
        withdraw(ledger, f"toy-{iso(TODAY)}-l0-r1")

    seen.page.evaluate("window.dispatchEvent(new Event('online'))")

    red = seen.page.locator(".banner [role=alert]")
    expect(red).to_contain_text("WITHDRAWN. The map of 11 March 2026 was withdrawn and must not be used")
    expect(red).to_contain_text("STALE. The newest map is of 10 March")
    seen.until(f"document.querySelector('.stage').dataset.picture === 'toy-{iso(DAYS[-2])}-l0-r1/class'")
    seen.page.get_by_role("button", name="Next day").click()
    expect(seen.page.locator(".chip")).to_have_text("Withdrawn: its values are not shown")
    assert seen.picture == ""


def test_without_any_map_it_says_that_unknown_is_not_low(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    with valley.ledger() as ledger:
        for day in DAYS:
            withdraw(ledger, f"toy-{iso(day)}-l0-r1")

    seen = visit(serve(valley), viewport=SMALL)

    assert "NO MAP. No map is in use. Susceptibility is unknown, which is not low." in seen.alerts
    assert seen.picture == ""


def test_a_day_without_a_map_is_said_to_have_none(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley), "?day=2026-02-20", viewport=SMALL)

    assert "NO MAP OF THIS DAY. There is no map of 20 February 2026." in seen.alerts
    assert seen.picture == ""


def test_a_server_that_is_gone_is_said_to_be_and_its_return_is_noticed(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), viewport=SMALL)
    page = seen.page
    page.route("**/status", lambda route: route.abort())

    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator(".banner [role=alert]")).to_contain_text("CANNOT REACH THE SERVER since")
    assert "What you see may be old" in seen.alerts
    assert "Up to date" in seen.banner  # what was known last stays in sight

    page.unroute("**/status")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator(".banner [role=alert]")).to_have_text("")
    assert all("ERR_FAILED" in error for error in seen.errors)
    seen.errors.clear()


def test_a_route_that_is_out_of_order_is_told_in_its_place(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), viewport=SMALL)
    body = '{"status": 503, "title": "Service Unavailable", "detail": "the ledger is being restored"}'
    seen.page.route(
        "**/point?*",
        lambda route: route.fulfill(status=503, content_type="application/problem+json", body=body),
    )

    seen.page.click("#tab-place")
    seen.page.get_by_role("button", name="Ask about the map's centre").click()
    problem = seen.page.locator("#panel-place .problem")
    expect(problem).to_have_text("Not available at the moment: the ledger is being restored")

    seen.page.unroute("**/point?*")
    seen.page.get_by_role("button", name="Try again").click()
    expect(seen.page.locator("#panel-place .verdict")).to_be_visible()
    assert len(seen.errors) == 1
    seen.errors.clear()
