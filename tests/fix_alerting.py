"""Prometheus' and Alertmanager's own programs for tests, and the files that they are given.

Where one is missing, a test that needs it is skipped, unless COLLUVIUM_TEST_REQUIRE has "prometheus" among
its words: then it fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCKER = Path(__file__).parent.parent / "docker"
RULES = sorted((DOCKER / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((DOCKER / "prometheus" / "tests").glob("*.yml"))
ALERTMANAGER = DOCKER / "alertmanager" / "alertmanager.yml"
RUNBOOKS = Path(__file__).parent.parent / "docs" / "runbooks"


def program(*names: str) -> str:
    """Return where the first of these programs lies; skips, or fails where it is required."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    message = f"{names[0]} is needed: apt-get install prometheus prometheus-alertmanager"
    if "prometheus" in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
        pytest.fail(message)
    pytest.skip(message)


def told(*command: str, given: str | None = None) -> str:
    """Run a program, expect that it is content, and return what it says."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def all_rules() -> list[dict[str, Any]]:
    """Return every rule of every file."""
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[dict[str, Any]]:
    """Return the alerts among them."""
    return [rule for rule in all_rules() if "alert" in rule]


def until(found: Callable[[], Any], what: str, seconds: float = 45) -> Any:
    """Ask until there is an answer, and return it; fail with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            answer = found()
            if answer:
                return answer
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s: {what}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Webhook:
    """A receiver that notes what it is sent. `posts` are Alertmanager's bodies, oldest first."""

    def __init__(self) -> None:
        posts: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.posts = posts
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that were sent as firing."""
        sent = [alert for post in list(self.posts) for alert in post["alerts"]]
        return [
            alert for alert in sent if alert["labels"]["alertname"] == name and alert["status"] == "firing"
        ]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class Exposition:
    """A target that exposes a text; the tests of alerts change it."""

    def __init__(self, text: str) -> None:
        self.text = text
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(outer.text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering: the target is down."""
        self._server.shutdown()
        self._server.server_close()


class Watch:
    """Prometheus and Alertmanager with our own rules, quickened: scraped each second, `for` is a second."""

    def __init__(self, folder: Path, targets: dict[str, str], webhook: str) -> None:
        self._stack = contextlib.ExitStack()
        rules = folder / "rules"
        rules.mkdir()
        for path in RULES:
            quick = re.sub(r"^(\s+for:) \w+$", r"\1 1s", path.read_text("utf-8"), flags=re.MULTILINE)
            (rules / path.name).write_text(quick, "utf-8")
        self._alertmanager = f"127.0.0.1:{free_port()}"
        self._prometheus = f"127.0.0.1:{free_port()}"
        config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [self._alertmanager]
        config["scrape_configs"][0]["static_configs"] = [
            {"targets": [address], "labels": {"region": region}} for region, address in targets.items()
        ]
        config["scrape_configs"][1]["static_configs"][0]["targets"] = [self._prometheus]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(quick_routes(webhook)), "utf-8")
        self._start(
            folder / "alertmanager.log", program("alertmanager", "prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'am'}",
            f"--web.listen-address={self._alertmanager}", "--cluster.listen-address=",
        )  # fmt: skip
        self._prometheus_command = [
            program("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={self._prometheus}",
        ]  # fmt: skip
        self._log = folder / "prometheus.log"
        self._end_prometheus = self._start(self._log, *self._prometheus_command)

    def restart_prometheus(self) -> None:
        """End Prometheus and start it again on what it kept."""
        self._end_prometheus()
        self._end_prometheus = self._start(self._log, *self._prometheus_command)

    def alerts(self) -> list[dict[str, Any]]:
        """Return what Prometheus holds for firing."""
        found = self._get("/api/v1/alerts")["data"]["alerts"]
        return [alert for alert in found if alert["state"] == "firing"]

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return what an expression comes to now."""
        result = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": text}))["data"]["result"]
        return list(result)

    def broken_rules(self) -> list[str]:
        """Return the errors of rules that could not be evaluated."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]

    def close(self) -> None:
        """End both programs."""
        self._stack.close()

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self._prometheus}{path}", timeout=5) as answer:
            return dict(json.load(answer))

    def _start(self, log: Path, *command: str) -> Callable[[], None]:
        out = self._stack.enter_context(log.open("ab"))
        process = subprocess.Popen(command, stdout=out, stderr=out)

        def end() -> None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._stack.callback(end)
        return end


def quick_routes(webhook: str) -> dict[str, Any]:
    """Return our routes and inhibitions with every receiver at the webhook, without delay."""
    config: dict[str, Any] = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))

    def quicken(route: dict[str, Any]) -> dict[str, Any]:
        own = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1m"}
        return {**route, **own, "routes": [quicken(child) for child in route.get("routes", [])]}

    return {
        "route": quicken(config["route"]),
        "inhibit_rules": config["inhibit_rules"],
        "receivers": [
            {"name": each["name"], "webhook_configs": [{"url": webhook}]} for each in config["receivers"]
        ],
    }
