"""The map page in a real Chromium, served by the real application.

COLLUVIUM_TEST_REQUIRE   "chromium" among its words: where the browser or the page's libraries are missing,
                         fail instead of skip
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import uvicorn
from affine import Affine
from playwright.sync_api import Browser, Page, Playwright, Request, expect, sync_playwright

from service.api.app import create_app
from service.api.web import FOLDER
from service.bundle import Bundle
from service.hillshade import ensure_hillshade
from tests.fix_places import change_settings, make_valley
from tests.fix_region import LEFT, NOW, SHAPE, TOP, Clock, ToyRegion

TODAY = NOW.date()
DAYS = tuple(TODAY - timedelta(days=back) for back in range(6, -1, -1))
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
AXE = FOLDER.parent.parent / "web" / "node_modules" / "axe-core" / "axe.min.js"
SMALL = {"width": 1000, "height": 640}  # wide enough for the desktop's layout, and quick to draw
# No name is resolved: the network is cut off but for the server's own address.
_CUT_OFF = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
# WebGL in software, as on a machine without a graphics card.
_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_PATIENCE_MS = 20_000
_STEP_MS = 50
_NO_BROWSER = "a Chromium is needed: apt-get install chromium"
NO_LIBRARIES = "the page's libraries are needed: python web/build.py --dev"


def missing(what: str) -> None:
    """Skip, or fail where COLLUVIUM_TEST_REQUIRE names the browser."""
    if "chromium" in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
        pytest.fail(what)
    pytest.skip(what)


@dataclass
class Served:
    """A region's API on a port of its own."""

    toy: ToyRegion
    address: str


@dataclass
class Visit:
    """A page that somebody opened, and what it did besides showing itself."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> None:
        """Load the page and wait until the day's picture is in sight, or there is none to wait for."""
        self.page.goto(f"{self.address}/{query}")
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is in sight."""
        self.page.wait_for_selector(".stage[data-picture]:not([aria-busy])")
        self.until("document.querySelectorAll('.panel:not([hidden]) [aria-busy]').length === 0")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression holds; the page's policy refuses Playwright's own `eval`."""
        for _ in range(_PATIENCE_MS // _STEP_MS):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(_STEP_MS)
        raise AssertionError(f"never came true: {condition}")

    @property
    def banner(self) -> str:
        """What the banner says."""
        return self.page.locator(".banner").inner_text()

    @property
    def alerts(self) -> str:
        """What it says in red."""
        return self.page.locator(".banner [role=alert]").inner_text()

    @property
    def picture(self) -> str | None:
        """The layer in sight, and what of it."""
        return self.page.locator(".stage").get_attribute("data-picture")


def executable() -> str:
    """Return where Chromium is, or skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing(_NO_BROWSER)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver of the browser. It holds an event loop in this thread, so it must not outlive its module:
    tests of other files that run a loop of their own would fail beside it.
    """
    executable()
    if not (FOLDER / "vendor" / "maplibre-gl.mjs").is_file() or not AXE.is_file():
        missing(NO_LIBRARIES)
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One browser for a file of tests; each visit has a profile of its own."""
    browser = playwright.chromium.launch(
        executable_path=executable(), args=["--no-sandbox", _CUT_OFF, *_WEBGL]
    )
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def valley_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valley with a lake, a week of layers up to today and a hillshade; never changed by a test."""
    toy = make_valley(tmp_path_factory.mktemp("valley") / "toy")
    _write_dem(toy.folder / "dem.tif")
    change_settings(toy, "[factors]\n", '[factors]\ndem = "dem.tif"\n')
    toy.refresh(*DAYS)
    ensure_hillshade(toy.settings)
    return toy.folder


@pytest.fixture
def valley(valley_template: Path, tmp_path: Path) -> ToyRegion:
    """The valley as a copy of the test's own."""
    folder = tmp_path / "toy"
    shutil.copytree(valley_template, folder)
    return ToyRegion(folder, Clock())


@pytest.fixture
def serve() -> Iterator[Callable[[ToyRegion], Served]]:
    """Serve a region until the test ends."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(toy: ToyRegion) -> Served:
        app = create_app(toy.settings, toy.clock, bundle=Bundle.load(toy.settings.bundle.path))
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
        )
        up = threading.Event()
        thread = threading.Thread(target=_run, args=(server, up), daemon=True)
        thread.start()
        running.append((server, thread))
        assert up.wait(30), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        return Served(toy, f"http://127.0.0.1:{port}")

    yield start
    for server, thread in running:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a page of a server; an error on it, or a request for any other address, fails the test."""
    visits: list[Visit] = []

    def go(served: Served, query: str = "", **profile: Any) -> Visit:
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | profile)
        context.set_default_timeout(_PATIENCE_MS)
        found = Visit(context.new_page(), served.address)
        visits.append(found)

        def note(request: Request) -> None:
            if not request.url.startswith((f"{served.address}/", f"blob:{served.address}/", "data:")):
                found.outside.append(request.url)

        context.on("request", note)
        found.page.on(
            "console", lambda said: found.errors.append(said.text) if said.type == "error" else None
        )
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.open(query)
        return found

    yield go
    for found in visits:
        found.page.context.close()
    assert [error for found in visits for error in found.errors] == []
    assert [address for found in visits for address in found.outside] == []


def iso(day: date) -> str:
    """Return a day as it stands in addresses."""
    return day.isoformat()


def _run(server: uvicorn.Server, up: threading.Event) -> None:
    startup = server.startup

    async def told(*arguments: Any, **options: Any) -> None:
        await startup(*arguments, **options)
        up.set()

    server.startup = told  # type: ignore[method-assign]
    server.run()


def _write_dem(path: Path) -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    metres = 500 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "float32"}
    place = {"crs": "EPSG:32632", "transform": Affine(30, 0, LEFT, 0, -30, TOP)}
    with rasterio.open(path, "w", **profile, **place) as out:
        out.write(metres, 1)
