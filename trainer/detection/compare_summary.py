"""Finished trainings -> what results.json says of each split and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainer.detection.compare_data import Division
from trainer.detection.compare_results import (
    DataResult,
    Estimate,
    ModelResult,
    ObjectResult,
    PartSizes,
    Range,
    RegionResult,
    SeedRun,
    SizeResult,
    SplitResult,
)
from trainer.detection.compare_runs import Result
from trainer.detection.data import PatchSet
from trainer.detection.fit import FitSettings
from trainer.detection.intervals import over_patches, over_seeds
from trainer.detection.judge import SCORES, Judged, join_judged
from trainer.detection.landslide4sense import PARTS
from trainer.detection.networks import spec_of
from trainer.detection.objects import ObjectScores

_TRANSFER = (
    "each region in turn is left out of training and of the choice of checkpoint and threshold, and judged; "
    "the table counts the pixels of all regions together, each judged by the model that never saw it"
)


def data_words(folder: Path, patches: PatchSet, digest: str, notes: Sequence[str]) -> DataResult:
    """Say what was learned from."""
    judged = sum(patches.judged)
    parts: dict[str, int] = {}
    for name in patches.ids:
        part = name.partition("/")[0]
        parts[part] = parts.get(part, 0) + 1
    # Of Sen12Landslides, names have no part.
    counts = "".join(f"{count:,} of {part}, " for part, count in parts.items() if part in PARTS)
    made_up = "synthetic " if patches.synthetic else ""
    words = f"{len(patches):,} {made_up}patches in {folder.name} ({counts}{judged:,} with a mask)"
    return DataResult(
        words=words,
        digest=digest,
        bands=patches.bands,
        radiometry=patches.radiometry,
        pixel_size_m=patches.pixel_size_m,
        synthetic=patches.synthetic,
        notes=tuple(notes),
    )


def protocol_words(fit: FitSettings, split_seed: int, hit_share: float) -> tuple[tuple[str, str], ...]:
    """Say what all models had in common."""
    patience = "never" if fit.patience is None else f"after {fit.patience} epochs without a better one"
    told = {
        "epochs": f"{fit.epochs} at most; ends early {patience}",
        "batch": f"{fit.batch} patches",
        "loss": fit.loss,
        "optimiser": (
            f"AdamW, rate {fit.learning_rate:g} after a rise over {fit.warm_up:.0%} of the steps, then a "
            f"cosine to 0; weight decay {fit.weight_decay:g}, gradient norm at most {fit.clip:g}"
        ),
        "weights that are judged": (
            f"moving average, decay {fit.average:g}" if fit.average else "those of the last step of the epoch"
        ),
        "augmentation": "the eight symmetries of the square, drawn for each patch and epoch",
        "checkpoint": f"the epoch with the best {fit.choose_by} on validation patches",
        "threshold": "that of the best F1 on validation patches; the test part is opened after that",
        "test-time augmentation": "mean of eight symmetries" if fit.test_time_augmentation else "none",
        "division": f"drawn with seed {split_seed} where it is drawn; the same for all models and seeds",
        "statistics": "mean and standard deviation of each band, over training patches alone",
        "precision": "bfloat16" if fit.mixed_precision else "float32",
        "object hit": f"at least {hit_share:.0%} of its pixels predicted",
    }
    return tuple(told.items())


def split_results(
    divisions: Sequence[Division],
    models: Sequence[str],
    seeds: Sequence[int],
    finished: Mapping[Path, Result],
    hit_share: float,
    out: Path,
) -> tuple[SplitResult, ...]:
    """Return each split's results; a model counts with those seeds of which every part is finished."""
    found = []
    for name in dict.fromkeys(division.name for division in divisions):
        mine = [division for division in divisions if division.name == name]
        told: dict[str, ModelResult] = {}
        unfinished = []
        for model in models:
            whole: dict[str, list[Result]] = {}
            for seed in seeds:
                folders = [out / "runs" / one.folder / model / f"s{seed}" for one in mine]
                if all(folder in finished for folder in folders):
                    whole[str(seed)] = [finished[folder] for folder in folders]
            if whole:
                told[model] = _model(model, whole, hit_share, mine)
            if len(whole) < len(seeds):
                unfinished.append(model)
        transfer = name == "regions"
        found.append(
            SplitResult(
                name=name,
                words=_TRANSFER if transfer else mine[0].split.says,
                transfer=transfer,
                parts=tuple(
                    PartSizes(part=one.part, train=len(one.split.train), valid=len(one.split.valid),
                              test=len(one.split.test))
                    for one in mine
                ),
                models=told,
                unfinished=tuple(unfinished),
            )
        )  # fmt: skip
    return tuple(found)


def _model(
    name: str, whole: Mapping[str, list[Result]], hit_share: float, divisions: Sequence[Division]
) -> ModelResult:
    judged = {seed: join_judged([result.judged for result in parts]) for seed, parts in whole.items()}
    first = next(iter(judged.values()))
    records = {seed: [result.record for result in parts] for seed, parts in whole.items()}
    one = next(iter(records.values()))[0]
    regions = {seed: part.by_region() for seed, part in judged.items()}
    return ModelResult(
        title=spec_of(name).title,
        pretrained=one.pretrained,
        parameters=one.parameters,
        scores={score: _pooled(judged, score) for score in SCORES},
        over_patches={
            score: Range(low=(drawn := over_patches(first.counts, score)).low, high=drawn.high)
            for score in SCORES
        },
        patch_means={
            score: _estimate({seed: part.patch_means()[score].mean for seed, part in judged.items()})
            for score in SCORES
        },
        objects=_objects({seed: part.objects(hit_share) for seed, part in judged.items()}),
        regions={
            region: RegionResult(
                patches=len(part),
                scores={
                    score: _pooled({seed: found[region] for seed, found in regions.items()}, score)
                    for score in SCORES
                },
                object_recall=_estimate(
                    {seed: found[region].objects(hit_share).recall for seed, found in regions.items()}
                ),
            )
            for region, part in first.by_region().items()
        },
        runs=tuple(
            SeedRun(
                name=f"runs/{division.folder}/{name}/s{seed}",
                seed=seed,
                part=record.part,
                threshold=record.threshold,
                chosen_on=f"{record.rows[1]} validation patches, F1 {record.valid_f1:.4f}",
                epochs=len(record.history),
                best_epoch=record.best_epoch,
                seconds=record.seconds,
            )
            for seed, of_seed in records.items()
            for record, division in zip(of_seed, divisions, strict=True)
        ),
    )


def _objects(scores: Mapping[str, ObjectScores]) -> ObjectResult:
    first = next(iter(scores.values()))

    def over(value: Callable[[ObjectScores], float | None], most: float = 1.0) -> Estimate:
        return _estimate({seed: value(found) for seed, found in scores.items()}, most)

    return ObjectResult(
        hit_share=first.hit_share,
        least_false_m2=first.least_false_m2,
        objects=first.objects,
        unseen=first.unseen,
        recall=over(lambda found: found.recall),
        by_size=tuple(
            SizeResult(
                words=size.words,
                objects=size.objects,
                recall=over(lambda found, number=number: found.by_size[number].recall),  # type: ignore[misc]
            )
            for number, size in enumerate(first.by_size)
        ),
        false_per_km2=over(lambda found: found.false_per_km2, float("inf")),
        judged_km2=first.judged_km2,
    )


def _pooled(judged: Mapping[str, Judged], score: str) -> Estimate:
    return _estimate({seed: getattr(part.pixels(), score) for seed, part in judged.items()})


def _estimate(values: Mapping[str, float | None], most: float = 1.0) -> Estimate:
    found = over_seeds(values, most)
    return Estimate(mean=found.mean, low=found.low, high=found.high, seeds=found.seeds)
