"""A real cluster: a scheduler and two worker processes on 127.0.0.1, with certificates made for the test."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import pytest

from service.settings_engine import EngineSettings, EngineTls


@dataclass(frozen=True)
class TestCluster:
    """The scheduler's address, and the files that let one talk to it."""

    __test__ = False

    address: str
    tls: EngineTls
    cluster: Any

    def settings(self, **changes: Any) -> EngineSettings:
        """Return settings that use this cluster, with small tasks."""
        return EngineSettings(
            **{"kind": "dask", "scheduler": self.address, "tls": self.tls, "tiles_per_task": 2} | changes
        )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """Two workers that are restarted when they die."""
    folder = tmp_path_factory.mktemp("cluster")
    tls = make_certificates(folder)
    files = {
        f"tls_{who}_{what}": str(getattr(tls, what))
        for who in ("client", "scheduler", "worker")
        for what in ("cert", "key")
    }
    security = distributed.Security(tls_ca_file=str(tls.ca), require_encryption=True, **files)
    config = importlib.import_module("dask").config
    quiet = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
    with (
        config.set(quiet),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
            local_directory=str(folder),
        ) as made,
    ):
        yield TestCluster(made.scheduler_address, tls, made)


def make_certificates(folder: Path) -> EngineTls:
    """Write a certificate that signs itself: authority, scheduler, worker and client in one."""
    made = distributed.Security.temporary()
    tls = EngineTls(ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")
    tls.ca.write_text(made.tls_ca_file)
    tls.cert.write_text(made.tls_client_cert)
    tls.key.write_text(made.tls_client_key)
    return tls
