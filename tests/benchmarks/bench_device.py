"""The head on the processor and on a graphics card, over the same forcing cells.

    python -m tests.benchmarks.bench_device [--bundle FOLDER] [--forcing-cells 1024] [--device auto|cpu|gpu]

Prints cells per second (wall time, the best of several rounds that take turns), and how far each variant is
from head_u8.onnx one forcing cell at a time. Where there is no card, the same calls work on ordinary memory:
that shows the results and nothing of a card's speed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.layer import store
from service.bundle import Bundle
from service.device_head import DeviceHead, Stretch
from service.device_memory import free_bytes
from service.device_precision import decide, parity
from service.patches import VALID
from service.proof import random_factors, random_window
from service.runtime import CPU, chosen_device
from service.state import Block, quantise
from tests.fix_bundle import ToyNetwork, write_toy_bundle

FloatArray = npt.NDArray[np.float32]
PAPER = ToyNetwork(
    factors=16, categorical=False, variables=2, filters=(32, 64, 128), channels=128, hidden=64,
    lstm=(128, 64), k=32,
)  # fmt: skip
DISTINCT = 16  # forcing cells of terrain of their own; more are these again


def main() -> None:
    """Compare the variants and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--bundle", type=Path, help="default: random weights in the paper's sizes")
    arguments.add_argument("--forcing-cells", type=int, default=1024)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    given = arguments.parse_args()
    device = chosen_device(given.device)
    print(f"device: {device.name} ({device.provider}): {device.reason}")
    if device.name == "cpu":
        print("no graphics card: IO binding and half precision on ordinary memory, no card's speed")
    else:
        free = free_bytes(device)
        print(f"free memory of the card: {'not known' if free is None else f'{free / 1e9:.1f} GB'}")
    with tempfile.TemporaryDirectory() as folder:
        place = given.bundle or write_toy_bundle(Path(folder) / "bundle", PAPER)
        compare(Bundle.load(place, device=device), given.forcing_cells, given.rounds)


def compare(bundle: Bundle, forcing_cells: int, rounds: int) -> None:
    """Run every variant over the same forcing cells."""
    print(f"head: {decide(bundle, 'auto').precision}: {decide(bundle, 'auto').reason}")
    print(f"float16: {parity(bundle, half=True).to_text()}")
    blocks, corners = forcing_cells_of(bundle, forcing_cells)
    processor = Bundle.load(bundle.folder, prove=False, device=CPU)
    pick = np.arange(forcing_cells)
    variants: dict[str, Callable[[], FloatArray]] = {
        "head_u8.onnx on the processor, one thread": lambda: one_by_one(processor, blocks, corners)
    }
    for half in (False, True):
        for per_run in sorted({1, 16, 256, forcing_cells}):
            head = DeviceHead(bundle, per_run=per_run, half=half)
            stretch = head.allocate(forcing_cells)
            head.fill(stretch, blocks)
            name = f"{bundle.device.name} float{16 if half else 32}, {per_run} a run, resident"
            variants[name] = _resident(head, stretch, pick, corners)
        variants[f"{name.removesuffix(', resident')}, copied each time"] = _copied(
            head, stretch, blocks, pick, corners
        )
    cells = forcing_cells * bundle.manifest.forcing_cell**2
    best = dict.fromkeys(variants, np.inf)
    found: dict[str, FloatArray] = {}
    for _ in range(rounds):
        for name, run in variants.items():
            began = time.perf_counter()
            found[name] = run()
            best[name] = min(best[name], time.perf_counter() - began)
    expected = next(iter(found.values()))
    classify = bundle.manifest.classes.classify
    print(f"{'variant':48} {'M cells/s':>10} {'largest difference':>19} {'class equal':>12}")
    for name, values in found.items():
        agreement = (classify(store(values)) == classify(store(expected))).mean()
        difference = np.abs(values - expected).max()
        print(f"{name:48} {cells / best[name] / 1e6:10.2f} {difference:19.2g} {agreement:12.3%}")


def forcing_cells_of(bundle: Bundle, count: int) -> tuple[list[Block], FloatArray]:
    """Return the records of `count` forcing cells of random terrain, and their corners (count, 4, D)."""
    manifest, random = bundle.manifest, np.random.default_rng(0)
    k = manifest.forcing_cell
    flags = np.full((k, k), VALID, np.uint8)
    distinct = []
    for _ in range(min(count, DISTINCT)):
        factors = random_factors(manifest.factors, k + manifest.patch - 1, random)
        distinct.append(quantise(bundle.spatial(factors[None])[0], flags))
    windows = np.concatenate([random_window(manifest, random) for _ in range(64)])
    corners = bundle.temporal(windows)[random.integers(0, len(windows), (count, 4))]
    return [distinct[number % len(distinct)] for number in range(count)], corners


def one_by_one(bundle: Bundle, blocks: list[Block], corners: FloatArray) -> FloatArray:
    """Run head_u8.onnx over one forcing cell after the other."""
    out = np.empty((len(blocks), bundle.manifest.forcing_cell**2), np.float32)
    for number, block in enumerate(blocks):
        out[number] = bundle.head_u8(block.codes, corners[number][None], block.scale, block.offset)[0]
    return out


def _resident(
    head: DeviceHead, stretch: Stretch, pick: npt.NDArray[np.intp], corners: FloatArray
) -> Callable[[], FloatArray]:
    return lambda: head.run(stretch, pick, corners)


def _copied(
    head: DeviceHead, stretch: Stretch, blocks: list[Block], pick: npt.NDArray[np.intp], corners: FloatArray
) -> Callable[[], FloatArray]:
    def run() -> FloatArray:
        head.fill(stretch, blocks)
        return head.run(stretch, pick, corners)

    return run


if __name__ == "__main__":
    main()
