"""Complete the bill of materials of an image: its Python packages, the map page's libraries, its base.

    python docker/sbom.py PYTHON.json package-lock.json OUT.json

PYTHON.json is what cyclonedx-py says of the environment. Added to it are the packages that
web/package-lock.json pins and that are served, with their checksums, and those that dpkg says are installed
(a base without dpkg adds none).
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

_DPKG_FIELDS = r"${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"


def main(arguments: list[str]) -> int:
    """Write the completed list; return the exit code."""
    try:
        python, lock, out = map(Path, arguments)
    except ValueError:
        print(__doc__, file=sys.stderr)
        return 2
    bom: dict[str, Any] = json.loads(python.read_text("utf-8"))
    bom.setdefault("components", []).extend([*npm_components(lock), *debian_components()])
    out.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"sbom: {len(bom['components'])} components in {out}")
    return 0


def npm_components(lock: Path) -> list[dict[str, Any]]:
    """Return the packages of a package-lock.json that are not for development."""
    packages: dict[str, dict[str, Any]] = json.loads(lock.read_text("utf-8"))["packages"]
    found = []
    for place, package in sorted(packages.items()):
        if not place or package.get("dev") or package.get("devOptional"):
            continue
        name = place.rpartition("node_modules/")[2]
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": f"npm:{name}@{package['version']}",
            "name": name,
            "version": package["version"],
            "purl": f"pkg:npm/{quote(name)}@{package['version']}",
        }
        algorithm, _, digest = package.get("integrity", "").partition("-")
        if algorithm == "sha512":
            component["hashes"] = [{"alg": "SHA-512", "content": base64.b64decode(digest).hex()}]
        if isinstance(package.get("license"), str):
            component["licenses"] = [{"license": {"name": package["license"]}}]
        found.append(component)
    return found


def debian_components() -> list[dict[str, Any]]:
    """Return the installed packages of the distribution."""
    if shutil.which("dpkg-query") is None:
        return []
    said = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={_DPKG_FIELDS}"], capture_output=True, text=True, check=True
    ).stdout
    system = _distribution()
    found = []
    for line in said.splitlines():
        state, name, version, architecture = line.split("\t")
        if not state.startswith("ii"):
            continue
        found.append(
            {
                "type": "library",
                "bom-ref": f"deb:{name}@{version}:{architecture}",
                "name": name,
                "version": version,
                "purl": f"pkg:deb/{system}/{quote(name)}@{quote(version)}?arch={architecture}",
            }
        )
    return found


def _distribution() -> str:
    release = Path("/etc/os-release").read_text("utf-8")
    named = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    return named.get("ID", "debian").strip('"')


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
