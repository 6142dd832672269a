"""Seconds of processor time of all thirteen detectors: a training step, the export, a patch at inference.

    python -m tests.benchmarks.bench_detectors [MODEL ...] [--patch 128] [--batch 4] [--bands 14]

Weights are random, one thread throughout. A step is forward, backward and AdamW on a batch; inference is ONNX
Runtime on a batch, as `colluvium detect` runs it, the best of ROUNDS. Prints a table; asserts nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from service.detection.bands import BANDS
from service.detection.manifest import BandStatistics
from service.runtime import make_session
from trainer.detection.export import INPUT, OUTPUT, detector_graph
from trainer.detection.fit_network import DetectorNetwork
from trainer.detection.losses import bce_dice
from trainer.detection.networks import MODELS, build, count_weights

ROUNDS = 3


def main() -> None:
    """Measure and print, one line a model."""
    parser = argparse.ArgumentParser(description="Processor time of the detectors.")
    parser.add_argument("models", nargs="*", help="only these (default: all thirteen)")
    parser.add_argument("--patch", type=int, default=128, help="pixels along a side")
    parser.add_argument("--batch", type=int, default=4, help="patches at once")
    parser.add_argument("--bands", type=int, default=14, help="how many")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'model':<20}{'weights':>10}{'graph':>9}{'step':>10}{'export':>10}{'inference':>12}{'apart':>10}")
    print(f"{'':<20}{'million':>10}{'MB':>9}{'s/patch':>10}{'s':>10}{'ms/patch':>12}{'':>10}")
    for spec in MODELS:
        if not chosen.models or spec.name in chosen.models:
            print(measure(spec.name, chosen.bands, chosen.patch, chosen.batch), flush=True)


def measure(name: str, bands: int, patch: int, batch: int) -> str:
    """Return a model's line."""
    statistics = [BandStatistics(name=BANDS[n].name, mean=0.0, std=1.0) for n in range(bands)]
    network = DetectorNetwork(build(name, bands), statistics)
    given = torch.randn(batch, bands, patch, patch, generator=torch.Generator().manual_seed(0))
    target = (given[:, :1] > 1.5).float()
    known = torch.ones_like(target, dtype=torch.bool)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        bce_dice(network.logits(given), target, known).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    network.train()
    stepping = best_of(step) / batch
    started = time.process_time()
    content = detector_graph(network, bands, patch).SerializeToString()
    exporting = time.process_time() - started
    session = make_session(content, name, threads=1)
    feed = {INPUT: given.numpy()}
    inferring = best_of(lambda: session.run([OUTPUT], feed)) / batch
    with torch.no_grad():
        apart = np.abs(session.run([OUTPUT], feed)[0] - network.eval()(given).numpy()).max()
    return (
        f"{name:<20}{count_weights(network) / 1e6:>10.1f}{len(content) / 1e6:>9.1f}{stepping:>10.3f}"
        f"{exporting:>10.1f}{1000 * inferring:>12.1f}{apart:>10.1e}"
    )


def best_of(work: Callable[[], object]) -> float:
    """Return the least processor seconds of ROUNDS runs."""
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


if __name__ == "__main__":
    main()
