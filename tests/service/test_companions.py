"""Uncertainty and probability from refresh to the map page: there where the model gives them, else not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
import rasterio

from exporters.layer import BEYOND_FACTORS, NODATA, SCALE, Layer
from service.check import run_checks
from service.errors import Outcome
from tests.fix_bundle import ToyNetwork
from tests.fix_places import client_of, look
from tests.fix_region import ToyRegion
from tests.service.test_ensemble import with_members

DAY = date(2026, 3, 5)
ODDS = {"event_rate": 1e-5, "per": "cell and day", "positives_share": 0.5}


def make_sure(toy: ToyRegion) -> None:
    """Give the region's bundle two members and a stated event rate."""
    network = ToyNetwork(gain=3.0)
    folder = toy.settings.bundle.path
    with_members(folder, [replace(network, seed=5), replace(network, seed=6)])
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"odds": ODDS}))


@pytest.fixture
def sure(toy: ToyRegion) -> ToyRegion:
    make_sure(toy)
    return toy


def layer_of(toy: ToyRegion, day: date = DAY) -> Layer:
    (result,) = toy.refresh(day)
    assert result.outcome == Outcome.PUBLISHED, result.reason
    assert result.layer is not None
    return result.layer


def test_a_layer_of_an_ensemble_brings_its_uncertainty_and_probability(sure: ToyRegion) -> None:
    layer = layer_of(sure)
    assert (layer.members, layer.odds is not None) == (2, True)
    with rasterio.open(layer.folder / "susceptibility.tif") as raster:
        stored = raster.read(1)
    with rasterio.open(layer.folder / "uncertainty.tif") as raster:
        spread, marks = raster.read()
    with rasterio.open(layer.folder / "probability.tif") as raster:
        probability = raster.read(1)
    known = stored != NODATA
    assert known.any()
    for unknown in (spread == NODATA, marks == NODATA, np.isnan(probability)):
        np.testing.assert_array_equal(unknown, ~known)
    assert np.ptp(spread[known]) > 5
    index = stored[known] * SCALE
    expected = index * 1e-5 / (index * 1e-5 + (1 - index) * (1 - 1e-5))
    close = np.abs(probability[known] - expected) <= 2e-5 * (0.5 * SCALE + 1e-5) / (1 - index.max()) ** 2
    assert close.all()
    item = json.loads((layer.folder / "item.json").read_text())
    assert {"uncertainty", "probability"} <= set(item["assets"])
    assert not list(layer.folder.glob(".*"))


def test_members_keep_their_states_and_earlier_ones_go(toy: ToyRegion) -> None:
    layer_of(toy)
    before = {path.name for path in (toy.data / "state").iterdir()}
    make_sure(toy)
    layer_of(toy, DAY + timedelta(days=1))
    after = {path.name: path.stat().st_mtime_ns for path in (toy.data / "state").iterdir()}
    assert before < set(after)  # the main model is the same
    assert len(after) == 3
    layer_of(toy, DAY + timedelta(days=2))
    assert {path.name: path.stat().st_mtime_ns for path in (toy.data / "state").iterdir()} == after


def test_another_member_makes_another_layer(sure: ToyRegion) -> None:
    first = layer_of(sure)
    (again,) = sure.refresh(DAY)
    assert again.outcome == Outcome.UNCHANGED
    with_members(sure.settings.bundle.path, [ToyNetwork(gain=3.0, seed=5), ToyNetwork(gain=3.0, seed=9)])
    second = layer_of(sure)
    assert second.revision == first.revision + 1
    for name in ("susceptibility.tif", "class.tif"):
        with rasterio.open(first.folder / name) as one, rasterio.open(second.folder / name) as other:
            np.testing.assert_array_equal(one.read(), other.read())
    assert (first.folder / "uncertainty.tif").read_bytes() != (second.folder / "uncertainty.tif").read_bytes()


def test_a_replay_brings_back_the_members_of_then(sure: ToyRegion) -> None:
    first = layer_of(sure)
    then = sure.clock()
    sure.clock.now += timedelta(hours=1)
    with_members(sure.settings.bundle.path, [ToyNetwork(gain=3.0, seed=5)])
    second = layer_of(sure)
    (replay,) = sure.refresh(DAY, as_of=then)
    assert replay.layer is not None
    assert (replay.layer.digest, replay.layer.members, second.members) == (first.digest, 2, 1)
    for name in ("uncertainty.tif", "probability.tif"):
        assert (replay.layer.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_a_bundle_with_one_bad_member_is_refused_and_the_one_in_use_serves_with_its_own(
    sure: ToyRegion,
) -> None:
    layer_of(sure)
    spoilt = sure.settings.bundle.path / "members" / "2" / "head_u8.onnx"
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    later = layer_of(sure, DAY + timedelta(days=1))
    assert later.members == 2
    assert any("members/2/head_u8.onnx" in note and "stays in use" in note for note in later.notes)
    assert (later.folder / "uncertainty.tif").is_file()


def test_the_ledger_keeps_what_a_layer_says_of_itself(sure: ToyRegion) -> None:
    layer = layer_of(sure)
    with sure.ledger() as ledger:
        kept = ledger.layer(layer.id)
    assert kept is not None
    assert (kept.members, kept.odds) == (layer.members, layer.odds)


def test_files_are_served_where_they_are_and_said_to_be_lacking_elsewhere(toy: ToyRegion) -> None:
    plain = layer_of(toy)
    make_sure(toy)
    rich = layer_of(toy, DAY + timedelta(days=1))
    http = client_of(toy)
    for name, why in (("uncertainty.tif", "no ensemble"), ("probability.tif", "no event rate")):
        answer = http.get(f"/layers/{plain.id}/{name}")
        assert answer.status_code == 404
        assert why in answer.json()["detail"]
        answer = http.get(f"/layers/{rich.id}/{name}")
        assert (answer.status_code, answer.content) == (200, (rich.folder / name).read_bytes())
        assert http.get(f"/latest/{name}").status_code == 200
        assert name in http.get("/plain").text
    links = {layer["id"]: layer["links"] for layer in http.get("/layers").json()["layers"]}
    assert not {"uncertainty", "probability"} & set(links[plain.id])
    assert http.head(links[rich.id]["uncertainty"]).status_code == 200
    assets = http.get(f"/layers/{rich.id}").json()["assets"]
    assert http.head(assets["probability"]["href"]).status_code == 200


def test_parts_of_a_file_can_be_asked_for_and_a_withdrawn_layer_shows_none_of_it(sure: ToyRegion) -> None:
    layer = layer_of(sure)
    http = client_of(sure)
    for name in ("uncertainty.tif", "probability.tif"):
        url = f"/layers/{layer.id}/{name}"
        part = http.get(url, headers={"Range": "bytes=2-9"})
        assert (part.status_code, part.content) == (206, (layer.folder / name).read_bytes()[2:10])
        tag = http.get(url).headers["etag"]
        assert http.get(url, headers={"If-None-Match": tag}).status_code == 304
    with sure.ledger() as ledger:
        ledger.withdraw(layer, "A. Rossi", "why", [])
    for name in ("uncertainty.tif", "probability.tif"):
        assert http.get(f"/layers/{layer.id}/{name}").status_code == 410


def test_a_place_is_told_how_far_models_disagree_and_what_is_strange(toy: ToyRegion) -> None:
    plain = layer_of(toy)
    assert look(client_of(toy), (30, 40))["uncertainty"] is None
    assert look(client_of(toy), (30, 40))["probability"] is None
    make_sure(toy)
    layer = layer_of(toy, plain.day + timedelta(days=1))
    with rasterio.open(layer.folder / "uncertainty.tif") as raster:
        spread, marks = raster.read()
    with rasterio.open(layer.folder / "probability.tif") as raster:
        probability = raster.read(1)
    http = client_of(toy)
    cells = [(30, 40), (20, 55), tuple(np.argwhere(marks & BEYOND_FACTORS == 0)[0].tolist())]
    for row, column in cells:
        said = look(http, (row, column))
        if marks[row, column] == NODATA:
            assert said["uncertainty"] is said["probability"] is None
            continue
        assert said["uncertainty"] == {
            "spread": round(spread[row, column] * SCALE, 3),
            "members": 2,
            "factors_outside": bool(marks[row, column] & 1),
            "window_outside": bool(marks[row, column] & 2),
        }
        assert said["probability"]["value"] == pytest.approx(probability[row, column], rel=1e-3)
        assert said["probability"]["per"] == "cell and day"
    assert look(http, (0, 0))["uncertainty"] is None  # unknown there


def test_check_counts_the_states_of_the_members(toy: ToyRegion) -> None:
    def disk() -> str:
        return next(c for c in run_checks(toy.settings, lambda *_: None) if c.name == "disk").message

    assert "members" not in disk()
    make_sure(toy)
    assert "with 2 members" in disk()
