"""WMTS: what a GIS desk reads, and that its tiles are those of the day."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree

import pytest

from service.api.mercator import HALF_WORLD_M
from tests.fix_region import ToyRegion
from tests.fix_site import layers_of, site_of

NAMES = {"w": "http://www.opengis.net/wmts/1.0", "o": "http://www.opengis.net/ows/1.1"}


def read(toy: ToyRegion) -> ElementTree.Element:
    answer = site_of(toy).get("/wmts/1.0.0/WMTSCapabilities.xml")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/xml"
    return ElementTree.fromstring(answer.content)  # noqa: S314 - our own


def texts(root: ElementTree.Element, path: str) -> list[str]:
    return [element.text or "" for element in root.findall(path, NAMES)]


def test_capabilities_name_the_layers_the_days_and_the_newest_as_default(published: ToyRegion) -> None:
    root = read(published)

    assert texts(root, "w:Contents/w:Layer/o:Identifier") == ["class", "susceptibility"]
    for layer in root.findall("w:Contents/w:Layer", NAMES):
        assert texts(layer, "w:Dimension/o:Identifier") == ["Time"]
        assert texts(layer, "w:Dimension/w:Default") == ["2026-03-05"]
        assert texts(layer, "w:Dimension/w:Value") == ["2026-03-04", "2026-03-05"]
        assert texts(layer, "w:Format") == ["image/png"]


def test_the_grid_is_that_of_web_maps(published: ToyRegion) -> None:
    root = read(published)

    grid = root.find("w:Contents/w:TileMatrixSet", NAMES)
    assert grid is not None
    assert texts(grid, "o:SupportedCRS") == ["urn:ogc:def:crs:EPSG::3857"]
    scales = [float(text) for text in texts(grid, "w:TileMatrix/w:ScaleDenominator")]
    # The first two of the standard's table (OGC 07-057r7, annex E.4).
    assert scales[:2] == pytest.approx([559082264.0287178, 279541132.0143589], rel=1e-9)
    corner = texts(grid, "w:TileMatrix/w:TopLeftCorner")[0].split()
    assert [float(value) for value in corner] == [-HALF_WORLD_M, HALF_WORLD_M]
    assert texts(grid, "w:TileMatrix/w:MatrixWidth")[:3] == ["1", "2", "4"]


def test_every_tile_within_the_limits_can_be_had(published: ToyRegion) -> None:
    http, root = site_of(published), read(published)
    for layer in root.findall("w:Contents/w:Layer", NAMES):
        resource = layer.find("w:ResourceURL", NAMES)
        assert resource is not None
        template = resource.attrib["template"].replace("{Time}", "2026-03-05")
        seen = 0
        for limit in layer.findall(".//w:TileMatrixLimits", NAMES):
            zoom, row, _, column, _ = (element.text or "" for element in limit)
            address = template.replace("{TileMatrix}", zoom).replace("{TileRow}", row)
            answer = http.get(address.replace("{TileCol}", column))
            assert answer.status_code == 200, address
            seen += 1
        assert seen == len(texts(root, "w:Contents/w:TileMatrixSet/w:TileMatrix"))


def test_a_day_s_tile_is_that_of_the_layer_shown_and_follows_a_revision(changing: ToyRegion) -> None:
    http, (then, now) = site_of(changing), layers_of(changing)
    for layer in (then, now):
        wmts = http.get(f"/wmts/class/{layer.day}/11/730/1075.png")
        xyz = http.get(f"/layers/{layer.id}/tiles/11/1075/730.png")
        assert wmts.content == xyz.content
        assert wmts.headers["cache-control"] == "no-cache"
    same = {"If-None-Match": http.get("/wmts/class/2026-03-05/11/730/1075.png").headers["etag"]}
    assert http.get("/wmts/class/latest/11/730/1075.png", headers=same).status_code == 304

    changing.set_rain({(now.day - timedelta(days=4), "north"): 120.0})
    changing.ingest()
    changing.refresh(now.day)

    assert http.get("/wmts/class/2026-03-05/11/730/1075.png", headers=same).status_code == 200


def test_a_withdrawn_day_is_not_offered_and_not_shown(changing: ToyRegion) -> None:
    with changing.ledger() as ledger:
        ledger.withdraw(layers_of(changing)[-1], "tester", "wrong rain", [])

    assert set(texts(read(changing), ".//w:Dimension/w:Value")) == {"2026-03-04"}
    assert site_of(changing).get("/wmts/class/2026-03-05/11/730/1075.png").status_code == 410


def test_what_the_settings_say_cannot_break_the_document(changing: ToyRegion) -> None:
    text = changing.config.read_text("utf-8")
    changing.config.write_text(
        text.replace('"Toy valley"', r'"A & B <Title>\u0001 ]]> \u00e9"') + '\n[web]\nlicence = "<b>&"\n',
        "utf-8",
    )

    root = read(changing)

    assert texts(root, "o:ServiceIdentification/o:Title") == [
        "A & B <Title>  ]]> é: landslide susceptibility"
    ]
    assert texts(root, "o:ServiceIdentification/o:AccessConstraints") == ["<b>&"]


def test_without_a_layer_there_is_nothing_to_offer(toy: ToyRegion) -> None:
    assert site_of(toy).get("/wmts/1.0.0/WMTSCapabilities.xml").status_code == 404
