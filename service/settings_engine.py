"""Settings of the engine: where a layer's tiles are computed."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from service.settings_base import FilePath, Positive, Section


class EngineTls(Section):
    """PEM files that the scheduler, the workers and Colluvium show each other."""

    ca: FilePath  # who signed the others' certificates
    cert: FilePath
    key: FilePath


class EngineSettings(Section):
    """This machine's threads, or a Dask cluster."""

    kind: Literal["local", "dask"] = "local"
    # tls://host:8786; without it a cluster of processes on this machine, for as long as the run lasts.
    scheduler: str | None = None
    workers: Annotated[int, Field(ge=0, le=256)] = 0  # processes of that cluster; 0: as inference.workers
    tls: EngineTls | None = None
    # Whoever reaches a scheduler or a worker without TLS can run code on all of them.
    insecure_network: bool = False
    tiles_per_task: Annotated[int, Field(ge=1, le=1024)] = 64  # of 128 x 128 cells: about a million cells
    connect_timeout_s: Positive = 10.0
    worker_timeout_s: Positive = 60.0  # how long to wait for a worker, at the start and when all are gone
    task_timeout_s: Positive = 900.0  # a task that has given nothing for so long is a failure
    retries: Annotated[int, Field(ge=0, le=10)] = 1  # of a tile that fails; of a worker that dies, Dask's own

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "local":
            if self.scheduler is not None or self.tls is not None:
                raise ValueError("'scheduler' and 'tls' belong to kind \"dask\"")
            return self
        if self.scheduler is None:
            if self.tls is not None:
                raise ValueError(
                    "'tls' belongs to a 'scheduler'; a cluster of our own makes its certificates"
                )
            return self
        if self.workers:
            raise ValueError("'workers' belongs to a cluster of our own; a 'scheduler' has those it has")
        self._check_scheduler(self.scheduler)
        return self

    def _check_scheduler(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("tls", "tcp") or not parts.hostname or parts.port is None:
            raise ValueError(f"scheduler {address!r} is no address such as tls://scheduler.example:8786")
        if parts.scheme == "tls" and self.tls is None:
            raise ValueError("a scheduler at tls:// needs engine.tls with ca, cert and key")
        if parts.scheme == "tcp" and self.tls is not None:
            raise ValueError("engine.tls is given and the scheduler is at tcp://; write tls://")
        if parts.scheme == "tcp" and not _is_this_machine(parts.hostname) and not self.insecure_network:
            raise ValueError(
                f"{address} has no TLS: whoever reaches that port can run code on every machine of the "
                "cluster. Either use tls:// with engine.tls, or set insecure_network = true where the "
                "network itself keeps others out"
            )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
