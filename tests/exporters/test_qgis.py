"""The QGIS project and styles as files; tests/clients opens them in QGIS."""

from __future__ import annotations

import io
import zipfile
from datetime import date
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from exporters.layer import CLASS_COLOURS, CLASS_LABELS
from exporters.qgis import STYLES, DatabasePlace, ProjectContents, ShownDay, project_file, style_file

DSN = "host=db.example dbname=gis port=5433 user=somebody password=secret sslmode=require application_name=x"


def contents(**changes: Any) -> ProjectContents:
    values: dict[str, Any] = {
        "region": "demo",
        "name": "Demo",
        "address": "https://map.example.org",
        "crs": "EPSG:32632",
        "bounds": (500_000.0, 4_998_080.0, 502_400.0, 5_000_000.0),
        "attribution": "",
        "synthetic": False,
        "relief": True,
        "days": [ShownDay(f"demo-2026-03-0{n}-l0-r1", date(2026, 3, n)) for n in (1, 2)],
        "database": DatabasePlace.of(DSN, "demo"),
    }
    return ProjectContents(**{**values, **changes})


def parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - our own


def opened(project: bytes) -> ET.Element:
    with zipfile.ZipFile(io.BytesIO(project)) as archive:
        (name,) = archive.namelist()
        assert name.endswith(".qgs")
        return parsed(archive.read(name))


def sources(project: bytes) -> dict[str, str]:
    layers = opened(project).iter("maplayer")
    return {layer.findtext("id", ""): layer.findtext("datasource", "") for layer in layers}


def test_the_same_region_gives_the_same_bytes_and_another_day_gives_others() -> None:
    assert project_file(contents()) == project_file(contents())
    earlier = contents(days=[ShownDay("demo-2026-03-01-l0-r1", date(2026, 3, 1))])
    assert project_file(earlier) != project_file(contents())


def test_a_project_names_the_database_and_never_who_logs_in() -> None:
    found = sources(project_file(contents()))

    tables = {key: source for key, source in found.items() if "dbname" in source}
    assert len(tables) == 7
    for source in tables.values():
        assert "dbname='gis' host='db.example' port='5433' sslmode='require'" in source
        assert '"demo".' in source
    text = ET.tostring(opened(project_file(contents())), encoding="unicode")
    for private in ("somebody", "secret", "application_name"):
        assert private not in text


@pytest.mark.parametrize("dsn", ["", "user=somebody", "this is no DSN"])
def test_without_a_database_to_name_there_are_no_tables(dsn: str) -> None:
    assert DatabasePlace.of(dsn, "demo") is None
    assert not any("dbname" in source for source in sources(project_file(contents(database=None))).values())


def test_a_service_of_the_desk_stands_for_a_database() -> None:
    place = DatabasePlace.of("service=landslides user=somebody", "demo")

    found = sources(project_file(contents(database=place)))

    assert (
        found["colluvium_class_postgis"]
        == 'service=\'landslides\' table="demo"."latest_susceptibility" (rast)'
    )


def test_names_from_outside_cannot_break_the_file_or_a_connection() -> None:
    odd = "A <b> & \"c\" 'd' \x00\x1b é"
    place = DatabasePlace({"dbname": "it's"}, 'de"mo')

    project = project_file(contents(name=odd, attribution=odd, database=place))

    assert opened(project).findtext("title") == "A <b> & \"c\" 'd'  é: landslide susceptibility"
    source = sources(project)["colluvium_class_postgis"]
    assert source.startswith("dbname='it\\'s' ")
    assert '"de""mo"."latest_susceptibility"' in source


def test_a_region_without_a_relief_has_no_layer_for_it() -> None:
    assert "colluvium_hillshade" in sources(project_file(contents()))
    assert "colluvium_hillshade" not in sources(project_file(contents(relief=False)))


def test_maps_are_read_by_the_layers_own_id_so_that_a_file_never_changes_under_a_reader() -> None:
    found = sources(project_file(contents()))

    for name in ("class", "susceptibility"):
        assert found[f"colluvium_{name}_cog"] == (
            f"/vsicurl/https://map.example.org/layers/demo-2026-03-02-l0-r1/{name}.tif"
        )


def test_every_layer_of_the_tree_is_in_the_project_under_an_id_that_qgis_keeps() -> None:
    root = opened(project_file(contents()))

    tree = [node.get("id", "") for node in root.iter("layer-tree-layer")]
    assert tree == [layer.findtext("id") for layer in root.iter("maplayer")]
    assert len(set(tree)) == len(tree)
    assert min(map(len, tree)) > 10, "QGIS renames layers with shorter ids"


def test_the_class_style_has_the_colours_and_names_of_the_classes() -> None:
    for name, band in (("class", "1"), ("class_band_2", "2")):
        root = parsed(style_file(name))
        renderer = next(root.iter("rasterrenderer"))
        assert renderer.get("band") == band
        entries = {entry.get("value"): entry for entry in root.iter("paletteEntry")}
        for code, (label, colour) in enumerate(zip(CLASS_LABELS, CLASS_COLOURS, strict=True), start=1):
            assert entries[str(code)].get("label") == label.replace("_", " ")
            assert entries[str(code)].get("color") == "#" + bytes(colour).hex()
        assert entries["0"].get("alpha") == "0"
        assert entries["0"].get("label") == "unknown, which is not low"


def test_the_susceptibility_ramp_counts_stored_values_and_shows_the_index() -> None:
    items = list(parsed(style_file("susceptibility")).iter("item"))

    for item in items:
        assert float(item.get("label", "")) == pytest.approx(float(item.get("value", "")) * 0.004)
    assert [items[0].get("value"), items[-1].get("value")] == ["0", "250"]


def test_events_are_told_apart_by_shape_and_not_by_colour_alone() -> None:
    root = parsed(style_file("events"))

    rules = {rule.get("symbol"): rule.get("label", "").split(":")[0] for rule in root.iter("rule")}
    drawn = {}
    for symbol in root.iter("symbol"):
        said = {option.get("name"): option.get("value") for option in symbol.iter("Option")}
        drawn[rules[symbol.get("name")]] = (said["name"], said["color"] == said["outline_color"])
    assert len(drawn) == len(set(drawn.values())) == 4
    assert drawn["miss"] == ("triangle", True)
    project = {layer.findtext("id"): layer for layer in opened(project_file(contents())).iter("maplayer")}
    assert project["colluvium_events"].get("geometry") == "Point"
    assert project["colluvium_hotspots"].get("geometry") == "Polygon"


@pytest.mark.parametrize("name", STYLES)
def test_every_style_is_a_document_of_its_own(name: str) -> None:
    assert parsed(style_file(name)).tag == "qgis"
    assert style_file(name) == style_file(name)
