"""docker/stack in a real engine: up to a version that changes the schema, back again, and from nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.fix_engine import Images, docker
from tests.docker.fix_stack import Stack, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_LATER = (
    "import service.ledger_schema as schema; "
    "open(schema.__file__, 'a').write('MIGRATIONS = (*MIGRATIONS, \"CREATE TABLE later (x TEXT);\")\\n')"
)


@pytest.fixture
def stack(images: Images) -> Iterator[Stack]:
    """A stack of the test's own, not started; all of it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="colluvium-upgrade-"))
    folder.chmod(0o755)
    stack = Stack(folder, images)
    try:
        stack.make()
        yield stack
    finally:
        stack.down()
        shutil.rmtree(folder, ignore_errors=True)
        docker("rmi", f"{images.service}-later", check=False)


def test_up_to_a_newer_schema_and_back_and_from_a_backup_alone(stack: Stack, images: Images) -> None:
    later = _build_later(images.service)
    stack.up("postgis", "colluvium")
    wait_for("layers in PostGIS", lambda: _delivered(stack) >= 8, within_s=180, stack=stack)
    _healthy(stack)
    layers = _layers(stack)

    said = _script(stack, "upgrade", later, answer="y\n")

    assert "7 layers made again" in said
    assert "the last seven layers are the same" in said
    assert _schema(stack) == {"usable": True, "newest": _known(stack)}
    assert _layers(stack) == layers
    stack.run_in("colluvium", "colluvium", "hold", "--by", "anna", "--reason", "decided after the upgrade")
    newer = _known(stack)

    said = _script(stack, "rollback", answer="y\n")

    assert "cannot read it" in said
    assert "NO LONGER IN FORCE" in said
    assert "decided after the upgrade" in said
    assert _known(stack) == newer - 1
    assert _layers(stack) == layers
    assert _delivered(stack) >= 8
    aside = stack.run_in("colluvium", "python", "-c", "import os; print(*os.listdir('/data'))")
    assert "before-restore-" in aside

    _script(stack, "backup")
    backup = sorted((stack.folder / "docker" / "backups").glob("2*"))[-1]
    stack.down()
    # A host that has never seen this region.
    _script(stack, "up", "postgis", "colluvium")
    assert _layers(stack) != layers

    _script(stack, "restore", str(backup), "--yes")

    assert _layers(stack) == layers
    wait_for("layers in PostGIS", lambda: _delivered(stack) >= 8, within_s=120, stack=stack)


def _script(stack: Stack, *arguments: str, answer: str = "") -> str:
    keys = ("COMPOSE_", "COLLUVIUM_", "POSTGIS_", "PROMETHEUS_", "ALERTMANAGER_", "GRAFANA_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(keys)}
    done = subprocess.run(
        [stack.folder / "docker" / "stack", *arguments], input=answer, capture_output=True, text=True,
        check=False, timeout=420, env={**clean, "COMPOSE_PROJECT_NAME": stack.project},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _build_later(service: str) -> str:
    """Build a version that migrates the ledger one step further; return its tag."""
    name, _, tag = service.partition(":")
    dockerfile = f"FROM {service}\nUSER 0\nRUN {json.dumps(['python', '-c', _LATER])}\nUSER 10001:10001\n"
    subprocess.run(
        ["docker", "build", "--tag", f"{name}:{tag}-later", "-"],
        input=dockerfile, text=True, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return f"{tag}-later"


def _healthy(stack: Stack) -> None:
    def look() -> bool:
        return bool(stack.inspect("colluvium")["State"]["Health"]["Status"] == "healthy")

    wait_for("the service is healthy", look, within_s=120, stack=stack)


def _layers(stack: Stack) -> list[str]:
    said = json.loads(stack.run_in("colluvium", "colluvium", "layers", "--json"))
    return [f"{layer['id']} {layer['digest']}" for layer in said["layers"]]


def _delivered(stack: Stack) -> int:
    return int(stack.in_database("SELECT count(*) FROM demo.layer")[0])


def _schema(stack: Stack) -> dict[str, object]:
    said = json.loads(stack.run_in("colluvium", "colluvium", "schema", "--json"))
    return {"usable": said["usable"], "newest": said["schemas"][0]["on_disk"]}


def _known(stack: Stack) -> int:
    said = json.loads(stack.run_in("colluvium", "colluvium", "schema", "--json"))
    return int(said["schemas"][0]["known"])
