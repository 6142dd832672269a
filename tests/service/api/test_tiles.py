"""Tiles: they say of every cell what the layer says, and of what is unknown nothing."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from exporters.layer import CLASS_NODATA, NODATA, Layer
from exporters.palette import (
    CLASS_TABLE,
    DIFFERENCE_TABLE,
    SUSCEPTIBILITY_TABLE,
    difference_code,
    stored_of,
)
from service.api import answers, preview
from service.api import tiles as tile_routes
from service.api.drawing import Drawing
from service.api.mercator import PIXEL_M, bounds_of, closest_zoom, tile_range
from tests.fix_region import ToyRegion
from tests.fix_site import decode, layers_of, mosaic, over_centres, site_of

# A pixel is 6.8 m of ground at this latitude: less than a third of a cell.
ZOOM = 14


def cells(layer: Layer, name: str) -> npt.NDArray[np.uint8]:
    with rasterio.open(layer.folder / name) as raster:
        return np.asarray(raster.read(1), np.uint8)


@pytest.mark.parametrize(
    ("shows", "table"), [("class", CLASS_TABLE), ("susceptibility", SUSCEPTIBILITY_TABLE)]
)
def test_the_pixel_over_the_centre_of_every_cell_has_the_cell_s_value(
    published: ToyRegion, shows: str, table: npt.NDArray[np.uint8]
) -> None:
    layer = layers_of(published)[-1]
    tiles = tile_range(bounds_of(layer), ZOOM)

    template = f"/layers/{layer.id}/tiles/{{z}}/{{x}}/{{y}}.png?shows={shows}"
    seen = over_centres(mosaic(site_of(published), template, ZOOM, tiles), ZOOM, tiles, layer)

    told = cells(layer, f"{shows}.tif")
    unknown = told == (CLASS_NODATA if shows == "class" else NODATA)
    assert 0 < unknown.sum() < told.size
    assert len(np.unique(told)) > 3
    np.testing.assert_array_equal(stored_of(seen, table), told)
    np.testing.assert_array_equal(seen[..., 3] == 0, unknown)


def test_a_difference_tile_shows_the_change_of_class_of_every_cell_known_on_both_days(
    published: ToyRegion,
) -> None:
    then, now = layers_of(published)
    tiles = tile_range(bounds_of(now), ZOOM)

    template = f"/layers/{now.id}/difference/{then.id}/tiles/{{z}}/{{x}}/{{y}}.png"
    seen = over_centres(mosaic(site_of(published), template, ZOOM, tiles), ZOOM, tiles, now)

    classes = [cells(layer, "class.tif").astype(int) for layer in (now, then)]
    both = (classes[0] > 0) & (classes[1] > 0)
    change = classes[0] - classes[1]
    assert (change[both] != 0).any()
    codes = stored_of(seen, DIFFERENCE_TABLE).astype(int)
    np.testing.assert_array_equal(codes == 0, ~both)
    np.testing.assert_array_equal(codes[both] - 4, change[both])


def test_a_difference_is_unknown_where_either_day_is() -> None:
    now, then = np.array([0, 3, 4, 1, 2], np.uint8), np.array([2, 0, 1, 4, 2], np.uint8)
    assert difference_code(now, then).tolist() == [0, 0, 7, 1, 4]


@pytest.mark.parametrize("place", ["14/0/0", "2/0/3", "18/262143/262143", "18/0/0"])
def test_a_tile_beyond_the_region_is_empty(published: ToyRegion, place: str) -> None:
    answer = site_of(published).get(f"/layers/latest/tiles/{place}.png")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert len(answer.content) < 500
    picture = decode(answer.content)
    assert picture.shape == (256, 256, 4)
    assert not picture[..., 3].any()


def test_a_tile_of_the_whole_world_still_shows_the_region_only_where_it_is(published: ToyRegion) -> None:
    picture = decode(site_of(published).get("/layers/latest/tiles/0/0/0.png").content)
    assert (picture[..., 3] > 0).sum() <= 1


def test_a_layer_of_an_id_may_be_kept_for_an_hour_and_the_latest_is_asked_for_again(
    published: ToyRegion,
) -> None:
    http, layer = site_of(published), layers_of(published)[-1]
    place = "tiles/14/8600/5800.png"

    named = http.get(f"/layers/{layer.id}/{place}").headers
    latest = http.get(f"/layers/latest/{place}").headers

    assert named["cache-control"] == "public, max-age=3600"
    assert latest["cache-control"] == "no-cache"
    assert named["etag"] == latest["etag"]
    same = {"If-None-Match": latest["etag"]}
    assert http.get(f"/layers/latest/{place}", headers=same).status_code == 304
    assert http.get(f"/layers/latest/{place}?shows=susceptibility", headers=same).status_code == 200
    assert http.head(f"/layers/latest/{place}").status_code == 200


def test_the_tiles_of_a_withdrawn_layer_are_gone_at_once(changing: ToyRegion) -> None:
    http, (then, now) = site_of(changing), layers_of(changing)
    zoom = closest_zoom(bounds_of(now), now.cell_size_m)
    tile = tile_range(bounds_of(now), zoom)
    place = f"{zoom}/{tile.first_column}/{tile.first_row}.png"
    addresses = [f"/layers/{now.id}/tiles/{place}", f"/layers/{now.id}/difference/{then.id}/tiles/{place}"]
    assert [http.get(address).status_code for address in addresses] == [200, 200]

    with changing.ledger() as ledger:
        ledger.withdraw(now, "tester", "wrong rain", [])

    for address in [*addresses, f"/layers/{now.id}/tilejson.json"]:
        answer = http.get(address)
        assert answer.status_code == 410
        assert "withdrawn" in answer.json()["detail"]


def test_a_raster_that_cannot_be_read_is_named(changing: ToyRegion) -> None:
    layer = layers_of(changing)[-1]
    (layer.folder / "class.tif").write_bytes(b"not a raster")
    tile = tile_range(bounds_of(layer), ZOOM)

    answer = site_of(changing).get(f"/layers/latest/tiles/{ZOOM}/{tile.first_column}/{tile.first_row}.png")

    assert answer.status_code == 503
    assert "class.tif" in answer.json()["detail"]


def test_tilejson_leads_to_the_tiles_and_says_how_far_to_zoom(published: ToyRegion) -> None:
    http, layer = site_of(published), layers_of(published)[-1]

    said = http.get("/layers/latest/tilejson.json?shows=susceptibility").json()

    assert said["tilejson"] == "3.0.0"
    assert (said["layer"], said["day"], said["status"]) == (layer.id, "2026-03-05", "complete")
    assert said["attribution"] == "made up"
    (template,) = said["tiles"]
    assert template.startswith(f"http://map.example/layers/{layer.id}/tiles/{{z}}/{{x}}/{{y}}.png?")
    assert "shows=susceptibility" in template
    west, south, east, north = said["bounds"]
    assert 8.9 < west < east < 9.1
    assert 45.1 < south < north < 45.2
    # A cell of 30 m is 4 pixels or more, and was not so one level before.
    ground_m = PIXEL_M * np.cos(np.deg2rad(45.14))
    assert ground_m / 2 ** said["maxzoom"] * 4 <= 30 < ground_m / 2 ** (said["maxzoom"] - 1) * 4
    path = template.removeprefix("http://map.example")
    assert mosaic(http, path, 13, tile_range((west, south, east, north), 13))[..., 3].any()


def test_links_begin_with_the_public_address_where_one_is_set(changing: ToyRegion) -> None:
    text = changing.config.read_text("utf-8")
    changing.config.write_text(text + '\n[web]\npublic_url = "https://gis.example/landslides/"\n', "utf-8")

    (template,) = site_of(changing).get("/layers/latest/tilejson.json").json()["tiles"]

    assert template.startswith("https://gis.example/landslides/layers/")


def test_an_attribution_cannot_bring_markup_into_a_map(changing: ToyRegion) -> None:
    http = site_of(changing)
    layer = layers_of(changing)[-1].model_copy(update={"attribution": "<img src=x onerror=alert(1)>"})
    with changing.ledger() as ledger, ledger.transaction():
        ledger.add_layer(layer.model_copy(update={"id": "toy-2026-03-05-l0-r2", "revision": 2}), {}, [])

    assert "<" not in http.get("/layers/latest/tilejson.json").json()["attribution"]


def test_the_legend_gives_every_value_a_colour_of_its_own(published: ToyRegion) -> None:
    legend = site_of(published).get("/legend.json").json()

    assert [item["label"] for item in legend["classes"]] == ["low", "moderate", "high", "very_high"]
    assert [item["from"] for item in legend["classes"]][1:] == [item["to"] for item in legend["classes"]][:-1]
    assert legend["classes"][0]["from"] == 0
    assert legend["classes"][-1]["to"] == 1
    assert [item["value"] for item in legend["difference"]] == [-3, -2, -1, 0, 1, 2, 3]
    susceptibility = legend["susceptibility"]
    assert len({item["colour"] for item in susceptibility}) == len(susceptibility) == 251
    assert susceptibility[100]["value"] == 0.4
    assert legend["unknown"]["colour"] is None


def test_the_relief_is_drawn_where_the_dem_is_known(published: ToyRegion) -> None:
    http, layer = site_of(published), layers_of(published)[-1]
    tiles = tile_range(bounds_of(layer), ZOOM)

    seen = over_centres(mosaic(http, "/basemap/{z}/{x}/{y}.png", ZOOM, tiles), ZOOM, tiles, layer)

    assert not seen[:9, :9, 3].any()
    assert (seen[12:-1, 12:-1, 3] == 255).all()
    assert (seen[..., 0] == seen[..., 1]).all()
    assert len(np.unique(seen[12:, 12:, 0])) > 50
    said = http.get("/basemap/tilejson.json").json()
    assert said["tiles"][0].startswith("http://map.example/basemap/{z}/{x}/{y}.png")
    assert said["bounds"] == pytest.approx(bounds_of(layer))


def test_without_a_hillshade_the_base_map_says_what_makes_it(toy: ToyRegion) -> None:
    for path in ("/basemap/13/4300/2920.png", "/basemap/tilejson.json"):
        answer = site_of(toy).get(path)
        assert answer.status_code == 404
        assert "grid.dem" in answer.json()["detail"]


def test_pictures_are_kept_up_to_a_bound_and_the_longest_unused_goes_first() -> None:
    drawing, made = Drawing(cache_bytes=2_200), []

    def draw(name: str, size: int) -> bytes:
        def make() -> bytes:
            made.append(name)
            return name.encode() * size

        return drawing.once((name,), make)

    for name in ("a", "b", "a", "c", "a"):
        assert draw(name, 400) == name.encode() * 400
    assert made == ["a", "b", "c"]  # c pushed b out, not a, which had been used since
    draw("b", 400)
    draw("x", 5_000)  # larger than all the room there is
    draw("x", 5_000)
    assert made == ["a", "b", "c", "b", "x", "x"]


def test_a_crowd_of_empty_tiles_is_not_kept_for_nothing() -> None:
    drawing = Drawing(cache_bytes=100_000)
    tracemalloc.start()
    for number in range(10_000):
        drawing.once(("toy-2026-03-05-l0-r1", "0" * 64, "class", 18, number, number), lambda: bytes(10))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 200_000


@pytest.mark.parametrize(
    "path",
    [
        "/layers/{layer}/tiles/14/8600/5800.png", "/wmts/class/latest/14/5800/8600.png", "/map.png",
        "/layers/{layer}/difference/{layer}/tiles/14/8600/5800.png", "/basemap/14/8600/5800.png",
        "/preview.png", "/layers/{layer}/tilejson.json", "/basemap/tilejson.json",
    ],
)  # fmt: skip
def test_other_colours_make_another_picture_for_who_has_the_old_one(
    published: ToyRegion, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    http, address = site_of(published), path.format(layer=layers_of(published)[-1].id)
    same = {"If-None-Match": http.get(address).headers["etag"]}
    assert http.get(address, headers=same).status_code == 304
    for module in (answers, preview, tile_routes):
        monkeypatch.setattr(module, "COLOURS", "another")
    assert http.get(address, headers=same).status_code == 200


def test_many_threads_may_draw_at_once(published: ToyRegion) -> None:
    http, layer = site_of(published), layers_of(published)[-1]
    tile = tile_range(bounds_of(layer), ZOOM)
    places = [
        f"/layers/latest/tiles/{ZOOM}/{x}/{y}.png?shows={shows}"
        for x in range(tile.first_column, tile.last_column + 1)
        for y in range(tile.first_row, tile.last_row + 1)
        for shows in ("class", "susceptibility")
    ]
    alone = {place: http.get(place).content for place in places}
    fresh, seen = site_of(published), {}

    def fetch(part: list[str]) -> None:
        for place in part:
            seen[threading.get_ident(), place] = fresh.get(place).content

    threads = [threading.Thread(target=fetch, args=(places[n:] + places[:n],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(seen) == 4 * len(places)
    assert all(content == alone[place] for (_, place), content in seen.items())


def test_the_folder_of_a_layer_holds_nothing_new_after_its_tiles_were_drawn(published: ToyRegion) -> None:
    folder: Path = layers_of(published)[-1].folder
    before = sorted(folder.iterdir())
    assert site_of(published).get("/layers/latest/tiles/0/0/0.png").status_code == 200
    assert sorted(folder.iterdir()) == before
