"""The inventory by command: added, listed, imported whole or not at all, exported, retracted."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import shapely
from click.testing import CliRunner, Result
from rasterio.crs import CRS

from exporters.postgis.reports import EventReport
from service.cli import main_group
from service.errors import ColluviumError, InputError, UsageError
from service.event_files import read_events
from service.stamps import utc_now
from tests.fix_region import ToyRegion
from trainer.inventory import InventorySource, read_inventory

WEST, EAST = (9.003, 45.145), (9.025, 45.145)
WHO = ("--by", "A. Rossi", "--reason", "survey")
DAY = date(2026, 3, 1)


def anywhere(*_: float) -> bool:
    return True


def run(toy: ToyRegion, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["event", *arguments, "-c", str(toy.config)])


def done(toy: ToyRegion, *arguments: str) -> Any:
    said = run(toy, *arguments, "--json")
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)


def add(toy: ToyRegion, *more: str) -> dict[str, Any]:
    place = ("--lon", str(WEST[0]), "--lat", str(WEST[1]), "--day", str(DAY), "--accuracy-m", "50")
    return dict(done(toy, "add", *place, *more, *WHO))


def table(toy: ToyRegion, *rows: str, header: str = "id,date,lon,lat", name: str = "old.csv") -> str:
    path = toy.folder / name
    path.write_text("\n".join((header, *rows)) + "\n", "utf-8")
    return str(path)


def row(number: int, place: tuple[float, float] = WEST, day: object = DAY) -> str:
    return f"{number},{day},{place[0]},{place[1]}"


def uids(toy: ToyRegion, *chosen: str) -> list[str]:
    return [item["uid"] for item in done(toy, "list", *chosen)["events"]]


def test_what_is_added_is_listed_and_retracted(toy: ToyRegion) -> None:
    new = add(toy, "--day-from", "2026-02-27", "--note", "on the \x1b[31mroad")
    assert new["day_from"] == "2026-02-27"
    listed = run(toy, "list")
    assert new["uid"] in listed.output
    assert "2026-02-27 to 2026-03-01" in listed.output
    assert "\x1b" not in listed.output, "what others wrote is not obeyed by the terminal"

    assert done(toy, "retract", new["uid"], *WHO)["uid"] == new["uid"]
    assert uids(toy) == []
    assert uids(toy, "--as-of", utc_now().isoformat()) == []
    with toy.ledger() as ledger:
        assert [act.act for act in ledger.journal()] == ["add", "retract"]


def test_a_landslide_that_is_told_twice_is_named(toy: ToyRegion) -> None:
    first = add(toy)
    assert first["already"] == []
    assert add(toy)["already"] == [first["uid"]]
    assert add(toy, "--kind", "nothing_seen")["already"] == []

    report = EventReport(
        id=1, uid="r", reported_at=utc_now(), observed_on=DAY, lon=WEST[0], lat=WEST[1], kind="landslide",
        accuracy_m=20.0, note="", reporter="field",
    )  # fmt: skip
    with toy.ledger() as ledger:
        ledger.proposals.receive("gis", [report])
    said = CliRunner().invoke(main_group, ["reports", "accept", "1", "-c", str(toy.config), *WHO])
    assert said.exit_code == 0, said.output
    assert said.output.count("or it counts twice") == 2
    assert first["uid"] in said.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--lon": "12"}, "outside the region's grid"),
        ({"--lon": str(WEST[1]), "--lat": str(WEST[0])}, "look exchanged"),
        ({"--lat": "95"}, "not longitude and latitude"),
        ({"--day": "2100-01-01"}, "has not come yet"),
        ({"--day-from": "2026-03-02"}, "is after the day"),
        ({"--accuracy-m": ""}, "--accuracy-m how good"),
        ({"--lon": ""}, "--lon and --lat together"),
        ({"--lon": "", "--lat": ""}, "give the place"),
    ],
)
def test_what_cannot_be_is_refused(toy: ToyRegion, changes: dict[str, str], words: str) -> None:
    given = {"--lon": str(WEST[0]), "--lat": str(WEST[1]), "--day": str(DAY), "--accuracy-m": "50"} | changes
    said = run(toy, "add", *(word for pair in given.items() if pair[1] for word in pair), *WHO)
    assert isinstance(said.exception, UsageError)
    assert words in str(said.exception)
    assert uids(toy) == []


def test_an_outline_gives_place_and_accuracy(toy: ToyRegion) -> None:
    box = shapely.box(WEST[0], WEST[1], WEST[0] + 0.001, WEST[1] + 0.001)
    path = toy.folder / "outline.geojson"
    path.write_text(shapely.to_geojson(box), "utf-8")
    new = done(toy, "add", "--outline", str(path), "--day", str(DAY), *WHO)
    assert new["lon"] == pytest.approx(WEST[0] + 0.0005)
    assert new["area_m2"] == pytest.approx(78.75 * 111.15, rel=0.01)
    assert new["accuracy_m"] == pytest.approx(68, abs=1)


def test_an_import_is_taken_once_however_often_it_is_given(toy: ToyRegion) -> None:
    path = table(toy, row(1), row(2, EAST))
    assert done(toy, "import", path, *WHO) == {"new": 2, "known": 0, "retracted": 0, "problems": []}
    assert done(toy, "import", path, *WHO)["known"] == 2
    assert uids(toy) == ["1", "2"]
    with toy.ledger() as ledger:
        assert [act.subject for act in ledger.journal()] == ["2 events from old.csv"]


def test_a_row_that_cannot_be_used_stops_the_import_and_is_named(toy: ToyRegion) -> None:
    path = table(toy, row(1), row(2, day="1.3.2026"), row(3, (20.0, 45.0)), row(1), "5,2026-03-01,9.003")
    said = run(toy, "import", path, *WHO)
    assert isinstance(said.exception, InputError)
    for words in (
        "row 3: date '1.3.2026'",
        "row 4: (20, 45) lies outside",
        "row 5: id '1' stands in row 2",
        "row 6",
    ):
        assert words in str(said.exception)
    assert uids(toy) == []

    assert done(toy, "import", path, "--skip-bad", *WHO)["new"] == 1
    assert uids(toy) == ["1"]


def test_an_id_that_is_known_with_another_place_is_no_repeat(toy: ToyRegion) -> None:
    done(toy, "import", table(toy, row(1)), *WHO)
    said = run(toy, "import", table(toy, row(1, EAST), row(2)), *WHO)
    assert "'1' is known with other days or another place" in str(said.exception)
    assert uids(toy) == ["1"]


def test_what_was_retracted_does_not_come_back_by_itself(toy: ToyRegion) -> None:
    path = table(toy, row(1))
    done(toy, "import", path, *WHO)
    done(toy, "retract", "1", *WHO)
    assert done(toy, "import", path, *WHO)["retracted"] == 1
    assert uids(toy) == []
    assert done(toy, "import", path, "--again", *WHO)["new"] == 1
    assert uids(toy) == ["1"]


@pytest.mark.parametrize("suffix", [".csv", ".gpkg", ".geojson"])
def test_what_is_exported_can_be_imported_elsewhere(toy: ToyRegion, tmp_path: Path, suffix: str) -> None:
    header = "id,date,day_from,lon,lat,accuracy_m,kind,note"
    done(toy, "import", table(toy,
        f"1,{DAY},2026-02-27,{WEST[0]},{WEST[1]},30,,\"a; b\"",
        f"2,{DAY},,{EAST[0]},{EAST[1]},,nothing_seen,", header=header), *WHO)  # fmt: skip
    out = tmp_path / f"events{suffix}"
    assert done(toy, "export", str(out)) == {"file": str(out), "events": 2}

    read = read_events(out, "B", "r", utc_now(), date(2026, 3, 11), anywhere)
    assert read.problems == ()
    with toy.ledger() as ledger:
        kept = {item.uid: item for item in ledger.events.all()}
    for item in read.events:
        same = {"by": "B", "reason": "r", "recorded_at": item.recorded_at}
        assert item == kept[item.uid].model_copy(update=same)


def test_the_exported_table_is_one_that_a_training_reads(toy: ToyRegion, tmp_path: Path) -> None:
    done(toy, "import", table(toy, row(1)), *WHO)
    out = tmp_path / "events.csv"
    done(toy, "export", str(out))
    settings = toy.settings
    read = read_inventory(
        InventorySource(path=out, accuracy_column="accuracy_m"), CRS.from_epsg(32632), settings.timezone
    )
    assert [(event.id, event.day, event.accuracy_m) for event in read.events] == [("1", DAY, 100.0)]


def test_outlines_in_another_crs_are_brought_to_degrees(toy: ToyRegion) -> None:
    path = toy.folder / "outlines.gpkg"
    box = shapely.box(500_300, 4_999_000, 500_400, 4_999_100)
    pyogrio.raw.write(
        path, geometry=np.array([shapely.to_wkb(box)]), field_data=[np.array(["7"]), np.array([str(DAY)])],
        fields=["id", "date"], geometry_type="Polygon", crs="EPSG:32632", driver="GPKG",
    )  # fmt: skip
    read = read_events(path, "B", "r", utc_now(), date(2026, 3, 11), anywhere)
    (found,) = read.events
    assert found.area_m2 == pytest.approx(10_000, rel=0.002)
    assert found.lon == pytest.approx(9.0044, abs=2e-4)
    assert found.accuracy_m == pytest.approx(70.7, rel=0.01)


def test_a_feature_without_a_geometry_is_a_row_that_cannot_be_used(toy: ToyRegion) -> None:
    path = toy.folder / "events.geojson"
    features = [
        {"type": "Feature", "properties": {"id": "1", "date": str(DAY), "lon": 9.0, "lat": 45.1},
         "geometry": None},
        {"type": "Feature", "properties": {"id": "2", "date": str(DAY)},
         "geometry": {"type": "Point", "coordinates": WEST}},
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    read = read_events(path, "B", "r", utc_now(), date(2026, 3, 11), anywhere)
    assert [item.uid for item in read.events] == ["2"]
    assert "geometry is missing" in read.problems[0].reason


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "id,lon,lat\n", "no column date"),
        ("a.csv", "date,lon,lat\n", "no column id"),
        ("a.csv", "id,date,lon,lat\n", "holds no event"),
        ("a.txt", "", "read from .csv"),
        ("a.geojson", "{", "cannot read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(toy: ToyRegion, name: str, text: str, words: str) -> None:
    path = toy.folder / name
    path.write_text(text, "utf-8")
    said = run(toy, "import", str(path), *WHO)
    assert isinstance(said.exception, ColluviumError)
    assert words in str(said.exception)
