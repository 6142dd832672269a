"""What cannot be meant well is refused with words, and never reaches a file."""

from __future__ import annotations

import itertools
from urllib.parse import quote

import pytest

from tests.fix_region import ToyRegion
from tests.fix_site import raw_get, site_of

STRANGE = [
    "..",
    "../..",
    "..%2f..%2fledger.sqlite",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cledger.sqlite",
    "http:%2f%2fevil.example%2fa.tif",
    "https://evil.example/a.tif",
    "%2fvsicurl%2fhttp:%2f%2fevil.example%2fa.tif",
    "file:%2f%2f%2fetc%2fpasswd",
    "toy-2026-03-05-l0-r1%00",
    "latest%00.tif",
    "latest%0a",
    "latest%20",
    "LATEST",
    "'%20OR%20'1'='1",
    "1;DROP%20TABLE%20layer--",
    "toy-2026-03-05-l0-r1'--",
    "toy-٢٠٢٦-03-05-l0-r1",
    "toy-2026-03-05-l0-r9999999999",
    "%ff%fe",
    "{{7*7}}",
    "${jndi:ldap:%2f%2fx}",
    "a" * 400,
    "-1",
    "1e3",
    "NaN",
    "0x10",
    "9" * 400,
]
PLACES = [
    "/layers/{}",
    "/layers/{}/class.tif",
    "/layers/latest/{}",
    "/latest/{}",
    "/layers/{}/tilejson.json",
    "/layers/{}/tiles/10/1/1.png",
    "/layers/latest/tiles/{}/1/1.png",
    "/layers/latest/tiles/10/{}/1.png",
    "/layers/latest/tiles/10/1/{}.png",
    "/layers/{}/difference/latest/tiles/10/1/1.png",
    "/layers/latest/difference/{}/tiles/10/1/1.png",
    "/basemap/10/{}/1.png",
    "/wmts/{}/latest/10/1/1.png",
    "/wmts/class/{}/10/1/1.png",
    "/layers?since={}",
    "/layers?limit={}",
    "/layers/latest/tiles/10/1/1.png?shows={}",
    "/preview.png?bbox={}",
    "/preview.png?width={}",
    "/preview.png?day={}",
]


def test_nothing_strange_gets_past_the_door(published: ToyRegion) -> None:
    http = site_of(published)
    ours = [path.read_bytes()[:16] for path in published.data.iterdir() if path.is_file()]
    for place, text in itertools.product(PLACES, STRANGE):
        address = place.format(quote(text, safe="%:/"))
        answer = raw_get(http, address)
        assert 400 <= answer.status < 500, (answer.status, address)
        assert answer.headers["content-type"] == "application/problem+json", address
        assert not any(answer.content.startswith(head) for head in ours if head)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/layers/latest/tiles/19/0/0.png", 422),
        ("/layers/latest/tiles/99999999999999999999/0/0.png", 422),
        ("/layers/latest/tiles/-1/0/0.png", 422),
        ("/layers/latest/tiles/3/8/0.png", 404),
        ("/layers/latest/tiles/3/0/8.png", 404),
        ("/layers/latest/tiles/18/262144/0.png", 422),
        ("/basemap/19/0/0.png", 422),
        ("/wmts/class/latest/19/0/0.png", 422),
        ("/wmts/class/2026-02-30/3/0/0.png", 422),
        ("/wmts/class/2026-03-01/3/0/0.png", 404),
        ("/wmts/provenance/latest/3/0/0.png", 422),
        ("/layers?limit=0", 422),
        ("/layers?limit=401", 422),
        ("/layers?lead=-1", 422),
        ("/layers?since=yesterday", 422),
        ("/layers?status=fine", 422),
        ("/preview.png?width=1201", 422),
        ("/preview.png?height=10", 422),
        ("/preview.png?bbox=1,2,3", 422),
        ("/preview.png?bbox=nan,nan,nan,nan", 422),
        ("/preview.png?bbox=-inf,0,inf,1", 422),
        ("/preview.png?bbox=10,10,9,11", 422),
        ("/preview.png?bbox=10,10,10,10", 422),
        ("/preview.png?bbox=10,-90,11,90", 422),
        ("/preview.png?day=1999-01-01", 404),
    ],
)
def test_a_number_out_of_bounds_is_refused(published: ToyRegion, path: str, status: int) -> None:
    answer = site_of(published).get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, status), path


@pytest.mark.parametrize("path", ["/layers/" + "a" * 600, "/layers?since=" + "1" * 20_000])
def test_an_endless_address_is_refused(published: ToyRegion, path: str) -> None:
    answer = site_of(published).get(path)
    assert answer.status_code == 414
    assert answer.headers["content-type"] == "application/problem+json"
