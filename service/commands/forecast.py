"""`colluvium forecast`: how good past forecasts were."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
from rasterio.crs import CRS

from service.commands.shared import config_option, json_option, print_json
from service.commands.work import DAY
from service.forecast_bias import compare_rain
from service.forecast_scores import ForecastScores, measure_scores
from service.ledger import Ledger
from service.readings import Archive
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import archive_path, ledger_path


@click.group()
def forecast() -> None:
    """Forecast layers and how good they were; 'refresh --lead' makes one."""


@forecast.command(epilog="Example: colluvium forecast scores -c region.toml --days 365 --json")
@config_option
@click.option(
    "--days",
    type=click.IntRange(min=1),
    help="Of issues and layers of so many days back from there (default: forecast.bias_days).",
)
@click.option(
    "--until",
    type=DAY,
    help="Last day that counts, as a day of rain and as a layer's (default: today, or as far as it is over).",
)
@json_option
def scores(config: Path, days: int | None, until: date | None, as_json: bool) -> None:
    """Score past forecasts: rain against readings, high class area against nowcasts.

    Rain by days ahead of the issue's own day, as it was forecast, at the forecast's places; area by lead of
    the layer. Nothing is changed.
    """
    settings = load_settings(config)
    with (
        Ledger(ledger_path(settings), utc_now, make=False) as ledger,
        Archive(archive_path(settings), utc_now, make=False) as archive,
    ):
        today = utc_now().astimezone(settings.timezone).date()
        if until is not None:
            today = min(today, until + timedelta(days=1))
        back = days or settings.forecast.bias_days
        compared = compare_rain(settings, archive, CRS.from_user_input(settings.grid.crs), today, days=back)
        measured = measure_scores(settings, ledger, compared, today - timedelta(days=back), today)
    if as_json:
        print_json(scores_json(measured))
    else:
        _print_scores(measured)


def scores_json(measured: ForecastScores) -> dict[str, Any]:
    """Return what `--json` prints: what was counted, and what follows from it."""
    said = measured.model_dump(mode="json")
    for row, rain in zip(said["rain"], measured.rain, strict=True):
        row |= {
            "hit_rate": rain.hit_rate,
            "false_alarm_ratio": rain.false_alarm_ratio,
            "bias": rain.bias,
        }
    for row, area in zip(said["areas"], measured.areas, strict=True):
        row["bias"] = area.bias
    return said


def _print_scores(measured: ForecastScores) -> None:
    click.echo(f"{measured.feed}, issues of {measured.since} to {measured.until}")
    click.echo(f"rain by days ahead, wet from {measured.wet_mm:g} mm:")
    for rain in measured.rain:
        factor = "-" if rain.factor is None else f"{rain.factor:g}"
        click.echo(
            f"  {rain.ahead}: {rain.days} days, {rain.pairs} pairs; hit rate {_say(rain.hit_rate)}, false "
            f"alarm ratio {_say(rain.false_alarm_ratio)}, bias {_say(rain.bias)}, correction {factor}"
        )
    if not measured.rain:
        click.echo("  nothing to compare yet")
    click.echo("high and very high area of forecasts, over that of nowcasts of the same days:")
    for area in measured.areas:
        click.echo(
            f"  lead {area.lead}: {area.days} days; {area.forecast_ratio:.2%} against "
            f"{area.nowcast_ratio:.2%} of the known cells, bias {_say(area.bias)}"
        )
    if not measured.areas:
        click.echo("  nothing to compare yet")


def _say(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


COMMANDS = (forecast,)
