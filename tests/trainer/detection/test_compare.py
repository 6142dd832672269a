"""A comparison: one protocol for all, nothing learnt from the test part, nothing done twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from service.errors import InputError, UsageError
from tests.trainer.detection.fix_compare import (
    NOW,
    StandIn,
    f1_of_width,
    official_folder,
    regions_csv,
    settings_of,
)
from tests.trainer.detection.test_data_sen12 import truth, write
from trainer.detection.compare import CompareSettings, compare, plan, weights_for
from trainer.detection.compare_data import divide, open_data
from trainer.detection.compare_results import Results, read_results
from trainer.detection.compare_runs import load_result
from trainer.detection.networks import MODELS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return official_folder(tmp_path / "data")


@pytest.fixture
def everything(tmp_path: Path, folder: Path) -> CompareSettings:
    return settings_of(split="all", regions_csv=regions_csv(tmp_path / "regions.csv", folder))


def run(folder: Path, out: Path, settings: CompareSettings, fit: StandIn) -> Results:
    return compare(folder, out, settings, fit=fit, now=lambda: NOW)


def test_no_training_is_given_a_patch_that_it_is_judged_on(
    tmp_path: Path, folder: Path, everything: CompareSettings
) -> None:
    fit = StandIn()
    run(folder, tmp_path / "out", everything, fit)
    folders = [task.folder for task in plan(folder, tmp_path / "out", everything).tasks]
    assert len(fit.calls) == len(folders) == 2 * 2 * (1 + 1 + 3)
    for call, place in zip(fit.calls, folders, strict=True):
        tested = set(load_result(place).judged.ids)
        assert tested
        assert not tested & (call.train | call.valid)
        assert not call.train & call.valid


@pytest.mark.parametrize("split_seed", [0, 1, 17])
def test_the_parts_of_every_split_are_disjoint(
    folder: Path, everything: CompareSettings, split_seed: int
) -> None:
    patches = open_data(folder, regions_csv=everything.regions_csv)
    divided = divide(patches, "all", split_seed)
    assert [division.folder for division in divided.divisions] == [
        "official", "reference", "regions-Hokkaido", "regions-Kodagu", "regions-Rasuwa"
    ]  # fmt: skip
    for division in divided.divisions:
        parts = [
            set(part.tolist()) for part in (division.split.train, division.split.valid, division.split.test)
        ]
        assert all(parts)
        assert len(set.union(*parts)) == sum(map(len, parts))


def test_the_official_split_is_that_of_the_folders(folder: Path) -> None:
    patches = open_data(folder)
    split = divide(patches, "official").divisions[0].split
    for part, indices in (("train", split.train), ("valid", split.valid), ("test", split.test)):
        assert {patches.ids[i] for i in indices} == {name for name in patches.ids if name.startswith(part)}


def test_the_reference_split_has_the_papers_sizes_of_the_training_part(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "data", train=38)
    patches = open_data(folder)
    split = divide(patches, "reference").divisions[0].split
    assert len(split.train) + len(split.valid) == round(38 * 959 / 3799)
    assert all(patches.ids[i].startswith("train/") for i in split.test)
    assert len(split.test) == 38 - round(38 * 959 / 3799)


def test_patches_that_are_copies_of_test_patches_are_not_learnt_from(tmp_path: Path, folder: Path) -> None:
    for kind, name in (("img", "image"), ("mask", "mask")):
        shutil.copy(
            folder / "TestData" / kind / f"{name}_203.h5", folder / "TrainData" / kind / f"{name}_5.h5"
        )
    fit = StandIn()
    results = run(folder, tmp_path / "out", settings_of(["unet"], [0]), fit)
    assert "train/5" not in fit.calls[0].train | fit.calls[0].valid
    assert "train/4" in fit.calls[0].train
    assert results.data.notes == (
        "split official: 1 training or validation patches that are copies of test patches were left out",
    )


def test_seeds_are_named_and_averaged(tmp_path: Path, folder: Path) -> None:
    results = run(folder, tmp_path / "out", settings_of(["unet"], [0, 3]), StandIn())
    found = results.splits[0].models["unet"].scores["f1"]
    assert found.seeds == {"0": pytest.approx(f1_of_width(16)), "3": pytest.approx(f1_of_width(19))}
    assert found.mean == pytest.approx((f1_of_width(16) + f1_of_width(19)) / 2)
    assert found.low is not None
    assert found.low < found.mean


def test_one_seed_has_no_interval_over_seeds_but_one_over_patches(tmp_path: Path, folder: Path) -> None:
    model = run(folder, tmp_path / "out", settings_of(["unet"], [2]), StandIn()).splits[0].models["unet"]
    assert (model.scores["f1"].low, model.scores["f1"].high) == (None, None)
    assert model.over_patches["f1"].low == pytest.approx(f1_of_width(18))  # all patches are alike here


def test_a_killed_comparison_goes_on_where_it_was(tmp_path: Path, folder: Path) -> None:
    settings, out = settings_of(), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, settings, StandIn(fail_at=3))
    again = StandIn()
    resumed = run(folder, out, settings, again)
    assert [(call.model, call.seed) for call in again.calls] == [("unet", 1)]
    once = run(folder, tmp_path / "other", settings, StandIn())
    assert [split.models["unet"].scores for split in resumed.splits] == [
        split.models["unet"].scores for split in once.splits
    ]
    assert resumed.complete


def test_a_result_that_was_damaged_is_made_again(tmp_path: Path, folder: Path) -> None:
    settings, out = settings_of(["unet"], [0]), tmp_path / "out"
    run(folder, out, settings, StandIn())
    (out / "runs" / "official" / "unet" / "s0" / "judged.npz").write_bytes(b"half a fi")
    again = StandIn()
    assert run(folder, out, settings, again).complete
    assert len(again.calls) == 1


def test_other_settings_or_other_patches_are_trained_anew(tmp_path: Path, folder: Path) -> None:
    settings, out = settings_of(["unet"], [0]), tmp_path / "out"
    run(folder, out, settings, StandIn())
    second, third, fourth = StandIn(), StandIn(), StandIn()
    run(folder, out, settings, second)
    assert not second.calls
    run(folder, out, settings_of(["unet"], [0], bands=("B04", "B08", "slope")), third)
    assert len(third.calls) == 1
    # What was finished before may have taken days: another command does not throw it away.
    fifth = StandIn()
    assert run(folder, out, settings, fifth).data.bands == settings.bands
    assert run(folder, out, settings_of(["unet"], [0], bands=("B04", "B08", "slope")), fifth).complete
    assert not fifth.calls
    with h5py.File(folder / "TestData" / "img" / "image_201.h5", "r+") as file:
        file["img"][0, 0, 0] += 1
    run(folder, out, settings, fourth)
    assert len(fourth.calls) == 1


def test_patches_of_another_folder_are_read_though_size_and_time_are_the_same(
    tmp_path: Path, folder: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    changed = other / "TrainData" / "img" / "image_1.h5"
    before = changed.stat()
    with h5py.File(changed, "r+") as file:
        file["img"][0, 0, 0] += 1
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    fit = StandIn()
    run(folder, tmp_path / "out", settings_of(["unet"], [0]), StandIn())
    run(other, tmp_path / "out", settings_of(["unet"], [0]), fit)
    assert len(fit.calls) == 1


def test_when_the_time_is_up_every_model_that_is_finished_is_told(tmp_path: Path, folder: Path) -> None:
    def clock() -> Iterator[float]:
        # The start; then two calls for each training: before it and in it.
        yield from [0.0, *(10.0 * n for n in range(6)), *[61.0] * 20]

    ticks, out = clock(), tmp_path / "out"
    settings = settings_of(budget_minutes=1.0)
    fit = StandIn()
    results = compare(folder, out, settings, fit=fit, clock=lambda: next(ticks), now=lambda: NOW)
    assert [(call.model, call.seed) for call in fit.calls] == [("resnet34", 0), ("unet", 0), ("resnet34", 1)]
    split = results.splits[0]
    assert (results.complete, results.finished_runs, results.planned_runs) == (False, 3, 4)
    assert split.unfinished == ("unet",)
    assert list(split.models["resnet34"].scores["f1"].seeds) == ["0", "1"]
    assert list(split.models["unet"].scores["f1"].seeds) == ["0"]
    after = StandIn()
    assert run(folder, out, settings_of(), after).complete
    assert len(after.calls) == 1


def test_transfer_judges_each_region_by_models_that_never_saw_it(
    tmp_path: Path, folder: Path, everything: CompareSettings
) -> None:
    fit = StandIn()
    settings = settings_of(["unet"], [0], split="regions", regions_csv=everything.regions_csv)
    split = run(folder, tmp_path / "out", settings, fit).splits[0]
    assert split.transfer
    assert {part.part for part in split.parts} == {"Hokkaido", "Kodagu", "Rasuwa"}
    assert sum(part.test for part in split.parts) == 22
    model = split.models["unet"]
    assert {name: region.patches for name, region in model.regions.items()} == {
        part.part: part.test for part in split.parts
    }
    assert [run.part for run in model.runs] == ["Hokkaido", "Kodagu", "Rasuwa"]


def test_sen12landslides_transfer_between_the_regions_in_their_file_names(tmp_path: Path) -> None:
    folder = tmp_path / "sen12"
    folder.mkdir()
    for number, region in enumerate(["italy", "italy", "japan", "japan", "nepal", "nepal"]):
        write(folder / f"{region}_s2_{number}.nc", truth(number))
    settings = settings_of(["unet"], [0], split="all", bands=("B04", "B08", "slope"))
    fit = StandIn()
    results = run(folder, tmp_path / "out", settings, fit)
    assert [split.name for split in results.splits] == ["regions"]
    assert set(results.skipped) == {"official", "reference"}
    assert results.data.radiometry == "reflectance"
    assert len(fit.calls) == 3
    for call, region in zip(fit.calls, ["italy", "japan", "nepal"], strict=True):
        assert not any(name.startswith(region) for name in call.train | call.valid)


def test_a_split_that_cannot_be_is_named_with_its_reason(tmp_path: Path, folder: Path) -> None:
    results = run(folder, tmp_path / "out", settings_of(["unet"], [0], split="all"), StandIn())
    assert [split.name for split in results.splits] == ["official", "reference"]
    assert "--regions" in results.skipped["regions"]
    with pytest.raises(InputError, match="--regions"):
        run(folder, tmp_path / "out", settings_of(["unet"], [0], split="regions"), StandIn())


def test_without_masks_of_the_test_part_the_validation_folder_is_judged_and_that_is_said(
    tmp_path: Path, folder: Path
) -> None:
    shutil.rmtree(folder / "TestData" / "mask")
    fit = StandIn()
    split = run(folder, tmp_path / "out", settings_of(["unet"], [0]), fit).splits[0]
    assert split.parts[0].test == 4
    assert "4 patches of valid" in split.words
    assert all(name.startswith("train/") for name in fit.calls[0].train | fit.calls[0].valid)


def test_a_folder_of_another_layout_is_refused_by_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=r"TrainData/img/image_1\.h5 .* in it are images"):
        open_data(tmp_path)


def test_all_thirteen_are_compared_where_none_is_named(tmp_path: Path, folder: Path) -> None:
    tasks = plan(folder, tmp_path / "out", CompareSettings()).tasks
    assert [task.settings.model for task in tasks] == [spec.name for spec in MODELS]
    assert len(tasks) == 13
    # One protocol: settings differ in the model's name alone.
    assert len({str(task.settings).replace(task.settings.model, "") for task in tasks}) == 1
    assert all(np.array_equal(task.test, tasks[0].test) for task in tasks)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ("resnet35",)}, "'resnet35' is no model"),
        ({"models": ("unet", "unet")}, "a model is named twice"),
        ({"seeds": ()}, "no seed was named"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(
    changes: dict[str, tuple[object, ...]], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        CompareSettings(**changes)  # type: ignore[arg-type]


def test_an_encoders_weights_are_found_by_its_models_name(tmp_path: Path) -> None:
    (tmp_path / "resnet34.safetensors").touch()
    assert weights_for(tmp_path, "resnet34") == tmp_path / "resnet34.safetensors"
    assert weights_for(tmp_path, "vgg16") is None
    (tmp_path / "resnet34.pth").touch()
    with pytest.raises(UsageError, match=r"resnet34\.safetensors and resnet34\.pth"):
        weights_for(tmp_path, "resnet34")


def test_results_are_read_back_as_they_were_written(tmp_path: Path, folder: Path) -> None:
    results = run(folder, tmp_path / "out", settings_of(["unet"], [0]), StandIn())
    assert read_results(tmp_path / "out") == results
    (tmp_path / "out" / "results.json").write_text("{}")
    with pytest.raises(InputError, match="compare again"):
        read_results(tmp_path / "out")
