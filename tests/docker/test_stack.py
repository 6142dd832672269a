"""The whole stack in a real engine: what compose.yaml promises, seen from outside, on the real clock."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.fix_engine import Images, docker
from tests.docker.fix_stack import SERVICES, Stack, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

GROWTH, STALE, BLIND = "HighClassGrowth", "MapStale", "BlindDuringStorm"


@pytest.fixture
def stack(images: Images) -> Iterator[Stack]:
    """A stack of the test's own, not started; all of it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="colluvium-stack-"))
    folder.chmod(0o755)
    stack = Stack(folder, images)
    try:
        stack.make()
        yield stack
    finally:
        stack.down()
        shutil.rmtree(folder, ignore_errors=True)


def test_storm_wakes_people_and_an_old_map_does_not_put_them_back_to_sleep(stack: Stack) -> None:
    stack.up()
    wait_for(
        "the service is healthy", lambda: _health(stack, "colluvium") == "healthy", within_s=120, stack=stack
    )

    # Nothing is root, nothing can be written outside the data volume.
    for service in ("colluvium", "prometheus", "alertmanager"):
        assert stack.run_in(service, "id", "-u").strip() != "0", service
        assert stack.inspect(service)["HostConfig"]["ReadonlyRootfs"], service
    for place in ("/opt/colluvium/lib/here", "/region/here", "/etc/here", "/here"):
        said = stack.run_in("colluvium", "python", "-c", _TRY_TO_WRITE, place).strip()
        assert said in ("Read-only file system", "Permission denied"), place
    assert stack.run_in("colluvium", "python", "-c", _TRY_TO_WRITE, "/data/here").strip() == "written"
    published = {service: _published(stack, service) for service in SERVICES}
    assert published == {service: ["127.0.0.1"] if service == "colluvium" else [] for service in SERVICES}

    # The calm week is in PostGIS, Prometheus scrapes, nobody is woken by growth.
    wait_for("calm week in PostGIS", lambda: _layers(stack) >= 8, within_s=120, stack=stack)
    wait_for("Prometheus scrapes", lambda: stack.query('up{job="colluvium"} == 1'), within_s=60, stack=stack)
    wait_for("Watchdog", lambda: stack.received("Watchdog"), within_s=60, stack=stack)
    assert not stack.received(GROWTH)

    # The readings of the storm come in.
    calm = _latest(stack)
    stack.bring_storm()
    woken = wait_for("growth reaches the phone", lambda: _phone(stack, GROWTH), within_s=180, stack=stack)
    assert "demo" in woken["annotations"]["summary"]
    assert "%" in woken["annotations"]["summary"]
    wait_for("the storm in PostGIS", lambda: _latest(stack) > calm, within_s=90, stack=stack)
    # The calm map was a day late; this one is not.
    wait_for("the map is fresh", lambda: STALE not in stack.alerts(), within_s=180, stack=stack)

    # Then no more readings come, and the hour passes by which there should be a new map.
    silent = time.time()
    stack.ready_by = "00:00:01"
    stack.up("colluvium")
    stale = wait_for("MapStale", lambda: stack.received(STALE, since=silent), within_s=180, stack=stack)
    assert stale[0]["receiver"] == "phone"
    blind = wait_for("BlindDuringStorm", lambda: _phone(stack, BLIND), within_s=60, stack=stack)
    assert "last known figures" in blind["annotations"]["summary"]
    assert GROWTH in stack.alerts()
    assert not [alert for alert in stack.received(GROWTH, "resolved") if not alert["labels"].get("zone")]

    # Each container alone, then all at once: nothing is lost.
    before = _kept(stack)
    for service in SERVICES[:-1]:
        container = stack.container(service)
        docker("stop", "--time", "60", container)
        ended = json.loads(docker("inspect", container))[0]["State"]["ExitCode"]
        assert ended == 0, f"{service} did not stop in order when it was asked to"
        docker("start", container)
        wait_for(
            f"{service} is back", lambda s=service: _health(stack, s) == "healthy", within_s=90, stack=stack
        )
    stack.compose("restart", "--timeout", "30", *SERVICES[:-1])
    for service in SERVICES[:-1]:
        wait_for(
            f"{service} is back", lambda s=service: _health(stack, s) == "healthy", within_s=90, stack=stack
        )
    wait_for("nothing was lost", lambda: _kept(stack) == before, within_s=60, stack=stack)
    scrapes = f"min_over_time(timestamp(up{{job='colluvium'}})[1h:5s]) < {silent}"
    assert stack.query(scrapes), "Prometheus forgot what was before the restart"
    wait_for(
        "the alerts stand", lambda: {GROWTH, STALE, BLIND} <= set(stack.alerts()), within_s=90, stack=stack
    )


_TRY_TO_WRITE = """
import sys
try:
    open(sys.argv[1], "w").close()
    print("written")
except OSError as error:
    print(error.strerror)
"""


def _health(stack: Stack, service: str) -> str:
    health: str = stack.inspect(service)["State"]["Health"]["Status"]
    return health


def _published(stack: Stack, service: str) -> list[str]:
    ports = stack.inspect(service)["NetworkSettings"]["Ports"]
    return [binding["HostIp"] for bindings in ports.values() for binding in bindings or ()]


def _layers(stack: Stack) -> int:
    return int(stack.in_database("SELECT count(*) FROM demo.layer")[0])


def _latest(stack: Stack) -> str:
    return stack.in_database("SELECT day FROM demo.latest_layer")[0]


def _phone(stack: Stack, name: str) -> dict[str, dict[str, str]] | None:
    called = [alert for alert in stack.received(name) if alert["receiver"] == "phone"]
    return called[0] if called else None


def _kept(stack: Stack) -> dict[str, object]:
    """Return what must be the same after a restart: maps, here and in the database, and the journal."""
    return {
        "layers": stack.run_in("colluvium", "colluvium", "layers", "--json"),
        "journal": stack.run_in("colluvium", "colluvium", "journal", "--json"),
        "database": stack.in_database("SELECT id FROM demo.layer ORDER BY id"),
        "rasters": stack.in_database("SELECT count(*) FROM demo.susceptibility"),
    }
