from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import trainer.fit as loop
from service.errors import InputError, SettingsError
from service.manifest import FactorSpec, VariableSpec
from tests.trainer.fix_network import FACTORS, VARIABLES, patches_of, tile, windows
from trainer.fit import DivergedError, EpochLosses, FitSamples, FitSettings, fit, fit_ranges, validation_loss
from trainer.fit_optimiser import OptimiserName, rate_share
from trainer.networks.cnn_lstm import CnnLstm, Inputs
from trainer.rain_test import embed, rain_test

DAYS = 6
QUICK = FitSettings(epochs=2, batch=8)


def network(seed: int = 0) -> CnnLstm:
    return CnnLstm(Inputs(FACTORS, VARIABLES, 22, DAYS), seed=seed)


def samples(count: int = 24, seed: int = 0) -> FitSamples:
    patches = patches_of(tile(22, 21 + count, seed), 22)
    window = windows(count, DAYS, seed)
    wet = window[:, -2:, 0].sum(axis=1)
    return FitSamples((wet > np.median(wet)).astype(np.float32), window, patches)


def weights(model: CnnLstm) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before: dict[str, torch.Tensor], model: CnnLstm) -> set[str]:
    after = model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_two_runs_give_the_same_weights_whatever_was_drawn_before() -> None:
    results = []
    for draws in (1, 5):
        torch.rand(draws)
        model = network()
        result = fit(model, samples(), samples(8, 1), QUICK)
        results.append((weights(model), result))
    assert results[0][1] == results[1][1]
    for name, value in results[0][0].items():
        assert torch.equal(value, results[1][0][name]), name


def test_another_seed_gives_other_weights() -> None:
    first, second = network(), network()
    fit(first, samples(), samples(8, 1), QUICK)
    fit(second, samples(), samples(8, 1), replace(QUICK, seed=1))
    assert "dense2.weight" in moved(weights(first), second)


def test_the_model_ends_with_the_weights_of_the_epoch_of_least_validation_loss() -> None:
    model, seen = network(), list[EpochLosses]()
    contrary = replace(samples(8, 1), labels=1 - samples(8, 1).labels)  # the better trained, the worse here
    result = fit(model, samples(), contrary, FitSettings(epochs=6, batch=8, l2=0.0), progress=seen.append)
    assert tuple(seen) == result.history
    assert [losses.epoch for losses in seen] == [1, 2, 3, 4, 5, 6]
    least = min(seen, key=lambda losses: losses.validation)
    assert (result.best_epoch, result.best_validation) == (least.epoch, least.validation)
    assert result.best_epoch < 6
    assert validation_loss(model, contrary) == pytest.approx(least.validation, rel=1e-5)


def test_training_lowers_the_loss() -> None:
    result = fit(network(), samples(), samples(8, 1), FitSettings(epochs=12, batch=8, l2=0.0))
    assert result.history[-1].train < 0.6 * result.history[0].train


def test_a_frozen_branch_does_not_move_not_even_its_batch_norm() -> None:
    model = network()
    before = weights(model)
    fit(model, samples(), samples(8, 1), replace(QUICK, frozen=("spatial", "dense_spatial")))
    changed = moved(before, model)
    assert changed
    assert not {name for name in changed if name.startswith(("spatial.", "dense_spatial."))}
    assert {"temporal.first.weight_ih_l0", "dense2.weight", "out.bias"} <= changed


def test_without_windows_the_spatial_branch_and_the_head_are_trained_and_the_lstm_is_not() -> None:
    model = network()
    before = weights(model)
    fit(
        model,
        replace(samples(), windows=None),
        replace(samples(8, 1), windows=None),
        replace(QUICK, l2_on=("spatial", "temporal", "dense_temporal")),
    )
    changed = moved(before, model)
    assert not {name for name in changed if name.startswith("temporal.")}
    assert "dense_temporal.weight" not in changed
    assert {"spatial.convolutions.0.weight", "dense_spatial.weight", "dense_temporal.bias"} <= changed


def test_ready_embeddings_train_the_head_as_patches_under_a_frozen_branch_do() -> None:
    train, validation = samples(), samples(8, 1)
    frozen = replace(QUICK, frozen=("spatial",))
    by_patches, by_embeddings = network(), network()
    fit(by_patches, train, validation, frozen)

    def embedded(part: FitSamples) -> FitSamples:
        assert part.patches is not None
        return replace(part, patches=None, embeddings=embed(by_embeddings, part.patches))

    fit(by_embeddings, embedded(train), embedded(validation), QUICK)
    assert not moved(weights(by_patches), by_embeddings)


def test_a_sample_of_weight_zero_counts_for_nothing() -> None:
    full = samples(16)
    assert full.windows is not None
    assert full.patches is not None
    labels = full.labels.copy()
    labels[8:] = 1 - labels[8:]
    weight = np.repeat([1, 0], 8).astype(np.float32)
    model = network()
    right = validation_loss(model, replace(full, weights=weight))
    wrong = validation_loss(model, replace(full, labels=labels, weights=weight))
    assert right == wrong
    assert right != pytest.approx(validation_loss(model, replace(full, labels=labels)))


def test_l2_shrinks_the_kernels_it_is_put_on() -> None:
    def size(l2: float) -> float:
        model = network()
        fit(model, samples(), samples(8, 1), FitSettings(epochs=1, batch=4, l2=l2, learning_rate=0.01))
        return float(model.dense2.weight.detach().square().sum())

    assert size(1.0) < 0.8 * size(0.0)


def test_the_rain_penalty_teaches_that_heavier_rain_does_not_lower_the_index() -> None:
    window = windows(32, DAYS)
    wet = window[:, -2:, 0].sum(axis=1)
    contrary = (wet < np.median(wet)).astype(np.float32)  # labels that say: rain is safe
    embedding = np.random.default_rng(0).normal(size=(32, 128)).astype(np.float32)
    train = FitSamples(contrary, window, embeddings=embedding)

    def drop(penalty: float) -> float:
        model = network()
        fit(model, train, train, FitSettings(epochs=10, batch=8, l2=0.0, rain_penalty=penalty))
        return rain_test(model, window, embeddings=embedding).largest_drop

    assert drop(20.0) < 0.5 * drop(0.0)


def test_memory_mapped_patches_train_as_those_in_memory(tmp_path: Path) -> None:
    train = samples()
    assert train.patches is not None
    np.save(tmp_path / "patches.npy", train.patches)
    mapped = replace(train, patches=np.load(tmp_path / "patches.npy", mmap_mode="r"))
    first, second = network(), network()
    fit(first, train, samples(8, 1), QUICK)
    fit(second, mapped, samples(8, 1), QUICK)
    assert not moved(weights(first), second)


def test_rows_of_one_file_train_as_arrays_of_their_own() -> None:
    both = samples(32)
    assert both.patches is not None
    assert both.windows is not None
    rows = np.random.default_rng(0).permutation(32)
    train, held = rows[:24], rows[24:]

    def part(chosen: np.ndarray) -> FitSamples:
        return replace(both, labels=both.labels[chosen], rows=chosen)

    def copied(chosen: np.ndarray) -> FitSamples:
        return FitSamples(both.labels[chosen], both.windows[chosen], both.patches[chosen])  # type: ignore[index]

    first, second, frozen = network(), network(), network()
    result = fit(first, part(train), part(held), QUICK)
    assert fit(second, copied(train), copied(held), QUICK) == result
    assert not moved(weights(first), second)
    still = replace(QUICK, frozen=("spatial",))
    fit(frozen, part(train), part(held), still)
    other = network()
    fit(other, copied(train), copied(held), still)
    assert not moved(weights(frozen), other)


def test_rows_beyond_the_arrays_are_refused() -> None:
    full = samples(8)
    with pytest.raises(InputError, match="rows reach 8, but there are 8"):
        replace(full, rows=np.arange(1, 9))


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "rmsprop", "adagrad"])
def test_every_optimiser_lowers_the_loss(optimiser: OptimiserName) -> None:
    rules = FitSettings(epochs=6, batch=8, l2=0.0, learning_rate=0.003, optimiser=optimiser)
    if optimiser == "sgd":
        rules = replace(rules, learning_rate=0.1)
    result = fit(network(), samples(), samples(8, 1), rules)
    assert result.history[-1].train < 0.95 * result.history[0].train


def test_the_optimisers_take_different_steps() -> None:
    found = set()
    names: tuple[OptimiserName, ...] = ("adam", "sgd", "rmsprop", "adagrad")
    for optimiser in names:
        model = network()
        fit(model, samples(), samples(8, 1), replace(QUICK, epochs=1, optimiser=optimiser))
        found.add(float(model.out.weight.detach().sum()))
    assert len(found) == 4


def test_the_cosine_schedule_falls_from_the_whole_rate_to_nothing() -> None:
    shares = [rate_share("cosine", step, 100) for step in range(101)]
    assert shares[0] == 1
    assert shares[50] == pytest.approx(0.5)
    assert shares[100] == pytest.approx(0, abs=1e-12)
    assert shares == sorted(shares, reverse=True)
    assert {rate_share("constant", step, 100) for step in range(101)} == {1}


def test_under_the_cosine_schedule_the_last_epoch_moves_the_weights_least() -> None:
    seen = list[torch.Tensor]()
    model = network()

    def keep(_: EpochLosses) -> None:
        seen.append(model.dense2.weight.detach().clone())

    falling = FitSettings(epochs=8, batch=8, l2=0.0, schedule="cosine")
    fit(model, samples(), samples(8, 1), falling, progress=keep)
    steps = [float((after - before).norm()) for before, after in pairwise(seen)]
    assert steps[-1] < 0.3 * steps[0]


def test_training_ends_when_the_validation_loss_has_not_fallen_for_as_long_as_patience_says() -> None:
    contrary = replace(samples(8, 1), labels=1 - samples(8, 1).labels)
    rules = FitSettings(epochs=40, batch=8, l2=0.0, patience=3)
    result = fit(network(), samples(), contrary, rules)
    assert len(result.history) == result.best_epoch + 3 < 40


def test_averaged_epochs_are_judged_by_the_mean_of_their_weights_with_batch_norm_of_that_mean() -> None:
    train, each = samples(), list[dict[str, torch.Tensor]]()
    plain, averaged = network(), network()
    fit(plain, train, train, FitSettings(epochs=2, batch=24), progress=lambda _: each.append(weights(plain)))
    result = fit(averaged, train, train, FitSettings(epochs=2, batch=24, average_epochs=2))
    assert result.best_epoch == 2
    mean = {name: (each[0][name].double() + each[1][name].double()) / 2 for name in each[0]}
    for name, value in averaged.named_parameters():
        torch.testing.assert_close(value.detach(), mean[name].float())
    # Batch norm: the statistics of all patches under the averaged weights, here one batch of 24.
    assert train.patches is not None
    norm, pooled = averaged.spatial.norms[0], list[torch.Tensor]()
    norm.register_forward_pre_hook(lambda _, given: pooled.append(given[0]))
    embed(averaged, train.patches)
    seen = pooled[0].transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(norm.running_mean.double(), seen.mean(dim=1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), seen.var(dim=1), rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.1


def test_a_label_between_0_and_1_is_a_share_of_each() -> None:
    full, model = samples(8), network()

    def loss(label: float) -> float:
        return validation_loss(model, replace(full, labels=np.full(8, label, np.float32)))

    assert loss(0.25) == pytest.approx(0.25 * loss(1) + 0.75 * loss(0), rel=1e-5)
    with pytest.raises(InputError, match=r"between 0 and 1; that of sample 3 is 1\.5"):
        replace(full, labels=np.array([0, 1, 0, 1.5, 1, 0, 1, 0], np.float32))


def test_a_training_whose_loss_is_never_a_number_says_what_to_try() -> None:
    wild = FitSettings(epochs=2, batch=8, optimiser="sgd", learning_rate=1e30)
    with pytest.raises(DivergedError, match="smaller learning rate than 1e"):
        fit(network(), samples(), samples(8, 1), wild)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused_and_auto_takes_the_processor() -> None:
    with pytest.raises(SettingsError, match="no CUDA device"):
        fit(network(), samples(), samples(8, 1), replace(QUICK, device="cuda"))
    with pytest.raises(SettingsError, match="mixed_precision needs a CUDA device"):
        fit(network(), samples(), samples(8, 1), replace(QUICK, device="auto", mixed_precision=True))
    first, second = network(), network()
    fit(first, samples(), samples(8, 1), replace(QUICK, device="auto"))
    fit(second, samples(), samples(8, 1), QUICK)
    assert not moved(weights(first), second)


def test_in_mixed_precision_the_loss_falls_alike_and_the_weights_stay_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """bfloat16 on the processor, which the settings refuse because it is slow there: the same code path."""
    monkeypatch.setattr(loop, "device_of", lambda *_: torch.device("cpu"))
    rules = FitSettings(epochs=3, batch=8, l2=0.0)
    whole, mixed = network(), network()
    expected = fit(whole, samples(), samples(8, 1), rules).history
    found = fit(mixed, samples(), samples(8, 1), replace(rules, mixed_precision=True)).history
    assert found != expected
    assert [losses.train for losses in found] == pytest.approx([x.train for x in expected], abs=0.05)
    assert {value.dtype for value in mixed.parameters()} == {torch.float32}


def test_a_last_batch_of_one_sample_is_not_left_alone() -> None:
    assert fit(network(), samples(9), samples(8, 1), replace(QUICK, epochs=1)).steps == 1


@pytest.mark.parametrize("frozen", [(), ("spatial",)])
def test_a_patch_with_no_data_is_refused_by_its_number(frozen: tuple[str, ...]) -> None:
    train = samples()
    assert train.patches is not None
    train.patches[13, 1, 4, 4] = np.nan
    with pytest.raises(InputError, match="patches of sample 13 hold NaN"):
        fit(network(), train, samples(8, 1), replace(QUICK, batch=24, frozen=frozen))


def test_samples_need_exactly_one_kind_of_place() -> None:
    full = samples(8)
    with pytest.raises(InputError, match="either patches or spatial embeddings"):
        FitSamples(full.labels, full.windows)
    with pytest.raises(InputError, match="8 labels, but 4 windows"):
        FitSamples(full.labels, windows(4, DAYS), full.patches)


def test_training_and_validation_of_two_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="both have windows, or neither"):
        fit(network(), samples(), replace(samples(8), windows=None), QUICK)
    none = FitSamples(np.zeros(0, np.float32), embeddings=np.zeros((0, 128), np.float32))
    with pytest.raises(InputError, match="0 validation samples"):
        fit(network(), samples(), none, QUICK)


@dataclass(frozen=True)
class Band:
    name: str
    unit: str = ""
    log: bool = False
    categories: dict[int, str] | None = None


RAIN = VariableSpec(name="rain", unit="mm", log=True, minimum=0, maximum=1)


def test_ranges_are_those_of_the_samples_given_and_categories_those_seen() -> None:
    patches = np.stack([np.linspace(5, 9, 50), np.tile([2, 4], 25)]).reshape(1, 2, 5, 10)
    window = np.array([0.0, 3.5, 40.0]).reshape(1, 3, 1)
    bands = (Band("slope", "deg", log=True), Band("cover", categories={2: "field", 4: "rock", 6: "ice"}))
    factors, variables = fit_ranges(bands, (RAIN,), patches, window)
    assert factors == (
        FactorSpec(name="slope", unit="deg", log=True, minimum=5.0, maximum=9.0),
        FactorSpec(name="cover", unit="", categories={2: "field", 4: "rock"}),
    )
    assert variables == (RAIN.model_copy(update={"minimum": 0.0, "maximum": 40.0}),)


@pytest.mark.parametrize(
    ("band", "values", "words"),
    [
        (Band("slope"), [1.0, np.nan], "factor 'slope' of the training patches holds NaN"),
        (Band("slope"), [2.0, 2.0], "'slope' of the training patches is 2.0 everywhere"),
        (Band("cover", categories={1: "a"}), [1.0, 8.0], "codes without a name: 8"),
        (Band("cover", categories={1: "a"}), [1.0, 1.5], "not whole codes"),
        (Band("cover", categories={1: "a"}), [1.0, np.nan], "not whole codes"),
    ],
)
def test_ranges_of_unusable_samples_are_refused(band: Band, values: list[float], words: str) -> None:
    patches = np.array(values).reshape(1, 1, 1, 2)
    with pytest.raises(InputError, match=words):
        fit_ranges((band,), (RAIN,), patches, np.array([0.0, 1.0]).reshape(1, 2, 1))
