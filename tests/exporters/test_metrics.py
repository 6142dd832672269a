"""Metrics: the names and labels that dashboards and alerts rely on; what is unknown is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporters.layer import Layer, LayerStatus
from exporters.metrics import ExporterFigures, FeedFigures, Figures, ServiceCollector
from tests.exporters.fix_layer import make_layer

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
    "model_info": {"name", "version", "digest", "provider", "may_warn"},
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
