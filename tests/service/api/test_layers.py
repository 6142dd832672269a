"""Layers: the list, the items, the files. What was withdrawn says so and gives no values."""

from __future__ import annotations

import csv
import shutil
from datetime import date, timedelta

import pystac
import pytest
from pystac.validation import JsonSchemaSTACValidator

from tests.fix_region import ToyRegion
from tests.fix_site import layers_of, site_of

DAY = date(2026, 3, 5)
FILES = ("susceptibility.tif", "class.tif", "provenance.tif", "areas.gpkg")


def test_the_list_has_the_newest_revision_of_each_day_oldest_first(changing: ToyRegion) -> None:
    changing.set_rain({(DAY - timedelta(days=3), "north"): 99.0})
    changing.ingest()
    changing.refresh(DAY)

    said = site_of(changing).get("/layers").json()

    assert said["next"] is None
    assert [layer["id"] for layer in said["layers"]] == ["toy-2026-03-04-l0-r1", "toy-2026-03-05-l0-r2"]
    layer, told = layers_of(changing)[-1], said["layers"][-1]
    whole = {area.label: area for area in layer.areas if area.zone == ""}
    assert {label: area["area_m2"] for label, area in told["areas"].items()} == {
        label: area.area_m2 for label, area in whole.items()
    }
    assert told["areas"]["high"]["change_m2"] == {"1": whole["high"].change_m2[1]}
    assert told["unknown_m2"] == whole["high"].unknown_m2 > 0
    assert (told["day"], told["status"], told["synthetic"]) == ("2026-03-05", "complete", True)
    assert told["model"]["name"] == layer.model.name


def test_every_link_of_the_list_leads_somewhere(published: ToyRegion) -> None:
    http = site_of(published)
    for layer in http.get("/layers").json()["layers"]:
        assert set(layer["links"]) >= {"self", "tilejson", "susceptibility", "class", "areas", "csv"}
        for link in layer["links"].values():
            assert http.head(link).status_code == 200, link


def test_the_list_is_turned_page_by_page(changing: ToyRegion) -> None:
    changing.refresh(*(DAY + timedelta(days=days) for days in range(1, 4)))
    http = site_of(changing)
    address, seen = "/layers?limit=2&since=2026-03-04&until=2026-03-07", []

    while address:
        page = http.get(address).json()
        assert len(page["layers"]) <= 2
        seen += [layer["day"] for layer in page["layers"]]
        address = page["next"]

    assert seen == ["2026-03-04", "2026-03-05", "2026-03-06", "2026-03-07"]


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("since=2026-03-05", ["2026-03-05"]),
        ("until=2026-03-04", ["2026-03-04"]),
        ("since=0001-01-01&until=9999-12-31", ["2026-03-04", "2026-03-05"]),
        ("since=2026-03-06", []),
        ("since=2026-03-05&until=2026-03-04", []),
        ("lead=1", []),
        ("status=degraded", []),
        ("status=complete&lead=0", ["2026-03-04", "2026-03-05"]),
    ],
)
def test_the_list_may_be_narrowed(published: ToyRegion, query: str, days: list[str]) -> None:
    said = site_of(published).get(f"/layers?{query}").json()
    assert [layer["day"] for layer in said["layers"]] == days


def test_the_list_is_sent_again_only_when_it_changed(changing: ToyRegion) -> None:
    http = site_of(changing)
    first = http.get("/layers")
    same = {"If-None-Match": first.headers["etag"]}
    assert first.headers["cache-control"] == "no-cache"
    assert http.get("/layers", headers=same).status_code == 304

    changing.refresh(DAY + timedelta(days=1))

    assert http.get("/layers", headers=same).status_code == 200


def test_the_item_is_valid_stac_whose_links_are_absolute_and_lead_somewhere(published: ToyRegion) -> None:
    http = site_of(published)

    answer = http.get("/layers/latest")

    assert answer.headers["content-type"] == "application/geo+json"
    # The core schemas alone: those of extensions are on the net.
    validator = JsonSchemaSTACValidator()
    validator.validate_core(answer.json(), pystac.STACObjectType.ITEM, pystac.get_stac_version())
    item = answer.json()
    assert item["id"] == "toy-2026-03-05-l0-r1"
    addresses = [asset["href"] for asset in item["assets"].values()]
    assert {address.rsplit("/", 1)[1] for address in addresses} == set(FILES)
    for address in addresses + [link["href"] for link in item["links"]]:
        assert address.startswith("http://map.example/")
        assert http.head(address).status_code == 200, address


def test_the_collection_leads_to_the_items(published: ToyRegion) -> None:
    http = site_of(published)
    said = http.get("/collection.json").json()
    validator = JsonSchemaSTACValidator()
    validator.validate_core(said, pystac.STACObjectType.COLLECTION, pystac.get_stac_version())
    items = [link["href"] for link in said["links"] if link["rel"] == "item"]
    assert len(items) == 2
    for address in items:
        assert http.get(address).json()["collection"] == "toy"


def test_a_withdrawn_layer_says_so_and_its_values_are_gone(changing: ToyRegion) -> None:
    http, layer = site_of(changing), layers_of(changing)[-1]
    before = http.get(f"/layers/{layer.id}")
    with changing.ledger() as ledger:
        ledger.withdraw(layer, "tester", "wrong rain", [])

    same = {"If-None-Match": before.headers["etag"]}
    item = http.get(f"/layers/{layer.id}", headers=same).json()
    assert item["properties"]["colluvium:status"] == "withdrawn"
    assert item["assets"] == {}
    listed = http.get("/layers").json()["layers"][-1]
    assert (listed["id"], listed["status"], listed["areas"]) == (layer.id, "withdrawn", {})
    assert list(listed["links"]) == ["self"]
    for name in (*FILES, "areas.csv"):
        answer = http.get(f"/layers/{layer.id}/{name}")
        assert answer.status_code == 410, name
        assert "withdrawn" in answer.json()["detail"]
    assert http.get("/latest/class.tif").status_code == 200  # the day before, which still stands


def test_files_come_in_ranges_as_gdal_asks_for_them(published: ToyRegion) -> None:
    http, layer = site_of(published), layers_of(published)[-1]
    content = (layer.folder / "class.tif").read_bytes()
    place = f"/layers/{layer.id}/class.tif"

    part = http.get(place, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
    assert http.get(place, headers={"Range": "bytes=-10"}).content == content[-10:]
    beyond = http.get(place, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    assert beyond.headers["content-type"] == "application/problem+json"
    assert beyond.json()["status"] == 416
    whole = http.get(place)
    assert whole.content == content
    assert whole.headers["accept-ranges"] == "bytes"
    other = {"Range": "bytes=0-9", "If-Range": '"another version"'}
    assert http.get(place, headers=other).content == content


def test_a_file_of_a_named_layer_may_be_kept_for_ever_but_not_its_item(published: ToyRegion) -> None:
    http, layer = site_of(published), layers_of(published)[-1]

    for name in (*FILES, "areas.csv"):
        named = http.head(f"/layers/{layer.id}/{name}").headers
        assert named["cache-control"] == "public, max-age=3600", name
        assert http.head(f"/layers/latest/{name}").headers["cache-control"] == "no-cache"
        assert http.get(f"/layers/latest/{name}", headers={"If-None-Match": named["etag"]}).status_code == 304
    for place in (f"/layers/{layer.id}", f"/layers/{layer.id}/item.json"):
        assert http.head(place).headers["cache-control"] == "no-cache"


def test_areas_come_as_a_table_whose_head_names_the_units(published: ToyRegion) -> None:
    layer = layers_of(published)[-1]

    answer = site_of(published).get("/layers/latest/areas.csv")

    assert answer.headers["content-type"].startswith("text/csv")
    assert f"{layer.id}-areas.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert len(rows) == len(layer.areas) == 12  # the region and two zones, four classes each
    for row, area in zip(rows, layer.areas, strict=True):
        assert (row["zone"], row["class"], float(row["area_m2"])) == (area.zone, area.label, area.area_m2)
        assert float(row["change_1d_m2"]) == area.change_m2[1]
        assert row["change_7d_m2"] == ""  # no layer to compare with: unknown, not zero
        assert (row["day"], row["status"], row["synthetic"]) == ("2026-03-05", "complete", "yes")


def test_there_is_nothing_to_list_before_the_first_layer(toy: ToyRegion) -> None:
    http = site_of(toy)
    assert http.get("/layers").json() == {"layers": [], "next": None}
    for place in ("/layers/latest", "/collection.json", "/legend.json", "/layers/toy-2026-03-05-l0-r1"):
        assert http.get(place).status_code == 404, place


def test_a_layer_whose_files_retention_removed_says_so_and_keeps_its_figures(changing: ToyRegion) -> None:
    http, layer = site_of(changing), layers_of(changing)[0]
    tile = f"/layers/{layer.id}/tiles/11/1075/730.png"
    assert http.get(tile).status_code == 200
    with changing.ledger() as ledger, ledger.transaction():
        ledger.mark_removed([layer.id])
    shutil.rmtree(layer.folder)

    for address in (tile, *(f"/layers/{layer.id}/{name}" for name in (*FILES, "tilejson.json"))):
        answer = http.get(address)
        assert answer.status_code == 410, address
        assert "retention" in answer.json()["detail"]
    assert http.get(f"/layers/{layer.id}").json()["assets"] == {}
    listed = http.get("/layers").json()["layers"][0]
    assert set(listed["links"]) == {"self", "csv"}
    assert listed["areas"]["high"]["area_m2"] >= 0
    assert http.get(listed["links"]["csv"]).status_code == 200
    assert [link["rel"] for link in http.get("/collection.json").json()["links"]].count("item") == 1
