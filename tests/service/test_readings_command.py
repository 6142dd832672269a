"""Promises of `colluvium readings`: what is doubted is shown with its reason, and who decides is kept."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from service.cli import main_group
from service.errors import UsageError
from service.ledger import Ledger
from service.reading_values import Doubt, Finding, Reading, SeriesDay, SeriesPosition
from service.readings import Archive
from service.stamps import utc_now

DAY = date(2026, 3, 5)
KNOWN = datetime(2026, 3, 6, 6, tzinfo=UTC)
BY = ("--by", "A. Rossi", "--reason", "the radar agrees")
SETTINGS = """
[region]
id = "valley"
name = "Valley"
data_dir = "data"
[grid]
crs = "EPSG:32632"
dem = "dem.tif"
[bundle]
path = "bundle"
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A region with three readings, of which two are suspect."""
    path = tmp_path / "region.toml"
    path.write_text(SETTINGS)
    with Archive(tmp_path / "data" / "readings.sqlite", lambda: KNOWN) as archive:
        archive.add_series(
            "gauges", "rain", [SeriesPosition("a/7", 11.0, 44.0), SeriesPosition("B", 11.1, 44.0)]
        )
        archive.add_series("dams", "level", [SeriesPosition("D", 11.0, 44.1)])
        archive.add([Reading("gauges", "rain", "a/7", DAY, 234.6), Reading("gauges", "rain", "B", DAY, 3.0)])
        archive.add([Reading("dams", "level", "D", DAY, 732.5)])
        step = Finding("step", "far above its neighbours", extreme=True)
        flat = Finding("flat_line", "9 days the same", extreme=False)
        archive.doubt([Doubt(SeriesDay("gauges", "rain", "a/7", DAY), 234.6, (step,))], KNOWN)
        archive.doubt([Doubt(SeriesDay("dams", "level", "D", DAY), 732.5, (flat,))], KNOWN)
    return str(path)


def run(*arguments: str) -> str:
    """Run a command in this process and return what it printed; its errors come through."""
    result = CliRunner().invoke(main_group, ["readings", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def suspects(config: str, *more: str) -> list[dict[str, Any]]:
    return list(json.loads(run("-c", config, "--suspect", "--json", *more))["suspects"])


def journal(config: str) -> list[tuple[str, str, str, str]]:
    with Ledger(Path(config).parent / "data" / "ledger.sqlite", utc_now) as ledger:
        return [(act.act, act.subject, act.by, act.reason) for act in ledger.journal()]


def value(config: str, series: str = "a/7") -> list[float]:
    with Archive(Path(config).parent / "data" / "readings.sqlite") as archive:
        read = archive.values("rain", [DAY])
        column = [item.id for item in read.series].index(series)
        return [float(value) for value in read.value[:, column] if value == value]


def test_suspects_are_listed_with_number_value_and_reason(config: str) -> None:
    said = run("-c", config, "--suspect")
    assert "2026-03-05  gauges/a/7 (rain)  234.6 mm  may be a true extreme" in said
    assert "step: far above its neighbours" in said
    assert "flat_line: 9 days the same" in said
    assert "accept NUMBER" in said
    rain, level = sorted(suspects(config), key=lambda item: str(item["unit"]), reverse=True)
    assert (rain["number"], rain["value"], rain["extreme"]) == (4, 234.6, True)
    assert level["findings"] == [{"check": "flat_line", "detail": "9 days the same", "extreme": False}]


def test_suspects_can_be_narrowed_down(config: str) -> None:
    assert [item["series"] for item in suspects(config, "--variable", "level")] == ["D"]
    assert [item["series"] for item in suspects(config, "--feed", "gauges")] == ["a/7"]
    assert [item["series"] for item in suspects(config, "--series", "D")] == ["D"]
    assert suspects(config, "--since", "2026-03-06") == []
    assert "no reading is suspect" in run("-c", config, "--suspect", "--until", "2026-03-04")


def test_readings_are_listed_with_what_stands(config: str) -> None:
    listed = run("-c", config, "--since", "2026-03-01", "--until", "2026-03-31")
    assert "2026-03-05  gauges/B (rain)  3 mm  good" in listed
    assert "2026-03-05  dams/D (level)  732.5 m  suspect  flat_line" in listed
    rows = json.loads(run("-c", config, "--since", "2026-03-01", "--feed", "gauges", "--json"))["readings"]
    assert [(row["series"], row["quality"]) for row in rows] == [("B", "good"), ("a/7", "suspect")]
    assert "colluvium ingest" in run("-c", config, "--since", "2026-04-01")


def test_accepting_is_a_new_row_and_an_entry_of_the_journal(config: str) -> None:
    said = run("accept", "4", "-c", config, *BY)
    assert "accepted reading 4: 2026-03-05  gauges/a/7 (rain)  234.6 mm" in said
    assert value(config) == [pytest.approx(234.6)]
    ((act, subject, by, reason),) = journal(config)
    assert (act, by, reason) == ("accept", "A. Rossi", "the radar agrees")
    assert subject.startswith("reading 4: 2026-03-05  gauges/a/7")
    (decided,) = [item for item in suspects(config, "--decided") if item["decided"]]
    assert (decided["decided"], decided["by"], decided["why"]) == ("accepted", "A. Rossi", "the radar agrees")
    told = run("history", "gauges/a/7", "2026-03-05", "-c", config).splitlines()
    assert [line.split()[2] for line in told] == ["good", "suspect", "good"]


def test_several_are_decided_together_or_not_at_all(config: str) -> None:
    with pytest.raises(UsageError, match="no suspect reading 99"):
        run("accept", "4", "99", "-c", config, *BY)
    assert len(suspects(config)) == 2
    assert journal(config) == []
    told = json.loads(run("reject", "4", "5", "-c", config, *BY, "--json"))
    assert (told["decided"], len(told["readings"])) == ("rejected", 2)
    assert suspects(config) == []
    assert [act for act, *_ in journal(config)] == ["reject", "reject"]


def test_a_good_reading_is_rejected_by_its_series_and_day(config: str) -> None:
    said = run("reject", "--series", "gauges/B", "--day", "2026-03-05", "-c", config, *BY)
    number = said.split("accept ")[1].strip()
    assert value(config, "B") == []
    run("accept", number, "-c", config, *BY)
    assert value(config, "B") == [3.0]
    assert [act for act, *_ in journal(config)] == ["reject", "accept"]


def test_history_as_json_names_every_row(config: str) -> None:
    told = json.loads(run("history", "dams/D", "2026-03-05", "-c", config, "--json"))["history"]
    assert [(row["quality"], row["value"], row["unit"]) for row in told] == [
        ("good", 732.5, "m"),
        ("suspect", 732.5, "m"),
    ]
    assert "nothing was ever said" in run("history", "dams/D", "2026-03-04", "-c", config)


def test_the_options_before_a_subcommand_count_for_it(config: str) -> None:
    assert "suspect" in run("-c", config, "history", "dams/D", "2026-03-05")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("history", "gauges/Z", "2026-03-05"), r"no series gauges/Z; it has dams/D, gauges/B, gauges/a/7"),
        (("reject",), r"either numbers .*or --series"),
        (("reject", "4", "--series", "gauges/B"), r"either numbers"),
        (("accept", "4", "--by", " ", "--reason", "x"), r"--by"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    config: str, arguments: tuple[str, ...], says: str
) -> None:
    by = () if "--by" in arguments or arguments[0] == "history" else BY
    with pytest.raises(UsageError, match=says):
        run(*arguments, "-c", config, *by)


def test_what_is_not_typed_right_is_explained(config: str) -> None:
    with pytest.raises(click.UsageError, match="'four' is not a number such as 17"):
        run("accept", "four", "-c", config, *BY)
    with pytest.raises(click.UsageError, match="99999999999999999999"):
        run("accept", "99999999999999999999", "-c", config, *BY)
    with pytest.raises(click.UsageError, match="Missing parameter: by"):
        run("accept", "4", "-c", config)
    with pytest.raises(UsageError, match="which region"):
        run("--suspect")


def test_an_archive_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "region.toml"
    path.write_text(SETTINGS)
    assert "no reading is suspect" in run("-c", str(path), "--suspect")
    assert not (tmp_path / "data").exists()


def test_every_check_is_explained() -> None:
    checks = json.loads(run("--checks", "--json"))["checks"]
    assert {"flat_line", "step", "spatial_outlier"} <= {check["name"] for check in checks}
    assert all(check["what"] and check["why"] and check["cannot"] for check in checks)
    assert "flat_line" in run("--checks")


def test_rasters_are_decided_by_numbers_of_their_own(config: str) -> None:
    with pytest.raises(UsageError, match="no raster day 3"):
        run("accept", "r3", "-c", config, *BY)
    assert journal(config) == []
