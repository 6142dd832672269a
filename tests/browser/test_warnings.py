"""Warning levels on the map page: by name on the map, with their reasons, and never green where unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from service.ledger import Ledger
from tests.browser.conftest import DAYS, DESKTOP, PHONE, SMALL, TODAY, Served, Visit, iso
from tests.browser.test_accessibility import violations
from tests.browser.test_map_page import colours_of, view
from tests.fix_forecast import add_forecast_feed
from tests.fix_forecasts import add_forecasts
from tests.fix_places import change_settings
from tests.fix_region import ToyRegion
from tests.fix_warnings import RULE, decide, decide_newest, start_drill

Serve = Callable[[ToyRegion], Served]
Open = Callable[..., Visit]
NUMBERS = {
    "share": 0.42,
    "growth": 0.11,
    "growth_1_day": 0.031,
    "growth_7_days": None,
    "high_area_m2": 412_000.0,
}
BARE_LEVELS = "?opacity=0&hide=hotspots,gauges"
RED, ORANGE = (200, 16, 46), (242, 133, 0)
LABEL = 60  # squares of 5 pixels in the shortest label, at the least


def wait_for_labels(seen: Visit, *labels: str) -> None:
    """Wait until these labels, and no others, belong over the zones, whether or not there is room."""
    seen.until(f"document.querySelector('.stage').dataset.levels === {json.dumps('|'.join(labels))}")


def squares_of(colour: tuple[int, int, int], seen: Visit, box: Any = None) -> int:
    """Count squares of a colour on the screen: the ground of a label, and not the line of an outline."""
    seen.page.wait_for_timeout(400)  # labels are placed some frames after they were handed to the map
    found = (colours_of(seen.page.screenshot(clip=box)) == colour).all(axis=-1)
    return int(np.lib.stride_tricks.sliding_window_view(found, (5, 5)).all(axis=(2, 3)).sum())


def decide_lead(toy: ToyRegion, lead: int, levels: dict[str, int | None]) -> None:
    with toy.ledger() as ledger:
        layer = ledger.current(TODAY + timedelta(days=lead), lead)
    assert layer is not None
    decide(toy, layer, levels, numbers=NUMBERS)


def withdraw(ledger: Ledger, identity: str) -> None:
    layer = ledger.layer(identity)
    assert layer is not None
    ledger.withdraw(layer, "A. Rossi", "wrong gauge", [])


def test_a_raised_level_is_named_in_red_on_the_map_and_with_its_reasons(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 2, "east": 0}, numbers=NUMBERS)

    seen = visit(serve(valley), "?panel=levels", viewport=DESKTOP)

    assert "WARNING LEVELS on 11 March 2026. ORANGE: West." in seen.alerts
    wait_for_labels(seen, "West: ORANGE", "East: green")
    panel = seen.page.locator("#panel-levels")
    card = panel.locator("details").first
    expect(card).to_contain_text("West")
    expect(card).to_contain_text("orange")
    expect(card).to_contain_text(RULE)
    expect(card).to_contain_text("Growth over 1 day")
    expect(card).to_contain_text("+3.1 points")
    expect(card).to_contain_text(re.compile(r"Growth over 7 days\s*not known"))
    expect(card).to_contain_text("0.41 km²")


def test_yellow_is_said_calmly_and_an_unknown_level_is_never_green(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 1, "east": None})

    seen = visit(serve(valley), "?panel=levels", viewport=SMALL)

    assert seen.alerts == ""
    assert "WARNING LEVELS on 11 March 2026. YELLOW: West." in seen.banner
    assert "WARNING LEVEL UNKNOWN on 11 March 2026 for East. Unknown is not green." in seen.banner
    wait_for_labels(seen, "West: YELLOW", "East: unknown")
    assert "green" not in seen.page.locator("#panel-levels details").nth(1).locator("summary").inner_text()


def test_where_the_model_may_not_warn_nothing_is_green(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley), "?panel=levels", viewport=SMALL)

    panel = seen.page.locator("#panel-levels")
    expect(panel).to_contain_text("No levels: the model has not passed the tests")
    assert panel.locator(".level").count() == 0
    assert "WARNING LEVEL" not in seen.banner
    expect(seen.page.locator(".legend")).to_contain_text("Warning levels: none.")
    seen.page.click("#tab-zones")
    seen.settle()
    expect(seen.page.locator("#panel-zones thead")).not_to_contain_text("Level")
    wait_for_labels(seen)


def test_levels_follow_the_lead_in_sight_and_the_switch_names_them(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    add_forecast_feed(valley)
    add_forecasts(valley)
    decide_newest(valley, {"west": 0, "east": 0})
    decide_lead(valley, 1, {"west": 1, "east": 0})
    decide_lead(valley, 2, {"west": 3, "east": None})

    seen = visit(serve(valley), "?panel=levels", viewport=DESKTOP)

    assert "FORECAST LEVELS for 13 March 2026 (+2), higher than now. RED: West." in seen.banner
    wait_for_labels(seen, "West: green", "East: green")
    names = [" ".join(text.split()) for text in seen.page.locator(".leads label").all_inner_texts()]
    assert names == [
        "Today Wed, 11 Mar",
        "+1 day Thu, 12 Mar yellow",
        "+2 days Fri, 13 Mar red",
        "+3 days Sat, 14 Mar",
    ]
    seen.page.get_by_role("button", name="13 Mar (+2): show this map").click()
    seen.until(
        f"document.querySelector('.stage').dataset.picture.startsWith('toy-{iso(TODAY + timedelta(2))}')"
    )
    wait_for_labels(seen, "West: RED", "East: unknown")
    expect(seen.page.locator("#panel-levels")).to_contain_text("Forecast for 13 March 2026 (+2): why")
    expect(seen.page.locator("#panel-levels")).to_contain_text("It was not measured.")
    row = seen.page.locator("#panel-levels tbody tr").filter(has_text="West")
    assert [cell.split() for cell in row.locator("td").all_inner_texts()] == [
        ["green"],
        ["yellow"],
        ["red"],
        ["unknown"],
    ]


def test_an_earlier_day_shows_its_own_levels_and_the_banner_those_of_now(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    with valley.ledger() as ledger:
        earlier = ledger.current(DAYS[3])
    assert earlier is not None
    decide(valley, earlier, {"west": 3, "east": 1})
    decide_newest(valley, {"west": 1, "east": 0})

    seen = visit(serve(valley), f"?day={iso(DAYS[3])}&panel=levels", viewport=SMALL)

    wait_for_labels(seen, "West: RED", "East: YELLOW")
    expect(seen.page.locator("#panel-levels")).to_contain_text("8 March 2026: why")
    assert "WARNING LEVELS on 11 March 2026. YELLOW: West." in seen.banner


def test_the_levels_of_a_withdrawn_map_disappear_while_somebody_looks(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 3, "east": 3})
    seen = visit(serve(valley), viewport=SMALL)
    assert "RED: West, East." in seen.alerts or "RED: East, West." in seen.alerts
    with valley.ledger() as ledger:
        withdraw(ledger, f"toy-{iso(TODAY)}-l0-r1")

    seen.page.evaluate("window.dispatchEvent(new Event('online'))")

    expect(seen.page.locator(".banner [role=alert]")).to_contain_text("WITHDRAWN")
    expect(seen.page.locator(".banner [role=alert]")).not_to_contain_text("RED")
    wait_for_labels(seen)


def test_a_drill_is_marked_as_one_everywhere_and_ends(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    decide_newest(valley, {"west": 0, "east": 0})
    start_drill(valley, "west", 3, reason="<b>monthly</b> drill")

    seen = visit(serve(valley), "?panel=levels", viewport=SMALL)

    first = seen.page.locator(".banner .line").first
    expect(first).to_contain_text("EXERCISE, NO WARNING. A drill plays level red for West until")
    expect(first).to_contain_text("<b>monthly</b> drill")
    assert seen.alerts == ""
    wait_for_labels(seen, "West: green + West: EXERCISE RED", "East: green")
    expect(seen.page.locator("#panel-levels .exercise-box")).to_contain_text("EXERCISE")
    assert seen.page.locator("#panel-levels summary .is-raised").count() == 0

    valley.clock.now += timedelta(hours=2)
    seen.page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(seen.page.locator(".banner")).not_to_contain_text("EXERCISE")


def test_a_drill_beside_real_levels_says_that_these_are_no_part_of_it(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 3, "east": 0})
    start_drill(valley, "east", 2)

    seen = visit(serve(valley), viewport=SMALL)

    first = seen.page.locator(".banner .line").first
    expect(first).to_contain_text("monthly drill. The WARNING LEVELS below are no part of it.")
    assert "RED: West." in seen.alerts
    decide_newest(valley, {"west": 0, "east": 0})
    seen.page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(first).not_to_contain_text("no part of it")


def test_labels_of_a_narrow_map_are_seen_beside_the_card(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 3, "east": 2})
    seen = visit(serve(valley), BARE_LEVELS, viewport=SMALL)
    wait_for_labels(seen, "West: RED", "East: ORANGE")
    card = seen.page.locator(".controls").bounding_box()
    stage = seen.page.locator(".stage").bounding_box()
    assert card is not None
    assert stage is not None
    box = {**stage, "x": card["x"] + card["width"], "width": stage["width"] - card["x"] - card["width"]}

    for colour in (RED, ORANGE):
        assert squares_of(colour, seen, box) > LABEL, colour


def test_where_labels_lie_over_each_other_the_gravest_is_on_top(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 3, "east": 2})
    seen = visit(serve(valley), f"{BARE_LEVELS}&{view((32, 40), 10)}", viewport=PHONE)
    wait_for_labels(seen, "West: RED", "East: ORANGE")

    assert squares_of(RED, seen) > LABEL


def test_the_way_to_a_zone_is_offered_although_its_outline_comes_later(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    decide_newest(valley, {"west": 3, "east": 0})
    seen = visit(serve(valley), "?panel=levels", viewport=SMALL)

    panel = seen.page.locator("#panel-levels")  # the card of the green zone is closed
    expect(panel.get_by_role("button", name="Show on the map")).to_have_count(1)


def test_a_drill_is_seen_where_the_model_may_not_warn(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    start_drill(valley, "west", 1)

    seen = visit(serve(valley), viewport=SMALL)

    assert "EXERCISE, NO WARNING." in seen.banner
    wait_for_labels(seen, "West: EXERCISE YELLOW")


@pytest.fixture
def in_trouble(valley: ToyRegion) -> ToyRegion:
    """A valley of which as much has to be said as can be."""
    change_settings(valley, "max_distance_km = 5", "max_distance_km = 0.9")
    valley.refresh(TODAY)
    decide_newest(valley, {"west": 3, "east": None}, unconfirmed=True)
    start_drill(valley, "east", 2)
    with valley.ledger() as ledger:
        ledger.write_act("hold", "toy", "A. Rossi", "gauges under repair")
    valley.clock.now += timedelta(days=3, minutes=-200)
    start_drill(valley, "west", 1, hours=9)
    return valley


@pytest.mark.parametrize("size", [SMALL, DESKTOP, PHONE], ids=["small", "desktop", "phone"])
def test_however_much_has_to_be_said_the_map_has_room(
    in_trouble: ToyRegion, serve: Serve, visit: Open, size: dict[str, int]
) -> None:
    seen = visit(serve(in_trouble), viewport=size)
    page = seen.page
    assert page.locator(".banner .line").count() >= 6

    banner, stage = page.locator(".banner").bounding_box(), page.locator(".stage").bounding_box()
    assert banner is not None
    assert stage is not None
    assert banner["height"] < 0.33 * size["height"]
    assert stage["height"] > 0.3 * size["height"]
    more = page.locator(".banner-more")
    expect(more).to_contain_text(re.compile(r"\d more: .*Show all"))
    assert "EXERCISE" in page.locator(".banner .line").first.inner_text()
    assert violations(seen) == []

    more.click()
    last = page.locator(".banner .line").last
    last.scroll_into_view_if_needed()
    expect(last).to_be_in_viewport()
    more.click()
    expect(more).to_have_attribute("aria-expanded", "false")


def test_a_short_banner_has_nothing_to_unfold(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley), viewport=SMALL)

    expect(seen.page.locator(".banner-more")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_the_levels(
    valley: ToyRegion, serve: Serve, visit: Open, scheme: str, size: dict[str, int]
) -> None:
    add_forecast_feed(valley)
    add_forecasts(valley)
    decide_newest(valley, {"west": 3, "east": None}, numbers=NUMBERS, unconfirmed=True)
    decide_lead(valley, 1, {"west": 1, "east": 2})
    start_drill(valley, "east", 2)
    seen = visit(serve(valley), "?zone=west", color_scheme=scheme, viewport=size)

    for panel in ("levels", "zones"):
        seen.page.click(f"#tab-{panel}")
        seen.settle()
        assert violations(seen) == [], panel
    seen.page.goto(f"{seen.address}/plain")
    assert violations(seen) == []
