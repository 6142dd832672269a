"""The bundle as the service uses it: checked, proven, loaded.

What is checked is what is run: each file is read once, its bytes are hashed and the session is made of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import BundleError
from service.manifest import FACTORED, MANIFEST_NAME, SCHEMA_VERSION, WHOLE, Manifest
from service.proof import Comparison, compare
from service.runtime import make_session

PROOF_CELLS = 64
PROOF_TOLERANCE = 1e-4  # of susceptibility; rounding of float32 leaves about 1e-6
_WINDOWS_AT_ONCE = 1024  # keeps the LSTM's working set near the cache, and results apart from `workers`

FloatArray = npt.NDArray[np.float32]
_log = structlog.get_logger()


class Verification(BaseModel):
    """What `colluvium bundle verify` found. Differences are of susceptibility, agreement a share of cells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    digest: str
    kind: str
    checksums: bool  # every file as the manifest says; always true, since a bundle that differs is refused
    files: int
    size_bytes: int
    samples: int
    largest_difference: float | None  # factored float path against whole.onnx; None for kind "whole"
    u8_largest_difference: float | None  # quantised state against whole.onnx
    class_agreement: float | None  # classes from the quantised state against whole.onnx
    tolerance: float
    passed: bool
    synthetic: bool
    rain_test_passed: bool | None  # None: not run
    may_warn: bool
    may_warn_reason: str


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle. Its methods may be called from several threads at once; each call uses one."""

    manifest: Manifest
    folder: Path
    digest: str  # SHA-256 of manifest.json
    workers: int = 1
    size_bytes: int = 0
    _sessions: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path, *, workers: int = 1, prove: bool = True) -> Bundle:
        """Check a bundle's files, load its graphs and prove the factored ones against whole.onnx.

        `workers` threads share the windows of `temporal`; every other call runs on its caller's thread.
        Raises BundleError that names the file, the field or the figure.
        """
        manifest, digest = read_manifest(folder)
        _check_strays(folder, manifest)
        contents = {name: _read_checked(folder, name, sha) for name, sha in sorted(manifest.files.items())}
        used = (*FACTORED, WHOLE) if manifest.kind == "factored" else (WHOLE,)
        for name, content in contents.items():
            if name.endswith(".onnx"):
                _check_self_contained(folder / name, content)
        sessions = {}
        for name in used:
            sessions[name] = make_session(contents[name], str(folder / name))
            _check_ports(folder / name, name, sessions[name], manifest)
        size = sum(map(len, contents.values())) + (folder / MANIFEST_NAME).stat().st_size
        bundle = cls(manifest, folder, digest, max(1, workers), size, sessions)
        if prove and manifest.kind == "factored":
            found = compare(bundle, PROOF_CELLS, seed=0)
            if not found.largest_difference <= PROOF_TOLERANCE:
                raise BundleError(
                    f"{folder}: the factored graphs differ from {WHOLE} by {found.largest_difference:.2g} "
                    f"(at most {PROOF_TOLERANCE:g} is allowed); export the bundle again"
                )
            _log.debug("bundle proven", bundle=manifest.name, largest_difference=found.largest_difference)
        return bundle

    def spatial(self, factors: FloatArray) -> FloatArray:
        """Return the state (1, D, h, w) of factors (1, C, h+P-1, w+P-1) in physical units."""
        return self._run("spatial.onnx", {"factors": factors})

    def temporal(self, windows: FloatArray) -> FloatArray:
        """Return Wt t + b, (m, D), of windows (m, N, V) in physical units."""
        if len(windows) == 0:
            return np.zeros((0, self.manifest.channels), np.float32)
        parts = [
            windows[start : start + _WINDOWS_AT_ONCE] for start in range(0, len(windows), _WINDOWS_AT_ONCE)
        ]
        if self.workers == 1 or len(parts) == 1:
            return np.concatenate([self._run("temporal.onnx", {"window": part}) for part in parts])
        with ThreadPoolExecutor(self.workers) as pool:
            found = pool.map(lambda part: self._run("temporal.onnx", {"window": part}), parts)
            return np.concatenate(list(found))

    def head(self, state: FloatArray, corners: FloatArray) -> FloatArray:
        """Return susceptibility (g, k*k) of a state (g, k*k, D) and corner rows (g, 4, D) NW NE SW SE."""
        return self._run("head.onnx", {"state": state, "corners": corners})

    def head_u8(
        self, state: npt.NDArray[np.uint8], corners: FloatArray, scale: FloatArray, offset: FloatArray
    ) -> FloatArray:
        """Return susceptibility (g, k*k) of a state quantised as state * scale + offset, scale >= 0, (D,)."""
        values: dict[str, npt.NDArray[Any]] = {
            "state": state,
            "corners": corners,
            "scale": scale,
            "offset": offset,
        }
        return self._run("head_u8.onnx", values)

    def whole(self, patches: FloatArray, windows: FloatArray) -> FloatArray:
        """Return susceptibility (n,) of patches (n, C, P, P) and windows (n, N, V), physical units."""
        return self._run(WHOLE, {"patches": patches, "window": windows})

    def _run(self, name: str, values: dict[str, npt.NDArray[Any]]) -> FloatArray:
        session = self._sessions.get(name)
        if session is None:
            raise BundleError(f"{self.folder} is a bundle of kind {self.manifest.kind!r} and has no {name}")
        return cast(FloatArray, session.run(None, values)[0])


def verify(folder: Path, samples: int = 10_000, seed: int = 0) -> Verification:
    """Load a bundle and compare its factored graphs with whole.onnx on `samples` random cells.

    Inputs are smooth and lie within the training ranges; every forcing cell has one window in its four
    corner rows. Raises BundleError when the bundle is refused; a failed comparison is in `passed`.
    """
    bundle = Bundle.load(folder, prove=False)
    manifest = bundle.manifest
    found: Comparison | None = compare(bundle, samples, seed) if manifest.kind == "factored" else None
    return Verification(
        name=manifest.name,
        version=manifest.version,
        digest=bundle.digest,
        kind=manifest.kind,
        checksums=True,
        files=len(manifest.files),
        size_bytes=bundle.size_bytes,
        samples=found.samples if found else 0,
        largest_difference=found.largest_difference if found else None,
        u8_largest_difference=found.u8_largest_difference if found else None,
        class_agreement=found.class_agreement if found else None,
        tolerance=PROOF_TOLERANCE,
        passed=found is None or found.largest_difference <= PROOF_TOLERANCE,
        synthetic=manifest.training.synthetic,
        rain_test_passed=manifest.rain_test.passed if manifest.rain_test else None,
        may_warn=manifest.may_warn,
        may_warn_reason=manifest.may_warn_reason,
    )


def check_region(manifest: Manifest, region_id: str, allow_transfer: bool) -> bool:
    """Return whether the bundle may warn in a region. One that was trained elsewhere never does.

    Raises BundleError when it was trained elsewhere and the region does not allow that.
    """
    if manifest.training.region == region_id:
        return manifest.may_warn
    if not allow_transfer:
        raise BundleError(
            f"bundle {manifest.name} {manifest.version} was trained for region "
            f"{manifest.training.region!r}, this region is {region_id!r}; either give bundle.path a bundle "
            "trained here, or set bundle.allow_transfer = true (such a bundle never raises a warning)"
        )
    return False


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Return a bundle's manifest and its digest. Raises BundleError that names each wrong field."""
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise BundleError(
            f"no such bundle folder: {folder}; check bundle.path, or make one with 'colluvium train'"
        )
    content = _read(folder, MANIFEST_NAME)
    try:
        values = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: {error}") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}, this Colluvium reads up to {SCHEMA_VERSION}; "
            "either update Colluvium or export the bundle with this version"
        )
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc'])) or '(file)'}: {item['msg']}" for item in error.errors()]
        raise BundleError(f"{path} cannot be used:\n" + "\n".join(lines)) from error
    return manifest, hashlib.sha256(content).hexdigest()


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    # The folder itself may be a link, so that a deployment can switch bundles; what is in it may not.
    if path.resolve() != folder.resolve() / name:
        raise BundleError(f"{path} is a link or lies outside the bundle; a bundle holds plain files only")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; the bundle is incomplete") from error


def _read_checked(folder: Path, name: str, expected: str) -> bytes:
    content = _read(folder, name)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BundleError(
            f"{folder / name} is not the file that was exported: SHA-256 {found[:16]}…, the manifest says "
            f"{expected[:16]}…; copy the bundle again"
        )
    return content


def _check_strays(folder: Path, manifest: Manifest) -> None:
    listed = {MANIFEST_NAME, *manifest.files}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    # Hidden files are a file system's own; nothing here opens them.
    strays = sorted(name for name in present - listed if not Path(name).name.startswith("."))
    if strays:
        raise BundleError(
            f"{folder} holds files that its manifest does not list: {', '.join(strays)}; remove them"
        )


def _check_self_contained(path: Path, content: bytes) -> None:
    """Refuse tensors kept outside the graph: they are neither hashed nor bound to the bundle's folder."""
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's classes differ by its implementation
        raise BundleError(f"{path} is not an ONNX graph: {error}") from error
    for tensor in _tensors(model.graph, model.functions):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise BundleError(
                f"{path} keeps tensor {tensor.name!r} outside the file; export it with external data off"
            )


def _tensors(graph: Any, functions: Any = ()) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in (*graph.node, *(node for function in functions for node in function.node)):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _tensors(inner)


def _check_ports(path: Path, name: str, session: Any, manifest: Manifest) -> None:
    """Compare names, types and shapes of a graph's inputs and outputs with the contract (None: any size)."""
    channels, cells = manifest.channels, manifest.forcing_cell**2
    factors, variables = len(manifest.factors), len(manifest.variables)
    window = (None, manifest.window_days, variables)
    real, byte = "tensor(float)", "tensor(uint8)"
    corners, vector = (real, (None, 4, channels)), (real, (channels,))
    ports: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "spatial.onnx": (
            {"factors": (real, (1, factors, None, None))},
            {"state": (real, (1, channels, None, None))},
        ),
        "temporal.onnx": ({"window": (real, window)}, {"embedding": (real, (None, channels))}),
        "head.onnx": (
            {"state": (real, (None, cells, channels)), "corners": corners},
            {"susceptibility": (real, (None, cells))},
        ),
        "head_u8.onnx": (
            {
                "state": (byte, (None, cells, channels)),
                "corners": corners,
                "scale": vector,
                "offset": vector,
            },
            {"susceptibility": (real, (None, cells))},
        ),
        WHOLE: (
            {"patches": (real, (None, factors, manifest.patch, manifest.patch)), "window": (real, window)},
            {"susceptibility": (real, (None,))},
        ),
    }
    sides = zip(("input", "output"), ports[name], (session.get_inputs(), session.get_outputs()), strict=True)
    for side, expected, found in sides:
        names = {port.name: port for port in found}
        if set(names) != set(expected):
            raise BundleError(
                f"{path} has {side}s {', '.join(sorted(names))}; the contract says {', '.join(expected)}"
            )
        for port, (kind, shape) in expected.items():
            given = names[port]
            if given.type != kind or not _fits(given.shape, shape):
                raise BundleError(
                    f"{path}: {side} {port!r} is {given.type} {given.shape}; the manifest means {kind} "
                    f"{['any' if size is None else size for size in shape]}"
                )


def _fits(given: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    if len(given) != len(expected):
        return False
    pairs = zip(given, expected, strict=True)
    return all((not isinstance(size, int)) if wanted is None else size == wanted for size, wanted in pairs)
