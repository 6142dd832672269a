"""What a model's maps looked like in its training years: what the service measures drift of the output from.

    output_reference(opened, predict, factors, rule, first, last, wanted) -> OutputReference
    add_reference(settings, bundle, out)      the same for a bundle that is there; its weights stay

    colluvium reference -c config/demo.toml --out build/bundle

The same seeded cells are served on seeded days, so that two days differ by their weather alone. Of those
days the ones that are least like each other are kept as kinds of day, until every one is like a kind. Some
days are held out: the share of them that resembles no kind is the share of false alarms to expect.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import structlog
from threadpoolctl import threadpool_limits

from exporters.layer import NODATA, TOP, store
from service.bundle import Bundle
from service.commands.shared import config_option
from service.drift import SHIFT, binned, nearest_psi, psi
from service.errors import BundleError, InputError, UsageError
from service.files import replacing_folder, sha256_file, write_json
from service.manifest import MANIFEST_NAME, Manifest, OutputReference
from service.points import point_windows
from service.settings import Settings, load_settings
from trainer.dataset import Variable
from trainer.index_sample import Predict, days_with_windows, draw_cells
from trainer.model_card import reference_section, with_reference
from trainer.patches import read_patches
from trainer.prepare import open_inputs
from trainer.region_dataset import Opened, WindowRule, variable_specs
from trainer.training_settings import ReferenceSettings, read_training

# What is stored as 0 is a bin; the rest is divided by these quantiles: where rain is rare, most cells are 0
# on most days, and bins by quantiles of everything would be blind to the slopes that matter.
_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
_LIKE = 0.1  # PSI up to which two days are alike
_MOST_KINDS = 60
_HELD_OUT = 4  # every fourth day
_LEAST_CELLS = 0.9  # of the sampled ones with a window, for a day to count
_LEAST_DAYS = 40
_BATCH = 512
_log = structlog.get_logger()

Counts = npt.NDArray[np.int64]


def output_reference(
    opened: Opened,
    predict: Predict,
    factors: Sequence[str],
    rule: WindowRule,
    first: date,
    last: date,
    wanted: ReferenceSettings,
) -> OutputReference:
    """Return how `predict` spreads over the region's cells on days between `first` and `last`.

    `predict` takes patches (n, C, P, P) and windows (n, N, V) in physical units, any calibration included.
    Raises InputError where fewer than 40 days have windows, or no cell has a complete patch.
    """
    first, last = days_with_windows(
        opened.archive, rule, first, last, _LEAST_DAYS, "a reference of the output (training.reference)"
    )
    random = np.random.default_rng(wanted.seed)
    xy = draw_cells(opened.region, opened.stack, factors, rule.patch, wanted.cells, random)
    span = (last - first).days + 1
    offsets = random.choice(span, min(wanted.days, span), replace=False).tolist()
    days = [first + timedelta(days=int(offset)) for offset in offsets]
    by_code = np.stack([*_by_code(opened, predict, factors, rule, xy, days)])
    known = by_code.sum(axis=1)
    by_code = by_code[known >= _LEAST_CELLS * len(xy)]
    if len(by_code) < _LEAST_DAYS:
        raise InputError(
            f"only {len(by_code)} of {len(days)} days between {first} and {last} have windows for nine in "
            f"ten of {len(xy)} cells, and a reference needs {_LEAST_DAYS}: bring in more readings, or "
            "leave it out with training.reference.days = 0"
        )
    return reference_of(by_code, cells=len(xy), first=first, last=last, seed=wanted.seed)


def reference_of(by_code: Counts, *, cells: int, first: date, last: date, seed: int) -> OutputReference:
    """Return the reference of counts by day and stored code, (days, 256), in an order that is random.

    Kinds of day are picked by farthest-first traversal (Gonzalez 1985) from the most ordinary day.
    """
    pooled = by_code.sum(axis=0)
    edges = _edges(pooled)
    held = by_code[::_HELD_OUT]
    usual = np.stack([binned(day, edges) for day in np.delete(by_code, np.s_[::_HELD_OUT], axis=0)])
    apart = np.stack([psi(day, usual) for day in usual])
    picked = [int(apart.sum(axis=1).argmin())]
    nearest = apart[picked[0]]
    while nearest.max() > _LIKE and len(picked) < _MOST_KINDS:
        picked.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, apart[picked[-1]])
    kinds = usual[picked]
    far = [nearest_psi(binned(day, edges), kinds) > SHIFT for day in held]
    return OutputReference(
        edges=edges,
        shares=tuple((binned(pooled, edges) / pooled.sum()).round(6).tolist()),
        kinds=tuple(tuple(kind) for kind in kinds.tolist()),
        cells=cells,
        days=len(usual),
        first_day=first,
        last_day=last,
        seed=seed,
        radius=round(float(nearest.max()), 6),
        held_out_days=len(held),
        held_out_beyond=round(float(np.mean(far)), 6) if far else None,
    )


def add_reference(settings: Settings, bundle: Path, out: Path) -> Manifest:
    """Write a copy of a bundle to `out`, which must not exist, with a reference and a card that tells it.

    Its graphs keep their bytes; the manifest, and with it the bundle's digest, is another. Raises BundleError
    for a bundle of another region, and what reading the region's inputs raises.
    """
    wanted = read_training(settings)
    loaded = Bundle.load(bundle)
    manifest = loaded.manifest
    if manifest.training.region != settings.region.id:
        raise BundleError(
            f"{bundle} was trained for region {manifest.training.region!r}, the settings are of "
            f"{settings.region.id!r}; a reference is made where the model was trained"
        )
    rule = WindowRule(
        tuple(Variable(spec.name, spec.unit, spec.log, spec.unlinked) for spec in manifest.variables),
        manifest.window_days,
        manifest.lag_days,
        manifest.patch,
    )
    names = [spec.name for spec in manifest.factors]
    with open_inputs(settings, wanted, "colluvium reference") as opened, threadpool_limits(1):
        trained_on = manifest.training.digests.get("factors")
        if trained_on is not None and trained_on != opened.stack.digest:
            _log.warning("the factors are not those that the model was trained on", now=opened.stack.digest)
        reference = output_reference(
            opened, _served(loaded), names, rule, wanted.first_day, wanted.last_day, wanted.reference
        )
    with replacing_folder(out) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        card = folder / "model-card.md"
        card.write_text(with_reference(card.read_text("utf-8"), reference_section(reference)), "utf-8")
        files = {name: sha256_file(folder / name) for name in manifest.files}
        made = manifest.model_copy(update={"reference": reference, "files": files})
        write_json(folder / MANIFEST_NAME, made.model_dump(mode="json"))
        Bundle.load(folder)
    return made


def _served(bundle: Bundle) -> Predict:
    def predict(
        patches: npt.NDArray[np.float32], windows: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float64]:
        return bundle.whole(patches, windows).astype(np.float64)

    return predict


def _by_code(
    opened: Opened,
    predict: Predict,
    factors: Sequence[str],
    rule: WindowRule,
    xy: npt.NDArray[np.float64],
    days: Sequence[date],
) -> Iterator[Counts]:
    """Yield, day by day, how many of the cells (n, 2) have each stored code: (256,), the unknown at none."""
    patches = read_patches(opened.stack, factors, xy, rule.patch)
    for day in days:
        windows = point_windows(
            opened.settings, opened.region, opened.archive, variable_specs(rule.variables), xy,
            [day] * len(xy), window_days=rule.window_days, lag_days=rule.lag_days,
            reservoirs=opened.reservoirs,
        ).windows  # fmt: skip
        known = np.flatnonzero(np.isfinite(windows).all(axis=(1, 2)))
        counts = np.zeros(NODATA + 1, np.int64)
        for start in range(0, known.size, _BATCH):
            rows = known[start : start + _BATCH]
            stored = store(predict(patches[rows], windows[rows]))
            counts += np.bincount(stored, minlength=NODATA + 1)
        yield counts


def _edges(pooled: Counts) -> tuple[int, ...]:
    """Return the first code of each bin but the lowest, from pooled counts by code (256,)."""
    above = pooled[1 : TOP + 1]
    cumulated = np.cumsum(above) / max(1, above.sum())
    codes = (
        {int(np.searchsorted(cumulated, quantile)) + 2 for quantile in _QUANTILES} if above.any() else set()
    )
    return (1, *sorted(code for code in codes if code <= TOP))


@click.command("reference", epilog="Example: colluvium reference -c config/demo.toml --out build/bundle")
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where the new bundle goes; it must not exist.",
)
def reference(config: Path, out: Path) -> None:
    """Add the reference of its output to the bundle of the settings, as a new bundle."""
    settings = load_settings(config)
    if out.exists():
        raise UsageError(f"{out} exists; a finished bundle is never rewritten, give another folder")
    made = add_reference(settings, settings.bundle.path, out)
    if made.reference is not None:
        click.echo(f"{made.name} {made.version} in {out}: {len(made.reference.kinds)} kinds of day")
