"""`colluvium compare` from settings to report: the story of one comparison, top to bottom."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from service.errors import UsageError
from service.files import write_json
from service.settings import Settings
from trainer.compare import Compared, compare
from trainer.compare_region import Prepared, prepare_region
from trainer.compare_report import MAPS, RECORD, SAMPLE_MAP, CompareRecord, report_inputs
from trainer.dataset import load_dataset
from trainer.folds import Fold
from trainer.ground_maps import ground_map
from trainer.protocol import Protocol, load_protocol
from trainer.report import write_report
from trainer.sample_kinds import Kind
from trainer.sample_map import draw_sample_map
from trainer.training_settings import read_training

Progress = Callable[[int, int], None]


def run_compare(
    settings: Settings,
    config: Path,
    protocol_name: str,
    out: Path,
    *,
    chosen: tuple[str, ...] = (),
    synthetic_seeds: tuple[int, ...] = (),
    jobs: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prepare the datasets, run and judge the models, draw the maps and write the report; return the summary.

    Raises SettingsError for protocol and `[training]`, and whatever inputs, split and models raise.
    """
    protocol = load_protocol(protocol_name)
    protocol.recipes(chosen)  # a wrong name or hyperparameter is said before hours of work
    out.mkdir(parents=True, exist_ok=True)
    prepared = _prepare(settings, protocol, out, synthetic_seeds)
    compared = compare(
        protocol, prepared.cases, out,
        chosen=chosen, sampling=prepared.sampling, jobs=jobs, progress=progress,
    )  # fmt: skip
    _draw(compared, prepared.dem, out)
    options = ["colluvium", "compare", "-c", str(config), "--out", str(out), "--protocol", protocol_name]
    if chosen:
        options += ["--models", ",".join(chosen)]
    if synthetic_seeds:
        options += ["--synthetic-seeds", ",".join(map(str, synthetic_seeds))]
    record = CompareRecord(
        command=shlex.join(options),
        version=version("colluvium"),
        datasets={case.name: str(case.folder.relative_to(out)) for case in prepared.cases},
        runs={
            item.name: tuple(f"{item.name}-f{number}" for number in range(len(item.folds)))
            for item in compared.planned
        },
        digests={
            f"{model}/{item.name}-f{number}": result.record.digest
            for model, pairs in compared.results.items()
            for item in compared.planned
            for number, result in enumerate(found for owner, found in pairs if owner is item)
        },
        inventory_problems=prepared.problems,
        vintage_warnings=prepared.vintage,
    )
    write_json(out / RECORD, record.model_dump(mode="json"))
    write_report(report_inputs(out), out / "report.html")
    return compared.summary


def _prepare(settings: Settings, protocol: Protocol, out: Path, synthetic_seeds: tuple[int, ...]) -> Prepared:
    wanted = read_training(settings)
    kerman = wanted.synthetic is not None and wanted.synthetic.manner == "kerman"
    if synthetic_seeds and not kerman:
        raise UsageError("--synthetic-seeds needs settings with training.synthetic.manner = 'kerman'")
    if kerman and wanted.synthetic is not None:
        from trainer.compare_kerman import prepare_kerman

        prepared = prepare_kerman(synthetic_seeds or (wanted.synthetic.seed,), out)
        if protocol.sampling_of(wanted.sampling).counts(2) == {Kind.SPATIAL: 1, Kind.BOTH: 1}:
            return prepared
        said = f"the region brings its own samples; the sampling of protocol {protocol.name} is not used"
        cases = tuple(replace(case, warnings=(*case.warnings, said)) for case in prepared.cases)
        return replace(prepared, cases=cases)
    return prepare_region(settings, protocol, out)


def _draw(compared: Compared, dem: Path | None, out: Path) -> None:
    """Draw the maps of the models, and the samples with the sides of the first split."""
    # Those of an earlier comparison in the same folder are of other samples.
    shutil.rmtree(out / MAPS, ignore_errors=True)
    (out / SAMPLE_MAP).unlink(missing_ok=True)
    first = compared.planned[0]
    if first.case.ground is not None:
        ground = load_dataset(first.case.ground)
        for name, pairs in compared.results.items():
            drawn = next((result.ground for _, result in pairs if result.ground is not None), None)
            if drawn is not None:
                ground_map(ground, drawn, out / MAPS / f"{name}.png")
    if dem is None:
        return
    draw_sample_map(
        out / SAMPLE_MAP,
        first.data.samples,
        dem,
        CRS.from_user_input(first.data.crs),
        title=f"Samples of {first.case.name}, and the side of each in {first.folds[0].name}",
        synthetic=first.data.synthetic,
        groups=sides_of(first.folds[0], len(first.data)),
    )


def sides_of(fold: Fold, count: int) -> list[str]:
    """Return the side of each sample of a fold."""
    side = ["left out"] * count
    for name, rows in (("train", fold.train), ("validation", fold.validation), ("test", fold.test)):
        for row in rows.tolist():
            side[row] = name
    return side
