"""The settings of the engine: nothing that others could use as a way in is accepted by mistake."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.engines.dask_cluster import Cluster
from service.errors import EngineError, SettingsError
from service.settings import Settings, load_settings, parse_settings
from tests.dask.conftest import make_certificates
from tests.fix_region import ToyRegion

TLS = 'tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }'
REGION = """
[region]
id = "test"
name = "Test"
data_dir = "data"
[grid]
crs = "EPSG:32633"
extent = [500000.0, 4690000.0, 510000.0, 4700000.0]
[bundle]
path = "bundle"
"""


def parsed(engine: str, folder: Path = Path("/somewhere"), more: str = "") -> Settings:
    return parse_settings(f"{REGION}{more}\n[engine]\n{engine}", base=folder, origin="test")


@pytest.mark.parametrize(
    "engine",
    [
        "",
        'kind = "dask"',
        'kind = "dask"\nworkers = 3',
        'kind = "dask"\nscheduler = "tcp://127.0.0.1:8786"',
        'kind = "dask"\nscheduler = "tcp://[::1]:8786"',
        'kind = "dask"\nscheduler = "tcp://localhost:8786"',
        f'kind = "dask"\nscheduler = "tls://scheduler.example:8786"\n{TLS}',
        'kind = "dask"\nscheduler = "tcp://scheduler.example:8786"\ninsecure_network = true',
    ],
)
def test_what_is_safe_or_said_to_be_is_taken(engine: str) -> None:
    assert parsed(engine).engine.kind == ("dask" if engine else "local")


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ('kind = "dask"\nscheduler = "tcp://scheduler.example:8786"', "has no TLS"),
        ('kind = "dask"\nscheduler = "tcp://192.0.2.7:8786"', "insecure_network = true"),
        ('kind = "dask"\nscheduler = "tls://scheduler.example:8786"', "needs engine.tls"),
        (f'kind = "dask"\nscheduler = "tcp://127.0.0.1:8786"\n{TLS}', "write tls://"),
        ('kind = "dask"\nscheduler = "scheduler.example:8786"', "is no address"),
        ('kind = "dask"\nscheduler = "tls://scheduler.example"', "is no address"),
        ('scheduler = "tls://scheduler.example:8786"', "belong to kind"),
        (f'kind = "dask"\n{TLS}', "makes its certificates"),
        ('kind = "dask"\nworkers = 2\nscheduler = "tcp://127.0.0.1:8786"', "cluster of our own"),
        ('kind = "spark"', "engine.kind"),
    ],
)
def test_what_would_be_a_way_in_or_a_mistake_is_refused(engine: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parsed(engine)


def test_a_graphics_card_and_a_cluster_cannot_both_be_asked_for() -> None:
    with pytest.raises(SettingsError, match="computes on processors"):
        parsed('kind = "dask"', more='[inference]\ndevice = "gpu"\n')


def test_the_files_of_tls_are_beside_the_settings_file_and_must_be_there(tmp_path: Path) -> None:
    settings = parsed(f'kind = "dask"\nscheduler = "tls://127.0.0.1:9"\n{TLS}', tmp_path)
    assert settings.engine.tls is not None
    assert settings.engine.tls.ca == tmp_path / "ca.pem"
    with (
        Cluster(settings.engine, 1) as cluster,
        pytest.raises(SettingsError, match=str(tmp_path / "ca.pem")),
    ):
        cluster.threads()


def test_a_network_that_is_trusted_is_warned_of() -> None:
    engine = (
        'kind = "dask"\nscheduler = "tcp://127.0.0.1:9"\ninsecure_network = true\nconnect_timeout_s = 0.2'
    )
    with (
        capture_logs() as logs,
        Cluster(parsed(engine).engine, 1) as cluster,
        pytest.raises(EngineError, match="no Dask scheduler answers"),
    ):
        cluster.threads()
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_a_network_with_tls_is_not_warned_of(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    engine = f'kind = "dask"\nscheduler = "tls://127.0.0.1:9"\n{TLS}\nconnect_timeout_s = 0.2\n'
    with (
        capture_logs() as logs,
        Cluster(parsed(f"{engine}insecure_network = true", tmp_path).engine, 1) as cluster,
        pytest.raises(EngineError, match="no Dask scheduler answers"),
    ):
        cluster.threads()
    assert logs == []


def test_one_machines_certificates_come_with_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[><=]", one)[0] for one in project["optional-dependencies"]["dask"]}
    assert {"distributed", "cryptography"} <= names  # distributed itself does not ask for it


def test_the_environment_can_name_the_scheduler(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLUVIUM_ENGINE__KIND", "dask")
    monkeypatch.setenv("COLLUVIUM_ENGINE__SCHEDULER", "tcp://127.0.0.1:8786")
    assert load_settings(toy.config).engine.scheduler == "tcp://127.0.0.1:8786"
