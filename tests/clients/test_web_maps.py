"""The example pages for MapLibre and Leaflet work as they stand in the documentation, in a real Chromium.

Their libraries are answered from a node_modules folder: web/node_modules, or the one that
COLLUVIUM_TEST_NODE_MODULES names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from playwright.sync_api import Request, Route, sync_playwright

from exporters.layer import CLASS_COLOURS
from tests.clients.test_docs import blocks
from tests.fix_qgis import LiveSite
from tests.fix_region import ToyRegion

ROOT = Path(__file__).parents[2]
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".png": "image/png"}
DAY = date(2026, 3, 5)
# Another origin than the service's.
ORIGIN = "http://127.0.0.1:8999"

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def missing(message: str, word: str) -> None:
    if word in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
        pytest.fail(message)
    pytest.skip(message)


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("Chromium is not installed: apt-get install chromium", "chromium")
    return str(found)


def library(name: str) -> Path:
    """Return a package's folder."""
    places = [os.environ.get("COLLUVIUM_TEST_NODE_MODULES"), str(ROOT / "web" / "node_modules")]
    for place in places:
        if place and (Path(place) / name).is_dir():
            return Path(place) / name
    pytest.skip(f"{name} is not there: npm ci --prefix web")


@pytest.mark.parametrize("name", ["maplibre-gl", "leaflet"])
def test_the_example_shows_the_classes_in_their_colours(
    toy: ToyRegion, serve: Callable[[], LiveSite], pictures: Path, name: str
) -> None:
    folder = library(name)
    toy.refresh(DAY)
    site = serve()
    (page_text,) = (page for page in blocks("web-maps.md", "html") if f"vendor/{name}/" in page)
    installed = json.loads((folder / "package.json").read_text())["version"]
    assert f"{name}@{installed}" in "".join(blocks("web-maps.md", "")), "the page names another version"
    page_text = page_text.replace("http://localhost:8080", site.address)
    problems: list[str] = []

    def answer(route: Route, request: Request) -> None:
        inside = re.fullmatch(rf"{ORIGIN}/vendor/{name}/([A-Za-z0-9_./-]+)(\?.*)?", request.url)
        if request.url == f"{ORIGIN}/map":
            route.fulfill(body=page_text, content_type="text/html")
        elif inside and ".." not in inside[1]:
            path = folder / "dist" / inside[1]
            route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix])
        elif request.url.startswith(site.address):
            route.continue_()
        elif request.url.endswith("/favicon.ico"):
            route.fulfill(status=204)
        else:
            problems.append(f"asked for {request.url}")
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--no-proxy-server",
                "--use-gl=swiftshader",
                "--enable-unsafe-swiftshader",
                # The page is answered from here, so Chromium cannot know that it is as local as the service.
                "--disable-features=LocalNetworkAccessChecks",
            ],
        )
        page = browser.new_page(viewport={"width": 600, "height": 600})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.route("**/*", answer)
        page.goto(f"{ORIGIN}/map")
        page.wait_for_load_state("networkidle")
        assert problems == []
        shot = pictures / f"web-{name}.png"
        drawn: set[tuple[int, ...]] = set()
        for _ in range(20):
            page.screenshot(path=shot)
            with rasterio.open(shot) as image:
                drawn = {tuple(colour) for colour in np.unique(image.read()[:3].reshape(3, -1).T, axis=0)}
            if set(CLASS_COLOURS) <= drawn:
                break
            page.wait_for_timeout(250)
        assert page.inner_text("#day") == f"{DAY}, complete"
        browser.close()

    assert problems == []
    assert set(CLASS_COLOURS) <= drawn
