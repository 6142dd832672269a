"""A region's API in the test's own process, and the eyes to look at its pictures."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import rasterio.warp
from fastapi.testclient import TestClient
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from exporters.layer import Layer
from service.api.app import create_app
from service.api.mercator import HALF_WORLD_M, TILE_SIZE, TileRange
from tests.fix_region import ToyRegion

Rgba = npt.NDArray[np.uint8]


def site_of(toy: ToyRegion, host: str = "http://map.example") -> TestClient:
    """Open the region's API, without a bundle; `host` is where the client believes it to be."""
    return TestClient(create_app(toy.settings, toy.clock, bundle=None), base_url=host)


class RawAnswer(NamedTuple):
    """An answer as it left the application."""

    status: int
    headers: dict[str, str]
    content: bytes


def raw_get(http: TestClient, address: str) -> RawAnswer:
    """Ask for an address as it stands, as uvicorn would hand it on: a client would tidy its `..` away."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"map.example")],
        "client": ("10.0.0.1", 5000),
        "server": ("map.example", 80),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(http.app(scope, receive, send))  # type: ignore[arg-type]
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return RawAnswer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


def layers_of(toy: ToyRegion) -> list[Layer]:
    """Return all layers of the ledger, oldest first."""
    with toy.ledger() as ledger:
        return ledger.layers()


def decode(png: bytes) -> Rgba:
    """Read a PNG with GDAL, with a palette or without: uint8 (rows, columns, 4)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place
        with MemoryFile(png) as memory, memory.open(driver="PNG") as image:
            bands = np.moveaxis(image.read(), 0, -1)
            if image.count == 4:
                return np.asarray(bands, np.uint8)
            table = np.zeros((256, 4), np.uint8)
            for value, colour in image.colormap(1).items():
                table[value] = colour
            return table[bands[..., 0]]


def mosaic(http: TestClient, template: str, z: int, tiles: TileRange) -> Rgba:
    """Fetch all tiles of a range and put them together; `template` has {z}, {x} and {y}."""
    rows = []
    for y in range(tiles.first_row, tiles.last_row + 1):
        row = []
        for x in range(tiles.first_column, tiles.last_column + 1):
            answer = http.get(template.replace("{z}", str(z)).replace("{x}", str(x)).replace("{y}", str(y)))
            assert answer.status_code == 200, answer.text
            row.append(decode(answer.content))
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)


def over_centres(picture: Rgba, z: int, tiles: TileRange, layer: Layer) -> Rgba:
    """Return the pixels of a mosaic over the centre of every cell of a layer: (rows, columns, 4)."""
    height, width = layer.shape
    left, _, _, top = layer.bounds
    x = left + (np.arange(width) + 0.5) * layer.cell_size_m
    y = top - (np.arange(height) + 0.5) * layer.cell_size_m
    xx, yy = np.meshgrid(x, y)
    lon, lat = rasterio.warp.transform(layer.crs, "EPSG:3857", xx.ravel(), yy.ravel())
    pixel_m = 2 * HALF_WORLD_M / (TILE_SIZE << z)
    columns = np.floor((np.array(lon) + HALF_WORLD_M) / pixel_m).astype(int) - tiles.first_column * TILE_SIZE
    rows = np.floor((HALF_WORLD_M - np.array(lat)) / pixel_m).astype(int) - tiles.first_row * TILE_SIZE
    return picture[rows, columns].reshape(height, width, 4)
