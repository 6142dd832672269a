"""Metrics: the names and labels that dashboards and alerts rely on; what is unknown is absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporters.forecast_metrics import ForecastFigures
from exporters.layer import Layer, LayerStatus, ZoneWarning
from exporters.metrics import ExporterFigures, FeedFigures, Figures, ServiceCollector
from exporters.upkeep_metrics import UpkeepFigures
from exporters.verification_metrics import DetectionFigures
from exporters.warning_metrics import ExerciseFigures, SentFigures, WarningFigures
from tests.exporters.fix_layer import make_layer
from tests.fix_outcomes import inventory, verified

OUTCOMES = {"published": 0, "failed": 0}
# Of DESIGN section 6: the metrics that a layer, a feed and an exporter bring, with their labels.
LABELS = {
    "class_area_square_meters": {"class", "lead"},
    "class_area_ratio": {"class", "lead"},
    "class_area_change_square_meters": {"zone", "class", "lead", "days"},
    "class_area_change_ratio": {"zone", "class", "lead", "days"},
    "zone_class_area_square_meters": {"zone", "class"},
    "layer_day_timestamp_seconds": set(),
    "layer_status": {"status"},
    "refresh_last_success_timestamp_seconds": set(),
    "refresh_duration_seconds": set(),
    "refresh_total": {"outcome"},
    "refresh_cells_total": set(),
    "feed_last_success_timestamp_seconds": {"feed"},
    "feed_newest_reading_timestamp_seconds": {"feed"},
    "feed_attempts_total": {"feed"},
    "feed_errors_total": {"feed", "reason"},
    "feed_breaker_open": {"feed"},
    "feed_silent_series": {"feed"},
    "feed_newest_issue_timestamp_seconds": {"feed"},
    "suspect_readings_total": {"feed", "check"},
    "suspect_readings_open": {"feed"},
    "readings_total": {"feed", "quality"},
    "window_observed_ratio": set(),
    "export_pending": {"exporter"},
    "export_attempts_total": {"exporter"},
    "export_errors_total": {"exporter"},
    "model_info": {"name", "version", "digest", "provider", "device", "may_warn"},
}


def figures(latest: Layer | None = None, **changes: Any) -> Figures:
    """Figures of a service that did nothing yet, but for `changes`."""
    values: dict[str, Any] = {
        "last_success": None, "last_duration": {}, "outcomes": OUTCOMES, "cells_total": 0, "provider": "CPU",
    }  # fmt: skip
    return Figures(latest=latest, **{**values, **changes})


def samples(found: Figures) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Every sample that is exposed, by name without the prefix."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: found))
    by_name: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in registry.collect():
        for sample in family.samples:
            name = sample.name.removeprefix("colluvium_")
            assert name != sample.name
            by_name.setdefault(name, []).append((sample.labels, sample.value))
    return by_name


def everything(tmp_path: Path) -> Figures:
    return figures(
        make_layer(tmp_path),
        last_success=5.0,
        last_duration={"windows": 1.0, "head": 2.5},
        feeds=[
            FeedFigures(
                "gauges",
                3.0,
                2.0,
                4,
                {"http": 1},
                {"good": 9, "rejected": 1},
                breaker_open=True,
                suspects={"step": 2},
                suspects_open=1,
                silent=3,
                newest_issue=8.0,
            )
        ],
        exporters=[ExporterFigures("share", 1, 0, 3, 2)],
    )


def test_every_metric_carries_its_documented_labels_and_no_other(tmp_path: Path) -> None:
    found = samples(everything(tmp_path))

    assert set(found) >= set(LABELS)
    for name, labels in LABELS.items():
        assert all(set(given) == labels for given, _ in found[name]), name
    assert found["refresh_duration_seconds"] == [({}, 3.5)]


def test_what_is_wrong_with_a_feed_carries_its_name(tmp_path: Path) -> None:
    found = samples(everything(tmp_path))

    assert found["feed_breaker_open"] == [({"feed": "gauges"}, 1.0)]
    assert found["feed_silent_series"] == [({"feed": "gauges"}, 3.0)]
    assert found["suspect_readings_total"] == [({"feed": "gauges", "check": "step"}, 2.0)]
    assert found["suspect_readings_open"] == [({"feed": "gauges"}, 1.0)]


def test_before_anything_happened_counters_are_zero_and_gauges_absent() -> None:
    feed = FeedFigures("gauges", None, None, 0, {}, {"good": 0, "rejected": 0})
    found = samples(figures(feeds=[feed], exporters=[ExporterFigures("share", 0, 0, 0, 0)]))

    for name in ("refresh_total", "refresh_cells_total", "feed_attempts_total", "export_errors_total"):
        assert found[name]
        assert all(value == 0 for _, value in found[name]), name
    absent = {
        "class_area_square_meters", "layer_day_timestamp_seconds", "layer_status", "model_info",
        "refresh_last_success_timestamp_seconds", "refresh_duration_seconds", "window_observed_ratio",
        "feed_newest_reading_timestamp_seconds", "feed_last_success_timestamp_seconds",
        "feed_breaker_open", "feed_silent_series", "feed_newest_issue_timestamp_seconds",
    }  # fmt: skip
    assert not absent & set(found)


def test_a_change_that_is_not_known_is_absent_and_not_zero(tmp_path: Path) -> None:
    layer = make_layer(tmp_path)
    areas = tuple(area.model_copy(update={"change_m2": {}, "change_ratio": {}}) for area in layer.areas)

    found = samples(figures(layer.model_copy(update={"areas": areas})))

    assert "class_area_change_square_meters" not in found
    assert "class_area_change_ratio" not in found


def test_one_status_is_one_and_all_others_are_there_as_zero(tmp_path: Path) -> None:
    found = samples(figures(make_layer(tmp_path, status=LayerStatus.DEGRADED)))

    status = {labels["status"]: value for labels, value in found["layer_status"]}
    assert status == {one.value: float(one == LayerStatus.DEGRADED) for one in LayerStatus}


def test_zones_beyond_the_bound_bring_no_series(tmp_path: Path) -> None:
    found = samples(figures(make_layer(tmp_path), zones_at_most=0))

    assert "zone_class_area_square_meters" not in found
    assert {labels["zone"] for labels, _ in found["class_area_change_ratio"]} == {""}


# --- warnings, drills, upkeep ---


def warned(folder: Path, *levels: int | None, may_warn: bool = True, **changes: Any) -> Layer:
    """A layer with one zone for each level."""
    made = make_layer(folder)
    area = made.areas[-1]
    ids = [chr(ord("a") + index) for index in range(len(levels))]
    warnings = tuple(
        ZoneWarning(
            zone=zone, name=zone.upper(), level=level, previous=0, rule="a rule", numbers={"share": 0.2},
            decided_at=made.issued_at,
        )
        for zone, level in zip(ids, levels, strict=True)
    )  # fmt: skip
    areas = tuple(area.model_copy(update={"zone": zone, "name": zone.upper()}) for zone in ids)
    model = made.model.model_copy(update={"may_warn": may_warn})
    update = {"warnings": warnings, "areas": (*made.areas[:4], *areas), "model": model, **changes}
    return made.model_copy(update=update)


def whole_figures(folder: Path) -> Figures:
    """Figures in which everything is known, so that every family has a sample."""
    ahead = warned(folder, 2, lead=1, id="demo-2026-03-02-l1-r1")
    upkeep = UpkeepFigures(
        clock=1.0,
        layer_due=2.0,
        refresh_period=3.0,
        last_outcome={"held": True, "published": False},
        disk_free=4.0,
        disk_size=5.0,
        acts={"hold": 1},
        region={"id": "demo", "name": "Demo"},
    )
    return figures(
        warned(folder, 3, None, output_stability=0.3, outside_ratio=0.1),
        last_success=5.0,
        last_duration={"windows": 1.0},
        exporters=everything(folder).exporters,
        feeds=[replace(everything(folder).feeds[0], due=9.0)],
        build={"version": "1"},
        held=True,
        forecasts=ForecastFigures(layers=[ahead], issued={1: ahead.issued_at}),
        warnings=WarningFigures(
            exercises=[ExerciseFigures("a", 3)], sent=[SentFigures("Alert", "Exercise", 1)]
        ),
        upkeep=upkeep,
        verification=verified(inventory()),
        detection=DetectionFigures({"waiting": 1}, {"proposed": 2}, newest_scene=6.0, waiting_since=7.0),
    )


def test_a_level_is_shown_by_zone_and_lead_and_one_that_is_not_known_is_absent(tmp_path: Path) -> None:
    found = samples(whole_figures(tmp_path))

    assert found["zone_warning_level"] == [
        ({"zone": "a", "lead": "0"}, 3.0),
        ({"zone": "a", "lead": "1"}, 2.0),
    ]
    assert ({"zone": "b", "lead": "0"}, 1.0) in found["zone_warning_unknown"]
    assert ({"zone": "a", "name": "A"}, 1.0) in found["zone_info"]


def test_of_a_model_that_may_not_warn_nothing_is_unknown(tmp_path: Path) -> None:
    found = samples(figures(warned(tmp_path, None, may_warn=False)))

    assert "zone_warning_unknown" not in found
    assert "zone_warning_level" not in found


def test_a_zone_of_which_nothing_was_said_is_unknown_unless_nobody_asked(tmp_path: Path) -> None:
    layer = warned(tmp_path, 3, 2)
    silent = layer.model_copy(update={"warnings": layer.warnings[:1]})

    assert samples(figures(silent))["zone_warning_unknown"] == [({"zone": "b", "lead": "0"}, 1.0)]
    unasked = samples(figures(silent, warnings=WarningFigures(decided=False)))
    assert "zone_warning_unknown" not in unasked


def test_a_level_is_never_left_out_for_its_place_in_the_list_of_zones(tmp_path: Path) -> None:
    found = samples(figures(warned(tmp_path, 0, 0, 3), zones_at_most=1))

    assert ({"zone": "c", "lead": "0"}, 3.0) in found["zone_warning_level"]
    assert [labels["zone"] for labels, _ in found["zone_info"]] == ["a"]


def test_what_is_not_known_is_never_left_out_either(tmp_path: Path) -> None:
    found = samples(figures(warned(tmp_path, 0, 0, None), zones_at_most=1))

    assert found["zone_warning_unknown"] == [({"zone": "c", "lead": "0"}, 1.0)]


def test_a_region_without_zones_is_unknown_as_a_whole(tmp_path: Path) -> None:
    layer = warned(tmp_path, None)
    whole = layer.warnings[0].model_copy(update={"zone": "", "name": ""})
    for warnings in ((whole,), ()):  # judged without a result, and made before levels were decided
        bare = layer.model_copy(update={"areas": layer.areas[:4], "warnings": warnings})

        assert samples(figures(bare))["zone_warning_unknown"] == [({"zone": "", "lead": "0"}, 1.0)]


def test_of_two_drills_in_a_zone_the_higher_is_played() -> None:
    drills = WarningFigures(exercises=[ExerciseFigures("a", 3), ExerciseFigures("a", 1)])

    assert samples(figures(warnings=drills))["exercise_level"] == [({"zone": "a"}, 3.0)]


def test_what_is_known_of_the_upkeep_is_said_and_nothing_else() -> None:
    found = samples(figures(upkeep=UpkeepFigures(clock=7.0, layer_due=None)))

    assert found["clock_timestamp_seconds"] == [({}, 7.0)]
    assert not {"layer_due_timestamp_seconds", "disk_free_bytes", "refresh_last_outcome"} & set(found)


def test_how_the_last_refresh_ended_is_one_of_all_outcomes(tmp_path: Path) -> None:
    found = samples(whole_figures(tmp_path))

    assert found["refresh_last_outcome"] == [({"outcome": "held"}, 1.0), ({"outcome": "published"}, 0.0)]
    assert found["cap_messages_total"] == [({"kind": "Alert", "status": "Exercise"}, 1.0)]
    assert found["acts_total"] == [({"act": "hold"}, 1.0)]
    assert found["output_stability_index"] == [({}, 0.3)]
    assert found["outside_training_ratio"] == [({}, 0.1)]
