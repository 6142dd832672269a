"""Metrics of verification and detection: absent until known, never a zero that nobody counted."""

from __future__ import annotations

from typing import Any

from exporters.verification import Verification
from exporters.verification_metrics import DetectionFigures
from tests.exporters.test_metrics import figures, samples
from tests.fix_outcomes import MADE, NO_RATE, inventory, verification, verified


def told(record: Verification | None = None, detection: DetectionFigures | None = None) -> dict[str, Any]:
    found = samples(figures(verification=record, detection=detection))
    return {name: said for name, said in found.items() if name.startswith(("verification_", "detection_"))}


def test_before_the_first_verification_and_the_first_scene_nothing_is_said() -> None:
    assert told() == {}


def test_events_are_counted_by_outcome_and_levels_by_how_they_did() -> None:
    found = told(verified(inventory()))

    assert found["verification_events"] == [
        ({"outcome": "hit"}, 1.0),
        ({"outcome": "miss"}, 1.0),
        ({"outcome": "undecided"}, 1.0),
        ({"outcome": "unknown"}, 1.0),
    ]
    cases = {(labels["level"], labels["case"]): value for labels, value in found["verification_level_cases"]}
    assert cases["yellow", "false_alarms"] == 3.0
    assert cases["red", "not_looked"] == 6.0
    assert found["verification_hit_ratio"] == [({}, 0.5)]
    assert found["verification_curve_auc"] == [({}, 0.78)]
    assert found["verification_hindsight_events"] == [({}, 0.0)]
    assert found["verification_last_timestamp_seconds"] == [({}, MADE.timestamp())]


def test_a_ratio_of_nothing_is_absent_and_not_zero() -> None:
    found = told(verification([], hit_rate=NO_RATE, curves=()))

    assert not {name for name in found if "ratio" in name or "auc" in name}
    assert found["verification_events"][1] == ({"outcome": "miss"}, 0.0)


def test_a_curve_of_one_month_does_not_stand_for_all() -> None:
    whole = verified(inventory())
    month = whole.curves[0].model_copy(update={"period": "2026-03"})

    assert "verification_curve_auc" not in told(whole.model_copy(update={"curves": (month,)}))


def test_scenes_and_outlines_are_counted_and_what_waits_is_dated() -> None:
    found = told(
        detection=DetectionFigures(
            scenes={"reviewed": 2, "waiting": 1, "unusable": 4},
            detections={"proposed": 3, "accepted": 2, "rejected": 1},
            newest_scene=7.0,
            waiting_since=8.0,
        )
    )

    assert ({"outcome": "waiting"}, 1.0) in found["detection_scenes"]
    assert ({"state": "proposed"}, 3.0) in found["detection_outlines"]
    assert found["detection_newest_scene_timestamp_seconds"] == [({}, 7.0)]
    assert found["detection_waiting_since_timestamp_seconds"] == [({}, 8.0)]


def test_where_nothing_waits_no_moment_is_said() -> None:
    found = told(detection=DetectionFigures(scenes={"reviewed": 1, "waiting": 0}, newest_scene=7.0))

    assert "detection_waiting_since_timestamp_seconds" not in found
