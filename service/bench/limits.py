"""What the machine can do at all: arithmetic, copying memory, reading the disk."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from service.bench.graph import Graph
from service.runtime import make_session

_MATRIX = 4096
_COPY_BYTES = 512 << 20
_FILE_BYTES = 1 << 30
_CHUNK = 8 << 20
_TIMES = 3


@dataclass(frozen=True)
class Limits:
    """The most that was measured of each, and how."""

    matrix_flops: float  # float32 a second
    matrix_how: str
    copy_bytes_per_s: float  # read and written both count
    copy_how: str
    disk_bytes_per_s: float
    disk_how: str

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return asdict(self)


@dataclass(frozen=True)
class LimitSizes:
    """How much is moved; tests take less."""

    matrix: int = _MATRIX
    copy_bytes: int = _COPY_BYTES
    file_bytes: int = _FILE_BYTES


def measure_limits(folder: Path, workers: int, sizes: LimitSizes) -> Limits:
    """Measure on `workers` threads; the disk is the one that holds `folder`."""
    products = _products(sizes.matrix, workers)
    product = max(products, key=lambda name: products[name])
    reads = _reads(folder, sizes.file_bytes)
    read = max(reads, key=lambda name: reads[name])
    return Limits(
        products[product],
        f"{sizes.matrix} x {sizes.matrix} float32 product, {product}, {workers} threads",
        _copy(sizes.copy_bytes, workers),
        f"copying {sizes.copy_bytes >> 20} MiB, {workers} threads; read and written count",
        reads[read],
        f"a fresh file of {sizes.file_bytes >> 20} MiB, {read}",
    )


def _best(work: Any) -> float:
    """Return the seconds of the fastest of a few runs, after one that does not count."""
    work()
    found = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def _products(size: int, workers: int) -> dict[str, float]:
    """Return operations a second of a square product: NumPy's BLAS, and ONNX Runtime."""
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    out = np.empty_like(left)
    graph = Graph()
    graph.add("MatMul", "a", "b", output="c")
    with tempfile.TemporaryDirectory(prefix="bench-product-") as name:
        path = Path(name) / "product.onnx"
        shape = [size, size]
        graph.save(path, dict.fromkeys(("a", "b"), (TensorProto.FLOAT, shape)), "c", shape)
        session = make_session(path.read_bytes(), "the matrix product", threads=workers)
    operations = 2.0 * size**3
    return {
        "NumPy's BLAS": operations / _best(lambda: np.matmul(left, right, out=out)),
        "ONNX Runtime": operations / _best(lambda: session.run(None, {"a": left, "b": right})),
    }


def _copy(size: int, workers: int) -> float:
    source = np.ones(size, np.uint8)
    target = np.zeros_like(source)
    bounds = np.linspace(0, size, workers + 1).astype(int)
    parts = [slice(first, last) for first, last in pairwise(bounds.tolist())]
    with ThreadPoolExecutor(workers) as pool:

        def work() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        return 2 * size / _best(work)


def _reads(folder: Path, size: int) -> dict[str, float]:
    """Return bytes a second of reading a fresh file from end to end, past the page cache."""
    with tempfile.NamedTemporaryFile(prefix=".bench-read-", dir=folder) as file:
        block = np.random.default_rng(0).integers(0, 256, min(_CHUNK, size), np.uint8).tobytes()
        for _ in range(0, size, len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        path = Path(file.name)
        found = {"its pages dropped from the cache before": _read(path, os.O_RDONLY)}
        # File systems without it, such as one in memory, refuse.
        with contextlib.suppress(OSError):
            found["past the cache (O_DIRECT)"] = _read(path, os.O_RDONLY | os.O_DIRECT)
        return found


def _read(path: Path, flags: int) -> float:
    descriptor = os.open(path, flags)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        buffer: Any = mmap.mmap(-1, _CHUNK)  # starts on a page, as O_DIRECT wants it
        total, started = 0, time.perf_counter()
        while count := os.preadv(descriptor, [buffer], total):
            total += count
        seconds = time.perf_counter() - started
        buffer.close()
        return total / seconds
    finally:
        os.close(descriptor)
