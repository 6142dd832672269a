"""Which precision a bundle's head has on a graphics card: decided by a proof, once for bundle and device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from exporters.layer import store
from service.bundle import PROOF_TOLERANCE, Bundle
from service.device_head import DeviceHead
from service.errors import DeviceError
from service.patches import VALID
from service.proof import random_factors, random_window
from service.runtime import Device
from service.state import Block, quantise

FloatArray = npt.NDArray[np.float32]
Precision = Literal["auto", "float32", "float16"]

# Of susceptibility, and the share of cells whose class is the same: what the quantised state is held to.
LARGEST_DIFFERENCE = 0.004
LEAST_AGREEMENT = 0.999
_CELLS = 6144  # against whole.onnx: of 99.9 %, six may differ
_CELLS_EACH = 256  # at most, of a forcing cell's k * k; each costs one patch in whole.onnx


@dataclass(frozen=True)
class Parity:
    """A head on the device against whole.onnx, and against head.onnx on the same decoded state."""

    samples: int  # cells against whole.onnx
    difference: float  # of susceptibility, against whole.onnx; infinite where it is NaN
    agreement: float  # share of cells of the same class, against whole.onnx
    head_difference: float
    head_agreement: float

    @property
    def near_whole(self) -> bool:
        """Whether it is within the bounds of whole.onnx."""
        return self.difference <= LARGEST_DIFFERENCE and self.agreement >= LEAST_AGREEMENT

    @property
    def near_head(self) -> bool:
        """Whether it is within the same bounds of head.onnx."""
        return self.head_difference <= LARGEST_DIFFERENCE and self.head_agreement >= LEAST_AGREEMENT

    def to_text(self) -> str:
        """Say it in words."""
        return (
            f"susceptibility within {self.difference:.2g} of whole.onnx and {self.head_difference:.2g} of "
            f"head.onnx, class equal on {self.agreement:.2%} and {self.head_agreement:.2%} of cells "
            f"({self.samples} cells; bounds {LARGEST_DIFFERENCE} and {LEAST_AGREEMENT:.1%})"
        )


@dataclass(frozen=True)
class Decision:
    """The precision that the head of a bundle is run with, and why."""

    half: bool
    reason: str

    @property
    def precision(self) -> str:
        """float16 or float32."""
        return "float16" if self.half else "float32"


@dataclass(frozen=True)
class _Sample:
    """A forcing cell of random terrain: its record, its corners, and what the reference makes of it."""

    block: Block
    corners: FloatArray  # (2, 4, D): one window in all four, then four windows
    exact: FloatArray  # (2, k*k) of head.onnx on the decoded state
    cells: npt.NDArray[np.intp]
    whole: FloatArray  # (len(cells),) of whole.onnx with the one window


def decide(bundle: Bundle, asked: Precision) -> Decision:
    """Return the precision of a bundle's head on the device that the bundle was loaded for.

    In float32 the composed head must give what head.onnx gives. float16 is taken where a graphics card
    computes, `asked` allows it, and its proof `holds`. Raises DeviceError for a head that the device computes
    wrongly, and where float16 is asked for and does not hold.
    """
    key = (bundle.digest, str(bundle.folder), bundle.device, asked)
    if key not in _decisions:
        _decisions[key] = _decided(bundle, asked)
    return _decisions[key]


_decisions: dict[tuple[str, str, Device, Precision], Decision] = {}


def _decided(bundle: Bundle, asked: Precision) -> Decision:
    samples = _samples(bundle)
    single = parity(bundle, samples, half=False)
    if not single.head_difference <= PROOF_TOLERANCE:
        raise DeviceError(
            f"{bundle.folder}: on {bundle.device.provider} the head over many forcing cells differs from "
            f"head.onnx by {single.head_difference:.2g} (at most {PROOF_TOLERANCE:g} is allowed); set "
            'inference.device = "cpu"'
        )
    if asked == "float32":
        return Decision(half=False, reason='inference.precision = "float32"')
    if asked == "auto" and bundle.device.name == "cpu":
        return Decision(half=False, reason="the processor computes float16 no faster")
    found = parity(bundle, samples, half=True)
    if holds(single, found):
        return Decision(half=True, reason=f"float16: {found.to_text()}")
    if asked == "float16":
        raise DeviceError(
            f'{bundle.folder}: inference.precision = "float16", and its proof fails: {found.to_text()}; set '
            'inference.precision = "auto" or "float32"'
        )
    return Decision(half=False, reason=f"float16 fails its proof: {found.to_text()}")


def holds(single: Parity, half: Parity) -> bool:
    """Tell whether a head in float16 may stand in for the same head in float32.

    It must keep to head.onnx, and it may not take the model beyond the bounds of whole.onnx. Where the
    quantised state alone does that already, only what float16 adds is judged.
    """
    return half.near_head and (half.near_whole or not single.near_whole)


def parity(bundle: Bundle, samples: list[_Sample] | None = None, *, half: bool) -> Parity:
    """Hold the device's head against head.onnx and whole.onnx on cells of random terrain and weather.

    Terrain and windows are those of `service.proof`; the state is quantised as a region's is, with each
    forcing cell's own range.
    """
    samples = samples or _samples(bundle)
    head = DeviceHead(bundle, per_run=len(samples), half=half)
    stretch = head.allocate(len(samples))
    head.fill(stretch, (sample.block for sample in samples))
    pick = np.arange(len(samples))
    found = [head.run(stretch, pick, np.stack([one.corners[n] for one in samples])) for n in (0, 1)]
    exact = np.stack([sample.exact for sample in samples], axis=1)
    mine = np.concatenate([found[0][number, one.cells] for number, one in enumerate(samples)])
    whole = np.concatenate([sample.whole for sample in samples])
    classify = bundle.manifest.classes.classify

    def compared(ours: FloatArray, theirs: FloatArray) -> tuple[float, float]:
        difference = float(np.abs(ours - theirs).max())
        agreement = float((classify(store(ours)) == classify(store(theirs))).mean())
        return difference if np.isfinite(difference) else np.inf, agreement

    return Parity(len(mine), *compared(mine, whole), *compared(np.stack(found), exact))


def _samples(bundle: Bundle) -> list[_Sample]:
    manifest, random = bundle.manifest, np.random.default_rng(0)
    k, patch = manifest.forcing_cell, manifest.patch
    flags = np.full((k, k), VALID, np.uint8)
    made = []
    each = min(_CELLS_EACH, k * k)
    for _ in range(-(-_CELLS // each)):
        factors = random_factors(manifest.factors, k + patch - 1, random)
        windows = np.concatenate([random_window(manifest, random) for _ in range(4)])
        embedded = bundle.temporal(windows)
        corners = np.stack([np.repeat(embedded[:1], 4, axis=0), embedded])
        block = quantise(bundle.spatial(factors[None])[0], flags)
        decoded = block.codes.astype(np.float32) * block.scale + block.offset
        exact = np.concatenate([bundle.head(decoded, one[None]) for one in corners])
        cells = random.choice(k * k, each, replace=False)
        patches = np.stack(
            [factors[:, r : r + patch, c : c + patch] for r, c in zip(*divmod(cells, k), strict=True)]
        )
        whole = bundle.whole(patches, np.repeat(windows[:1], len(cells), axis=0))
        made.append(_Sample(block, corners, exact, cells, whole))
    return made
