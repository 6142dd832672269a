"""`colluvium simulate-feeds`: what it prints is enough to be read, and it ends when it is told to."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main_group
from service.errors import UsageError
from service.feeds.opening import open_feeds
from service.settings import parse_settings
from service.simulator.faults import KINDS
from service.simulator.recorded import RecordedTruth
from tests.fix_region import LAST_DAY, NOW, ToyRegion, read_rain
from tests.fix_simulator import get
from tests.service.simulator.test_presets import REGION


def run(*words: str) -> object:
    """Return what the command raised."""
    return CliRunner().invoke(main_group, ["simulate-feeds", *words]).exception


def test_the_help_teaches_every_kind_of_fault() -> None:
    text = CliRunner().invoke(main_group, ["simulate-feeds", "--help"]).output
    for kind in KINDS:
        assert kind.model_fields["kind"].default in text
    assert "[[faults]]" in text
    assert "Example: colluvium simulate-feeds" in text


def test_what_it_prints_can_be_pasted_and_read_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(
        '[[faults]]\nkind = "down"\nfeed = "cdec_elevation"\nsince = 2026-03-10\nuntil = 2026-03-10\n'
    )
    words = shlex.split(
        "simulate-feeds --port 0 --today 2026-03-10 --feed arpae --feed cdec_elevation --faults faults.toml "
        "--bounds 11.1 44.1 11.3 44.3 --folder files --json"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "service", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        settings = parse_settings(REGION + said["settings"], base=tmp_path, origin="pasted")
        now = datetime(2026, 3, 10, 12, tzinfo=UTC)
        (arpae,) = [feed for feed in open_feeds(settings, lambda: now) if feed.name == "arpae"]
        assert len(list(arpae.fetch(None, None).rows)) == 10 * 400
        assert get(said["feeds"][1]["example"]).status == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert "requests answered" in process.stderr.read()
    assert said["today"] == "2026-03-10"
    assert [feed["newest_day"] for feed in said["feeds"]] == ["2026-03-09", "2026-03-09"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--feed", "chirpz"], "chirpz"),
        (["--bounds", "10", "50", "9", "51"], "degrees"),
        (["--faults", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_what_cannot_be_simulated_is_said_at_once(words: list[str], message: str) -> None:
    error = run(*words)
    assert isinstance(error, UsageError)
    assert message in str(error)


def test_a_regions_own_readings_are_served_from_its_archive_and_else_from_its_files(toy: ToyRegion) -> None:
    rain = read_rain(toy.folder / "rain.csv")
    of_archive = RecordedTruth.of_region(toy.settings, NOW)
    toy.data.rename(toy.folder / "away")
    of_files = RecordedTruth.of_region(toy.settings, NOW)
    for truth in (of_archive, of_files):
        assert [gauge.id for gauge in truth.gauges] == ["north", "south"]
        assert truth.last == LAST_DAY
        for day in (LAST_DAY, LAST_DAY - timedelta(days=30)):
            for gauge in truth.gauges:
                assert truth.gauge_rain(day, gauge) == pytest.approx(rain[day, gauge.id], abs=1e-4)
        west, south, east, north = truth.bounds
        assert all(west < gauge.lon < east and south < gauge.lat < north for gauge in truth.gauges)


def test_a_region_without_readings_cannot_be_served(toy: ToyRegion) -> None:
    toy.data.rename(toy.folder / "away")
    toy.set_rain(dict.fromkeys(read_rain(toy.folder / "rain.csv")))
    with pytest.raises(UsageError, match="no readings to serve"):
        RecordedTruth.of_region(toy.settings, NOW)
