"""/statistics: figures of a drawn polygon are those of the cells whose centres it holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.layer import CLASS_LABELS, NODATA, SCALE
from service.api import statistics as module
from service.region import open_region
from tests.fix_places import DAY, client_of, lonlat_of, make_valley, raster_of, strict_json
from tests.fix_region import SHAPE, ToyRegion


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory) -> ToyRegion:
    """A region with a mask and one layer, to look at."""
    toy = make_valley(tmp_path_factory.mktemp("drawn") / "valley")
    toy.refresh(DAY)
    return toy


def text_of(corners: list[tuple[float, float]]) -> str:
    """Write corners given as (column, row) of the grid as the address has them."""
    return ",".join(
        f"{lon:.9f},{lat:.9f}" for lon, lat in (lonlat_of(row, column) for column, row in corners)
    )


@pytest.fixture(scope="module")
def http(valley: ToyRegion) -> TestClient:
    """The API, without a bundle: it is not needed to count."""
    return client_of(valley, loaded=False)


def ask(http: TestClient, polygon: str, **more: Any) -> Any:
    return http.get("/statistics", params={"polygon": polygon, **more})


corner = st.tuples(st.floats(-9, SHAPE[1] + 9), st.floats(-9, SHAPE[0] + 9))


@settings(max_examples=30, deadline=None)
@given(st.lists(corner, min_size=3, max_size=8))
def test_a_polygon_says_what_its_cells_say(
    valley: ToyRegion, http: TestClient, corners: list[tuple[float, float]]
) -> None:
    text = text_of(corners)
    numbers = [float(part) for part in text.split(",")]
    drawn = shapely.Polygon(list(zip(numbers[::2], numbers[1::2], strict=True)))
    if shapely.make_valid(drawn).area < 1e-9:
        return
    with valley.ledger() as ledger:
        layer = ledger.latest()
    assert layer is not None
    stored, classes = raster_of(layer, "susceptibility.tif"), raster_of(layer, "class.tif")
    with rasterio.open(open_region(valley.settings).mask_path) as raster:
        mask = raster.read(1) == 1
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    x, y = 500_000.0 + (columns + 0.5) * 30, 5_000_000.0 - (rows + 0.5) * 30
    lon, lat = rasterio.warp.transform("EPSG:32632", "EPSG:4326", x.ravel(), y.ravel())
    whole = shapely.make_valid(drawn)
    points = shapely.points(lon, lat)
    inside = shapely.contains(whole, points).reshape(SHAPE) & mask
    close = shapely.dwithin(whole.boundary, points, 1e-6)  # a decimetre: it may fall on either side
    if (close.reshape(SHAPE) & mask).any():
        return

    answer = ask(http, text)

    if not inside.any():
        assert answer.status_code in (404, 422)
        return
    assert answer.status_code == 200, answer.text
    found = strict_json(answer.text)
    known = inside & (stored != NODATA)
    assert found["cells"] == inside.sum()
    assert found["known_cells"] == known.sum()
    assert found["area_m2"] == inside.sum() * 900
    assert found["unknown_m2"] == (inside & ~known).sum() * 900
    for code, label in enumerate(CLASS_LABELS, start=1):
        cells = (inside & (classes == code)).sum()
        assert found["areas"][label]["area_m2"] == cells * 900
        if known.any():
            assert found["areas"][label]["ratio"] == pytest.approx(cells / known.sum(), abs=1e-6)
    if known.any():
        values = stored[known] * SCALE
        said = found["susceptibility"]
        assert said["mean"] == pytest.approx(values.mean(), abs=1e-6)
        assert said["median"] == pytest.approx(np.median(values), abs=1e-6)
        assert said["max"] == pytest.approx(values.max(), abs=1e-6)
    else:
        assert found["susceptibility"] is None
    assert found["repaired"] == (not drawn.is_valid)


def test_an_outline_that_crosses_itself_is_repaired_and_says_so(http: TestClient) -> None:
    bow = ask(http, text_of([(20, 20), (50, 50), (50, 20), (20, 50)])).json()
    halves = [
        ask(http, text_of(corners)).json()["cells"]
        for corners in ([(20, 20), (35, 35), (20, 50)], [(50, 20), (35, 35), (50, 50)])
    ]
    assert bow["repaired"]
    assert bow["cells"] == pytest.approx(sum(halves), abs=35)  # centres on the shared lines


def test_crossings_are_counted_and_an_outline_of_too_many_is_refused_at_once(http: TestClient) -> None:
    def star(corners: int, step: int) -> list[tuple[float, float]]:
        angles = [number * 2 * np.pi * step / corners for number in range(corners)]
        return [(40 + 20 * float(np.cos(a)), 32 + 20 * float(np.sin(a))) for a in angles]

    assert module.crossings(np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)) == 0
    assert module.crossings(np.array([(0, 0), (1, 1), (1, 0), (0, 1)], float)) == 1
    assert module.crossings(np.array(star(5, 2))) == 5
    assert ask(http, text_of(star(5, 2))).json()["repaired"]
    started = time.monotonic()
    answer = ask(http, text_of(star(199, 99)))  # GEOS would repair it for a minute and a half
    assert time.monotonic() - started < 5
    assert answer.status_code == 422
    assert "crosses itself" in answer.json()["detail"]


def test_the_whole_world_is_the_region_and_a_layer_may_be_named(valley: ToyRegion, http: TestClient) -> None:
    with valley.ledger() as ledger:
        layer = ledger.latest()
    assert layer is not None
    found = ask(http, "-179,-89,179,-89,179,89,-179,89", id=layer.id).json()
    assert found["layer"] == layer.id
    assert found["known_cells"] == layer.cells
    by_label = {area.label: area.area_m2 for area in layer.areas if area.zone == ""}
    assert {label: area["area_m2"] for label, area in found["areas"].items()} == by_label


@pytest.mark.parametrize(
    ("polygon", "says"),
    [
        ("", "numbers"),
        ("9,45,10", "pairs"),
        ("9,45,10,45", "pairs"),
        ("9;45,10;45,9;46", "numbers"),
        ("9,45,9.1,45.1,9.2,45.2", "encloses nothing"),
        ("9,45,9,45,9,45", "encloses nothing"),
        ("nan,45,9,45.1,9.1,45", "degrees"),
        ("1e400,45,9,45.1,9.1,45", "degrees"),
        ("9,91,9,45.1,9.1,45", "degrees"),
        (",".join(["9,45"] * 201), "pairs"),
        ("POLYGON((9 45,9 46,10 46))", "numbers"),
    ],
)
def test_what_is_no_polygon_is_refused_with_the_reason(http: TestClient, polygon: str, says: str) -> None:
    answer = ask(http, polygon)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_two_hundred_corners_are_allowed(http: TestClient) -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = [(40 + 20 * float(np.cos(a)), 32 + 20 * float(np.sin(a))) for a in angles]
    found = ask(http, text_of(circle))
    assert found.status_code == 200
    assert found.json()["cells"] == pytest.approx(np.pi * 400, rel=0.02)


def test_a_polygon_beside_the_region_or_in_its_gap_has_nothing_to_say(http: TestClient) -> None:
    for corners in ([(-99, 5), (-88, 5), (-88, 20)], [(76.1, 0.6), (78, 0.6), (78, 2)]):
        answer = ask(http, text_of(corners))
        assert answer.status_code == 404
        assert "inside the polygon" in answer.json()["detail"]


def test_a_polygon_over_too_many_cells_is_refused_before_anything_is_read(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CELLS", 500)
    small = ask(http, text_of([(20, 20), (40, 20), (40, 40), (20, 40)]))
    assert small.status_code == 200
    monkeypatch.setattr(module, "count_cells", lambda *_: pytest.fail("it was counted"))
    large = ask(http, text_of([(20, 20), (50, 20), (50, 50), (20, 50)]))
    assert large.status_code == 413
    assert "at most 500" in large.json()["detail"]


@pytest.mark.parametrize("identity", ["../ledger", "toy-2026-03-05-l0-r9; --", "http://elsewhere/x.tif"])
def test_a_layer_is_named_by_its_id_alone(http: TestClient, identity: str) -> None:
    assert ask(http, "9,45,9.01,45,9.01,45.01", id=identity).status_code in (404, 422)


def test_the_example_of_the_description_is_an_answer(http: TestClient) -> None:
    from service.api.examples import STATISTICS

    assert module.Statistics.model_validate(STATISTICS)
    found = ask(http, text_of([(20, 20), (40, 20), (40, 40)])).json()
    assert set(found) == set(STATISTICS)
