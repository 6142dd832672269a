"""Training learns, and chooses on validation patches alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputError, SettingsError, UsageError
from tests.trainer.detection.fix_learnable import TINY, MadePatches, fitted, made
from trainer.detection.data import Patch
from trainer.detection.fit import HISTORY, FitSettings, fit_detector
from trainer.detection.fit_batches import known_pixels, plain_batches, steps_of, training_batches
from trainer.detection.fit_network import DetectorNetwork, MovingAverage
from trainer.detection.fit_schedule import share_of_rate
from trainer.detection.fit_validation import EpochScores, better, predict, score, validate
from trainer.detection.losses import bce_dice
from trainer.detection.networks import build
from trainer.detection.statistics import fit_statistics
from trainer.detection.threshold import all_or_nothing_f1


def quiet(done: int, total: int) -> None:
    pass


LEARNING = replace(TINY, base=4, epochs=12, seed=1)


def test_a_small_network_learns_what_one_band_cannot_tell(tmp_path: Path) -> None:
    train, valid = made(16), made(6, seed=1)
    found = fit_detector(train, range(16), valid, range(6), LEARNING, tmp_path)
    mask = np.stack([patch.mask for patch in valid.patches if patch.mask is not None])
    assert found.best.f1 > 0.7 > 5 * all_or_nothing_f1(mask, np.ones(mask.shape, np.bool_))


def scrambled(patches: MadePatches) -> MadePatches:
    """The same images; the labels are those of other places."""
    others = [
        Patch(patch.image, None if patch.mask is None else np.ascontiguousarray(patch.mask.T[::-1]))
        for patch in patches.patches
    ]
    return MadePatches(others, name="scrambled", prefix="scrambled")


def test_other_validation_labels_choose_another_epoch_and_change_nothing_that_is_learnt(
    tmp_path: Path,
) -> None:
    train, valid = made(16), made(6, seed=1)
    right = fit_detector(train, range(16), valid, range(6), LEARNING, tmp_path / "a")
    wrong = fit_detector(train, range(16), scrambled(valid), range(6), LEARNING, tmp_path / "b")
    assert [one.train_loss for one in right.history] == [one.train_loss for one in wrong.history]
    assert right.best_epoch != wrong.best_epoch
    least = min(right.history, key=lambda one: one.train_loss).epoch
    assert {right.best_epoch, wrong.best_epoch} != {least}


@given(
    f1=st.floats(0, 1),
    loss=st.floats(0, 9),
    train=st.floats(0, 9),
    other=st.floats(0, 9),
    by=st.sampled_from(["f1", "loss"]),
)
def test_the_training_loss_has_no_say_in_which_epoch_is_kept(
    f1: float, loss: float, train: float, other: float, by: str
) -> None:
    one, two = EpochScores(1, train, loss, f1, 0.5), EpochScores(2, other, loss, f1, 0.5)
    assert not better(two, one, by)  # type: ignore[arg-type]
    assert better(replace(two, valid_f1=f1 + 1, valid_loss=loss - 1), one, by)  # type: ignore[arg-type]


def test_of_equal_f1_the_lesser_validation_loss_is_kept() -> None:
    one = EpochScores(1, 0.0, 0.5, 0.7, 0.5)
    assert better(replace(one, valid_loss=0.4), one, "f1")
    assert not better(replace(one, valid_loss=0.6), one, "f1")


def test_the_kept_weights_are_those_of_the_chosen_epoch(tmp_path: Path) -> None:
    train, valid = made(8), made(4, seed=1)
    found = fit_detector(train, range(8), valid, range(4), replace(TINY, choose_by="loss"), tmp_path)
    chosen = found.history[found.best_epoch - 1]
    assert chosen.valid_loss == min(one.valid_loss for one in found.history)
    again = validate(found.network, valid, range(4), bce_dice)
    assert again.loss == pytest.approx(chosen.valid_loss, rel=1e-6)
    assert again.best == found.best


def test_a_patch_in_both_parts_is_refused_by_name(tmp_path: Path) -> None:
    patches = made(8)
    with pytest.raises(InputError, match="made0/4, are in the training and in the validation part"):
        fit_detector(patches, range(5), patches, range(4, 8), TINY, tmp_path)


def test_copies_of_validation_patches_are_not_learnt_from(tmp_path: Path) -> None:
    train, valid = made(6), made(4, seed=1)
    copied = MadePatches([*train.patches, valid.patches[2]])
    found = fit_detector(copied, range(7), valid, range(4), replace(TINY, epochs=1), tmp_path)
    assert found.train_patches == 6
    assert "1 training patches that are the same" in found.notes[0]


def test_parts_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="radiometry"):
        fit_detector(
            made(4),
            range(4),
            replace(made(4, seed=1), radiometry="landslide4sense"),
            range(4),
            TINY,
            tmp_path,
        )
    with pytest.raises(InputError, match="at least two and one"):
        fit_detector(made(4), range(1), made(4, seed=1), range(4), TINY, tmp_path)


def test_validation_without_a_landslide_is_refused(tmp_path: Path) -> None:
    empty = MadePatches(
        [Patch(patch.image, np.zeros((32, 32), np.uint8)) for patch in made(3, seed=1).patches]
    )
    with pytest.raises(InputError, match="no labelled landslide pixel"):
        fit_detector(made(4), range(4), empty, range(3), TINY, tmp_path)


def test_training_ends_early_where_validation_gets_no_better(tmp_path: Path) -> None:
    settings = replace(TINY, epochs=50, patience=2, learning_rate=1e-9, choose_by="loss", average=0.0)
    found = fit_detector(made(4), range(4), made(4, seed=1), range(4), settings, tmp_path)
    assert len(found.history) < 50
    assert found.best_epoch == len(found.history) - 2


def test_the_history_says_what_was_chosen_and_by_what(tmp_path: Path) -> None:
    found = fitted(tmp_path, replace(TINY, epochs=2))
    told = json.loads((tmp_path / HISTORY).read_text())
    assert told["chosen"] == found.best_epoch
    assert told["chosen_by"] == "validation f1"
    assert [one["epoch"] for one in told["epochs"]] == [1, 2]
    assert told["settings"]["weights"] == found.pretrained == "from scratch"


def test_statistics_are_those_of_the_training_part_alone(tmp_path: Path) -> None:
    train = made(8)
    bright = MadePatches([Patch(patch.image + 5, patch.mask) for patch in made(4, seed=1).patches])
    found = fit_detector(train, range(6), bright, range(4), replace(TINY, epochs=1), tmp_path)
    assert found.statistics == fit_statistics(train, range(6), quiet)


def test_mixed_precision_on_the_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mixed_precision needs a CUDA device"):
        fitted(tmp_path, replace(TINY, mixed_precision=True))


def test_unknown_and_unlabelled_pixels_teach_nothing() -> None:
    image = np.ones((3, 4, 4), np.float32)
    image[1, 0, 0] = np.nan  # under cloud in one band
    image[2] = np.nan  # a band that the patch lacks
    mask = np.zeros((4, 4), np.uint8)
    mask[3, 3] = 255
    known = known_pixels(Patch(image, mask))
    assert not known[0, 0]
    assert not known[3, 3]
    assert known.sum() == 14
    assert not known_pixels(Patch(image, None)).any()
    assert not known_pixels(Patch(np.full((3, 4, 4), np.nan, np.float32), mask)).any()


@given(patches=st.integers(2, 500), size=st.integers(2, 64))
def test_no_step_is_left_with_one_patch_or_more_than_its_size_allows(patches: int, size: int) -> None:
    steps = steps_of(patches, size)
    parts = [len(part) for part in np.array_split(np.arange(patches), steps)]
    assert min(parts) >= 2
    assert max(parts) <= max(size, 3)


def test_every_patch_comes_once_in_an_epoch_and_the_epoch_can_be_had_again() -> None:
    patches = made(9)
    one, same, other = (list(training_batches(patches, range(9), 4, 7, epoch)) for epoch in (1, 1, 2))
    assert sorted(i for batch in one for i in batch.indices) == list(range(9))
    for mine, again in zip(one, same, strict=True):
        assert mine.indices == again.indices
        assert torch.equal(mine.images, again.images)
    assert [batch.indices for batch in one] != [batch.indices for batch in other]


def test_image_and_labels_turn_together() -> None:
    patches = made(6)
    for batch in training_batches(patches, range(6), 6, 0, 1):
        # Where it is steep and bare a landslide is labelled, whichever way the patch lies.
        steep = (batch.images[:, 3:] == 38) & (batch.images[:, 2:3] < 0.06)
        assert float((steep == (batch.target == 1)).float().mean()) > 0.99


def test_missing_values_become_the_mean_and_nothing_else() -> None:
    patches = made(2)
    statistics = fit_statistics(patches, range(2), quiet)
    network = DetectorNetwork(build("unet", 4, base=2), statistics).eval()
    given = torch.from_numpy(patches.patches[0].image)[None].clone()
    holes = given.clone()
    holes[:, :, :9, :9] = float("nan")
    filled = given.clone()
    filled[:, :, :9, :9] = network.mean[0]
    with torch.no_grad():
        assert torch.allclose(network(holes), network(filled), atol=1e-6)
        assert not torch.allclose(network(holes), network(given), atol=1e-4)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    shares = [share_of_rate(step, 100, 0.1) for step in range(100)]
    assert shares[:10] == pytest.approx([0.1 * number for number in range(1, 11)])
    assert shares[10] == 1.0
    assert shares[55] == pytest.approx(0.5)
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[99] < 0.001
    assert share_of_rate(0, 10, 0.0) == 1.0


def test_the_moving_average_forgets_its_first_weights_and_settles() -> None:
    network = torch.nn.Linear(1, 1)
    average = MovingAverage(network, 0.99)
    with torch.no_grad():
        network.weight.fill_(5.0)
    for step in range(1, 60):
        average.take(network, step)
    assert float(average.network.weight) == pytest.approx(5.0, abs=0.01)  # type: ignore[arg-type]
    plain = MovingAverage(network, 0.0)
    with torch.no_grad():
        network.weight.fill_(7.0)
    plain.take(network, 1)
    assert float(plain.network.weight) == 7.0  # type: ignore[arg-type]


def test_predictions_come_in_the_order_asked_for_and_count_as_the_scores_do(tmp_path: Path) -> None:
    found, patches = fitted(tmp_path, replace(TINY, epochs=1)), made(5, seed=9)
    told = list(predict(found.network, patches, [3, 0, 4]))
    assert [index for index, _ in told] == [3, 0, 4]
    scores = score(found.network, patches, [3, 0, 4], found.best.threshold, "made")
    hit = found_all = mapped = 0
    for index, probability in told:
        mask = patches.patches[index].mask
        assert mask is not None
        predicted = probability >= found.best.threshold
        hit, found_all = hit + int((predicted & (mask == 1)).sum()), found_all + int(predicted.sum())
        mapped += int(mask.sum())
    assert scores.precision == pytest.approx(hit / found_all)
    assert scores.recall == pytest.approx(hit / mapped)
    assert scores.patches == 3


def test_the_threshold_is_chosen_as_the_service_will_predict(tmp_path: Path) -> None:
    settings, valid = replace(TINY, test_time_augmentation=True), made(4, seed=1)
    found = fitted(tmp_path, settings)
    assert found.best == validate(found.network, valid, range(4), bce_dice, symmetries=True).best
    assert next(iter(plain_batches(valid, range(4), 4))).images.shape == (4, 4, 32, 32)


def test_a_training_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    fitted(tmp_path, replace(TINY, epochs=1))
    with pytest.raises(UsageError, match="--resume"):
        fitted(tmp_path, replace(TINY, epochs=1))


def test_the_defaults_are_one_protocol() -> None:
    assert FitSettings() == FitSettings(model="resnet34", loss="bce_dice", choose_by="f1", patience=12)
