"""Figures of a service of which everything is known: for asking whether a query can have an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from exporters.forecast_metrics import AreaScoreFigures, ForecastFigures, RainScoreFigures
from exporters.layer import CLASS_LABELS, ForecastBasis, Layer, ModelReference, ZoneArea, ZoneWarning
from exporters.metrics import ExporterFigures, FeedFigures, Figures
from exporters.upkeep_metrics import UpkeepFigures
from exporters.verification_metrics import DetectionFigures
from exporters.warning_metrics import ExerciseFigures, SentFigures, WarningFigures
from tests.exporters.fix_layer import make_layer
from tests.fix_outcomes import verification

NOW = datetime.now(UTC)
ZONES = {"a": "Alpha", "b": "Beta"}


def full_figures(folder: Path) -> Figures:
    """Return figures with every family filled: a storm, forecasts, a drill, an ensemble of feeds."""
    feed = FeedFigures(
        "gauges", 3.0, 2.0, 4, {"http": 1}, {"good": 9, "rejected": 1}, breaker_open=True,
        suspects={"step": 2}, suspects_open=1, silent=3, newest_issue=8.0, due=NOW.timestamp(),
    )  # fmt: skip
    return Figures(
        latest=_layer(folder, 0),
        last_success=NOW.timestamp() - 600,
        last_duration={"windows": 1.0, "head": 2.5},
        outcomes={"published": 3, "held": 1},
        cells_total=270,
        provider="CPUExecutionProvider",
        feeds=[feed],
        exporters=[ExporterFigures("share", 1, 0, 3, 2)],
        build={"version": "1.2.3"},
        forecasts=ForecastFigures(
            layers=[_layer(folder, lead) for lead in (1, 2)],
            issued={1: NOW, 2: NOW},
            rain_scores=[RainScoreFigures(1, 40, 0.8, 0.3, 1.1, 0.9)],
            area_scores=[AreaScoreFigures(1, 40, 1.2)],
        ),
        upkeep=UpkeepFigures(
            clock=NOW.timestamp(), layer_due=NOW.timestamp() + 3600, refresh_period=3600.0,
            last_outcome={"published": True, "held": False}, disk_free=5e9, disk_size=1e10,
            acts={"withdraw": 1}, region={"id": "full", "name": "Full", "synthetic": "true"},
        ),
        verification=verification(),
        detection=DetectionFigures(
            {"reviewed": 3, "waiting": 1}, {"proposed": 4}, NOW.timestamp(), NOW.timestamp()
        ),
        warnings=WarningFigures(
            exercises=[ExerciseFigures("b", 2)], sent=[SentFigures("Alert", "Draft", 1)]
        ),
    )  # fmt: skip


def _layer(folder: Path, lead: int) -> Layer:
    areas = [
        ZoneArea(
            zone=zone, name=name, label=label, area_m2=9e6, ratio=0.25, unknown_m2=0,
            change_m2={1: 6e6, 7: 6e6}, change_ratio={1: 0.2, 7: 0.2},
        )
        for zone, name in {"": "whole region", **ZONES}.items()
        for label in CLASS_LABELS
    ]  # fmt: skip
    levels = [
        ZoneWarning(
            zone=zone, name=ZONES[zone], level=level, previous=0, rule="red", numbers={}, decided_at=NOW
        )
        for zone, level in (("a", 3), ("b", None))
    ]
    forecast = ForecastBasis(feed="ahead", issued_at=NOW, first_day=NOW.date(), members=9) if lead else None
    return make_layer(
        folder,
        lead=lead,
        areas=tuple(areas),
        warnings=tuple(levels),
        model=ModelReference(name="full", version="1", digest="b" * 64, may_warn=True),
        output_stability=0.12,
        outside_ratio=0.03,
        forecast=forecast,
    )
