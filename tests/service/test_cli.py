"""The command line: exit statuses, --json, help that teaches."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from service.cli import main_group
from service.errors import EXIT_CODES, Outcome
from tests.fix_region import ToyRegion

ROOT = Path(__file__).parents[2]


def colluvium(*arguments: str, status: int = 0) -> tuple[str, str]:
    """Run the command as a user would; return what it printed on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command, those of groups and plug-ins included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_the_documented_commands_are_all_there() -> None:
    names = {" ".join(path) for path, _ in commands(main_group)}
    assert names >= {
        "check", "factors", "train", "ingest", "refresh", "backfill", "run", "status", "layers",
        "withdraw", "hold", "resume", "journal", "bundle verify", "demo",
    }  # fmt: skip


@pytest.mark.parametrize(("path", "command"), list(commands(main_group)), ids=lambda value: str(value))
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    assert command.epilog
    assert f"colluvium {' '.join(path)}" in command.epilog
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_a_day_from_readings_to_journal(toy: ToyRegion) -> None:
    config = str(toy.config)
    day = "2026-03-05"
    report = json.loads(colluvium("ingest", "-c", config, "--json")[0])
    assert report["feeds"][0]["unchanged"] == 138

    refreshed: dict[str, Any] = json.loads(colluvium("refresh", "-c", config, "--day", day, "--json")[0])
    assert refreshed["outcome"] == "published"
    assert {
        "layer", "path", "day", "data_until", "status", "cells", "seconds", "class_area_m2",
        "class_area_ratio", "model", "coverage",
    } <= set(refreshed)  # fmt: skip
    assert sum(refreshed["class_area_ratio"].values()) == pytest.approx(1)
    assert json.loads(colluvium("status", "-c", config, "--json")[0])["latest_day"] == day
    assert day in colluvium("layers", "-c", config)[0]

    colluvium("withdraw", day, "-c", config, "--by", "A. Rossi", "--reason", "test")
    assert "no layer yet" in colluvium("status", "-c", config)[0]
    acts = json.loads(colluvium("journal", "-c", config, "--json")[0])["journal"]
    assert [(act["act"], act["by"], act["reason"]) for act in acts] == [("withdraw", "A. Rossi", "test")]
    item = json.loads((Path(refreshed["path"]) / "item.json").read_text())
    assert "withdrawn" in json.dumps(item)


def test_every_outcome_has_its_exit_status(toy: ToyRegion) -> None:
    config = str(toy.config)
    held = EXIT_CODES[Outcome.HELD]
    _, error = colluvium("refresh", "-c", config, "--day", "2026-01-05", status=held)
    assert "complete window" in error
    usage = EXIT_CODES[Outcome.USAGE]
    assert "future" in colluvium("refresh", "-c", config, "--day", "2999-01-01", status=usage)[1]
    assert "not a day" in colluvium("refresh", "-c", config, "--day", "tomorrow", status=usage)[1]
    assert "nowhere.toml" in colluvium("status", "-c", "nowhere.toml", status=usage)[1]
    assert "no layer of" in colluvium(
        "withdraw", "2026-03-05", "-c", config, "--by", "x", "--reason", "y", status=usage
    )[1]  # fmt: skip


def test_check_names_everything_that_is_wrong_at_once(toy: ToyRegion) -> None:
    (toy.folder / "rain.csv").unlink()
    (toy.folder / "factors.tif").write_bytes(b"not a raster")

    out, _ = colluvium("check", "-c", str(toy.config), "--json", status=1)

    failed = {row["name"]: row["message"] for row in json.loads(out)["checks"] if row["state"] == "fail"}
    assert set(failed) == {"factors", "feed gauges"}
    assert "rain.csv" in failed["feed gauges"]
    assert "factors.tif" in failed["factors"]
