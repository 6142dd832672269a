"""The command line: exit statuses, --json, help that teaches."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

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
        "withdraw", "hold", "resume", "journal", "bundle verify", "demo", "deliver", "outbox list",
        "outbox retry", "outbox drop", "postgis setup", "postgis migrate", "postgis status", "reports fetch",
        "reports list", "reports accept", "reports reject", "reports export",
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


def test_what_waits_is_listed_delivered_and_tried_again(toy: ToyRegion, tmp_path: Path) -> None:
    config, share = str(toy.config), tmp_path / "share"
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{share}"\n'
    )
    toy.refresh()

    out, _ = colluvium("deliver", "-c", config, "--json", status=1)
    (row,) = json.loads(out)["exporters"]
    assert (row["exporter"], row["delivered"], row["pending"]) == ("share", 0, 1)
    assert str(share) in row["problem"]
    (entry,) = json.loads(colluvium("outbox", "list", "-c", config, "--json")[0])["outbox"]
    assert (entry["state"], entry["act"], entry["attempts"]) == ("pending", "deliver", 1)

    share.mkdir()
    assert "waits until" in colluvium("deliver", "-c", config, status=1)[0]
    by = ("--by", "A. Rossi", "--reason", "mounted")
    assert "1 delivered" in colluvium("outbox", "retry", "share", "-c", config, *by)[0]
    assert "everything was delivered" in colluvium("outbox", "list", "-c", config)[0]
    assert "1 delivered" not in colluvium("deliver", "-c", config)[0]
    usage = EXIT_CODES[Outcome.USAGE]
    assert "share" in colluvium("deliver", "-c", config, "--exporter", "gis", status=usage)[1]


def test_what_an_exporter_that_is_gone_never_got_can_be_given_up(toy: ToyRegion, tmp_path: Path) -> None:
    config, before = str(toy.config), toy.config.read_text()
    toy.config.write_text(f'{before}\n[[exporters]]\nkind = "folder"\nname = "old"\npath = "{tmp_path}/no"\n')
    toy.refresh()
    by = ("--by", "A. Rossi", "--reason", "share is gone")
    usage = EXIT_CODES[Outcome.USAGE]
    assert "take it out first" in colluvium("outbox", "drop", "old", "-c", config, *by, status=usage)[1]

    toy.config.write_text(before)
    assert "no longer in the settings" in colluvium("outbox", "list", "-c", config)[0]
    assert "1 entries of old are given up" in colluvium("outbox", "drop", "old", "-c", config, *by)[0]

    assert "everything was delivered" in colluvium("outbox", "list", "-c", config)[0]
    assert "share is gone" in colluvium("journal", "-c", config)[0]


def test_a_refresh_by_hand_delivers_unless_it_is_told_to_leave_that(toy: ToyRegion, tmp_path: Path) -> None:
    config = str(toy.config)
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{tmp_path}"\n'
    )

    colluvium("refresh", "-c", config, "--day", "2026-03-05", "--no-deliver")
    assert not (tmp_path / "latest.json").exists()
    colluvium("refresh", "-c", config, "--day", "2026-03-06")

    assert len(list(tmp_path.glob("layers/*/*/item.json"))) == 2


def test_an_unchanged_layer_whose_files_are_gone_is_not_promised(toy: ToyRegion) -> None:
    (made,) = toy.refresh(date(2026, 3, 5))
    assert made.layer is not None
    with toy.ledger() as ledger, ledger.transaction():
        ledger.mark_removed([made.layer.id])
    shutil.rmtree(made.layer.folder)

    done = CliRunner().invoke(main_group, ["refresh", "--day", "2026-03-05", "-c", str(toy.config)])

    assert "unchanged" in done.output
    assert str(made.layer.folder) not in done.output
    assert "--as-of" in done.output


def test_a_run_that_was_told_to_stop_delivers_nothing_more(
    toy: ToyRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.config.write_text(
        toy.config.read_text() + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{tmp_path}"\n'
    )
    toy.refresh(date(2026, 3, 5))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.runs.refresh", stop)
    for command in (["refresh"], ["backfill", "--since", "2026-03-06", "--until", "2026-03-06"]):
        done = CliRunner().invoke(main_group, [*command, "-c", str(toy.config)])
        assert done.exit_code == EXIT_CODES[Outcome.ABANDONED]

    assert not (tmp_path / "latest.json").exists()


def test_what_postgis_needs_is_said_without_a_server(
    toy: ToyRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGDATABASE", "PGHOST", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    config, usage = str(toy.config), EXIT_CODES[Outcome.USAGE]
    assert "[[exporters]]" in colluvium("postgis", "setup", "-c", config, status=usage)[1]
    toy.config.write_text(
        toy.config.read_text()
        + '\n[[exporters]]\nkind = "postgis"\nname = "gis"\n'
        + 'writer = { dsn = "host=127.0.0.1 port=1 dbname=maps" }\n'
    )

    said = colluvium("postgis", "setup", "-c", config)[0]
    assert "CREATE EXTENSION IF NOT EXISTS postgis" in said
    assert '"maps"' in said
    everybodys = tmp_path / "public.toml"
    everybodys.write_text(toy.config.read_text().replace('name = "gis"', 'name = "gis"\nschema = "public"'))
    assert "schema public" in colluvium("postgis", "setup", "-c", str(everybodys), status=usage)[1]
    assert "colluvium_owner" in colluvium("postgis", "migrate", "-c", config, status=usage)[1]
    secret = ("--dsn", "host=127.0.0.1 password=s3cret")
    refused = colluvium("postgis", "migrate", "-c", config, *secret, status=usage)[1]
    assert "s3cret" not in refused
    failed = EXIT_CODES[Outcome.FAILED]
    assert "cannot connect" in colluvium("postgis", "status", "-c", config, status=failed)[0]
