"""`colluvium verify`: what it prints, keeps and writes."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
from click.testing import CliRunner, Result

from service.cli import main_group
from service.errors import UsageError
from tests.fix_region import ToyRegion
from tests.service.fix_verified import DAY, event, refresh


def run(toy: ToyRegion, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["verify", "-c", str(toy.config), *arguments])


@pytest.fixture
def judged(toy: ToyRegion) -> ToyRegion:
    refresh(toy, DAY)
    with toy.ledger() as ledger:
        ledger.events.add(event())
        ledger.events.add(event("<b>", DAY + timedelta(days=1), note="<script>"))
    return toy


def test_the_summary_warns_of_small_numbers(judged: ToyRegion) -> None:
    result = run(judged)
    assert result.exit_code == 0, result.output
    assert "SYNTHETIC" in result.output
    assert "1 landslide: this says little" in result.output
    assert "unknown 1" in result.output


def test_the_newest_is_kept_and_the_same_is_not_kept_twice(judged: ToyRegion) -> None:
    assert json.loads(run(judged, "--json").output)["region"] == "toy"
    with judged.ledger() as ledger:
        kept = ledger.verifications.newest()
        assert kept is not None
        assert len(kept.events) == 2
    assert json.loads(run(judged, "--json", "--if-news").output) == {"outcome": "unchanged"}
    with judged.ledger() as ledger:
        ledger.events.add(event("c"))
    assert len(json.loads(run(judged, "--json", "--if-news").output)["events"]) == 3
    run(judged)
    with judged.ledger() as ledger:
        assert ledger.verifications.count() == 2


@pytest.mark.parametrize(
    "option", [("--no-keep",), ("--since", "2026-03-08"), ("--until", "2026-03-08"), ("--rebuild",)]
)
def test_a_part_and_what_is_not_to_be_kept_are_only_shown(judged: ToyRegion, option: tuple[str, ...]) -> None:
    assert run(judged, *option).exit_code == 0
    with judged.ledger() as ledger:
        assert ledger.verifications.newest() is None


def test_the_report_needs_nothing_else_and_escapes_what_people_typed(
    judged: ToyRegion, tmp_path: Path
) -> None:
    assert run(judged, "--report", str(tmp_path / "report.html")).exit_code == 0
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "SYNTHETIC" in text
    assert "this says little" in text
    assert "<svg" in text
    for outside in ("<script", "http:", "https:", "@import", "url(", "<link"):
        assert outside not in text
    assert "prefers-color-scheme: dark" in text


def test_the_landslides_are_written_as_csv_and_as_geopackage(judged: ToyRegion, tmp_path: Path) -> None:
    assert run(judged, "--events", str(tmp_path / "e.csv")).exit_code == 0
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["uid"] for row in rows] == ["a", "<b>"]
    assert rows[1]["susceptibility"] == ""
    assert run(judged, "--events", str(tmp_path / "e.gpkg")).exit_code == 0
    meta, _, geometries, columns = pyogrio.raw.read(tmp_path / "e.gpkg")
    assert len(geometries) == 2
    values = dict(zip(meta["fields"], columns, strict=True))
    assert list(values["outcome"]) == [row["outcome"] for row in rows]
    assert np.isnan(values["susceptibility"][1])


def test_another_ending_and_a_span_that_ends_before_it_begins_are_refused(
    judged: ToyRegion, tmp_path: Path
) -> None:
    wrong = run(judged, "--events", str(tmp_path / "e.txt"))
    assert isinstance(wrong.exception, UsageError)
    assert isinstance(run(judged, "--since", "2026-03-09", "--until", "2026-03-08").exception, UsageError)
