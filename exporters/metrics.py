"""Figures of the service as Prometheus metrics.

The collector reads everything at each scrape from a function it is given, so runs from the command line
count like the daemon's own. Counters start at zero; a gauge is absent until it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from exporters.challenger_metrics import ChallengerFigures, challenger_metrics
from exporters.forecast_metrics import ForecastFigures, forecast_metrics
from exporters.layer import Layer, LayerStatus
from exporters.upkeep_metrics import UpkeepFigures, upkeep_metrics
from exporters.verification import Verification
from exporters.verification_metrics import DetectionFigures, detection_metrics, verification_metrics
from exporters.warning_metrics import ShownZones, WarningFigures, warning_metrics

PREFIX = "colluvium_"


@dataclass(frozen=True)
class FeedFigures:
    """One feed in figures. Times are Unix seconds."""

    feed: str
    last_success: float | None
    newest_reading: float | None
    attempts: int
    errors: Mapping[str, int]  # by reason
    readings: Mapping[str, int]  # by quality
    breaker_open: bool | None = None  # None: the feed's server was never asked
    suspects: Mapping[str, int] = field(default_factory=dict)  # ever doubted, by check
    suspects_open: int = 0  # on which nobody has decided
    silent: int | None = None  # series; None: nothing was ever read
    newest_issue: float | None = None  # of a feed of forecasts
    due: float | None = None  # from when on it is late, if nothing newer comes


@dataclass(frozen=True)
class ExporterFigures:
    """One exporter's outbox in figures."""

    exporter: str
    pending: int
    parked: int
    attempts: int
    errors: int


@dataclass(frozen=True)
class Figures:
    """Everything that /metrics says."""

    latest: Layer | None
    last_success: float | None  # Unix seconds
    last_duration: Mapping[str, float]  # stage -> seconds, of the newest success
    outcomes: Mapping[str, int]
    cells_total: int
    provider: str  # ONNX Runtime's name of what sessions are opened with
    feeds: Sequence[FeedFigures] = ()
    exporters: Sequence[ExporterFigures] = ()
    zones_at_most: int = 200
    held: bool = False
    build: Mapping[str, str] = field(default_factory=dict)
    forecasts: ForecastFigures = field(default_factory=ForecastFigures)
    device: str = "cpu"
    upkeep: UpkeepFigures = field(default_factory=UpkeepFigures)
    warnings: WarningFigures = field(default_factory=WarningFigures)
    verification: Verification | None = None  # None: nothing was ever verified
    challenger: ChallengerFigures | None = None  # None: the settings name none
    detection: DetectionFigures | None = None  # None: no scene was ever looked at


class ServiceCollector(Collector):
    """Turns figures into metric families at each scrape."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Say nothing in advance, so that registering does not read the databases."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the figures and yield them as metrics."""
        figures = self._read()
        yield from _run_metrics(figures)
        yield from _feed_metrics(figures)
        yield from _exporter_metrics(figures)
        yield from forecast_metrics(figures.forecasts)
        yield from upkeep_metrics(figures.upkeep)
        layers = [layer for layer in (figures.latest, *figures.forecasts.layers) if layer is not None]
        shown = ShownZones.of(layers, figures.zones_at_most)
        yield from _area_metrics(layers, shown)
        yield from warning_metrics(figures.warnings, layers, shown)
        yield from verification_metrics(figures.verification)
        yield from challenger_metrics(figures.challenger)
        yield from detection_metrics(figures.detection)
        if figures.latest is not None:
            yield from _layer_metrics(figures.latest, figures)


def _run_metrics(figures: Figures) -> Iterator[Metric]:
    outcomes = _counter("refresh", "Refreshes by how they ended.", ["outcome"])
    for outcome, count in figures.outcomes.items():
        outcomes.add_metric([outcome], count)
    yield outcomes
    cells = _counter("refresh_cells", "Cells of all published layers.")
    cells.add_metric([], figures.cells_total)
    yield cells
    held = _gauge("held", "1 while a person holds publication, otherwise 0.")
    held.add_metric([], float(figures.held))
    yield held
    if figures.last_success is not None:
        success = _gauge(
            "refresh_last_success_timestamp_seconds", "When a refresh last ended published or unchanged."
        )
        success.add_metric([], figures.last_success)
        yield success
    if figures.last_duration:
        duration = _gauge("refresh_duration_seconds", "Seconds of the newest successful refresh.")
        duration.add_metric([], sum(figures.last_duration.values()))
        stages = _gauge("refresh_stage_duration_seconds", "The same by stage.", ["stage"])
        for stage, seconds in figures.last_duration.items():
            stages.add_metric([stage], seconds)
        yield from (duration, stages)
    if figures.build:
        build = InfoMetricFamily(f"{PREFIX}build", "Version of the service.", value=dict(figures.build))
        yield build


def _feed_metrics(figures: Figures) -> Iterator[Metric]:
    attempts = _counter("feed_attempts", "Attempts to read a feed.", ["feed"])
    errors = _counter("feed_errors", "Failed attempts to read a feed.", ["feed", "reason"])
    readings = _counter("readings", "Readings by what the quality checks said.", ["feed", "quality"])
    suspects = _counter("suspect_readings", "Readings that a check has doubted.", ["feed", "check"])
    waiting = _gauge("suspect_readings_open", "Doubted readings that wait for a person.", ["feed"])
    silent = _gauge("feed_silent_series", "Series days behind the others of their feed.", ["feed"])
    breaker = _gauge(
        "feed_breaker_open",
        "1 while a feed's server failed so often that it is not asked, otherwise 0.",
        ["feed"],
    )
    success = _gauge(
        "feed_last_success_timestamp_seconds", "When a feed was last read, in full or in part.", ["feed"]
    )
    newest = _gauge(
        "feed_newest_reading_timestamp_seconds", "Start of the newest day with a reading.", ["feed"]
    )
    issue = _gauge("feed_newest_issue_timestamp_seconds", "The newest issue of a forecast.", ["feed"])
    due = _gauge(
        "feed_due_timestamp_seconds", "From when on a feed is late if it brought nothing newer.", ["feed"]
    )
    for feed in figures.feeds:
        attempts.add_metric([feed.feed], feed.attempts)
        for reason, count in feed.errors.items():
            errors.add_metric([feed.feed, reason], count)
        for quality, count in feed.readings.items():
            readings.add_metric([feed.feed, quality], count)
        for check, count in feed.suspects.items():
            suspects.add_metric([feed.feed, check], count)
        waiting.add_metric([feed.feed], feed.suspects_open)
        known = (
            (silent, feed.silent),
            (breaker, feed.breaker_open),
            (success, feed.last_success),
            (newest, feed.newest_reading),
            (issue, feed.newest_issue),
            (due, feed.due),
        )
        for family, value in known:
            if value is not None:
                family.add_metric([feed.feed], float(value))
    yield from (attempts, errors, readings, suspects, waiting, silent, breaker, success, newest, issue, due)


def _exporter_metrics(figures: Figures) -> Iterator[Metric]:
    pending = _gauge("export_pending", "Deliveries that wait.", ["exporter"])
    parked = _gauge("export_parked", "Deliveries refused for good.", ["exporter"])
    attempts = _counter("export_attempts", "Attempts to deliver.", ["exporter"])
    errors = _counter("export_errors", "Failed attempts to deliver.", ["exporter"])
    for exporter in figures.exporters:
        pending.add_metric([exporter.exporter], exporter.pending)
        parked.add_metric([exporter.exporter], exporter.parked)
        attempts.add_metric([exporter.exporter], exporter.attempts)
        errors.add_metric([exporter.exporter], exporter.errors)
    yield from (pending, parked, attempts, errors)


def _area_metrics(layers: Sequence[Layer], shown: ShownZones) -> Iterator[Metric]:
    """Yield class areas and their growth of the newest nowcast and of the current forecasts."""
    area = _gauge("class_area_square_meters", "Area of each class.", ["class", "lead"])
    ratio = _gauge("class_area_ratio", "Share of each class of the known cells.", ["class", "lead"])
    by_zone = _gauge("zone_class_area_square_meters", "Area of each class by zone.", ["zone", "class"])
    labels = ["zone", "class", "lead", "days"]
    change = _gauge(
        "class_area_change_square_meters",
        "Growth of each class over days, on cells known on both with the same series behind them.",
        labels,
    )
    change_ratio = _gauge(
        "class_area_change_ratio", "The same as a share of those cells: 0.05 is five points more.", labels
    )
    for layer in layers:
        lead = str(layer.lead)
        for item in layer.areas:
            if item.zone == "":
                area.add_metric([item.label, lead], item.area_m2)
                if item.ratio is not None:
                    ratio.add_metric([item.label, lead], item.ratio)
            elif item.zone not in shown.names:
                continue
            elif layer.lead == 0:  # the family has no lead: a forecast would stand for today
                by_zone.add_metric([item.zone, item.label], item.area_m2)
            for days, value in item.change_m2.items():
                change.add_metric([item.zone, item.label, lead, str(days)], value)
            for days, value in item.change_ratio.items():
                change_ratio.add_metric([item.zone, item.label, lead, str(days)], value)
    yield from (area, ratio, by_zone, change, change_ratio)


def _layer_metrics(layer: Layer, figures: Figures) -> Iterator[Metric]:
    day = _gauge("layer_day_timestamp_seconds", "Start of the day of the newest layer.")
    day.add_metric([], layer.valid_from.timestamp())
    status = _gauge("layer_status", "1 for the status of the newest layer, 0 for the others.", ["status"])
    for one in LayerStatus:
        status.add_metric([one.value], float(one == layer.status))
    unconfirmed = _gauge("layer_unconfirmed", "1 where the newest layer is unconfirmed, otherwise 0.")
    unconfirmed.add_metric([], float(layer.unconfirmed))
    coverage = _gauge("window_observed_ratio", "Coverage of the windows behind the newest layer.")
    coverage.add_metric([], layer.coverage)
    model = InfoMetricFamily(
        f"{PREFIX}model",
        "The bundle behind the newest layer.",
        value={
            "name": layer.model.name,
            "version": layer.model.version,
            "digest": layer.model.digest[:16],
            "provider": figures.provider,
            "device": figures.device,
            "may_warn": str(layer.model.may_warn).lower(),
        },
    )
    yield from (day, status, unconfirmed, coverage, model)
    if layer.output_stability is not None:
        stability = _gauge(
            "output_stability_index",
            "Population stability index of the newest layer's susceptibility against the model card's.",
        )
        stability.add_metric([], layer.output_stability)
        yield stability
    if layer.outside_ratio is not None:
        outside = _gauge("outside_training_ratio", "Share of the known cells outside the training ranges.")
        outside.add_metric([], layer.outside_ratio)
        yield outside


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)
