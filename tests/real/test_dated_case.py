"""ITALICA's dated events with their rain: what the rules and a model say of days held out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.cases.dated import Plan, judge_case
from trainer.cases.dated_data import SAMPLING, DatedCase, open_dated
from trainer.sample_kinds import Kind

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
DATA = SHARED / "apennines"
CONFIG = ROOT / "config" / "apennines.toml"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real data at {DATA}; set COLLUVIUM_SHARED_DATA"
)

PLAN = Plan(models={"logistic_regression": {}}, splits=("year",), folds=3, resamples=100)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dated")


@pytest.fixture(scope="module")
def case(build: Path) -> DatedCase:
    return open_dated(SHARED, CONFIG, build, SAMPLING)


@pytest.fixture(scope="module")
def summary(case: DatedCase, build: Path) -> dict[str, Any]:
    return judge_case(case, build, PLAN)


def test_events_and_their_negatives_have_whole_windows_of_both_lags(case: DatedCase) -> None:
    assert case.in_range == 37
    assert 25 <= case.complete <= case.in_range
    assert set(case.windows) == {0, 1}
    assert all(np.isfinite(windows).all() for windows in case.windows.values())
    # Lag 1 ends the day before: its days are those of lag 0, moved by one.
    np.testing.assert_array_equal(case.windows[1][:, 1:], case.windows[0][:, :-1])
    assert case.counts[Kind.EVENT.value] == case.complete


def test_wet_negatives_had_ten_millimetres_on_the_day_itself(case: DatedCase) -> None:
    wet = np.array([sample.kind == Kind.TEMPORAL_WET for sample in case.samples])
    last = case.windows[0][wet, -1, 0]
    # Chosen by the nearest gauge; the service's window is interpolated between nodes.
    assert np.median(last) > 10
    assert last.mean() > 3 * case.windows[0][~wet, -1, 0].mean()


def test_three_days_of_rain_tell_an_events_day_from_a_random_one_and_less_well_from_a_wet_one(
    summary: dict[str, Any],
) -> None:
    def auc(lag: int, kind: Kind) -> float:
        return float(summary["results"][f"lag {lag}, by year, {kind.value}"]["auc"]["three_day_sum"]["value"])

    assert auc(0, Kind.TEMPORAL_RANDOM) == pytest.approx(0.95, abs=0.03)
    assert auc(0, Kind.TEMPORAL_WET) == pytest.approx(0.75, abs=0.07)
    # Of 32 events, another draw of the other days moves these by some hundredths.
    assert auc(1, Kind.TEMPORAL_RANDOM) == pytest.approx(0.82, abs=0.1)
    assert auc(1, Kind.TEMPORAL_WET) == pytest.approx(0.71, abs=0.1)
    for kind in (Kind.TEMPORAL_RANDOM, Kind.TEMPORAL_WET):
        assert auc(1, kind) < auc(0, kind)


def test_every_rule_and_model_is_judged_with_its_interval_over_storms(
    summary: dict[str, Any], build: Path
) -> None:
    assert len(summary["results"]) == 6
    for result in summary["results"].values():
        assert result["events"] == summary["data"]["events_complete"]
        for metric in ("auc", "true_skill"):
            assert set(result[metric]) >= {"intensity_duration", "three_day_sum", "logistic_regression"}
            assert all(one["low"] <= one["value"] <= one["high"] for one in result[metric].values())
    assert (build / "dated.json").exists()
    assert all(Path(picture).stat().st_size > 5_000 for picture in summary["pictures"])
