"""The datasets of a comparison on made-up regions in the manner of Kerman: one case for each seed."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from threadpoolctl import threadpool_limits

from service.errors import InputError
from trainer.children import begin_child
from trainer.compare import Case
from trainer.compare_region import DATA, Prepared, ground_of, window_rule, years_of
from trainer.dataset import load_dataset
from trainer.prepare import open_inputs
from trainer.synthetic.kerman_dataset import kerman_dataset, kerman_settings
from trainer.synthetic.kerman_inventory import CLEARANCE_M, EVENTS
from trainer.training_settings import read_training

_SAMPLING = (
    f"{EVENTS} landslides and as many non-landslides of each region, half of these on days of landslides and "
    f"half on any day, {CLEARANCE_M:g} m or more from every recorded landslide "
    "(trainer/synthetic/kerman_inventory.py)"
)


def prepare_kerman(seeds: tuple[int, ...], out: Path) -> Prepared:
    """Make the regions of the seeds below out/data, as many at once as there are cores.

    A region that is finished is not made again: its seed decides it.
    """
    folders = {seed: out / DATA / f"kerman-{seed}" for seed in seeds}
    missing = [seed for seed, folder in folders.items() if not _finished(folder)]
    workers = min(len(missing), len(os.sched_getaffinity(0))) or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=begin_child) as pool:
        list(pool.map(_make, missing, [folders[seed] for seed in missing]))
    first = folders[seeds[0]]
    ground, years = _lattices(first)
    cases = tuple(
        Case(
            folder.name,
            folder / "dataset",
            ground=ground if folder is first else None,
            years=years if folder is first else None,
        )
        for folder in folders.values()
    )
    return Prepared(cases, _SAMPLING, first / "source" / "dem.tif")


def _make(seed: int, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    # Small matrix products by the thousand: with threads of their own, regions made at once stand in each
    # other's way.
    with threadpool_limits(1):
        kerman_dataset(seed, folder)


def _finished(folder: Path) -> bool:
    try:
        load_dataset(folder / "dataset")
    except InputError:
        return False
    return True


def _lattices(folder: Path) -> tuple[Path | None, Path | None]:
    """Read cells for the maps and the area curves of one region."""
    ground, years = folder / "ground", folder / "years"
    if ground.exists() and years.exists():
        return ground, years
    settings = kerman_settings(folder)
    wanted = read_training(settings)
    rule = window_rule(wanted)
    samples = load_dataset(folder / "dataset").samples
    with open_inputs(settings, wanted, "colluvium compare") as opened:
        return (
            ground_of(opened, samples, wanted.factors, rule, ground),
            years_of(opened, (wanted.first_day, wanted.last_day), wanted.factors, rule, years),
        )
