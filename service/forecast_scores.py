"""How good past forecasts were: rain against readings by distance, high class area against nowcasts by lead.

Rain is scored as it was forecast, without our correction, at the forecast's own places
(service.forecast_bias). With wet days of `wet_mm` and more: hit rate = hits / (hits + misses), false alarm
ratio = false alarms / (hits + false alarms), bias = sum forecast / sum observed (Wilks, 2011, 8.2). The bias
of high class area is the share of known cells that forecasts of a lead had as high or very high, over that of
the nowcasts of the same days, where both were made by the same model on the same mask, zones and breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from exporters.layer import Layer, LayerStatus
from service.errors import ColluviumError
from service.forecast_bias import Compared, by_ahead, forecast_feed, rain_factors
from service.layer_basis import are_comparable
from service.ledger import Ledger
from service.settings import Settings
from service.workshop import Workshop

log = structlog.get_logger()

_HIGH = ("high", "very_high")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RainScore(_Value):
    """Rain `ahead` days after the issue's own day, over so many days and (place, day) pairs."""

    ahead: int
    days: int
    pairs: int
    hits: int
    misses: int
    false_alarms: int
    forecast_mm: float  # mean over pairs
    observed_mm: float
    factor: float | None  # what a layer issued then multiplies it by; None: too few days

    @property
    def hit_rate(self) -> float | None:
        """Share of the wet pairs that were forecast; None where none was wet."""
        return _over(self.hits, self.hits + self.misses)

    @property
    def false_alarm_ratio(self) -> float | None:
        """Share of the wet forecasts that stayed dry; None where none was given."""
        return _over(self.false_alarms, self.hits + self.false_alarms)

    @property
    def bias(self) -> float | None:
        """Rain forecast over rain that came; None where none came."""
        return _over(self.forecast_mm, self.observed_mm)


class AreaScore(_Value):
    """High and very high area of the forecasts of one lead and of the nowcasts of the same days."""

    lead: int
    days: int
    forecast_ratio: float  # mean share of the known cells
    nowcast_ratio: float

    @property
    def bias(self) -> float | None:
        """Area forecast over area in the nowcasts; None where those had none."""
        return _over(self.forecast_ratio, self.nowcast_ratio)


class ForecastScores(_Value):
    """Scores of one feed's forecasts, and of the layers made from them."""

    feed: str
    made_at: datetime
    since: date  # first day of an issue that counts
    until: date  # last day
    wet_mm: float
    rain: tuple[RainScore, ...]
    areas: tuple[AreaScore, ...]


def read_scores(ledger: Ledger) -> ForecastScores | None:
    """Return the scores that the last run of forecasts kept; None where there are none. Cheap."""
    record = ledger.newest_scores()
    if record is None:
        return None
    try:
        return ForecastScores.model_validate_json(record)
    except ValidationError as error:  # kept by another version; the next run keeps them anew
        log.warning("the scores of forecasts cannot be read", reason=str(error))
        return None


def keep_scores(shop: Workshop) -> None:
    """Measure the scores and keep them; layers do not depend on them, so that a failure is only logged."""
    try:
        since = shop.today - timedelta(days=shop.settings.forecast.bias_days)
        scores = measure_scores(shop.settings, shop.ledger, shop.compared_rain, since, shop.today)
        shop.ledger.keep_scores(shop.today, scores.model_dump_json())
    except ColluviumError as error:
        log.warning("no scores of forecasts", reason=str(error))


def measure_scores(
    settings: Settings, ledger: Ledger, compared: Sequence[Compared], since: date, today: date
) -> ForecastScores:
    """Measure the scores of issues (`compared` with what came) and of layers, of `since` to before `today`.

    Raises SettingsError where it is not clear which feed forecasts.
    """
    factors = rain_factors(compared, settings.forecast)
    return ForecastScores(
        feed=forecast_feed(settings),
        made_at=ledger.clock(),
        since=since,
        until=today - timedelta(days=1),
        wet_mm=settings.forecast.wet_mm,
        rain=tuple(
            _rain_score(ahead, pairs, settings.forecast.wet_mm, factors.get(ahead))
            for ahead, pairs in by_ahead(compared).items()
        ),
        areas=_area_scores(ledger, since, today - timedelta(days=1)),
    )


def _rain_score(ahead: int, compared: Sequence[Compared], wet_mm: float, factor: float | None) -> RainScore:
    hits = misses = false_alarms = pairs = 0
    forecast = observed = 0.0
    for one in compared:
        said, came = one.forecast >= wet_mm, one.observed >= wet_mm
        hits += int((said & came).sum())
        misses += int((~said & came).sum())
        false_alarms += int((said & ~came).sum())
        pairs += len(said)
        forecast += float(one.forecast.sum())
        observed += float(one.observed.sum())
    return RainScore(
        ahead=ahead,
        days=len(compared),
        pairs=pairs,
        hits=hits,
        misses=misses,
        false_alarms=false_alarms,
        forecast_mm=round(forecast / pairs, 4),
        observed_mm=round(observed / pairs, 4),
        factor=factor,
    )


def _area_scores(ledger: Ledger, since: date, until: date) -> tuple[AreaScore, ...]:
    shown = _shown(ledger.layers(since, until, with_zones=False))
    bases = ledger.bases(since, until)
    by_lead: dict[int, list[tuple[float, float]]] = {}
    for (day, lead), layer in sorted(shown.items()):
        nowcast = shown.get((day, 0))
        if lead == 0 or nowcast is None or not are_comparable(bases[layer.id], bases[nowcast.id]):
            continue
        forecast_high, nowcast_high = _high_ratio(layer), _high_ratio(nowcast)
        if forecast_high is not None and nowcast_high is not None:
            by_lead.setdefault(lead, []).append((forecast_high, nowcast_high))
    return tuple(
        AreaScore(
            lead=lead,
            days=len(pairs),
            forecast_ratio=sum(one for one, _ in pairs) / len(pairs),
            nowcast_ratio=sum(other for _, other in pairs) / len(pairs),
        )
        for lead, pairs in sorted(by_lead.items())
    )


def _shown(layers: Iterable[Layer]) -> dict[tuple[date, int], Layer]:
    """Return the layer that stands for each day and lead: the newest revision, unless it was withdrawn."""
    newest = {(layer.day, layer.lead): layer for layer in layers}  # revisions come in order
    return {key: layer for key, layer in newest.items() if layer.status != LayerStatus.WITHDRAWN}


def _high_ratio(layer: Layer) -> float | None:
    ratios = [area.ratio for area in layer.areas if area.zone == "" and area.label in _HIGH]
    return None if not ratios or None in ratios else sum(ratio for ratio in ratios if ratio is not None)


def _over(above: float, below: float) -> float | None:
    return above / below if below else None
