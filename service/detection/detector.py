"""A detector as the service uses it: checked, tried, loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from service.contract import check_self_contained
from service.detection.findings import DetectorReference
from service.detection.manifest import MANIFEST, MODEL, DetectorManifest
from service.errors import InputError
from service.runtime import CPU, Device, make_session

INPUT, OUTPUT = "patches", "probability"
TRIAL_TOLERANCE = 1e-4  # of probability, of a patch alone against the same in a batch
_MANIFEST_BYTES = 2**20  # a manifest is some kilobytes; a larger file is none

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Detector:
    """A loaded detector."""

    manifest: DetectorManifest
    folder: Path
    digest: str  # SHA-256 of detector.json
    device: Device = CPU
    _session: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path, *, workers: int = 1, device: Device = CPU) -> Detector:
        """Check a detector's files, load its graph and try it on two patches.

        What is checked is what is run: each file is read once. `workers` threads share one run of the graph.
        Raises InputError that names the file and what is wrong with it, DeviceError where `device` fails.
        """
        manifest, digest = read_detector_manifest(folder)
        if MODEL not in manifest.files:
            raise InputError(
                f"{folder / MANIFEST} lists no {MODEL} among its files; export the detector again"
            )
        contents = {name: _read(folder, name, sha) for name, sha in sorted(manifest.files.items())}
        check_self_contained(folder / MODEL, contents[MODEL])
        session = make_session(contents[MODEL], str(folder / MODEL), threads=max(1, workers), device=device)
        detector = cls(manifest, folder, digest, device, session)
        _check_ports(detector)
        _try(detector)
        return detector

    @property
    def reference(self) -> DetectorReference:
        """Which detector this is, for what it finds."""
        made = self.manifest
        return DetectorReference(made.name, made.version, self.digest, made.synthetic)

    def predict(self, batch: FloatArray) -> FloatArray:
        """Return probabilities (n, P, P) of patches (n, C, P, P) in the manifest's bands, NaN where unknown.

        Where the manifest says so, the mean over the four turns of a patch and of its mirror image.
        Raises InputError where the graph gives no probabilities.
        """
        if not self.manifest.test_time_augmentation:
            return self._run(batch)
        total = np.zeros((len(batch), *batch.shape[2:]), np.float64)
        for mirrored in (False, True):
            for turns in range(4):
                seen = np.flip(batch, axis=3) if mirrored else batch
                found = np.rot90(self._run(np.rot90(seen, turns, axes=(2, 3))), -turns, axes=(1, 2))
                total += np.flip(found, axis=2) if mirrored else found
        return (total / 8).astype(np.float32)

    def _run(self, batch: FloatArray) -> FloatArray:
        found = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(batch, np.float32)})[0]
        if found.shape != (len(batch), 1, *batch.shape[2:]):
            raise InputError(
                f"{self.folder / MODEL} gave {OUTPUT} {found.shape} for {INPUT} {batch.shape}; one value for "
                "each cell is expected. Export the detector again"
            )
        # In one comparison, because NaN is neither.
        if not ((found >= 0) & (found <= 1)).all():
            raise InputError(
                f"{self.folder / MODEL} gave values that are no probabilities (from 0 to 1, also where the "
                "input is unknown). Export the detector again"
            )
        return np.asarray(found[:, 0])


def read_detector_manifest(folder: Path) -> tuple[DetectorManifest, str]:
    """Return detector.json and its SHA-256. Raises InputError that names the field."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{folder} is no detector: {MANIFEST} cannot be read ({error})") from error
    if len(content) > _MANIFEST_BYTES:
        raise InputError(f"{path} is larger than {_MANIFEST_BYTES} bytes, which no manifest is")
    try:
        manifest = DetectorManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {where}: {first['msg']}; export the detector again") from error
    return manifest, hashlib.sha256(content).hexdigest()


def _read(folder: Path, name: str, sha: str) -> bytes:
    path = folder / name
    if Path(name).name != name or name.startswith("."):
        raise InputError(
            f"{folder / MANIFEST} lists {name!r}; a detector's files lie beside it, with plain names"
        )
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is listed in {MANIFEST} and is no file here; copy the detector again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha:
        raise InputError(f"{path} differs from the SHA-256 in {MANIFEST}; copy the detector again")
    return content


def _check_ports(detector: Detector) -> None:
    session, made = detector._session, detector.manifest
    sides = (
        ("input", session.get_inputs(), INPUT, (len(made.bands), made.patch, made.patch)),
        ("output", session.get_outputs(), OUTPUT, (1, made.patch, made.patch)),
    )
    for side, ports, name, shape in sides:
        found = ", ".join(f"{port.name} {port.type} {port.shape}" for port in ports)
        words = f"{name} tensor(float) (n, {', '.join(str(size) for size in shape)})"
        if len(ports) != 1 or ports[0].name != name or ports[0].type != "tensor(float)":
            raise InputError(f"{detector.folder / MODEL} has {side} {found}; the manifest means {words}")
        given = ports[0].shape
        named = len(given) == 4 and all(
            not isinstance(size, int) or size == wanted for size, wanted in zip(given[1:], shape, strict=True)
        )
        if not named or isinstance(given[0], int):
            raise InputError(f"{detector.folder / MODEL} has {side} {found}; the manifest means {words}")


def _try(detector: Detector) -> None:
    """Raise InputError where two patches, one in part unknown, get other than each a probability."""
    made = detector.manifest
    mean = np.array([band.mean for band in made.bands], np.float32)
    std = np.array([band.std for band in made.bands], np.float32)
    noise = np.random.default_rng(0).normal(size=(2, len(mean), made.patch, made.patch)).astype(np.float32)
    patches = mean[None, :, None, None] + std[None, :, None, None] * noise
    patches[0, :, : made.patch // 4, : made.patch // 4] = np.nan
    try:
        together = detector._run(patches)
        apart = np.concatenate([detector._run(patches[:1]), detector._run(patches[1:])])
    except InputError:
        raise
    except Exception as error:  # onnxruntime raises a dozen classes without a common base
        raise InputError(f"{detector.folder / MODEL} cannot be run on a patch: {error}") from error
    difference = float(np.abs(together - apart).max())
    if difference > TRIAL_TOLERANCE:
        raise InputError(
            f"{detector.folder / MODEL} gives a patch another result beside others (by {difference:.2g}); "
            "was it exported in training mode? Export the detector again"
        )
