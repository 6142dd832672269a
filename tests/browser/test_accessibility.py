"""Who does not see, or has no mouse, can use the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import AXE, DESKTOP, PHONE, Served, Visit, executable
from tests.fix_region import ToyRegion

Serve = Callable[[ToyRegion], Served]
Open = Callable[..., Visit]

# The names of all that the keyboard must reach, in the order in which it does.
WALK = (
    "Skip to the map",
    "Copy a link to this view",
    "Colours: as the system. Change",
    "Map of the region",
    "Zoom in",
    "Find a zone, gauge, reservoir or position",
    "My position",
    "Classes",
    "Opacity and layers",
    "Zone borders",
    "Day before",
    "Play the 30 days",
    "Go to day",
    "Day of the map, over 30 days",
    "Day",
)
NAME = """() => { const at = document.activeElement;
  return at.getAttribute('aria-label') || at.labels?.[0]?.textContent || at.textContent || ''; }"""
OUTLINE = """() => { const at = document.activeElement;
  const seen = at.type === 'radio' ? at.nextElementSibling : at;
  return getComputedStyle(seen).outlineStyle; }"""


def violations(visit: Visit) -> list[str]:
    """Run axe-core and return what it finds, with the elements."""
    visit.page.evaluate(AXE.read_text("utf-8"))
    found: list[dict[str, Any]] = visit.page.evaluate("axe.run(document).then((told) => told.violations)")
    return [
        f"{item['id']}: {node['html'][:160]} {node['failureSummary']}"
        for item in found
        for node in item["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(
    valley: ToyRegion, serve: Serve, visit: Open, scheme: str, size: dict[str, int]
) -> None:
    valley.clock.now += timedelta(days=2)  # stale: red lines are in sight too
    seen = visit(serve(valley), "?zone=west", color_scheme=scheme, viewport=size)
    assert violations(seen) == []

    for panel in ("day", "levels", "place", "zones", "hotspots", "gauges", "verify", "area", "about"):
        seen.page.click(f"#tab-{panel}")
        if panel == "place":
            seen.page.get_by_role("button", name="Ask about the map's centre").click()
            expect(seen.page.locator(".verdict")).to_be_visible()
        seen.settle()
        assert violations(seen) == [], panel


def test_the_plain_page_has_no_violations_either(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley))

    seen.page.goto(f"{seen.address}/plain")

    assert violations(seen) == []


def test_the_keyboard_reaches_everything_in_order_and_focus_is_seen(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley))
    names = []
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        name = str(seen.page.evaluate(NAME)).strip()
        if name:
            names.append(name)
            assert seen.page.evaluate(OUTLINE) != "none", name
        if name == "Day":
            break

    places = [next((n for n, name in enumerate(names) if name.startswith(wanted)), None) for wanted in WALK]
    assert None not in places, list(zip(WALK, places, strict=True))
    assert places[:-1] == sorted(places[:-1]), names


def test_a_place_and_a_polygon_can_be_asked_for_without_a_mouse(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley))
    page = seen.page

    page.get_by_role("tab", name="Day").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Levels")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Place")).to_be_focused()
    page.get_by_role("button", name="Ask about the map's centre").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#panel-day")).to_be_visible()

    page.get_by_role("tab", name="Area").click()
    canvas = page.locator("canvas.maplibregl-canvas")
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown"):
        canvas.focus()
        before = page.url
        page.keyboard.press(key)
        seen.until(f"location.href !== {json.dumps(before)}")
        page.get_by_role("button", name="Add the map's centre").focus()
        page.keyboard.press("Enter")
    expect(page.get_by_text("3 corners.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"of the region, [\d,]+ cells"))).to_be_visible()


def test_escape_stops_playing_and_drawing(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley))
    page = seen.page

    page.get_by_role("button", name="Play the 30 days").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Play the 30 days")).to_be_visible()

    page.click("#tab-area")
    page.get_by_role("button", name="Draw on the map").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Draw on the map")).to_have_attribute("aria-pressed", "false")


def test_without_script_the_plain_page_stands_in(valley: ToyRegion, serve: Serve, browser: Browser) -> None:
    served = serve(valley)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()

    page.goto(served.address)

    expect(page.get_by_role("status")).to_contain_text("FRESH: map of 2026-03-11")
    assert page.get_by_role("img", name="Map of susceptibility classes").count() == 1
    context.close()


def test_without_webgl_it_says_so_and_leads_to_the_plain_page(
    valley: ToyRegion, serve: Serve, playwright: Playwright
) -> None:
    served = serve(valley)
    browser = playwright.chromium.launch(
        executable_path=executable(), args=["--no-sandbox", "--disable-3d-apis"]
    )
    page = browser.new_page()

    page.goto(served.address)

    expect(page.get_by_role("alert")).to_contain_text("WebGL")
    page.get_by_role("link", name="The same map as a plain page").click()
    expect(page.get_by_role("status")).to_contain_text("FRESH")
    browser.close()
