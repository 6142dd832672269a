"""The synthetic Kerman as a dataset: files read with the service's own code, samples with their truth."""

from __future__ import annotations

import json
from pathlib import Path

from service.errors import UsageError
from service.settings import Settings, load_settings
from trainer.dataset import Dataset, Variable
from trainer.prepare import open_inputs
from trainer.region_dataset import WindowRule, gather
from trainer.synthetic.kerman import Kerman, make_kerman, write_kerman
from trainer.training_settings import read_training

CONFIG = Path(__file__).resolve().parents[2] / "config" / "kerman-synthetic.toml"


def kerman_settings(folder: Path) -> Settings:
    """Load config/kerman-synthetic.toml with its paths moved to `folder`, where it is written too."""
    if not CONFIG.exists():
        raise UsageError(
            f"the settings of the synthetic Kerman are not at {CONFIG}: it runs from a checkout, where "
            "config/ stands beside the packages. Clone the repository, or pip install -e ."
        )
    text = CONFIG.read_text("utf-8")
    text = text.replace('"../build/kerman/', f'"{json.dumps(str(folder.resolve()))[1:-1]}/')
    text = text.replace('"../build/kerman"', json.dumps(str(folder.resolve() / "data")))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "region.toml"
    path.write_text(text, "utf-8")
    return load_settings(path)


def kerman_dataset(seed: int, folder: Path, *, patch: int = 23) -> Dataset:
    """Make the region of a seed in `folder` and return its samples as a dataset, kept in `folder`/dataset.

    Everything is made anew; a folder of an earlier, unfinished run may be given again.
    """
    return dataset_of(make_kerman(seed), folder, patch=patch)


def dataset_of(kerman: Kerman, folder: Path, *, patch: int = 23) -> Dataset:
    """Write a region to `folder` and return its samples as a dataset, kept in `folder`/dataset."""
    settings = kerman_settings(folder)
    write_kerman(kerman, folder / "source")
    wanted = read_training(settings)
    rule = WindowRule(tuple(Variable(**item.model_dump()) for item in wanted.variables), patch=patch)
    with open_inputs(settings, wanted, "colluvium compare") as opened:
        gathered = gather(
            opened, kerman.samples, wanted.factors, rule, folder / "dataset", truth=kerman.truth
        )
    return gathered.data
