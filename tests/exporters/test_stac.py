from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension
from pystac.extensions.render import RenderExtension
from pystac.validation import JsonSchemaSTACValidator

from exporters.layer import CLASS_LABELS, NODATA, SCALE, LayerStatus
from exporters.stac import collection_text, entries_on_disk, layer_item, write_collection, write_item
from tests.exporters.fix_layer import finished_layer, make_layer
from tests.fix_warnings import NUMBERS, RULE, warning

DAYS = (date(2026, 3, 1), date(2026, 3, 2))


def validate_offline(thing: pystac.Item | pystac.Collection) -> None:
    """Validate with PySTAC against the core schemas that it ships; extension schemas are on the net."""
    content = json.loads(json.dumps(thing.to_dict(transform_hrefs=False)))
    JsonSchemaSTACValidator().validate_core(content, thing.STAC_OBJECT_TYPE, pystac.get_stac_version())


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def test_an_item_is_valid_stac(tmp_path: Path) -> None:
    layer = finished_layer(tmp_path)
    item = pystac.Item.from_file(str(layer.folder / "item.json"))
    validate_offline(item)
    assert item.id == layer.id
    assert item.collection_id == "demo"


def test_the_validator_is_at_work(tmp_path: Path) -> None:
    item = layer_item(make_layer(tmp_path))
    item.bbox = [1.0]
    with pytest.raises(pystac.STACValidationError):
        validate_offline(item)


def test_an_item_says_everything_about_its_layer(tmp_path: Path) -> None:
    layer = make_layer(
        tmp_path,
        status=LayerStatus.DEGRADED,
        unconfirmed=True,
        valid_from=datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=1))),
    )
    properties = layer_item(layer).to_dict(transform_hrefs=False)["properties"]
    said = {name.split(":")[1]: value for name, value in properties.items() if name.startswith("colluvium:")}
    assert said == {
        "day": "2026-03-01",
        "lead": 0,
        "revision": 1,
        "digest": layer.digest,
        "status": "degraded",
        "unconfirmed": True,
        "data_until": "2026-02-28",
        "coverage": 0.98,
        "cells": 90,
        "model": "toy 1",
        "model_digest": layer.model.digest,
        "may_warn": False,
        "breaks": [0.2, 0.4, 0.6],
        "notes": ["a note"],
        "synthetic": True,
    }
    assert properties["start_datetime"] == "2026-02-28T23:00:00Z"
    assert properties["end_datetime"] == "2026-03-02T00:00:00Z"
    assert properties["created"] == properties["updated"] == "2026-03-01T06:00:00Z"
    assert "not a probability" in properties["description"]
    assert "Synthetic" in properties["description"]
    assert properties["attribution"] == "Survey of Demo"


def test_an_item_describes_the_rasters_as_they_are(tmp_path: Path) -> None:
    layer = finished_layer(tmp_path)
    item = pystac.Item.from_file(str(layer.folder / "item.json"))
    projection = ProjectionExtension.ext(item)
    assert projection.code == "EPSG:32632"
    with rasterio.open(layer.folder / "susceptibility.tif") as raster:
        assert projection.shape == list(raster.shape)
        assert projection.transform == list(raster.transform)[:6]
        assert projection.bbox == list(raster.bounds)
    (band,) = RasterExtension.ext(item.assets["susceptibility"]).bands or []
    assert (band.scale, band.nodata, band.data_type) == (SCALE, NODATA, "uint8")
    provenance = RasterExtension.ext(item.assets["provenance"]).bands or []
    with rasterio.open(layer.folder / "provenance.tif") as raster:
        assert [one.properties["name"] for one in provenance] == list(raster.descriptions)
    classes = ClassificationExtension.ext(item.assets["class"]).classes or []
    assert [(one.value, one.name) for one in classes] == list(enumerate(("unknown", *CLASS_LABELS)))
    assert set(RenderExtension.ext(item).renders) == {"class", "susceptibility"}


def test_every_asset_and_link_leads_to_a_file(tmp_path: Path) -> None:
    layers = [finished_layer(tmp_path, day) for day in DAYS]
    write_collection(tmp_path / "layers" / "collection.json", layers)
    item = read_json(layers[0].folder / "item.json")
    hrefs = [asset["href"] for asset in item["assets"].values()] + [link["href"] for link in item["links"]]
    assert len(hrefs) == 7
    assert all((layers[0].folder / href).is_file() for href in hrefs)


def test_the_outline_lies_around_the_grid_in_degrees(tmp_path: Path) -> None:
    item = layer_item(make_layer(tmp_path))
    assert item.bbox == pytest.approx([9.0, 44.2505, 9.00376, 44.2532], abs=2e-4)
    assert item.geometry is not None
    ring = item.geometry["coordinates"][0]
    assert ring[0] == ring[-1]
    twice_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    assert twice_area > 0  # counter-clockwise, RFC 7946


def test_the_same_layer_gives_the_same_item(tmp_path: Path) -> None:
    layer = make_layer(tmp_path)
    write_item(layer, tmp_path / "a.json")
    write_item(layer, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_crs_without_a_code_travels_as_text(tmp_path: Path) -> None:
    own = "+proj=laea +lat_0=44 +lon_0=9 +x_0=500000 +y_0=4900000 +datum=WGS84 +units=m"
    item = layer_item(make_layer(tmp_path, crs=own))
    projection = ProjectionExtension.ext(item)
    assert projection.code is None
    assert projection.wkt2 is not None
    assert projection.wkt2.startswith("PROJCRS")
    validate_offline(item)


def test_a_withdrawn_item_says_so_and_leaves_the_collection(tmp_path: Path) -> None:
    first, second = (finished_layer(tmp_path, day) for day in DAYS)
    withdrawn = second.model_copy(update={"status": LayerStatus.WITHDRAWN})
    write_item(withdrawn, second.folder / "item.json")
    assert read_json(second.folder / "item.json")["properties"]["colluvium:status"] == "withdrawn"
    write_collection(tmp_path / "layers" / "collection.json", [first, withdrawn])
    links = read_json(tmp_path / "layers" / "collection.json")["links"]
    assert [link["title"] for link in links if link["rel"] == "item"] == [first.id]


def test_a_collection_is_valid_and_its_items_can_be_followed(tmp_path: Path) -> None:
    layers = [finished_layer(tmp_path, day) for day in DAYS]
    path = tmp_path / "layers" / "collection.json"
    write_collection(path, layers)
    collection = pystac.Collection.from_file(str(path))
    validate_offline(collection)
    assert [item.id for item in collection.get_items()] == [layer.id for layer in layers]
    assert collection.extent.temporal.intervals == [
        [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)]
    ]
    assert "Survey of Demo" in collection.description
    assert "Synthetic" in collection.description


def test_only_the_newest_revision_of_a_day_is_listed(tmp_path: Path) -> None:
    layers = [finished_layer(tmp_path, DAYS[0], revision) for revision in (1, 2)]
    path = tmp_path / "layers" / "collection.json"
    write_collection(path, reversed(layers))
    assert [item.id for item in pystac.Collection.from_file(str(path)).get_items()] == [layers[1].id]
    withdrawn = layers[1].model_copy(update={"status": LayerStatus.WITHDRAWN})
    with pytest.raises(ValueError, match="at least one layer"):
        write_collection(path, [layers[0], withdrawn])


def test_layers_whose_files_are_gone_are_not_listed(tmp_path: Path) -> None:
    there = finished_layer(tmp_path, DAYS[0])
    gone = make_layer(tmp_path / "layers" / "2026-03-02-l0" / "x", DAYS[1])
    path = tmp_path / "layers" / "collection.json"
    write_collection(path, [there, gone])
    assert [item.id for item in pystac.Collection.from_file(str(path)).get_items()] == [there.id]


def test_a_collection_can_be_rebuilt_from_the_items_alone(tmp_path: Path) -> None:
    layers = [finished_layer(tmp_path, day) for day in DAYS]
    (tmp_path / "layers" / "2026-03-02-l0" / ".abc.part").mkdir()
    path = tmp_path / "layers" / "collection.json"
    write_collection(path, layers)
    assert collection_text(entries_on_disk(tmp_path / "layers")) == path.read_text("utf-8")


def test_an_item_that_is_not_ours_is_named(tmp_path: Path) -> None:
    layer = finished_layer(tmp_path)
    (layer.folder / "item.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match=r"item\.json is not a layer's item"):
        entries_on_disk(tmp_path / "layers")


def test_an_item_has_the_levels_of_its_zones_and_an_unknown_one_is_null(tmp_path: Path) -> None:
    levels = (warning("a", 2, name="Alpha"), warning("b", None))
    item = layer_item(make_layer(tmp_path, warnings=levels))
    validate_offline(item)
    said = item.properties["colluvium:warnings"]
    assert [(one["zone"], one["level"], one["label"]) for one in said] == [
        ("a", 2, "orange"),
        ("b", None, None),
    ]
    assert (said[0]["rule"], said[0]["numbers"]) == (RULE, NUMBERS)


@pytest.mark.parametrize(
    "changes",
    [{}, {"status": LayerStatus.WITHDRAWN, "warnings": (warning("a", 3),)}],
    ids=["none", "withdrawn"],
)
def test_an_item_says_no_level_where_none_was_decided_or_none_stands(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert "colluvium:warnings" not in layer_item(make_layer(tmp_path, **changes)).properties
