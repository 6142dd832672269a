"""Writes the dashboards: python docker/grafana/make.py

They are kept beside this file as JSON, which is what Grafana reads; tests hold the two together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import hazard  # noqa: E402
import health  # noqa: E402
import model  # noqa: E402

FOLDER = HERE / "dashboards"


def rendered() -> dict[str, str]:
    """Return the text of every dashboard by its file's name."""
    made: dict[str, dict[str, Any]] = {
        "health.json": health.DASHBOARD,
        "hazard.json": hazard.DASHBOARD,
        "model.json": model.DASHBOARD,
    }
    return {name: json.dumps(content, indent=1, sort_keys=True) + "\n" for name, content in made.items()}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
