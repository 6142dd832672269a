"""Models are judged on the same draws of whole blocks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import InputError
from trainer.evaluate import METRICS, evaluate
from trainer.judge import PAIR_METRICS, Repetition, summarise

Floats = npt.NDArray[np.float64]


def logistic(score: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-score)))


def repetition(
    name: str = "r0",
    data: str = "kerman",
    *,
    seed: int = 0,
    blocks: int = 30,
    size: int = 10,
    skill: dict[str, float] | None = None,
    block_noise: float = 0.0,
) -> Repetition:
    """Samples in blocks; a model sees the label times its skill, with noise of its own and of the block."""
    random = np.random.default_rng(seed)
    block = np.repeat(np.arange(blocks), size)
    label = random.integers(0, 2, block.size)
    shared = random.normal(0, block_noise, blocks)[block] if block_noise else 0.0
    noise = random.normal(0, 1, block.size) + shared
    predicted = {
        model: logistic(strength * (2 * label - 1) + noise + random.normal(0, 0.1, block.size))
        for model, strength in (skill or {"forest": 1.0, "network": 1.5}).items()
    }
    return Repetition(name, data, label, block, predicted)


def test_the_mean_is_over_repetitions_and_lies_in_its_interval() -> None:
    several = [repetition(f"r{seed}", f"seed-{seed}", seed=seed) for seed in range(3)]
    found = summarise(several, resamples=200)
    for name in ("forest", "network"):
        alone = [evaluate(each.label, each.predicted[name]) for each in several]
        for metric in METRICS:
            interval = found.models[name].metrics[metric]
            assert interval.mean == pytest.approx(np.mean([getattr(one, metric) for one in alone]))
            assert interval.low < interval.mean < interval.high
        assert found.models[name].confusion.tp == sum(one.confusion.tp for one in alone)
    assert (found.repetitions, found.samples, found.blocks) == (3, 900, 90)
    assert found.notes == ()


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = []
    for seed in range(80):
        random = np.random.default_rng([9, seed])
        right = random.random(40) < 0.7  # a block is right or wrong as a whole
        block = np.repeat(np.arange(40), 6)
        label = np.tile([0, 1], 120)
        said = np.where(right[block], label, 1 - label).astype(float)
        interval = summarise([Repetition("r", "d", label, block, {"m": said})], resamples=150).models["m"]
        held.append(interval.metrics["accuracy"].low <= 0.7 <= interval.metrics["accuracy"].high)
    assert np.mean(held) >= 0.87  # drawn by sample, it is held less than 0.7 of the time


def test_a_paired_difference_is_narrower_than_two_intervals_suggest() -> None:
    one = repetition(skill={"forest": 1.0, "network": 1.2}, block_noise=1.0, blocks=60)
    found = summarise([one], resamples=300)
    pair = found.pair("network", "forest", "auc")
    forest, network = (found.models[name].metrics["auc"] for name in ("forest", "network"))
    assert pair.difference == pytest.approx(network.mean - forest.mean)
    assert 0 < pair.low < pair.difference < pair.high
    assert network.low < forest.high  # the intervals alone would not tell them apart
    turned = found.pair("forest", "network", "auc")
    assert (turned.difference, turned.low, turned.high) == (-pair.difference, -pair.high, -pair.low)


def test_equal_models_differ_by_exactly_nothing() -> None:
    one = repetition()
    same = replace(one, predicted={"a": one.predicted["forest"], "b": one.predicted["forest"]})
    for pair in summarise([same], resamples=50).pairs:
        assert (pair.difference, pair.low, pair.high) == (0, 0, 0)


def test_a_block_held_out_twice_is_drawn_once() -> None:
    first = repetition("r0", "one place", seed=1)
    again = replace(first, name="r1")
    once = summarise([first], resamples=100).models["forest"].metrics["auc"]
    assert summarise([first, again], resamples=100).models["forest"].metrics["auc"] == once
    # As if of another place, the same samples look like twice as many.
    elsewhere = replace(first, name="r1", data="another place")
    apart = summarise([first, elsewhere], resamples=100).models["forest"].metrics["auc"]
    assert apart.high - apart.low < 0.9 * (once.high - once.low)


def test_a_dataset_is_resampled_alike_whatever_it_is_judged_with() -> None:
    first, second = repetition("r0", "one", seed=1), repetition("r1", "two", seed=2)
    both, turned = summarise([first, second], resamples=100), summarise([second, first], resamples=100)
    for metric in METRICS:
        one, other = both.models["forest"].metrics[metric], turned.models["forest"].metrics[metric]
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))


def test_a_model_and_its_best_reachable_are_paired() -> None:
    random = np.random.default_rng(3)
    true = random.beta(0.5, 0.5, 400)
    label = (random.random(400) < true).astype(np.int64)
    blunt = logistic(np.log(true / (1 - true)) + random.normal(0, 1, 400))
    one = Repetition("r", "made up", label, np.arange(400) // 5, {"oracle": true, "blunt": blunt}, true)
    found = summarise([one], resamples=200)
    assert found.best_reachable == found.models["oracle"].metrics["auc"]
    gaps = {gap.first: gap for gap in found.gaps}
    assert (gaps["oracle"].low, gaps["oracle"].high) == (0, 0)
    assert gaps["blunt"].high < 0
    assert summarise([replace(one, truth=None)], resamples=20).best_reachable is None


def test_the_parts_of_the_comparison_file_are_plain_json() -> None:
    skill = {"forest": 1.0, "network": 1.5, "tree": 0.5}
    part = summarise([repetition(skill=skill)], resamples=50).to_json()
    read = json.loads(json.dumps(part, allow_nan=False))
    assert set(read) == {"models", "pairs", "best_reachable", "resampling"}
    assert list(read["models"]) == list(skill)
    for model in read["models"].values():
        assert set(model) == {"metrics", "confusion"}
        assert set(model["metrics"]) == set(METRICS)
        assert all(set(values) == {"mean", "low", "high"} for values in model["metrics"].values())
        assert sum(model["confusion"][key] for key in ("tp", "fp", "tn", "fn")) == 300
    assert read["best_reachable"] is None
    assert len(read["pairs"]) == 3 * len(PAIR_METRICS)
    assert set(read["pairs"][0]) == {"first", "second", "metric", "difference", "low", "high"}


def test_blocks_of_one_class_are_drawn_again_and_that_is_said() -> None:
    label = np.repeat([0, 0, 0, 1, 1], 4)
    one = Repetition("r", "few", label, np.repeat(np.arange(5), 4), {"m": np.linspace(0.1, 0.9, 20)})
    found = summarise([one], resamples=400)
    assert found.resamples == 400
    # 3 of 5 blocks are without landslide: (3/5)^5 + (2/5)^5 of the draws, and then of those again.
    assert 20 < found.redrawn < 80
    assert any(f"{found.redrawn} draws" in note for note in found.notes)
    assert any("only 5 blocks" in note for note in found.notes)
    assert found.models["m"].metrics["auc"].mean == 1.0


def test_draws_that_never_hold_both_classes_are_left_out_or_refused() -> None:
    # Ten repetitions, each with its only landslide in a block of its own: no draw holds all of them.
    block = np.arange(10)
    several = [
        Repetition(f"r{n}", "few", (block == n).astype(np.int64), block, {"m": np.full(10, 0.5)})
        for n in range(10)
    ]
    with pytest.raises(InputError, match="make the blocks smaller"):
        summarise(several, resamples=3)


def test_a_metric_without_meaning_is_left_out_and_named() -> None:
    one = repetition()
    silent = replace(one, predicted={"m": one.predicted["forest"] * 0.4})
    found = summarise([silent], resamples=20)
    assert "precision" not in found.models["m"].metrics
    assert found.models["m"].metrics["recall"].mean == 0
    assert any("precision of m is not defined in r0" in note for note in found.notes)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    one = [repetition()]
    assert summarise(one, resamples=50, seed=1) == summarise(one, resamples=50, seed=1)
    assert summarise(one, resamples=50, seed=1).models != summarise(one, resamples=50, seed=2).models


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": np.zeros(300, np.int64)}, "all of one class"),
        ({"predicted": {"forest": np.full(300, np.nan)}}, "model forest: .*300 NaN"),
        ({"predicted": {"forest": np.zeros(299)}}, "model forest: .*equally long"),
        ({"block": np.zeros(3, np.int64)}, "blocks of shape"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"repetition r0.*{words}|{words}"):
        summarise([replace(repetition(), **change)], resamples=5)  # type: ignore[arg-type]


def test_models_must_have_seen_the_same_samples() -> None:
    with pytest.raises(InputError, match="compared on the same samples"):
        summarise([repetition("r0"), repetition("r1", skill={"forest": 1.0})])
    with pytest.raises(InputError, match="no repetition"):
        summarise([])
    with pytest.raises(InputError, match="no metric is called kappa"):
        summarise([repetition()], ["auc", "kappa"])
