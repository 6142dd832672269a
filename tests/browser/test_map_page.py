"""The map page, as somebody uses it: loads without the internet, plays, answers, and can be linked to."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx2
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page, Route, expect
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from exporters.layer import CLASS_COLOURS
from tests.browser.conftest import DAYS, PHONE, SMALL, TODAY, Served, Visit, iso
from tests.fix_places import DRY_CELL, LAKE_CELL, MASKED_CELL, lonlat_of
from tests.fix_region import ToyRegion

Serve = Callable[[ToyRegion], Served]
Open = Callable[..., Visit]
BARE = "opacity=100&hide=zones,hotspots,gauges"


def screen_position(page: Page, cell: tuple[int, int]) -> tuple[float, float]:
    """Return where a cell lies on the screen, from the view in the page's address."""
    query = parse_qs(urlsplit(page.url).query)
    lon, lat, zoom = (float(query[name][0]) for name in ("lon", "lat", "z"))
    box = page.locator("#map").bounding_box()
    assert box is not None

    def world(at: tuple[float, float]) -> tuple[float, float]:
        sine = np.sin(np.radians(at[1]))
        size = 512 * 2**zoom
        return (at[0] + 180) / 360 * size, (0.5 - np.log((1 + sine) / (1 - sine)) / (4 * np.pi)) * size

    (x, y), (middle_x, middle_y) = world(lonlat_of(*cell)), world((lon, lat))
    return box["x"] + box["width"] / 2 + x - middle_x, box["y"] + box["height"] / 2 + y - middle_y


def colours_of(screenshot: bytes) -> npt.NDArray[np.uint8]:
    """Read a screenshot: uint8 (rows, columns, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place
        with MemoryFile(screenshot) as memory, memory.open(driver="PNG") as image:
            return np.asarray(np.moveaxis(image.read([1, 2, 3]), 0, -1), np.uint8)


def view(cell: tuple[int, int], zoom: float = 14) -> str:
    lon, lat = lonlat_of(*cell)
    return f"lon={lon:.5f}&lat={lat:.5f}&z={zoom}"


def test_it_draws_classes_and_hatches_what_is_unknown_with_the_network_cut_off(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), f"?{view((32, 40))}&{BARE}")

    picture = colours_of(seen.page.screenshot())

    shown = [(picture == colour).all(axis=-1).sum() for colour in CLASS_COLOURS]
    assert sum(count > 500 for count in shown) >= 3, shown
    x, y = map(int, screen_position(seen.page, MASKED_CELL))
    patch = picture[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3)
    assert len(np.unique(patch, axis=0)) > 1, "no hatching"
    assert not (patch == CLASS_COLOURS[0]).all(axis=-1).any()
    assert seen.outside == []


def test_classes_have_their_colours_however_late_these_come(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), viewport=SMALL)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    seen.page.route("**/legend.json", hold)
    seen.page.reload()
    expect(seen.page.locator(".banner")).to_contain_text("Map of")
    seen.page.unroute("**/legend.json", hold)  # lets go of what it held
    seen.settle()

    assert held
    swatch = seen.page.locator("#panel-day tbody .swatch").first
    expect(swatch).to_have_css("background-color", f"rgb{CLASS_COLOURS[-1]}")


def test_nothing_outside_is_asked_for_and_the_policy_would_refuse_it(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley))

    for panel in ("place", "zones", "hotspots", "gauges", "verify", "area", "about"):
        seen.page.click(f"#tab-{panel}")
        seen.settle()
    # The page's own policy refuses it before it is asked for.
    reached = seen.page.evaluate("fetch('http://example.org/').then(() => true, () => false)")

    assert reached is False
    assert seen.outside == []
    assert seen.errors
    assert all("Content Security Policy" in error for error in seen.errors)
    seen.errors.clear()


def test_play_shows_one_day_after_the_other_and_stops_at_the_newest(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), reduced_motion="no-preference", viewport=SMALL)
    page = seen.page
    page.evaluate(
        """() => { window.pictures = [];
        new MutationObserver(() => pictures.push(document.querySelector('.stage').dataset.picture))
          .observe(document.querySelector('.stage'), { attributeFilter: ['data-picture'] }); }"""
    )

    page.get_by_role("button", name="Play the 30 days").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Play the 30 days")).to_be_visible()

    pictures = page.evaluate("pictures")
    assert [picture.split("-l0")[0].removeprefix("toy-") for picture in pictures] == [
        iso(day) for day in DAYS
    ]


def test_the_slider_moves_by_arrow_keys_and_says_the_day_in_words(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley))
    slider = seen.page.get_by_role("slider", name="Day of the map")

    slider.focus()
    seen.page.keyboard.press("ArrowLeft")
    expect(seen.page.locator(".chip")).to_contain_text("Earlier day: 10 March 2026")
    seen.settle()

    assert slider.get_attribute("aria-valuetext") == "Tuesday, 10 March 2026: complete, coverage 100\xa0%"
    assert str(seen.picture).startswith(f"toy-{iso(DAYS[-2])}")
    seen.page.get_by_role("button", name="Newest").click()
    expect(seen.page.locator(".chip")).to_be_hidden()


def test_a_click_opens_the_place_with_the_words_of_the_server(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    served = serve(valley)
    cell = (LAKE_CELL[0] - 4, LAKE_CELL[1] - 4)
    seen = visit(served, f"?{view(cell)}&hide=hotspots,gauges")

    seen.page.mouse.click(*screen_position(seen.page, cell))
    panel = seen.page.locator("#panel-place")
    expect(panel.locator(".verdict")).to_be_visible()
    seen.settle()

    lon, lat = lonlat_of(*cell)
    said = httpx2.get(f"{served.address}/point", params={"lon": lon, "lat": lat}, timeout=30).json()
    text = panel.inner_text()
    assert f"Susceptibility index {said['value']['susceptibility']:.3f} of 1" in text
    assert said["value"]["class"].replace("_", " ").capitalize() in text
    assert "linked to reservoir Lake" in text
    assert re.search(r"Rain\s+[+−]?\d", text), text
    assert "observed: 30 days" in text
    assert panel.locator(".chart canvas").count() >= 3
    for factor in said["factors"]:
        assert factor["name"].replace("_", " ") in text


def test_an_unknown_place_says_why_and_that_unknown_is_not_low(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    lon, lat = lonlat_of(*MASKED_CELL)

    seen = visit(serve(valley), f"?place={lon:.6f},{lat:.6f}&panel=place")

    text = seen.page.locator("#panel-place").inner_text()
    assert "outside the part of the region that is watched" in text
    assert "Unknown is not low" in text


def test_a_polygon_can_be_drawn_with_clicks_and_its_statistics_read(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley), f"?{view((30, 40))}&hide=hotspots,gauges&panel=area")
    page = seen.page

    page.get_by_role("button", name="Draw on the map").click()
    for cell in ((20, 30), (20, 50), (40, 50), (40, 30)):
        page.mouse.click(*screen_position(page, cell))
    expect(page.get_by_text("4 corners.")).to_be_visible()
    page.get_by_role("button", name="Finish").click()

    expect(page.get_by_text(re.compile(r"of the region, \d+ cells"))).to_be_visible()
    cells = int(re.search(r"(\d+) cells", page.locator("#panel-area").inner_text())[1])  # type: ignore[index]
    assert abs(cells - 400) < 40


def test_search_finds_zones_gauges_and_positions(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley))
    page = seen.page
    box = page.get_by_role("combobox", name="Find a zone")

    box.fill("wes")
    expect(page.get_by_role("option", name="West zone")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#panel-zones h3").first).to_have_text("West")
    assert "not decided" in page.locator("#panel-zones").inner_text()

    box.fill("north")
    page.keyboard.press("Enter")
    expect(page.locator("[data-gauge='gauges/north/rain'][aria-pressed=true]")).to_be_visible()

    lon, lat = lonlat_of(*DRY_CELL)
    minutes = [f"{int(value)}°{value % 1 * 60:.4f}'" for value in (lat, lon)]
    box.fill(f"{minutes[0]}N {minutes[1]}E")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-place .position")).to_contain_text(f"{lat:.4f}"[:6])


def test_the_change_to_another_day_is_drawn_with_its_own_legend(
    valley: ToyRegion, serve: Serve, visit: Open
) -> None:
    seen = visit(serve(valley))

    seen.page.get_by_text("Change", exact=True).click()
    expect(seen.page.get_by_text("Class on 11 March 2026 against 10 March 2026")).to_be_visible()
    seen.settle()
    assert seen.picture == f"toy-{iso(TODAY)}-l0-r1-toy-{iso(DAYS[-2])}-l0-r1"

    seen.page.get_by_label("Since").fill(iso(DAYS[0]))
    expect(seen.page.get_by_text("Class on 11 March 2026 against 5 March 2026")).to_be_visible()
    seen.settle()
    assert seen.picture == f"toy-{iso(TODAY)}-l0-r1-toy-{iso(DAYS[0])}-l0-r1"


def test_a_link_reproduces_the_view(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    served = serve(valley)
    first = visit(served, f"?{view((30, 50), 14.25)}")
    page = first.page
    page.get_by_text("Index", exact=True).click()
    page.get_by_role("button", name="Day before").click()
    page.get_by_label("Opacity", exact=True).fill("40")
    page.get_by_role("checkbox", name="Hotspots").uncheck()
    page.mouse.click(*screen_position(page, (30, 50)))
    expect(page.locator("#panel-place .verdict")).to_be_visible()
    first.until("location.search.includes('place=')")
    first.settle()

    second = visit(served, "?" + urlsplit(page.url).query)

    expect(second.page.locator("#panel-place .verdict")).to_be_visible()
    assert second.picture == first.picture == f"toy-{iso(DAYS[-2])}-l0-r1/susceptibility"
    for words in (".verdict", ".position"):
        assert second.page.locator(words).inner_text() == page.locator(words).inner_text()
    assert second.page.get_by_label("Opacity", exact=True).input_value() == "40"
    assert not second.page.get_by_role("checkbox", name="Hotspots").is_checked()
    assert "z=14.25" in second.page.url
    preview = second.page.locator("meta[property='og:image']").get_attribute("content")
    answer = httpx2.get(str(preview), timeout=30)
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")
    assert parse_qs(urlsplit(str(preview)).query)["day"] == [iso(DAYS[-2])]


def test_on_a_phone_the_details_come_up_as_a_sheet(valley: ToyRegion, serve: Serve, visit: Open) -> None:
    seen = visit(serve(valley), f"?{view((30, 40), 13.5)}", viewport=PHONE, has_touch=True)
    page = seen.page
    expect(page.locator("#panel-day")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.touchscreen.tap(*screen_position(page, (42, 40)))

    expect(page.locator("#panel-place .verdict")).to_be_in_viewport()
    page.get_by_role("button", name="Hide details").click()
    expect(page.locator("#panel-place")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_one_is_chosen(
    valley: ToyRegion, serve: Serve, visit: Open, scheme: str
) -> None:
    seen = visit(serve(valley), color_scheme=scheme, viewport=SMALL)
    ground = "getComputedStyle(document.body).backgroundColor"
    system = seen.page.evaluate(ground)

    other = 1 if scheme == "dark" else 2
    for _ in range(other):
        seen.page.get_by_role("button", name="Colours:").click()

    assert seen.page.evaluate(ground) != system
    seen.page.reload()
    seen.settle()
    assert seen.page.evaluate(ground) != system
