"""What every answer carries: words for other sites' maps, for caches, for proxies."""

from __future__ import annotations

import gzip

import pytest

from tests.fix_region import ToyRegion
from tests.fix_site import layers_of, site_of


@pytest.mark.parametrize(
    "path", ["/layers", "/layers/latest/tiles/3/0/0.png", "/healthz", "/nowhere", "/latest/class.tif"]
)
def test_a_map_on_another_site_may_read_everything(published: ToyRegion, path: str) -> None:
    # Without asking: what a cache kept for one page is handed to the other.
    answer = site_of(published).get(path)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in answer.headers["access-control-expose-headers"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_browser_that_asks_before_a_range_is_let_through(published: ToyRegion) -> None:
    asks = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    answer = site_of(published).options("/latest/class.tif", headers=asks)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    assert "Range" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "host",
    [
        'evil"onload=alert(1)',
        "a b",
        "<script>",
        "evil.example/path?",
        "user@evil.example",
        "evil.example:port",
        "[::1",
        "",
    ],
)
def test_a_strange_host_never_reaches_a_link(published: ToyRegion, host: str) -> None:
    answer = site_of(published).get("/layers", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert host == "" or host not in answer.text


@pytest.mark.parametrize("host", ["map.example", "localhost:8080", "10.0.0.7:80", "[::1]:8080", "my_host"])
def test_the_host_that_a_client_named_stands_in_the_links(published: ToyRegion, host: str) -> None:
    said = site_of(published).get("/layers", headers={"Host": host}).json()
    assert said["layers"][0]["links"]["self"].startswith(f"http://{host}/layers/")


def test_texts_are_compressed_and_rasters_are_not(published: ToyRegion) -> None:
    http = site_of(published)
    wants = {"Accept-Encoding": "gzip"}

    for path in ("/layers", "/legend.json", "/metrics", "/wmts/1.0.0/WMTSCapabilities.xml"):
        assert http.get(path, headers=wants).headers["content-encoding"] == "gzip", path
    for path in ("/latest/class.tif", "/latest/areas.gpkg", "/preview.png", "/map.png"):
        assert "content-encoding" not in http.get(path, headers=wants).headers, path


def test_a_range_is_of_the_bytes_on_disk_even_where_gzip_is_taken(published: ToyRegion) -> None:
    layer = layers_of(published)[-1]
    content = (layer.folder / "item.json").read_bytes()
    both = {"Accept-Encoding": "gzip", "Range": "bytes=0-1999"}

    answer = site_of(published).get(f"/layers/{layer.id}/item.json", headers=both)

    assert answer.status_code == 206
    assert answer.content == content[:2000]


def test_a_compressed_answer_does_not_claim_the_plain_one_s_tag(published: ToyRegion) -> None:
    http = site_of(published)
    with http.stream("GET", "/layers", headers={"Accept-Encoding": "gzip"}) as answer:
        tag = answer.headers["etag"]
        assert b"layers" in gzip.decompress(b"".join(answer.iter_raw()))
    assert tag.startswith('W/"')
    assert not http.get("/layers", headers={"Accept-Encoding": "identity"}).headers["etag"].startswith("W/")
    assert http.get("/layers", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "path",
    ["/status", "/readyz", "/layers", "/nowhere", "/layers/toy-2026-03-05-l0-r9", "/zones?day=2020-01-01"],
)
def test_no_cache_keeps_what_may_be_otherwise_a_moment_later(published: ToyRegion, path: str) -> None:
    # Without a word of ours a cache may keep a 404 or a 410 as long as it likes.
    assert site_of(published).get(path).headers["cache-control"] == "no-cache"
