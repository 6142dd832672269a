"""docker/stack: nothing is switched without a backup, a look and a yes; back again, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_docker.py")
ENV = "# mine\nCOMPOSE_PROFILES=cpu\nCOLLUVIUM_VERSION=0.1.0\nCOLLUVIUM_PORT=9000\n"
PATIENCE_S = "2"
TAR = hashlib.sha256(b"tar of 0.1.0").hexdigest()[:8]


@dataclass
class Stack:
    """A copy of docker/stack in a folder of its own, and an engine that only writes down what it is told."""

    folder: Path

    def __call__(self, *arguments: str, answer: str = "", status: int = 0) -> str:
        done = subprocess.run(
            [str(self.folder / "docker" / "stack"), *arguments],
            input=answer, capture_output=True, text=True, check=False, timeout=60, cwd=self.folder,
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "FAKE_DOCKER_STATE": str(self.state_file),
                "COLLUVIUM_WAIT_S": PATIENCE_S,
                "COLLUVIUM_POLL_S": "0.1",
                "USER": "anna",
            },
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.state_file.read_text()))

    def set(self, **values: Any) -> None:
        self.state_file.write_text(json.dumps(self.state | values))

    def calls(self) -> list[str]:
        """What was asked since the last look."""
        found = list(self.state["calls"])
        self.set(calls=[])
        return found

    @property
    def env(self) -> str:
        return (self.folder / "docker" / ".env").read_text()

    @property
    def backups(self) -> list[Path]:
        return sorted(path for path in (self.folder / "docker" / "backups").glob("2*"))


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    docker, programs = tmp_path / "docker", tmp_path / "bin"
    (docker / "secrets").mkdir(parents=True)
    (docker / "secrets" / "postgres_password").write_text("correct-horse")
    shutil.copy(ROOT / "docker" / "stack", docker / "stack")
    (docker / "compose.yaml").touch()
    (docker / ".env").write_text(ENV)
    programs.mkdir()
    for name in ("docker", "docker-compose"):
        (programs / name).write_text(f"#!{sys.executable} -IS\n{FAKE.read_text()}")
        (programs / name).chmod(0o755)
    found = Stack(tmp_path)
    found.state_file.write_text("{}")
    found.set(
        has_v2=True,
        images={"colluvium:0.1.0": "sha256:one", "colluvium:0.2.0": "sha256:two"},
        running="0.1.0",
        sick=[],
        status={},
        shadow_says="the same: every cell, area, status and level is what it was",
        migration=4,
        calls=[],
    )
    return found


# --- upgrade ---


def test_an_upgrade_backs_up_looks_asks_and_then_switches(stack: Stack) -> None:
    said = stack("upgrade", "0.2.0", answer="y\n")

    assert stack.calls() == [
        "backup by 0.1.0",
        "start postgis",
        f"restore --check by 0.1.0 of {TAR}",
        "shadow by 0.2.0",
        "up colluvium",
    ]
    assert "the last seven layers are the same" in said
    assert stack.env == ENV.replace("COLLUVIUM_VERSION=0.1.0\n", "") + "COLLUVIUM_VERSION=0.2.0\n"
    assert stack.state["running"] == "0.2.0"


def test_what_differs_is_printed_and_no_is_no(stack: Stack) -> None:
    stack.set(status={"shadow": 1}, shadow_says="1,203 cells moderate -> high\nDIFFERS on 3 of 7 days")

    said = stack("upgrade", "0.2.0", answer="n\n", status=1)

    assert "1,203 cells moderate -> high" in said
    assert "nothing was switched" in said
    assert stack.env == ENV
    assert not any(call.startswith("up") for call in stack.calls())
    assert len(stack.backups) == 1  # harmless, and good to have
    stack("upgrade", "0.2.0", status=1)  # nobody there to answer is no yes either
    assert stack.env == ENV


@pytest.mark.parametrize("status", [1, 2, 125])
def test_a_version_that_cannot_make_the_layers_is_not_switched_to_even_with_yes(
    stack: Stack, status: int
) -> None:
    stack.set(status={"shadow": status}, shadow_says="colluvium: the bundle is refused")

    said = stack("upgrade", "0.2.0", "--yes", status=1)

    assert "cannot make the layers" in said
    assert stack.env == ENV


def test_without_a_good_backup_nothing_goes_on(stack: Stack) -> None:
    stack.set(status={"backup": 1})
    stack("upgrade", "0.2.0", "--yes", status=1)
    assert stack.calls() == ["backup by 0.1.0"]
    assert stack.backups == []

    stack.set(status={"restore --check": 1})
    assert "cannot be restored" in stack("upgrade", "0.2.0", "--yes", status=1)
    assert not any("shadow" in call for call in stack.calls())
    assert stack.env == ENV


def test_a_version_that_does_not_get_healthy_names_the_way_back(stack: Stack) -> None:
    stack.set(sick=["0.2.0"])

    said = stack("upgrade", "0.2.0", "--yes", status=1)

    assert "'unhealthy', not healthy" in said
    assert "docker/stack rollback" in said
    stack("rollback", "--yes")
    assert stack.state["running"] == "0.1.0"


@pytest.mark.parametrize("version", ["0.1.0", "0.3.0", "", "--yes"])
def test_a_version_that_runs_already_or_is_not_there_is_refused(stack: Stack, version: str) -> None:
    stack("upgrade", version, status=1)
    assert stack.calls() == []
    assert stack.env == ENV


# --- rollback ---


def test_a_rollback_leaves_data_alone_that_the_old_version_can_read(stack: Stack) -> None:
    stack("upgrade", "0.2.0", "--yes")
    stack.calls()

    said = stack("rollback", answer="y\n")

    assert stack.calls() == ["schema by 0.1.0", "start postgis", "stop colluvium", "up colluvium"]
    assert "can use the data as it is" in said
    assert "COLLUVIUM_VERSION=0.1.0\n" in stack.env
    assert "no upgrade that could be undone" in stack("rollback", "--yes", status=1)


def test_a_newer_schema_makes_a_rollback_say_so_ask_and_restore_the_backup(stack: Stack) -> None:
    stack("upgrade", "0.2.0", "--yes")
    stack.calls()
    stack.set(status={"schema": 1}, migration=5)

    said = stack("rollback", answer="n\n", status=1)
    assert "cannot read it" in said
    assert str(stack.backups[0]) in said
    assert not any(call.startswith(("stop", "restore by", "up", "ALTER")) for call in stack.calls())
    assert stack.state["running"] == "0.2.0"

    stack("rollback", answer="y\n")

    assert stack.calls() == [
        "schema by 0.1.0",
        "start postgis",
        f"restore --check by 0.2.0 of {TAR}",
        "stop colluvium",
        f"restore by 0.1.0 of {TAR}",
        "start postgis",
        'ALTER SCHEMA "demo" RENAME TO "demo_before_MOMENT"',
        "pg_restore of 'dump at 4'",
        "up colluvium",
    ]
    assert stack.state["running"] == "0.1.0"


def test_a_backup_that_changed_since_stops_a_rollback_before_it_begins(stack: Stack) -> None:
    stack("upgrade", "0.2.0", "--yes")
    stack.calls()
    stack.set(status={"schema": 1})
    (stack.backups[0] / "region.tar").write_text("tar of nothing")

    assert "not what was backed up" in stack("rollback", "--yes", status=1)

    assert not any(call.startswith("stop") for call in stack.calls())
    assert "COLLUVIUM_VERSION=0.2.0" in stack.env


def test_a_tag_that_was_built_again_is_not_taken_for_what_ran(stack: Stack) -> None:
    stack("upgrade", "0.2.0", "--yes")
    stack.set(images=stack.state["images"] | {"colluvium:0.1.0": "sha256:other"})

    assert "docker tag sha256:one colluvium:0.1.0" in stack("rollback", "--yes", status=1)
    assert stack.state["running"] == "0.2.0"


# --- backup and restore ---


def test_a_backup_holds_data_and_database_and_no_password(stack: Stack) -> None:
    stack("backup")
    (folder,) = stack.backups
    names = {path.name for path in folder.iterdir()}
    assert names == {"region.tar", "postgis.dump", "migrations", "env", "SHA256SUMS"}
    assert (folder / "migrations").read_text() == "demo 4\n"
    assert not any(b"correct-horse" in path.read_bytes() for path in folder.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.iterdir()))


def test_a_backup_without_the_database_is_none(stack: Stack) -> None:
    stack.set(status={"psql": 2})
    assert "PostGIS could not be asked" in stack("backup", status=1)
    stack.set(status={"pg_dump": 1})
    assert "PostGIS could not be backed up" in stack("backup", status=1)
    stack.set(status={"pg_restore": 1})  # the dump was cut short
    assert "cannot be read back" in stack("backup", status=1)
    assert stack.backups == []


def test_a_rollback_that_cannot_ask_the_database_changes_nothing(stack: Stack) -> None:
    stack("upgrade", "0.2.0", "--yes")
    stack.calls()
    stack.set(status={"psql": 2})

    assert "nothing was changed" in stack("rollback", "--yes", status=1)

    assert stack.calls() == ["schema by 0.1.0", "start postgis"]
    assert "COLLUVIUM_VERSION=0.2.0\n" in stack.env


def test_a_backup_is_restored_after_a_yes(stack: Stack) -> None:
    stack("backup")
    stack.calls()
    stack("restore", str(stack.backups[0]), answer="no\n", status=1)
    assert stack.calls() == [f"restore --check by 0.1.0 of {TAR}"]

    stack("restore", str(stack.backups[0]), "--yes")

    assert stack.calls() == [
        f"restore --check by 0.1.0 of {TAR}",
        "stop colluvium",
        f"restore by 0.1.0 of {TAR}",
        "start postgis",
        'ALTER SCHEMA "demo" RENAME TO "demo_before_MOMENT"',
        "pg_restore of 'dump at 4'",
        "up colluvium",
    ]


# --- around it ---


def test_it_works_with_docker_compose_1(stack: Stack) -> None:
    stack.set(has_v2=False)
    stack("upgrade", "0.2.0", "--yes")
    assert stack.state["running"] == "0.2.0"


def test_without_settings_it_names_the_set_up_and_it_explains_itself(stack: Stack) -> None:
    (stack.folder / "docker" / ".env").unlink()
    assert "docker/setup" in stack("up", status=1)
    said = stack("help")
    for command in ("up", "down", "status", "logs", "backup", "restore", "upgrade", "rollback"):
        assert f"  {command}" in said
    assert "no command 'destroy'" in stack("destroy", status=1)
