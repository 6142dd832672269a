"""Stands in for docker and docker-compose: keeps a stack in state.json, and writes down what it is told.

The stack script is judged by what it asks for and in which order; what images do is tested elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

STATE = Path(os.environ["FAKE_DOCKER_STATE"])


def main() -> int:
    """Answer one call."""
    state: dict[str, Any] = json.loads(STATE.read_text())
    arguments = sys.argv[1:]
    if Path(sys.argv[0]).name == "docker-compose":
        arguments = ["compose", *arguments]
    elif arguments[0] == "compose" and not state["has_v2"]:
        return 1
    status = compose(state, arguments[1:]) if arguments[0] == "compose" else engine(state, arguments)
    STATE.write_text(json.dumps(state))
    return status


def engine(state: dict[str, Any], arguments: list[str]) -> int:
    """Answer `docker image inspect`, `docker inspect`, `docker pull`."""
    if arguments[0] == "pull":
        return 1
    if arguments[0] == "image":
        identity = state["images"].get(arguments[-1])
        print(identity or "")
        return 0 if identity else 1
    if "Health" in arguments[2]:
        sick = arguments[-1] == "container-colluvium" and state["running"] in state["sick"]
        print("unhealthy" if sick else "healthy")
    else:
        print(state["images"][f"colluvium:{state['running']}"])
    return 0


def compose(state: dict[str, Any], arguments: list[str]) -> int:
    """Answer `docker compose`."""
    if arguments[0] == "-f":
        arguments = arguments[2:]
    act, rest = arguments[0], arguments[1:]
    if act == "version":
        return 0
    if act == "ps":
        print(f"container-{rest[-1]}")
        return 0
    plain = [word for word in rest if not word.startswith("-") or word == "-"]
    if act == "run":
        return run(state, plain[1:], rest)
    if act == "exec":
        return execute(state, rest)
    state["calls"].append(" ".join([act, *plain]))
    if act == "up" and "colluvium" in plain:
        state["running"] = version()
    return 0


def run(state: dict[str, Any], command: list[str], rest: list[str]) -> int:
    """Run a command of the service's image."""
    name = command[0] if command else "prepare"
    checking = "--check" in rest
    said = f"{name}{' --check' if checking else ''} by {version()}"
    if name == "restore":
        said += f" of {hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:8]}"
    state["calls"].append(said)
    if name == "backup" and not state["status"].get("backup"):
        sys.stdout.write(f"tar of {version()}")
    if name == "shadow":
        print(state["shadow_says"])
    return int(state["status"].get(f"{name} --check" if checking else name, 0))


def execute(state: dict[str, Any], rest: list[str]) -> int:
    """Run a program in PostGIS's container."""
    assert rest[:4] == ["-T", "-u", "postgres", "postgis"], rest
    program, text = rest[4], rest[-1]
    if status := int(state["status"].get(program, 0)):
        return status
    if program == "psql" and "SELECT nspname" in text:
        print("demo")
    elif program == "psql" and "SELECT max" in text:
        print(state["migration"])
    elif program == "psql" and "SELECT count" in text:
        print(1)
    elif program == "psql":
        state["calls"].append(re.sub(r"\d{14}", "MOMENT", text))
    elif program == "pg_dump":
        sys.stdout.write(f"dump at {state['migration']}")
    elif "--file=/dev/null" in rest:
        assert sys.stdin.read()
    else:
        state["calls"].append(f"pg_restore of '{sys.stdin.read()}'")
    return 0


def version() -> str:
    """Return COLLUVIUM_VERSION as compose sees it."""
    found = re.findall(r"^COLLUVIUM_VERSION=(.*)$", Path(".env").read_text(), re.MULTILINE)
    return os.environ.get("COLLUVIUM_VERSION") or found[-1]


if __name__ == "__main__":
    sys.exit(main())
