"""compose.yaml as it is written: what it promises before anything runs. Needs no engine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import parse_settings
from tests.docker.fix_engine import ROOT, NoEngine, compose_command
from tests.fix_region import ToyRegion

DOCKER = ROOT / "docker"


@pytest.fixture(scope="module")
def written() -> Any:
    """compose.yaml, with its anchors resolved."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of docker/, in which setup has run."""
    folder = tmp_path / "docker"
    shutil.copytree(DOCKER, folder, ignore=shutil.ignore_patterns(".env", "secrets"))
    subprocess.run([folder / "setup"], check=True, capture_output=True)
    return folder


def test_compose_reads_it(copied: Path) -> None:
    try:
        command = compose_command()
    except NoEngine as error:
        if "docker" in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
            pytest.fail(str(error))
        pytest.skip(str(error))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COLLUVIUM_")}
    done = subprocess.run(
        [*command, "config"], cwd=copied, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert "colluvium" in read["services"]


def test_it_uses_nothing_that_compose_1_29_does_not_know(written: Any) -> None:
    assert set(written) <= {"services", "volumes", "secrets", "x-common", "x-colluvium", "x-daemon"}
    for service in written["services"].values():
        assert "gpus" not in service
        for needed in service.get("depends_on", {}).values():
            assert set(needed) == {"condition"}


def test_only_the_map_and_grafana_are_published_and_on_localhost(written: Any) -> None:
    published = {
        name: service["ports"] for name, service in written["services"].items() if "ports" in service
    }
    assert set(published) == {"colluvium", "colluvium-gpu", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_every_part_has_limits_and_no_more_rights_than_it_needs(written: Any) -> None:
    for name, service in written["services"].items():
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name != "postgis":  # which begins as root, to own its files
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_images_are_pinned_to_a_version(written: Any) -> None:
    for name, service in written["services"].items():
        tag = service["image"].rpartition("}:")[2] if "COLLUVIUM" in service["image"] else service["image"]
        assert re.search(r"COLLUVIUM_VERSION|:v?\d+[\d.-]*\}$", tag), f"{name}: {service['image']}"
        assert "latest" not in service["image"], name


def test_passwords_are_files_and_stand_nowhere_else(written: Any) -> None:
    for name, service in written["services"].items():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key.upper():
                assert key.endswith("_FILE"), f"{name}: {key}"
                assert str(value).startswith("/run/secrets/"), f"{name}: {key}"
        assert set(service.get("secrets", ())) <= set(written["secrets"]), name
    assert "PASSWORD" not in (DOCKER / "env.example").read_text("utf-8")


def test_start_waits_for_health(written: Any) -> None:
    parts = written["services"]
    assert parts["database"]["depends_on"] == {"postgis": {"condition": "service_healthy"}}
    for daemon in ("colluvium", "colluvium-gpu"):
        assert parts[daemon]["depends_on"] == {"database": {"condition": "service_completed_successfully"}}
    assert parts["prometheus"]["depends_on"] == {"alertmanager": {"condition": "service_healthy"}}
    assert parts["grafana"]["depends_on"] == {"prometheus": {"condition": "service_healthy"}}
    for part in ("postgis", "prometheus", "alertmanager"):
        assert parts[part]["healthcheck"]["test"][0] == "CMD", part


def test_daemons_take_each_others_place(written: Any) -> None:
    cpu, gpu = written["services"]["colluvium"], written["services"]["colluvium-gpu"]
    assert (cpu["profiles"], gpu["profiles"]) == (["cpu"], ["gpu"])
    assert gpu["networks"]["default"]["aliases"] == ["colluvium"]  # what Prometheus scrapes
    assert cpu["volumes"] == gpu["volumes"]


def test_alertmanager_is_given_the_secrets_that_its_settings_name(written: Any) -> None:
    named = re.findall(
        r"/run/secrets/(\w+)", (DOCKER / "alertmanager" / "alertmanager.yml").read_text("utf-8")
    )
    assert set(named) == set(written["services"]["alertmanager"]["secrets"])


def test_the_settings_that_compose_gives_are_settings(
    written: Any, toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in written["services"]["colluvium"]["environment"].items():
        monkeypatch.setenv(key, value)
    path = toy.folder / "region.toml"
    settings = parse_settings(path.read_text("utf-8"), base=toy.folder, origin=str(path))
    (exporter,) = settings.exporters
    assert (exporter.kind, exporter.name) == ("postgis", "gis")


def test_setup_makes_passwords_of_its_own_once(copied: Path) -> None:
    secrets = copied / "secrets"
    first = {path.name: path.read_text() for path in secrets.iterdir()}
    made = [value for value in first.values() if value]
    assert len(made) == 4
    assert len(set(made)) == 4
    assert min(map(len, made)) >= 32
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    subprocess.run([copied / "setup"], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == first
    assert set(first) == set(yaml.safe_load((copied / "compose.yaml").read_text())["secrets"])


def test_lists_of_packages_name_no_index_and_check_every_file() -> None:
    lists = sorted((DOCKER / "requirements").glob("*.txt"))
    assert {path.stem for path in lists} == {"build", "service", "service-gpu", "trainer"}
    for path in lists:
        text = path.read_text("utf-8")
        assert "://" not in text, path
        assert not re.search(r"^\s*--(index|extra|find|trusted)", text, re.MULTILINE), path
        packages = re.split(r"\n(?=[a-z])", text.partition("\n")[2])
        assert all("==" in package and "--hash=sha256:" in package for package in packages), path
    service = (DOCKER / "requirements" / "service.txt").read_text("utf-8")
    assert not re.search(r"^(torch|numba|pandas|scikit-learn|xgboost\S*)==", service, re.MULTILINE)
    gpu = (DOCKER / "requirements" / "service-gpu.txt").read_text("utf-8")
    assert re.search(r"^onnxruntime-gpu==", gpu, re.MULTILINE)
    assert not re.search(r"^onnxruntime==", gpu, re.MULTILINE)  # both ship the same module


@pytest.mark.parametrize("name", ["service", "service-gpu", "trainer"])
def test_lists_hold_what_pyproject_asks_for(name: str) -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = {"service": ("cpu",), "service-gpu": ("gpu",), "trainer": ("cpu", "trainer", "factors")}[name]
    asked = [Requirement(each) for each in project["dependencies"]]
    asked += [Requirement(each) for key in extra for each in project["optional-dependencies"][key]]
    text = (DOCKER / "requirements" / f"{name}.txt").read_text("utf-8")
    listed = [(found[1], found[2]) for found in re.finditer(r"^([a-z0-9.-]+)==([^\s;]+)", text, re.MULTILINE)]
    for requirement in asked:
        if requirement.name == "colluvium":
            continue
        versions = [version for package, version in listed if package == requirement.name.lower()]
        assert versions, f"{requirement} is not in {name}.txt: run docker/requirements/lock"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement}: {versions}"
        )


def test_unit_for_hosts_without_containers_is_one_that_systemd_reads(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is needed: apt-get install systemd")
    unit = (DOCKER / "systemd" / "colluvium@.service").read_text("utf-8")
    copy = tmp_path / "colluvium@demo.service"
    copy.write_text(unit.replace("/opt/colluvium/bin/colluvium", "/bin/true"))
    done = subprocess.run([verify, "verify", copy], capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "colluvium" in line]
    assert not ours
