"""The page's own routes: what is served, what is refused, what a link preview is told."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from service.api import web
from service.errors import SettingsError
from tests.fix_region import ToyRegion
from tests.fix_site import raw_get, site_of


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's folder as if its libraries had been fetched."""
    folder = tmp_path / "web"
    shutil.copytree(web.FOLDER, folder, ignore=shutil.ignore_patterns("vendor"))
    (folder / "vendor").mkdir()
    for name in (
        "maplibre-gl.mjs",
        "maplibre-gl-worker.mjs",
        "maplibre-gl.css",
        "uPlot.esm.js",
        "uPlot.min.css",
    ):
        (folder / "vendor" / name).write_text("/* library */", "utf-8")
    monkeypatch.setattr(web, "FOLDER", folder)
    return folder


def page_with(toy: ToyRegion, settings: str) -> TestClient:
    toy.config.write_text(toy.config.read_text("utf-8") + settings, "utf-8")
    return site_of(toy)


def preview_of(http: TestClient, query: str) -> dict[str, list[str]]:
    """Return the query of the preview that the page at `query` names."""
    found = re.search(r'property="og:image" content="([^"]+)"', http.get(f"/{query}").text)
    assert found is not None
    return parse_qs(urlsplit(unescape(found[1])).query)


def policy_of(http: TestClient) -> dict[str, str]:
    """Return the page's Content-Security-Policy by directive."""
    parts = http.get("/").headers["content-security-policy"].split("; ")
    return {name: rest for name, _, rest in (part.partition(" ") for part in parts)}


def test_the_page_allows_only_its_own_scripts_and_addresses(toy: ToyRegion, built: Path) -> None:
    policy = policy_of(site_of(toy))

    assert policy["default-src"] == "'none'"
    for directive in ("script-src", "style-src", "connect-src", "worker-src"):
        assert policy[directive] == "'self'"
    assert not any("unsafe" in value for value in policy.values())


def test_openstreetmap_is_allowed_only_where_the_settings_say_so(toy: ToyRegion, built: Path) -> None:
    http = page_with(toy, "\n[web]\nopenstreetmap = true\n")

    assert policy_of(http)["connect-src"] == "'self' https://tile.openstreetmap.org"
    assert http.get("/").headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert http.get("/site.json").json()["openstreetmap"] is True


def test_without_its_libraries_the_plain_page_says_what_to_run(toy: ToyRegion, built: Path) -> None:
    (built / "vendor" / "maplibre-gl.mjs").unlink()

    text = site_of(toy).get("/").text

    assert "python web/build.py" in text
    assert "maplibre-gl.mjs" in text
    assert "NO MAP" in text
    assert "<script" not in text


def test_a_ledger_that_cannot_be_read_is_told_to_a_person(toy: ToyRegion, built: Path) -> None:
    (toy.data / "ledger.sqlite").write_bytes(b"not a database, but longer than one page header" * 99)

    answer = site_of(toy).get("/")

    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert "ledger.sqlite" in answer.text


def test_the_plain_page_needs_no_script_and_escapes_what_comes_from_outside(toy: ToyRegion) -> None:
    toy.config.write_text(
        toy.config.read_text("utf-8").replace("Toy valley", "<script>alert(1)</script>"), "utf-8"
    )

    for path in ("/plain", "/"):
        assert "<script>" not in site_of(toy).get(path).text


@pytest.mark.parametrize(
    "path",
    [
        "/web/../api/web.py",
        "/web/%2e%2e/api/web.py",
        "/web/js/../../api/web.py",
        "/web/js/%2e%2e/%2e%2e/settings.py",
        "/web//etc/passwd",
        "/web/%2Fetc%2Fpasswd",
        "/web/js/main.js%00.svg",
        "/web/index.html",
        "/web/texts/en.json",
        "/web/js",
        "/web/",
        "/web/vendor/versions.json",
    ],
)
def test_nothing_but_the_pages_own_files_leaves_the_folder(toy: ToyRegion, path: str) -> None:
    assert raw_get(site_of(toy), path).status == 404


def test_a_file_is_sent_again_only_when_it_changed(toy: ToyRegion, built: Path) -> None:
    http = site_of(toy)
    first = http.get("/web/js/main.js")
    tag = {"If-None-Match": first.headers["etag"]}

    assert first.headers["content-type"].startswith("text/javascript")
    assert http.get("/web/vendor/maplibre-gl.mjs").headers["content-type"].startswith("text/javascript")
    assert http.get("/web/js/main.js", headers=tag).status_code == 304
    (built / "js" / "main.js").write_text("// another release\n", "utf-8")
    assert http.get("/web/js/main.js", headers=tag).text == "// another release\n"


def test_a_link_names_a_preview_of_the_view_that_it_leads_to(toy: ToyRegion, built: Path) -> None:
    query = "?lon=9.01&lat=45.14&z=13&day=2026-03-05&shows=susceptibility&panel=place"

    preview = preview_of(site_of(toy), query)

    assert preview["day"] == ["2026-03-05"]
    assert preview["shows"] == ["susceptibility"]
    west, south, east, north = map(float, preview["bbox"][0].split(","))
    assert west < 9.01 < east
    assert south < 45.14 < north
    # 1200 pixels at zoom 13, where 512 x 2^13 pixels go round the world.
    assert east - west == pytest.approx(1200 * 360 / (512 * 2**13), abs=1e-4)


@pytest.mark.parametrize(
    "query",
    [
        "?lon=nan&lat=1&z=3",
        "?lon=9&lat=89&z=3",
        "?lon=9&lat=45&z=-1",
        "?lon=9&lat=45&z=1e9",
        "?day=2026-13-01",
        "?day=%22%3E%3Cscript%3E",
        "?shows=zones",
        "?lon=9&lat=45",
    ],
)
def test_a_view_that_cannot_be_right_leaves_the_preview_at_its_default(
    toy: ToyRegion, built: Path, query: str
) -> None:
    http = site_of(toy)

    assert preview_of(http, query) == {"width": ["1200"], "height": ["630"]}
    assert "<script>" not in http.get(f"/{query}").text


def test_the_preview_says_what_the_map_cannot_be_trusted_for(toy: ToyRegion, built: Path) -> None:
    text = site_of(toy).get("/").text

    found = re.search(r'property="og:description" content="([^"]+)"', text)
    assert found is not None
    assert "NO MAP" in found[1]


def test_links_and_previews_begin_with_the_public_address(toy: ToyRegion, built: Path) -> None:
    http = page_with(toy, '\n[web]\npublic_url = "https://slides.example.org/map"\n')

    assert 'content="https://slides.example.org/map/preview.png?' in http.get("/").text


def test_the_site_says_where_the_region_lies_and_who_warns_officially(toy: ToyRegion) -> None:
    http = page_with(
        toy,
        '\n[web]\nofficial_name = "Civil Protection"\nofficial_url = "https://warn.example.org"\n'
        'licence = "CC BY 4.0"\n',
    )

    about = http.get("/site.json").json()

    west, south, east, north = about["bounds"]
    assert (west, south) == pytest.approx((9.0, 45.134), abs=0.01)
    assert 0.02 < east - west < 0.04
    assert 0.01 < north - south < 0.03
    assert about["footprint"][0] == about["footprint"][-1]
    assert all(west <= lon <= east and south <= lat <= north for lon, lat in about["footprint"])
    assert about["official"] == {"name": "Civil Protection", "url": "https://warn.example.org"}
    assert about["licence"] == "CC BY 4.0"
    assert about["synthetic"] is True


def test_a_translation_replaces_texts_and_what_it_lacks_stays_english(toy: ToyRegion) -> None:
    (toy.folder / "it.json").write_text(
        json.dumps({"page.language": "it", "class.high": "alta", "old": "x"}), "utf-8"
    )
    http = page_with(toy, '\n[web]\ntexts = "it.json"\n')

    texts = http.get("/texts.json").json()

    assert texts["class.high"] == "alta"
    assert texts["class.low"] == "low"
    assert "old" not in texts


@pytest.mark.parametrize("text", ["[]", '{"class.high": 3}', "not JSON"])
def test_texts_that_cannot_be_used_are_refused_by_name(toy: ToyRegion, text: str) -> None:
    (toy.folder / "it.json").write_text(text, "utf-8")

    with pytest.raises(SettingsError, match=r"it\.json"):
        page_with(toy, '\n[web]\ntexts = "it.json"\n')
