"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests.fix_region import Clock, ToyRegion, make_toy_region

pytest_plugins = ["tests.fix_proxy", "tests.fix_postgis"]

# A busy machine is not a failure; CI judges a change, not the luck of the draw, which is for developers.
hypothesis.settings.register_profile(
    "colluvium",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("colluvium")


@pytest.fixture(autouse=True)
def _logs_as_they_come() -> None:
    """Lines of every level in every test, whatever a command that ran in this process before has set."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def toy_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy region with its rain ingested, made once for a test process; never changed by a test."""
    region = make_toy_region(tmp_path_factory.mktemp("template") / "toy")
    region.ingest()
    return region.folder


@pytest.fixture
def toy(toy_template: Path, tmp_path: Path) -> ToyRegion:
    """A toy region of the test's own, with its rain ingested."""
    folder = tmp_path / "toy"
    shutil.copytree(toy_template, folder)
    return ToyRegion(folder, Clock())
