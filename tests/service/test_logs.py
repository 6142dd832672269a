"""Logs: JSON that a machine can read to the last line, and one id that ties the lines of a run together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from service.daemon import Children
from service.errors import EXIT_CODES, Outcome, SettingsError
from service.logs import configure_logging
from tests.fix_region import LAST_DAY, ToyRegion

ROOT = Path(__file__).parents[2]


@pytest.fixture
def verbose() -> Iterator[None]:
    """Lines of every level, whatever a command that ran in this process before has set."""
    before = structlog.get_config()
    configure_logging(verbose=True, environ={})
    yield
    structlog.configure(**before)


def run(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command, or some code, with nothing in its environment but what is given."""
    program = ["-c", code] if code else ["-m", "service"]
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=ROOT, env={"PATH": "", **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def lines_of(text: str) -> list[dict[str, Any]]:
    """Read every line as JSON; one that is none fails the test."""
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_of_a_refresh_carries_the_same_run_id_and_its_number_in_the_ledger(toy: ToyRegion) -> None:
    day = str(LAST_DAY)
    done = run("refresh", "-c", str(toy.config), "--day", day, COLLUVIUM_LOG_LEVEL="info")

    lines = lines_of(done.stderr)
    assert len({line["run_id"] for line in lines}) == 1
    begun, ended = (line for line in lines if line["event"].startswith("run "))
    assert (begun["event"], ended["event"], ended["outcome"]) == ("run begins", "run ended", "published")
    assert (ended["region"], ended["day"], ended["lead"]) == ("toy", day, 0)
    with toy.ledger() as ledger:
        assert ended["run"] == begun["run"] == ledger.runs(1)[0].id
        assert ended["layer"] == ledger.runs(1)[0].layer_id


def test_a_run_that_fails_says_so_with_its_number_at_any_level(toy: ToyRegion) -> None:
    toy.settings.stack_path.unlink()

    done = run("refresh", "-c", str(toy.config), COLLUVIUM_LOG_FORMAT="json", COLLUVIUM_LOG_LEVEL="error")

    lines = lines_of(done.stderr)
    assert lines[0]["outcome"] == "failed"
    assert "no factor stack" in lines[0]["reason"]
    assert done.returncode == EXIT_CODES[Outcome.FAILED]


def test_whoever_starts_a_process_may_give_it_its_run_id(toy: ToyRegion) -> None:
    given = run("refresh", "--day", "x", COLLUVIUM_RUN_ID="cron-17", COLLUVIUM_LOG_FORMAT="json")
    nonsense = run("refresh", "--day", "x", COLLUVIUM_RUN_ID='"\n{', COLLUVIUM_LOG_FORMAT="json")

    assert [line["run_id"] for line in lines_of(given.stderr)] == ["cron-17"]
    (line,) = lines_of(nonsense.stderr)
    assert line["run_id"].isalnum()


def test_without_being_asked_for_by_name_an_error_stays_in_words_for_people_and_cron() -> None:
    done = run("refresh", "-c", "nowhere.toml")

    assert done.stderr.startswith("colluvium: cannot read the settings file")


@pytest.mark.parametrize("name", ["COLLUVIUM_LOG_FORMAT", "COLLUVIUM_LOG_LEVEL"])
def test_a_wrong_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        configure_logging(verbose=False, environ={name: "loud"})


def test_what_libraries_log_warn_and_die_of_is_json_too() -> None:
    code = (
        "import logging, threading, warnings\n"
        "from service.logs import configure_logging, take_over_logging\n"
        "configure_logging(verbose=False); take_over_logging()\n"
        "logging.getLogger('rasterio').error('no such band')\n"
        "warnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: [][1], name='bearer'); thread.start(); thread.join()\n"
        "1 / 0\n"
    )

    done = run(code=code)

    logged, warned, thread, death = lines_of(done.stderr)
    assert (logged["event"], logged["logger"], logged["level"]) == ("no such band", "rasterio", "error")
    assert "UserWarning: old" in warned["event"]
    assert thread["thread"] == "bearer"
    assert "IndexError" in thread["exception"]
    assert "ZeroDivisionError" in death["exception"]
    assert len({line["run_id"] for line in (logged, warned, thread, death)}) == 1
    assert done.returncode == 1


@pytest.mark.usefixtures("verbose")
def test_the_daemons_lines_about_a_child_carry_the_childs_own_run_id(
    toy: ToyRegion, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLUVIUM_RUN_ID", "of-the-daemon")
    children = Children(toy.config)

    with capture_logs() as said:
        children.run("refresh", "--day", "2999-01-01")
        children.run("refresh", "--day", "2999-01-02")

    own = list(dict.fromkeys(line["run_id"] for line in lines_of(capfd.readouterr().err)))
    assert [line["run_id"] for line in said if line["event"] == "child begins"] == own
    assert [line["run_id"] for line in said if line["event"] == "child ended"] == own
    assert len(set(own)) == 2


@pytest.mark.usefixtures("verbose")
def test_a_child_that_was_killed_is_told_from_one_that_ended(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    suicide = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr("service.daemon.subprocess.Popen", lambda *_, **__: popen(suicide))

    with capture_logs() as said:
        assert Children(toy.config).run("refresh") == -9

    (line,) = [line for line in said if line["log_level"] == "error"]
    assert line["signal"] == 9
    assert "out of memory" in line["event"]
