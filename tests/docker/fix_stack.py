"""The stack of compose.yaml in a real engine: a copy of docker/, images made here, a receiver of alerts."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import yaml

from tests.docker.fix_engine import ROOT, Images, compose_command, docker
from trainer.demo_live import prepare_live

SERVICES = ("postgis", "alertmanager", "prometheus", "colluvium", "receiver")
_PORTS = {"prometheus": 9090, "alertmanager": 9093, "receiver": 9000, "colluvium": 8080}

T = TypeVar("T")


class Stack:
    """One stack, its region in `folder`/region."""

    def __init__(self, folder: Path, images: Images) -> None:
        self.folder = folder
        self.project = f"colluvium-test-{secrets.token_hex(4)}"
        self._images = images
        # In the region it is about noon, so that no test runs across its midnight.
        self._now = datetime.now(UTC)
        east = 12 - self._now.hour
        self.timezone = f"Etc/GMT{-east:+d}" if east else "Etc/GMT"
        self.ready_by = "23:59:00"

    def make(self) -> None:
        """Make settings, secrets and the region, whose newest layer is of the day before yesterday."""
        shutil.copytree(
            ROOT / "docker", self.folder / "docker", ignore=shutil.ignore_patterns(".env", "secrets")
        )
        subprocess.run([self.folder / "docker" / "setup"], check=True, capture_output=True)
        self._write_settings()
        self._faster()
        self._receivers()
        with self._as_region():
            prepare_live(self.folder / "region", storm=False, now=self._yesterday())
        self._readable()
        # The calm week goes where the daemon keeps it, as a restored backup would.
        volume = f"{self.project}_data"
        docker("volume", "create", volume)
        docker(
            "run", "--rm", "--volume", f"{volume}:/data", "--volume", f"{self.folder}/region/data:/from:ro",
            self._images.base, "sh", "-c", "cp -a /from/. /data/ && chown -R 10001:10001 /data",
        )  # fmt: skip
        shutil.rmtree(self.folder / "region" / "data")

    def bring_storm(self) -> None:
        """Let the readings of the day before yesterday come in: a storm."""
        with self._as_region():
            prepare_live(self.folder / "region", storm=True, now=self._yesterday())
        self._readable()

    def up(self, *services: str) -> None:
        """Start, or bring up to date, these services (default: all that can be had here)."""
        self._write_settings()
        self.compose("up", "--detach", "--no-build", *(services or SERVICES), timeout=300)

    def down(self) -> None:
        """End and remove everything of this stack."""
        self.compose("down", "--volumes", "--timeout", "10", check=False, timeout=180)

    def compose(self, *arguments: str, timeout: float = 180, check: bool = True) -> str:
        """Run compose on this stack; return what it printed."""
        done = subprocess.run(
            [*compose_command(), *arguments], cwd=self.folder / "docker", capture_output=True, text=True,
            timeout=timeout, check=False, env={**_clean_environment(), "COMPOSE_PROJECT_NAME": self.project},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"compose {arguments} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return done.stdout

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        found = self.compose("ps", "--quiet", service).split()
        assert len(found) == 1, f"{service}: {found}"
        return found[0]

    def run_in(self, service: str, *command: str) -> str:
        """Run a command in a service's container; return what it printed."""
        return docker("exec", self.container(service), *command)

    def inspect(self, service: str) -> Any:
        """Return what the engine says of a service's container."""
        return json.loads(docker("inspect", self.container(service)))[0]

    def get(self, service: str, path: str) -> Any:
        """Return what a service answers, from JSON."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        address = next(iter(networks.values()))["IPAddress"]
        with urllib.request.urlopen(f"http://{address}:{_PORTS[service]}{path}", timeout=20) as answer:
            return json.load(answer)

    def query(self, promql: str) -> list[Any]:
        """Ask Prometheus; return the series."""
        answer = self.get("prometheus", f"/api/v1/query?{urlencode({'query': promql})}")
        series: list[Any] = answer["data"]["result"]
        return series

    def alerts(self) -> dict[str, list[dict[str, str]]]:
        """Return the labels of the alerts that stand in Alertmanager, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in self.get("alertmanager", "/api/v2/alerts?active=true"):
            found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    def received(self, name: str, state: str = "firing", since: float = 0.0) -> list[dict[str, Any]]:
        """Return the alerts of a name that reached the receiver in this state after a moment."""
        return [
            alert | {"receiver": message["body"]["receiver"]}
            for message in self.get("receiver", "/")
            for alert in message["body"]["alerts"]
            if message["at"] >= since and alert["labels"]["alertname"] == name and alert["status"] == state
        ]

    def in_database(self, query: str) -> list[str]:
        """Ask PostGIS; return one line a row."""
        return self.run_in(
            "postgis", "psql", "-qtA", "--username=postgres", "--dbname=gis", f"--command={query}"
        ).split()

    def status(self) -> Any:
        """Return what the daemon says of itself."""
        return self.get("colluvium", "/status")

    # --- as compose wants it ---

    def _write_settings(self) -> None:
        name, _, tag = self._images.service.partition(":")
        said = {
            "COMPOSE_PROFILES": "cpu",
            "COLLUVIUM_IMAGE": name,
            "COLLUVIUM_VERSION": tag,
            "COLLUVIUM_REGION": str(self.folder / "region"),
            "COLLUVIUM_PORT": "0",
            "POSTGIS_IMAGE": self._images.postgis,
            "PROMETHEUS_IMAGE": self._images.prometheus,
            "ALERTMANAGER_IMAGE": self._images.alertmanager,
        }
        (self.folder / "docker" / ".env").write_text(
            "".join(f"{key}={value}\n" for key, value in said.items())
        )
        region = {"COLLUVIUM_REGION__TIMEZONE": self.timezone, "COLLUVIUM_SCHEDULE__READY_BY": self.ready_by}
        check = {"interval": "10s", "timeout": "20s", "retries": 6, "test": ["CMD", "colluvium", "health"]}
        override = {
            "services": {
                "colluvium": {"environment": region, "healthcheck": check},
                "database": {"environment": region},
                "receiver": {"image": self._images.receiver},
            }
        }
        (self.folder / "docker" / "compose.override.yaml").write_text(yaml.safe_dump(override))

    def _faster(self) -> None:
        path = self.folder / "docker" / "prometheus" / "prometheus.yml"
        said = yaml.safe_load(path.read_text("utf-8"))
        said["global"] |= {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "5s"}
        path.write_text(yaml.safe_dump(said))

    def _receivers(self) -> None:
        """Send what the shipped routes send to phones and mailboxes to the receiver, under the same names."""
        path = self.folder / "docker" / "alertmanager" / "alertmanager.yml"
        said = yaml.safe_load(path.read_text("utf-8"))
        said["receivers"] = [
            {
                "name": receiver["name"],
                "webhook_configs": [
                    {"url": f"http://receiver:9000/{receiver['name']}", "send_resolved": True}
                ],
            }
            for receiver in said["receivers"]
        ]
        said["global"] = {"resolve_timeout": "1m"}
        _hasten(said["route"])
        path.write_text(yaml.safe_dump(said))

    def _readable(self) -> None:
        subprocess.run(["chmod", "-R", "a+rX", self.folder / "region", self.folder / "docker"], check=True)
        (self.folder / "docker" / "secrets").chmod(0o700)

    def _yesterday(self) -> datetime:
        return self._now - timedelta(days=1)

    @contextlib.contextmanager
    def _as_region(self) -> Iterator[None]:
        before = os.environ.get("COLLUVIUM_REGION__TIMEZONE")
        os.environ["COLLUVIUM_REGION__TIMEZONE"] = self.timezone
        try:
            yield
        finally:
            del os.environ["COLLUVIUM_REGION__TIMEZONE"]
            if before is not None:
                os.environ["COLLUVIUM_REGION__TIMEZONE"] = before


def wait_for(what: str, look: Callable[[], T], *, within_s: float, stack: Stack | None = None) -> T:
    """Look again until there is something; what is true of the real clock cannot be injected here."""
    end = time.monotonic() + within_s
    last = ""
    while time.monotonic() < end:
        try:
            found = look()
            if found:
                return found
        except (OSError, AssertionError, KeyError, ValueError) as error:
            last = f"; at last: {error}"
        time.sleep(2)
    told = ""
    if stack is not None:
        told = (
            "\n" + stack.compose("ps", check=False) + stack.compose("logs", "--tail=40", check=False)[-9000:]
        )
    raise AssertionError(f"{what}: not within {within_s:.0f} s{last}{told}")


def _hasten(route: dict[str, Any]) -> None:
    if "group_wait" in route:
        route["group_wait"] = "1s"
    if "group_interval" in route:
        route["group_interval"] = "5s"
    for child in route.get("routes", []):
        _hasten(child)


def _clean_environment() -> dict[str, str]:
    ours = ("COMPOSE_", "COLLUVIUM_", "POSTGIS_", "PROMETHEUS_", "ALERTMANAGER_", "GRAFANA_")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}
