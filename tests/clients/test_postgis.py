"""QGIS reads what the exporter published: the newest map with overviews, the history by day, the views."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from exporters.layer import CLASS_COLOURS, NODATA, Layer
from exporters.qgis import DatabasePlace, style_file
from exporters.qgis.sources import HISTORY_DAY_FIELD, raster_table, vector_table
from tests.clients.fix_toy_desk import published_days
from tests.fix_postgis import Database
from tests.fix_qgis import ClientError, LiveSite, Qgis, login_of
from tests.fix_region import ToyRegion
from tests.postgis.fix_published import SCHEMA, folder_cells, layer_of, migrated, writer

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(3)]
Pixels = npt.NDArray[np.uint8]
ONE_CLASS = "\"class\" = 'high' AND \"zone\" <> ''"
WHITE = (255, 255, 255)


class Desk:
    """A desk with QGIS and a reader's login, and a schema with the layers of DAYS."""

    def __init__(self, database: Database, qgis: Qgis, folder: Path) -> None:
        self.database = database
        self.qgis = qgis
        self.layers = [layer_of(folder / "data", day) for day in DAYS]
        migrated(database, self.newest)
        exporter = writer(database)
        for layer in self.layers:
            exporter.deliver(layer)
        place = DatabasePlace.of(database.reader_dsn, SCHEMA)
        assert place is not None
        self.place = place

    @property
    def newest(self) -> Layer:
        return self.layers[-1]

    def source(self, table: str, **extra: str) -> str:
        return raster_table(self.place, table, extra)

    def history(self) -> str:
        return self.source(
            "susceptibility",
            temporalFieldIndex=str(HISTORY_DAY_FIELD),
            temporalDefaultTime=f"{DAYS[-1]}T00:00:00",
        )

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        return self.qgis.run(job, dsn=self.database.reader_dsn, **arguments)

    def render(self, source: str, style: str, out: Path, shrink: int = 1, **more: Any) -> Pixels:
        """Render the newest layer's extent, `shrink` cells to a pixel, and return the picture."""
        qml = self.qgis.folder / f"{style}.qml"
        qml.write_bytes(style_file(style))
        height, width = self.newest.shape
        self.run(
            "render", source=source, provider="postgresraster", out=str(out), style=str(qml),
            size=[width // shrink, height // shrink], extent=self.newest.bounds, crs=self.newest.crs, **more,
        )  # fmt: skip
        with rasterio.open(out) as image:
            pixels: Pixels = np.moveaxis(image.read()[:3], 0, -1)
        return pixels


@pytest.fixture
def desk(database: Database, qgis: Qgis, tmp_path: Path) -> Desk:
    return Desk(database, qgis, tmp_path)


def in_class_colours(classes: npt.NDArray[np.uint8]) -> Pixels:
    return np.array([WHITE, *CLASS_COLOURS], np.uint8)[classes]


def test_the_newest_map_has_the_class_of_every_cell(desk: Desk, pictures: Path) -> None:
    drawn = desk.render(desk.source("latest_susceptibility"), "class_band_2", pictures / "postgis-class.png")

    np.testing.assert_array_equal(drawn, in_class_colours(folder_cells(desk.newest)[1]))


def test_unknown_cells_are_never_drawn_as_low(desk: Desk, pictures: Path) -> None:
    drawn = desk.render(
        desk.source("latest_susceptibility"), "susceptibility", pictures / "postgis-susceptibility.png"
    )

    unknown = folder_cells(desk.newest)[0] == NODATA
    assert unknown[:256, 256:512].all(), "a whole tile is among them"
    assert (drawn[unknown] == 255).all()
    assert (drawn[~unknown] != 255).any(axis=-1).all()


def test_a_view_from_afar_is_drawn_from_the_overviews(desk: Desk, pictures: Path) -> None:
    found = desk.run("describe", source=desk.source("latest_susceptibility"), provider="postgresraster")
    assert found["crs"] == desk.newest.crs
    assert found["bands"] == 2
    assert "o_2_latest_susceptibility" in found["metadata"]

    far, read_far = picture_and_reads(desk, pictures / "postgis-overview.png", shrink=4)
    _, read_near = picture_and_reads(desk, pictures / "postgis-near.png", shrink=1)

    np.testing.assert_array_equal(far, in_class_colours(folder_cells(desk.newest)[1][::4, ::4]))
    tiles = 6
    # QGIS also samples the newest map for its statistics, from near as from afar.
    assert read_near["latest_susceptibility"] - read_far["latest_susceptibility"] >= tiles
    assert read_far["o_4_latest_susceptibility"] > read_near["o_4_latest_susceptibility"]


def picture_and_reads(desk: Desk, out: Path, shrink: int) -> tuple[Pixels, dict[str, int]]:
    """Render the newest classes, and count the rows that were read for it, by table."""
    tables = ("latest_susceptibility", "o_4_latest_susceptibility")
    before = [reads_of(desk, table) for table in tables]
    drawn = desk.render(desk.source(tables[0]), "class_band_2", out, shrink)
    after = [reads_of(desk, table) for table in tables]
    return drawn, {table: now - then for table, now, then in zip(tables, after, before, strict=True)}


def reads_of(desk: Desk, table: str) -> int:
    """Return how many rows of a table were ever read."""
    ((rows,),) = desk.database.execute(
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
        " WHERE schemaname = %s AND relname = %s",
        SCHEMA,
        table,
    )
    return int(str(rows))


def test_the_temporal_controller_plays_the_history(desk: Desk, pictures: Path) -> None:
    found = desk.run("describe", source=desk.history(), provider="postgresraster")
    assert found["days"] == [f"{day}T00:00:00" for day in DAYS]

    for layer in desk.layers:
        drawn = desk.render(
            desk.history(), "class_band_2", pictures / f"postgis-{layer.day}.png", day=layer.day
        )
        np.testing.assert_array_equal(drawn, in_class_colours(folder_cells(layer)[1]))


def test_with_the_temporal_controller_off_the_history_shows_the_newest_day_alone(
    desk: Desk, pictures: Path
) -> None:
    drawn = desk.render(desk.history(), "class_band_2", pictures / "postgis-history.png")

    np.testing.assert_array_equal(drawn, in_class_colours(folder_cells(desk.newest)[1]))


def test_identify_says_the_same_number_for_postgis_and_geotiff(desk: Desk) -> None:
    stored, classes = folder_cells(desk.newest)
    left, _, _, top = desk.newest.bounds
    random = np.random.default_rng(5)
    known = np.argwhere(stored != NODATA)
    cells = known[random.choice(len(known), 50, replace=False)]
    points = [(left + (column + 0.5) * 30, top - (row + 0.5) * 30) for row, column in cells]

    table = desk.run(
        "identify", source=desk.source("latest_susceptibility"), provider="postgresraster", points=points
    )["values"]
    files = [
        desk.run("identify", source=str(desk.newest.folder / name), provider="gdal", points=points)["values"]
        for name in ("susceptibility.tif", "class.tif")
    ]

    for (row, column), both, index, label in zip(cells, table, *files, strict=True):
        assert both == {"1": stored[row, column], "2": classes[row, column]}
        assert (index["1"], label["1"]) == (both["1"], both["2"])


def test_hotspots_and_zones_of_the_newest_map_load_by_their_key(desk: Desk) -> None:
    hotspots = desk.run(
        "describe",
        source=vector_table(desk.place, "latest_hotspot", "id", "MultiPolygon"),
        provider="postgres",
    )
    zones = desk.run(
        "describe",
        source=vector_table(desk.place, "latest_zone_class_area", "id", "MultiPolygon", ONE_CLASS),
        provider="postgres",
    )

    assert hotspots["crs"] == desk.newest.crs
    assert [row["layer_id"] for row in hotspots["features"]] == [desk.newest.id]
    assert hotspots["empty"] == 0
    assert [(row["zone"], row["class"]) for row in zones["features"]] == [("a", "high")]
    assert zones["empty"] == 0


def test_without_a_login_nothing_is_read(desk: Desk) -> None:
    with pytest.raises(ClientError, match="QGIS refuses postgresraster"):
        desk.qgis.run("describe", source=desk.source("latest_susceptibility"), provider="postgresraster")


def test_a_field_desk_reports_what_it_saw_and_a_reader_cannot(desk: Desk) -> None:
    source = vector_table(desk.place, "event_report", "uid", "Point")
    report = {
        "source": source,
        "point": [9.01, 44.2],
        "values": {"observed_on": "2026-03-02", "kind": "nothing_seen", "note": "visited"},
    }

    with pytest.raises(ClientError, match="permission denied for table event_report"):
        desk.run("add_feature", **report)
    desk.qgis.run("add_feature", dsn=desk.database.field_dsn, **report)

    rows = desk.database.execute(
        f"SELECT kind, note, reporter, ST_X(geom) FROM {SCHEMA}.event_report"  # noqa: S608
    )
    assert rows == [("nothing_seen", "visited", login_of(desk.database.field_dsn)["PGUSER"], 9.01)]


def test_the_shipped_project_opens_with_the_database(
    toy: ToyRegion,
    database: Database,
    serve: Callable[[], LiveSite],
    qgis: Qgis,
    pictures: Path,
    tmp_path: Path,
) -> None:
    newest = published_days(toy, database, *DAYS)[-1]
    with toy.config.open("a") as file:
        file.write('\n[[exporters]]\nkind = "postgis"\nname = "desk"\n')
        file.write(f'writer = {{ dsn = "{database.writer_dsn}" }}\n')
    project = tmp_path / "toy.qgz"
    project.write_bytes(serve().get("/qgis/project.qgz"))
    one = {"size": newest.shape[::-1], "extent": newest.bounds}
    names = ("class_postgis", "class_history")

    found = qgis.run(
        "open_project",
        dsn=database.reader_dsn,
        path=str(project),
        renders=[
            {**one, "layers": [f"colluvium_{name}"], "out": str(pictures / f"project-{name}.png")}
            for name in names
        ],
    )

    assert [key for key, layer in found["layers"].items() if not layer["valid"]] == []
    tables = [key for key, layer in found["layers"].items() if layer["provider"].startswith("postgres")]
    assert len(tables) == 7
    assert found["layers"]["colluvium_class_history"]["temporal"]
    expected = in_class_colours(folder_cells(newest)[1])
    for name in names:
        with rasterio.open(pictures / f"project-{name}.png") as image:
            np.testing.assert_array_equal(np.moveaxis(image.read()[:3], 0, -1), expected)
