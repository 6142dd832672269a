"""QGIS opens the shipped project from a running service: every layer is there and looks as it should."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from exporters.layer import CLASS_COLOURS, Layer
from exporters.palette import SUSCEPTIBILITY_TABLE
from tests.fix_qgis import LiveSite, Qgis
from tests.fix_region import ToyRegion

DAYS = [date(2026, 3, 5) + timedelta(days=n) for n in range(3)]
Serve = Callable[[], LiveSite]
Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def layers(toy: ToyRegion) -> dict[date, Layer]:
    """The toy region's layers of DAYS; a storm on the last day's eve makes them differ."""
    toy.set_rain({(DAYS[-1] - timedelta(days=1), gauge): 150.0 for gauge in ("north", "south")})
    toy.ingest()
    made = [one.layer for one in toy.refresh(*DAYS)]
    return {layer.day: layer for layer in made if layer is not None}


def picture(path: Path) -> Pixels:
    """Return a picture as (rows, columns, 3)."""
    with rasterio.open(path) as image:
        pixels: Pixels = np.moveaxis(image.read()[:3], 0, -1)
    return pixels


def classes_of(layer: Layer) -> Pixels:
    with rasterio.open(layer.folder / "class.tif") as raster:
        classes: Pixels = raster.read(1)
    return classes


# Pictures of tiles are taken five pixels to a cell and read in the middle of each: tiles are warped twice,
# and next to an edge between classes a pixel may show its neighbour's.
CLOSE = 5


def middles(path: Path) -> Pixels:
    return picture(path)[CLOSE // 2 :: CLOSE, CLOSE // 2 :: CLOSE]


def in_class_colours(classes: Pixels) -> Pixels:
    """Return classes as QGIS should draw them on white."""
    colours = np.array([(255, 255, 255), *CLASS_COLOURS], np.uint8)
    return colours[classes]


def test_every_layer_opens_styled_and_the_picture_has_the_class_of_every_cell(
    layers: dict[date, Layer], serve: Serve, qgis: Qgis, pictures: Path, tmp_path: Path
) -> None:
    newest = layers[DAYS[-1]]
    height, width = newest.shape
    site = serve()
    project = tmp_path / "toy.qgz"
    project.write_bytes(site.get("/qgis/project.qgz"))

    found = qgis.run(
        "open_project",
        path=str(project),
        renders=[
            # One pixel for each cell, so that a picture can be read back.
            {"layers": ["colluvium_class_cog"], "out": str(pictures / "class.png"),
             "size": [width, height], "extent": newest.bounds},
            {"layers": ["colluvium_susceptibility_cog"], "out": str(pictures / "susceptibility.png"),
             "size": [width, height], "extent": newest.bounds},
            {"layers": ["colluvium_class_wmts"], "out": str(pictures / "wmts.png"),
             "size": [CLOSE * width, CLOSE * height], "extent": newest.bounds},
            {"layers": ["colluvium_zones"], "out": str(pictures / "zones.png"), "size": [800, 640]},
            {"out": str(pictures / "as_opened.png"), "size": [1000, 800]},
        ],
    )  # fmt: skip

    assert [key for key, layer in found["layers"].items() if not layer["valid"]] == []
    assert found["crs"] == "EPSG:32632"
    assert found["extent"] == list(newest.bounds)
    assert found["title"] == "Toy valley: landslide susceptibility"
    assert "unknown, which is not low" in found["abstract"]
    assert "not a probability" in found["abstract"]
    assert "Synthetic" in found["abstract"]
    assert "made up" in found["abstract"], "the attribution"
    assert found["layers"]["colluvium_zones"]["features"] == 2
    assert found["layers"]["colluvium_hotspots"]["features"] > 0
    legend = found["layers"]["colluvium_class_cog"]["legend"]
    assert legend == ["low", "moderate", "high", "very high", "unknown, which is not low"]

    expected = in_class_colours(classes_of(newest))
    np.testing.assert_array_equal(picture(pictures / "class.png"), expected)
    with rasterio.open(newest.folder / "susceptibility.tif") as raster:
        stored = raster.read(1)
    ramp = np.array(SUSCEPTIBILITY_TABLE[:, :3], np.int16)
    ramp[255] = 255
    difference = np.abs(picture(pictures / "susceptibility.png") - ramp[stored])
    assert difference.max() <= 3, "11 stops stand for 251 colours"
    same = (middles(pictures / "wmts.png") == expected).all(axis=-1)
    assert same.mean() > 0.9
    for drawn in ("zones", "as_opened"):
        assert len(np.unique(picture(pictures / f"{drawn}.png").reshape(-1, 3), axis=0)) > 5


def test_the_temporal_controller_shows_the_map_of_its_day_and_no_other(
    layers: dict[date, Layer], serve: Serve, qgis: Qgis, pictures: Path, tmp_path: Path
) -> None:
    site = serve()
    project = tmp_path / "toy.qgz"
    project.write_bytes(site.get("/qgis/project.qgz"))
    by_day = [f"colluvium_class_{day:%Y%m%d}" for day in reversed(DAYS)]
    some = layers[DAYS[0]]
    size = [CLOSE * some.shape[1], CLOSE * some.shape[0]]
    shared = {"layers": by_day, "size": size, "extent": some.bounds}
    before = DAYS[0] - timedelta(days=1)

    found = qgis.run(
        "open_project",
        path=str(project),
        renders=[{**shared, "day": day, "out": str(pictures / f"{day}.png")} for day in (before, *DAYS)],
    )

    assert found["time_range"] == [f"{DAYS[0]}T00:00:00Z", f"{DAYS[-1]}T23:59:59Z"]
    assert found["time_step"] == [1, 4], "a day"
    assert all(found["layers"][layer]["temporal"] for layer in by_day)
    assert (picture(pictures / f"{before}.png") == 255).all(), "no map is shown for a day without one"
    expected = {day: in_class_colours(classes_of(layers[day])) for day in DAYS}
    for day in DAYS:
        drawn = middles(pictures / f"{day}.png")
        same = {other: (drawn == expected[other]).all(axis=-1).mean() for other in DAYS}
        assert max(same, key=lambda other: same[other]) == day
        assert same[day] > 0.9


def test_only_one_map_at_a_time_is_switched_on(
    layers: dict[date, Layer], serve: Serve, qgis: Qgis, tmp_path: Path
) -> None:
    site = serve()
    project = tmp_path / "toy.qgz"
    project.write_bytes(site.get("/qgis/project.qgz"))

    found = qgis.run("open_project", path=str(project))

    visible = {key for key, layer in found["layers"].items() if layer["visible"]}
    assert visible == {
        "colluvium_class_cog",
        "colluvium_hotspots",
        "colluvium_zones_outline",
    }


@pytest.mark.parametrize("name", ["class", "susceptibility"])
def test_a_style_loads_alone_and_draws_a_downloaded_file(
    layers: dict[date, Layer], serve: Serve, qgis: Qgis, pictures: Path, tmp_path: Path, name: str
) -> None:
    newest = layers[DAYS[-1]]
    site = serve()
    (tmp_path / "style.qml").write_bytes(site.get(f"/qgis/styles/{name}.qml"))
    (tmp_path / "file.tif").write_bytes(site.get(f"/layers/latest/{name}.tif"))
    drawn = pictures / f"style-{name}.png"

    qgis.run(
        "render", source=str(tmp_path / "file.tif"), provider="gdal", out=str(drawn),
        size=newest.shape[::-1], extent=newest.bounds, crs=newest.crs, style=str(tmp_path / "style.qml"),
    )  # fmt: skip

    known = classes_of(newest) > 0
    pixels = picture(drawn)
    assert (pixels[~known] == 255).all(), "unknown stays without colour"
    assert (pixels[known] != 255).any(axis=-1).all()
