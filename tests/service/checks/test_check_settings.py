"""Promises of the settings and the register of checks."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.checks.names import CheckName
from service.checks.registry import BY_NAME, CHECKS
from service.settings_quality import QualitySettings, RainRules


def test_every_check_is_named_once_and_documented() -> None:
    assert sorted(check.name for check in CHECKS) == sorted(CheckName)
    assert BY_NAME[CheckName.STEP].name == "step"
    for check in CHECKS:
        for text in (check.what, check.why, check.source, check.measured, check.cannot):
            assert text.endswith("."), (check.name, text)
        assert set(check.variables) <= {"rain", "level"}


def test_what_a_true_extreme_may_fail_is_marked() -> None:
    extreme = {check.name.value for check in CHECKS if check.extreme}
    assert extreme == {"physical_range", "step", "spatial_outlier"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"off": ["stepp"]},
        {"feeds": {"gauges": {"off": ["nosuch"]}}},
        {"rain": {"maximum_mm": [300.0]}},
        {"level": {"step": 3.0}},
    ],
)
def test_an_unknown_check_or_threshold_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        QualitySettings.model_validate(wrong)


def test_a_wrong_threshold_of_one_feed_is_named() -> None:
    with pytest.raises(ValidationError, match=r"feeds\.gauges\.level\.step_m"):
        QualitySettings.model_validate({"feeds": {"gauges": {"level": {"step_m": -1.0}}}})
    with pytest.raises(ValidationError, match=r"feeds\.gauges\.rain\.nosuch"):
        QualitySettings.model_validate({"feeds": {"gauges": {"rain": {"nosuch": 1.0}}}})


def test_a_feeds_own_thresholds_stand_over_those_of_all() -> None:
    settings = QualitySettings.model_validate(
        {"rain": {"flat_days": 6}, "feeds": {"gauges": {"rain": {"flat_heavy_days": 4}}}}
    )
    assert settings.rules("rain", "gauges") == RainRules(flat_days=6, flat_heavy_days=4)
    assert settings.rules("rain", "others") == RainRules(flat_days=6)
