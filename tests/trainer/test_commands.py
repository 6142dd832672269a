"""The trainer's commands on a small made-up region, as a person types them."""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import trainer.synthetic.region as synthetic
from service.cli import main_group
from service.errors import InputError, SettingsError
from service.ledger import Ledger
from tests.fix_inventory import event
from tests.fix_region import Clock
from trainer.report.comparison import read_comparison
from trainer.sample_table import read_samples
from trainer.synthetic.region import SyntheticRegion, make_region, write_region
from trainer.synthetic.slopes import draw_landslides

CONFIG = Path(__file__).resolve().parents[2] / "config" / "demo.toml"
PROTOCOL = """
name = "two"
title = "Two models"
calibration = "none"
[sampling]
ratio = 1.0
shares = { spatial = 0.5, both = 0.5 }
storm_days = 0
[split]
kind = "stratified"
place_distance_m = 60.0
[judging]
resamples = 100
[models.logistic_regression]
[models.gaussian_nb]
"""


@pytest.fixture(scope="module")
def small() -> SyntheticRegion:
    made = make_region(2, 192)
    # A smaller region has fewer landslides; cached_property takes what stands in the instance.
    made.__dict__["landslides"] = draw_landslides(made.slopes, made.weather, 2, events=120)
    return made


@pytest.fixture
def config(small: SyntheticRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(synthetic, "make_region", lambda _: small)
    path = tmp_path / "region.toml"
    path.write_text(CONFIG.read_text("utf-8").replace("../build/demo", str(tmp_path / "data")), "utf-8")
    write_region(small, tmp_path / "data" / "source", landslides=True)
    return path


def test_samples_are_counted_written_and_drawn(config: Path, tmp_path: Path) -> None:
    table, picture = tmp_path / "samples.gpkg", tmp_path / "samples.png"

    ran = CliRunner().invoke(
        main_group, ["samples", "-c", str(config), "--out", str(table), "--map", str(picture), "--json"]
    )

    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["samples"] == sum(told["counts"].values()) == len(read_samples(table).samples)
    assert told["counts"]["event"] > 50
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_landslides_of_the_ledger_are_samples_too_and_counted_by_where_they_are_from(
    config: Path, tmp_path: Path
) -> None:
    text = config.read_text("utf-8")
    config.write_text(
        text.replace("[training.inventory]", "[training.inventory]\nwith_events = true"), "utf-8"
    )
    with (tmp_path / "data" / "source" / "landslides.csv").open(newline="") as file:
        place = next(csv.DictReader(file))
    given = {"lon": float(place["lon"]), "lat": float(place["lat"])}
    day = date.fromisoformat(place["date"])
    with Ledger(tmp_path / "data" / "ledger.sqlite", Clock()) as ledger:
        other = day + timedelta(days=90)
        ledger.events.add(event("known", day_from=day, day=day, **given))
        ledger.events.add(event("new", day_from=other, day=other, **given))
        ledger.events.add(event("undated", day_from=day, day=other, **given))

    ran = CliRunner().invoke(main_group, ["samples", "-c", str(config), "--json"])

    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["landslides_of"]["added"] == 1
    assert told["landslides_of"]["file"] + 1 == told["counts"]["event"]
    assert any("one landslide said twice" in words for words in told["left_out"])
    assert any("undated (added) happened on one of 91 days" in words for words in told["left_out"])


@pytest.mark.slow
def test_a_comparison_ends_with_its_figures_maps_and_report(config: Path, tmp_path: Path) -> None:
    protocol, out = tmp_path / "two.toml", tmp_path / "compared"
    protocol.write_text(PROTOCOL, "utf-8")
    asked = ["compare", "-c", str(config), "--protocol", str(protocol), "--out", str(out), "--jobs", "1"]

    ran = CliRunner().invoke(main_group, asked)

    assert ran.exit_code == 0, ran.output
    found = read_comparison(out / "comparison.json")
    assert set(found.models) == {"logistic_regression", "gaussian_nb"}
    assert found.synthetic
    assert found.protocol.sampling.startswith("1 negatives for each landslide: 50% spatial, 50% both")
    page = (out / "report.html").read_text("utf-8")
    for words in ("Logistic regression", "Gaussian naive Bayes", "SYNTHETIC", "footprint"):
        assert words in page
    assert {path.name for path in (out / "maps").iterdir()} == {"logistic_regression.png", "gaussian_nb.png"}

    again = CliRunner().invoke(main_group, ["report", str(out), "--out", str(tmp_path / "again.html")])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.html").read_text("utf-8") == page

    # What a later comparison has put in its place does not go with the old table.
    path = next(out.glob("runs/gaussian_nb/*/result.json"))
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**told, "digest": "of other settings"}), "utf-8")
    mixed = CliRunner().invoke(main_group, ["report", str(out)])
    assert isinstance(mixed.exception, InputError)
    assert "gaussian_nb/demo-s0-f0 is not what comparison.json was made from" in str(mixed.exception)


def test_a_protocol_that_there_is_not_is_said_before_any_work(config: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        main_group, ["compare", "-c", str(config), "--protocol", "teng", "--out", str(tmp_path / "out")]
    )

    assert isinstance(ran.exception, SettingsError)
    assert "neither a file nor one of azarafza2021" in str(ran.exception)
    assert not (tmp_path / "data" / "factors.tif").exists()
