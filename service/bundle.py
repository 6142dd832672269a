"""The bundle as the service uses it: checked, proven, loaded.

What is checked is what is run: each file is read once, its bytes are hashed and the session is made of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from service.contract import check_ports, check_self_contained
from service.errors import BundleError, DeviceError
from service.manifest import MANIFEST_NAME, SCHEMA_VERSION, WHOLE, Manifest, member_file
from service.proof import compare, try_whole
from service.runtime import CPU, Device, make_session

PROOF_CELLS = 64
PROOF_TOLERANCE = 1e-4  # of susceptibility; rounding of float32 leaves about 1e-6
_IGNORED_CELLS = 256
# Of temporal.onnx, so that gates stay in the cache beside the weights: with 512 KB of it for each core, 16
# to 64 at a time take 100 microseconds of a core each, 128 take 107, 1024 take 115. Fixed, so that nothing
# depends on `workers`.
_WINDOWS_AT_ONCE = 64
_WINDOWS_AT_ONCE_ON_A_CARD = 8192  # which runs the 30 steps of all of them side by side

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
    members: int  # of the ensemble; the figures below are the worst of the main model and its members
    samples: int  # random cells, of each of them
    checked: str  # in words: what was compared with what
    largest_difference: float | None  # factored float path against whole.onnx; None for kind "whole"
    u8_largest_difference: float | None  # quantised state against whole.onnx
    class_agreement: float | None  # classes from the quantised state against whole.onnx
    batch_difference: float | None  # whole.onnx on cells all at once against one by one; None: not tried
    ignored_difference: float | None  # with the inputs changed that it ignores; None where it ignores none
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
    device: Device = CPU
    _sessions: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path, *, workers: int = 1, prove: bool = True, device: Device = CPU) -> Bundle:
        """Check a bundle's files, load its graphs and prove them: factored ones against whole.onnx.

        Members of an ensemble are checked and proven too, and not kept; see `member`.
        `workers` threads share the windows of `temporal`; every other call runs on its caller's thread.
        Raises BundleError that names the file, the field or the figure, DeviceError where `device` fails.
        """
        manifest, digest = read_manifest(folder)
        _check_strays(folder, manifest)
        of_members = {member_file(n, name) for n in manifest.member_numbers for name in manifest.graphs}
        own = {name: sha for name, sha in sorted(manifest.files.items()) if name not in of_members}
        contents = {name: _read_checked(folder, name, sha) for name, sha in own.items()}
        for name, content in contents.items():
            if name.endswith(".onnx"):
                check_self_contained(folder / name, content)
        sessions = {
            name: _session_of(folder, name, contents[name], manifest, device) for name in manifest.graphs
        }
        size = sum((folder / name).stat().st_size for name in (MANIFEST_NAME, *manifest.files))
        bundle = cls(manifest, folder, digest, max(1, workers), size, device, sessions)
        if prove:
            _prove(bundle, folder)
        for number in manifest.member_numbers:
            # One after the other, and let go: what an ensemble needs at once is opened where it is needed.
            member = bundle.member(number)
            if prove:
                _prove(member, folder)
        return bundle

    def member(self, number: int, graphs: Iterable[str] | None = None) -> Bundle:
        """Return a member of the ensemble, counted from 1, as a bundle of its own: the same inputs.

        `graphs` names the ONNX files to load (None: all). They are checked again, against the checksums of
        the manifest that was read at first. Raises BundleError that names the file.
        """
        manifest = self.manifest.of_member(number)
        folder = self.folder / "members" / str(number)
        sessions = {}
        for name in manifest.graphs if graphs is None else graphs:
            content = _read_checked(self.folder, member_file(number, name), manifest.files[name])
            check_self_contained(folder / name, content)
            sessions[name] = _session_of(folder, name, content, manifest, self.device)
        return Bundle(manifest, folder, self.digest, self.workers, 0, self.device, sessions)

    @property
    def providers(self) -> dict[str, tuple[str, ...]]:
        """What ONNX Runtime's sessions say they run on, by graph, the first choice first."""
        return {name: tuple(session.get_providers()) for name, session in self._sessions.items()}

    def spatial(self, factors: FloatArray) -> FloatArray:
        """Return the state (1, D, h, w) of factors (1, C, h+P-1, w+P-1) in physical units."""
        return self._run("spatial.onnx", {"factors": factors})

    def temporal(self, windows: FloatArray) -> FloatArray:
        """Return Wt t + b, (m, D), of windows (m, N, V) in physical units."""
        if len(windows) == 0:
            return np.zeros((0, self.manifest.channels), np.float32)
        at_once = _WINDOWS_AT_ONCE if self.device.name == "cpu" else _WINDOWS_AT_ONCE_ON_A_CARD
        parts = [windows[start : start + at_once] for start in range(0, len(windows), at_once)]
        if self.device.name == "cpu" and len(parts[-1]) < at_once:
            # Every run has the same shape: what a window gives does not depend on how many others there are.
            filler = np.zeros((at_once - len(parts[-1]), *windows.shape[1:]), np.float32)
            parts[-1] = np.concatenate([parts[-1], filler])
        if self.workers == 1 or len(parts) == 1:
            found = [self._run("temporal.onnx", {"window": part}) for part in parts]
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                found = list(pool.map(lambda part: self._run("temporal.onnx", {"window": part}), parts))
        return np.concatenate(found)[: len(windows)]

    def head(self, state: FloatArray, corners: FloatArray) -> FloatArray:
        """Return susceptibility (g, k*k) of a state (g, k*k, D) and corner rows (g, 4, D) NW NE SW SE."""
        return self._run("head.onnx", {"state": state, "corners": corners})

    def head_u8(
        self, state: npt.NDArray[np.uint8], corners: FloatArray, scale: FloatArray, offset: FloatArray
    ) -> FloatArray:
        """Return susceptibility (1, k*k) of a state (1, k*k, D) quantised as state * scale + offset.

        Corner rows (1, 4, D), scale >= 0 and offset (D,).
        """
        values: dict[str, npt.NDArray[Any]] = {
            "state": state,
            "corners": corners,
            "scale": scale,
            "offset": offset,
        }
        return self._run("head_u8.onnx", values)

    def bound_head_u8(
        self,
        state: npt.NDArray[np.uint8],
        corners: FloatArray,
        scale: FloatArray,
        offset: FloatArray,
        out: FloatArray,
    ) -> Callable[[], None]:
        """Return a call that runs `head_u8` on these very arrays, as they are at each call, into `out`.

        Nothing is allocated or copied on the way, which is one twentieth of a run over one forcing cell. One
        thread at a time may use what is returned. The arrays, C-contiguous, are kept.
        """
        name = "head_u8.onnx"
        session = self._session(name)
        binding = session.io_binding()
        inputs: dict[str, npt.NDArray[Any]] = {
            "state": state,
            "corners": corners,
            "scale": scale,
            "offset": offset,
        }
        for port, values in inputs.items():
            binding.bind_input(port, "cpu", 0, values.dtype.type, values.shape, values.ctypes.data)
        binding.bind_output("susceptibility", "cpu", 0, np.float32, out.shape, out.ctypes.data)
        kept = (*inputs.values(), out)
        if not all(values.flags.c_contiguous for values in kept):
            raise ValueError("ONNX Runtime reads bound arrays as if they were C-contiguous")

        def run(kept: Sequence[npt.NDArray[Any]] = kept) -> None:  # noqa: ARG001 - bound by address alone
            try:
                session.run_with_iobinding(binding)
            except Exception as error:
                self._refuse(name, error)
                raise

        return run

    def whole(self, patches: FloatArray, windows: FloatArray) -> FloatArray:
        """Return susceptibility (n,) of patches (n, C, P, P) and windows (n, N, V), physical units."""
        return self._run(WHOLE, {"patches": patches, "window": windows})

    def _run(self, name: str, values: dict[str, npt.NDArray[Any]]) -> FloatArray:
        session = self._session(name)
        try:
            return cast(FloatArray, session.run(None, values)[0])
        except Exception as error:
            self._refuse(name, error)
            raise

    def _session(self, name: str) -> Any:
        session = self._sessions.get(name)
        if session is None:
            has = "was loaded without" if name in self.manifest.graphs else "has no"
            raise BundleError(f"{self.folder} is a bundle of kind {self.manifest.kind!r} and {has} {name}")
        return session

    def _refuse(self, name: str, error: Exception) -> None:
        # On the processor it is a mistake of ours; a card may run out of memory, or fall off its bus.
        if self.device.name == "cpu":
            return
        raise DeviceError(
            f"the graphics card failed at {self.folder / name}: {error}; free its memory or repair it, "
            'or set inference.device = "cpu"'
        ) from error


def verify(folder: Path, samples: int = 10_000, seed: int = 0) -> Verification:
    """Load a bundle and prove it, and its members, on `samples` random cells each.

    A factored one against its whole.onnx; one of kind "whole" has nothing to be compared with but itself.
    Inputs are smooth and lie within the training ranges; every forcing cell has one window in its four
    corner rows. Raises BundleError when the bundle is refused; a failed comparison is in `passed`.
    """
    bundle = Bundle.load(folder, prove=False)
    manifest = bundle.manifest
    every = [bundle, *(bundle.member(number) for number in manifest.member_numbers)]
    compared = [compare(one, samples, seed) for one in every] if manifest.kind == "factored" else []
    cells = samples if manifest.kind == "whole" else min(samples, _IGNORED_CELLS)
    tries = every if manifest.kind == "whole" or manifest.ignores else []
    tried = [try_whole(one, cells, seed) for one in tries]
    ignored = [one.ignored_difference for one in tried if one.ignored_difference is not None]
    return Verification(
        name=manifest.name,
        version=manifest.version,
        digest=bundle.digest,
        kind=manifest.kind,
        checksums=True,
        files=len(manifest.files),
        size_bytes=bundle.size_bytes,
        members=manifest.members,
        samples=samples,
        checked=_checked(manifest),
        largest_difference=max((one.largest_difference for one in compared), default=None),
        u8_largest_difference=max((one.u8_largest_difference for one in compared), default=None),
        class_agreement=min((one.class_agreement for one in compared), default=None),
        batch_difference=max((one.batch_difference for one in tried), default=None),
        ignored_difference=max(ignored, default=None),
        tolerance=PROOF_TOLERANCE,
        passed=all(one.largest_difference <= PROOF_TOLERANCE for one in compared)
        and all(one.worst <= PROOF_TOLERANCE for one in tried),
        synthetic=manifest.training.synthetic,
        rain_test_passed=manifest.rain_test.passed if manifest.rain_test else None,
        may_warn=manifest.may_warn,
        may_warn_reason=manifest.may_warn_reason,
    )


def _checked(manifest: Manifest) -> str:
    words = ["the SHA-256 of every file", "inputs and outputs of every graph"]
    if manifest.kind == "factored":
        words.append(f"the factored graphs against {WHOLE}, with the state in float and in uint8")
    else:
        words.append(f"that {WHOLE} gives values from 0 to 1, and the same all at once as one by one")
    if manifest.ignores:
        words.append(f"that other {' and '.join(manifest.ignores)} change nothing")
    if manifest.members:
        words.append("all of that for each member")
    return "; ".join(words)


def _prove(bundle: Bundle, folder: Path) -> None:
    """Raise BundleError where a bundle's graphs are not what its manifest makes of them."""
    manifest = bundle.manifest
    where = folder if bundle.folder == folder else f"{folder}: member {bundle.folder.name}"
    if manifest.kind == "factored":
        difference = compare(bundle, PROOF_CELLS, seed=0).largest_difference
        if not difference <= PROOF_TOLERANCE:
            if bundle.device.name == "gpu":
                raise DeviceError(
                    f"{where}: on the graphics card the factored graphs differ from {WHOLE} by "
                    f"{difference:.2g} (at most {PROOF_TOLERANCE:g} is allowed); 'colluvium bundle verify' "
                    'proves them on the processor: where they pass there, set inference.device = "cpu"'
                )
            raise BundleError(
                f"{where}: the factored graphs differ from {WHOLE} by {difference:.2g} "
                f"(at most {PROOF_TOLERANCE:g} is allowed); export the bundle again"
            )
        _log.debug("bundle proven", bundle=manifest.name, largest_difference=difference)
    if manifest.kind == "whole" or manifest.ignores:
        found = try_whole(bundle, PROOF_CELLS, seed=0)
        if not found.worst <= PROOF_TOLERANCE:
            raise BundleError(f"{where}: {found.trouble(PROOF_TOLERANCE)}; export the bundle again")


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


def _session_of(folder: Path, name: str, content: bytes, manifest: Manifest, device: Device) -> Any:
    session = make_session(content, str(folder / name), device=device)
    check_ports(folder / name, name, session, manifest)
    if name == "head_u8.onnx":
        # Every record has its own scale, so the head runs on one at a time, and knows it.
        session = make_session(content, str(folder / name), device=device, sizes={"g": 1})
    return session


def _check_strays(folder: Path, manifest: Manifest) -> None:
    listed = {MANIFEST_NAME, *manifest.files}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    # Hidden files are a file system's own; nothing here opens them.
    strays = sorted(name for name in present - listed if not Path(name).name.startswith("."))
    if strays:
        raise BundleError(
            f"{folder} holds files that its manifest does not list: {', '.join(strays)}; remove them"
        )
