"""Promises about [verification]."""

from __future__ import annotations

import pytest

from service.errors import SettingsError
from tests.fix_region import ToyRegion


def write(toy: ToyRegion, limits: str) -> None:
    toy.config.write_text(f"{toy.config.read_text()}\n[verification]\nevent_limits = {limits}\n", "utf-8")


def test_the_limits_of_event_classes_are_a_choice(toy: ToyRegion) -> None:
    assert toy.settings.verification.event_limits == (1, 3, 10)
    write(toy, "[1, 2, 6]")
    assert toy.settings.verification.event_limits == (1, 2, 6)


@pytest.mark.parametrize("limits", ["[2, 3, 10]", "[1, 3, 3]", "[1, 3]", "[1, 10, 3]"])
def test_limits_that_leave_a_gap_or_do_not_rise_are_refused(toy: ToyRegion, limits: str) -> None:
    write(toy, limits)
    with pytest.raises(SettingsError, match="event_limits"):
        _ = toy.settings
