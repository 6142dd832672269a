"""What the documentation tells people to type is what works: every query and command in it is run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg
import pytest
import rasterio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rasterio.warp import transform

from exporters.layer import CLASS_COLOURS, NODATA, Layer
from tests.clients.fix_toy_desk import published_days
from tests.fix_postgis import Database
from tests.fix_qgis import LiveSite, login_of
from tests.fix_region import LEFT, TOP, ToyRegion

DOCS = Path(__file__).parents[2] / "docs"
DAYS = [date(2026, 3, 5), date(2026, 3, 6)]
# A cell of the toy region whose class is known.
ROW, COLUMN = 30, 40
_TIMEOUT_S = 240


def blocks(name: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", (DOCS / name).read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, f"{name} has no {language} blocks"
    return [str(block) for block in found]


def place() -> tuple[float, float]:
    """Return longitude and latitude of the middle of the cell."""
    x, y = LEFT + (COLUMN + 0.5) * 30, TOP - (ROW + 0.5) * 30
    (lon,), (lat,) = transform("EPSG:32632", "EPSG:4326", [x], [y])
    return lon, lat


@pytest.fixture
def published(toy: ToyRegion, database: Database) -> Layer:
    """Two days of the toy region in the database; the newest is returned."""
    return published_days(toy, database, *DAYS)[-1]


def stored_value(layer: Layer) -> int:
    with rasterio.open(layer.folder / "susceptibility.tif") as raster:
        return int(raster.read(1)[ROW, COLUMN])


def test_every_query_runs_and_tells_what_the_layer_holds(published: Layer, database: Database) -> None:
    lon, lat = place()
    variables = {"lon": repr(lon), "lat": repr(lat), "zone": "'west'", "since": "'2026-03-06'"}
    answers = {}
    with (
        psycopg.connect(database.reader_dsn, autocommit=True) as reader,
        psycopg.connect(database.field_dsn, autocommit=True) as field,
    ):
        for block in blocks("postgis.md", "sql"):
            query = re.sub(r"(?<!:):([a-z]+)", lambda name: variables[name[1]], block)
            query = query.replace("demo, public", "toy, public")
            connection = field if "event_report" in query else reader
            cursor = connection.execute(query.encode())
            if query.startswith("SET "):
                field.execute(query.encode())
            if cursor.description:
                names = [column.name for column in cursor.description]
                answers[block] = [dict(zip(names, row, strict=True)) for row in cursor]

    def answer(part: str) -> list[dict[str, object]]:
        (found,) = (rows for block, rows in answers.items() if part in block)
        return found

    stored = stored_value(published)
    assert stored != NODATA
    (here,) = answer("AS class\nFROM latest_susceptibility")
    assert float(str(here["susceptibility"])) == pytest.approx(stored * 0.004)
    label = ("low", "moderate", "high", "very_high")[sum(stored >= code for code in published.classes.codes)]
    assert here["class"] == label
    assert [row["day"] for row in answer("AS class\nFROM susceptibility")] == DAYS
    assert {row["name"] for row in answer("CROSS JOIN LATERAL ST_Transform")} == {"school", "bridge"}
    zones = answer("AS high_km2")
    assert {row["zone"] for row in zones} == {"west", "east"}
    assert all(row["growth_1d_km2"] is not None for row in zones)
    assert len(answer("WHERE zone = ")) == len(DAYS) * 4
    assert answer("FROM latest_hotspot")
    assert sum(float(str(row["km2"])) for row in answer("ST_ValueCount")) == pytest.approx(0.5**2 * 3.14, 0.1)
    assert answer("FROM latest_layer")[0]["day"] == DAYS[-1]


@pytest.mark.usefixtures("gdal")
def test_every_gdal_command_runs_and_the_files_hold_the_layer(
    published: Layer, database: Database, serve: Callable[[], LiveSite], tmp_path: Path
) -> None:
    lon, lat = place()
    # The login travels in the environment, as from ~/.pgpass; the driver would not understand `passfile`.
    said = conninfo_to_dict(database.reader_dsn)
    place_of = make_conninfo("", **{key: said[key] for key in ("host", "port", "dbname") if key in said})
    environment = {
        "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "NO_PROXY": "*", "HOME": str(tmp_path),
        "SITE": serve().address, "PG": f"PG:{place_of} schema='toy'", "ZONE": "west", "DAY": str(DAYS[0]),
        "LON": repr(lon), "LAT": repr(lat), **login_of(database.reader_dsn),
    }  # fmt: skip
    printed = {}

    for block in blocks("gdal.md", "bash"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        assert "ERROR" not in done.stderr, f"{block}\n{done.stderr}"
        printed[block] = done.stdout

    (value,) = (said for block, said in printed.items() if "gdallocationinfo" in block)
    assert int(value) == stored_value(published)
    with rasterio.open(published.folder / "susceptibility.tif") as raster:
        stored = raster.read(1)
    with rasterio.open(tmp_path / "index.tif") as index:
        found = index.read(1, masked=True)
        assert (found.mask == (stored == NODATA)).all()
        assert found[ROW, COLUMN] == pytest.approx(stored[ROW, COLUMN] * 0.004)
    with rasterio.open(tmp_path / "latest.tif") as latest, rasterio.open(tmp_path / "day.tif") as day:
        assert (latest.read(1)[: stored.shape[0], : stored.shape[1]] == stored).all()
        assert not (day.read(1)[: stored.shape[0], : stored.shape[1]] == stored).all(), "the day before"
    with rasterio.open(tmp_path / "class.png") as picture:
        colours = {tuple(colour) for colour in picture.read()[:3].reshape(3, -1).T.tolist()}
        assert set(CLASS_COLOURS) <= colours
    for made in ("small.tif", "zone.tif", "zones.gpkg", "hotspots.gpkg"):
        assert (tmp_path / made).stat().st_size > 0


def test_the_pages_name_the_styles_and_tables_that_there_are(
    published: Layer, database: Database, serve: Callable[[], LiveSite]
) -> None:
    text = (DOCS / "qgis.md").read_text("utf-8") + (DOCS / "postgis.md").read_text("utf-8")

    site = serve()
    for style in set(re.findall(r"`(\w+)\.qml`", text)):
        assert site.get(f"/qgis/styles/{style}.qml").startswith(b"<!DOCTYPE qgis")
    there = {
        name
        for (name,) in database.execute(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'toy'"
        )
    }
    listed = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE))
    named = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    assert {"latest_susceptibility", "series_latest", "grid"} <= named
    assert {name for name in named if not name.startswith("colluvium_")} <= there
