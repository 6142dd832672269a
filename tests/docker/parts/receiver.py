"""The far end of a webhook: keeps what Alertmanager sends, one line each, and shows it again.

POST anything to keep it; GET / for all of it as a JSON list, with the second at which it came.
"""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RECEIVED: list[dict[str, Any]] = []


class Receiver(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self) -> None:
        """Keep what was sent."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        RECEIVED.append({"at": time.time(), "path": self.path, "body": json.loads(body)})
        self._answer([])

    def do_GET(self) -> None:
        """Show all that was sent."""
        self._answer(RECEIVED)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()
