"""A real Prometheus that scrapes pages made by the test, with the rules that are shipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DOCKER = Path(__file__).resolve().parents[2] / "docker"
RULES = DOCKER / "prometheus" / "rules"
_STARTS_WITHIN_S = 20.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

Page = Callable[[], bytes]


@dataclass(frozen=True)
class LivePrometheus:
    """A running Prometheus."""

    url: str

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an instant query. Fails the test where Prometheus refuses it."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"Prometheus refuses {expr!r}: {json.load(error)['error']}")
        result = said["data"]["result"]
        return list(result) if said["data"]["resultType"] == "vector" else [{"value": result}]


def needs_prometheus() -> str:
    """Return the program, or skip (fail where COLLUVIUM_TEST_REQUIRE names prometheus)."""
    program = shutil.which("prometheus")
    if program is None:
        missing = "a Prometheus is needed: apt-get install prometheus"
        if "prometheus" in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
            pytest.fail(missing)
        pytest.skip(missing)
    return program


@contextmanager
def serving(pages: Mapping[str, Page]) -> Iterator[str]:
    """Serve pages by their path; yield host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = pages[self.path]()
            self.send_response(200)
            self.send_header("Content-Type", _TEXT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def scraping(folder: Path, pages: Mapping[str, Page]) -> Iterator[LivePrometheus]:
    """Run Prometheus on pages by region: each is scraped as the job `colluvium`, twice a second."""
    program = needs_prometheus()
    with serving({f"/{region}": page for region, page in pages.items()}) as target:
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES / "*.yml")],
            "scrape_configs": [
                {
                    "job_name": "colluvium",
                    "static_configs": [
                        {
                            "targets": [target],
                            "labels": {
                                "region": region,
                                "instance": region,
                                "__metrics_path__": f"/{region}",
                            },
                        }
                        for region in pages
                    ],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
        log = folder / "log"
        with log.open("w") as said:
            process = subprocess.Popen(
                [
                    program, f"--config.file={folder / 'prometheus.yml'}", "--web.listen-address=127.0.0.1:0",
                    f"--storage.tsdb.path={folder / 'data'}", "--log.format=logfmt",
                ],
                stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield LivePrometheus(f"http://{_address(log, process)}")
        finally:
            process.terminate()
            process.wait(20)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        text = log.read_text()
        found = re.search(r'msg="Listening on" address=(\S+)', text)
        if found and "Server is ready" in text:
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"Prometheus did not start: {log.read_text()[-2000:]}")
