"""One landslide that is told twice is named, so that it counts once."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from service.detection_events import alike
from tests.fix_inventory import event, square

DAY = date(2023, 5, 16)


@pytest.mark.parametrize(
    ("other", "is_named"),
    [
        ({"lon": 11.0015}, True),  # 80 m away, both within 50 m
        ({"lon": 11.0025}, False),  # 160 m away
        ({"lon": 11.01, "outline": square(10.9, 43.9, 0.2), "accuracy_m": 20_000}, True),
        ({"lat": 44.1}, False),
        ({"day_from": date(2023, 5, 10), "day": DAY}, True),
        ({"day_from": date(2023, 5, 17), "day": date(2023, 5, 20)}, False),
        ({"kind": "nothing_seen"}, False),
        ({"uid": "e"}, False),  # itself
    ],
)
def test_a_landslide_of_the_same_ground_and_days_is_named(other: dict[str, Any], is_named: bool) -> None:
    found = alike(event("e"), [event(**({"uid": "other"} | other))])
    assert [item.uid for item in found] == (["other"] if is_named else [])


def test_a_visit_on_which_nothing_was_seen_is_like_no_landslide() -> None:
    assert alike(event("v", kind="nothing_seen"), [event("e")]) == []
