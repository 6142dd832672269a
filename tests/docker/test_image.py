"""The service's image: what is in it, what is not, and as whom it runs."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.docker.fix_engine import Images, docker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

LARGEST_BYTES = 900_000_000
# What belongs to training, and what a service that only reads finished packages has no use for.
NOT_IN_IT = ("torch", "numba", "pandas", "sklearn", "xgboost", "matplotlib", "pip", "setuptools")
COMPILERS = ("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "rustc", "go", "nvcc")


def _in_image(images: Images, program: str, *arguments: str) -> str:
    return docker(
        "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--entrypoint", "/opt/colluvium/bin/python", images.service, "-c", program, *arguments,
    )  # fmt: skip


def _said_of(images: Images) -> Any:
    return json.loads(docker("inspect", images.service))[0]


def test_image_holds_no_trainer_and_no_compiler_and_is_small(images: Images) -> None:
    program = (
        "import importlib.util, json, shutil, sys; "
        "libraries, programs = (word.split(',') for word in sys.argv[1:]); "
        "print(json.dumps([*filter(importlib.util.find_spec, libraries), *filter(shutil.which, programs)]))"
    )
    assert json.loads(_in_image(images, program, ",".join(NOT_IN_IT), ",".join(COMPILERS))) == []
    size = int(_said_of(images)["Size"])
    print(f"{images.service}: {size / 1e6:.0f} MB uncompressed, built in {images.built_in_s:.0f} s")
    assert size < LARGEST_BYTES


def test_image_says_what_it_is_and_looks_after_itself(images: Images) -> None:
    said = _said_of(images)["Config"]
    assert said["User"] == "10001:10001"
    assert said["Entrypoint"] == ["colluvium"]
    assert said["Cmd"] == ["run"]
    assert said["Healthcheck"]["Test"] == ["CMD", "colluvium", "health"]
    assert set(said["Volumes"]) == {"/data"}
    assert said["StopSignal"] == "SIGTERM"
    labels = said["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == images.service.partition(":")[2]


def test_image_finds_time_zones_and_projections_without_a_network(images: Images) -> None:
    program = (
        "from zoneinfo import ZoneInfo; from datetime import datetime; from rasterio.warp import transform; "
        "print(datetime(2026, 7, 1, tzinfo=ZoneInfo('Asia/Tehran')).utcoffset(), "
        "*(round(value[0]) for value in transform('EPSG:4326', 'EPSG:32640', [57.0], [30.0])))"
    )
    assert _in_image(images, program).split() == ["3:30:00", "500000", "3318785"]


def test_image_lists_what_it_is_made_of(images: Images) -> None:
    bom = json.loads(_in_image(images, "print(open('/opt/colluvium/sbom.cdx.json').read())"))
    assert bom["bomFormat"] == "CycloneDX"
    listed = {component["name"] for component in bom["components"]}
    # A Python package, one of the map page's libraries, one of the base's packages; and ourselves.
    assert {"rasterio", "maplibre-gl", "libc6", "colluvium"} <= listed
    installed = _in_image(
        images,
        "from importlib.metadata import distributions; "
        "print(*(each.metadata['Name'] for each in distributions()))",
    ).split()
    assert {name.lower() for name in installed} <= {name.lower() for name in listed}
    assert not listed & {"torch", "pandas"}


def test_image_serves_the_map_page_with_its_libraries(images: Images) -> None:
    program = (
        "from pathlib import Path; import service; "
        "vendor = Path(service.__file__).parent / 'web' / 'vendor'; "
        "print(*sorted(path.name for path in vendor.iterdir()))"
    )
    assert {"maplibre-gl.mjs", "uPlot.esm.js", "versions.json"} <= set(_in_image(images, program).split())


def test_container_without_a_region_says_so_and_ends_with_usage(images: Images) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", images.service],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot read the settings file /region/region.toml" in done.stderr
