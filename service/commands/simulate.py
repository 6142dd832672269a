"""`colluvium simulate-feeds`: rain and reservoirs over HTTP, as the real services publish them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from service.commands.shared import json_option, print_json
from service.commands.work import DAY
from service.errors import UsageError
from service.settings import load_settings
from service.simulator.catalogue import PUBLISHERS
from service.simulator.faults import KINDS, NO_FAULTS, read_faults
from service.simulator.paste import sections
from service.simulator.recorded import RecordedTruth
from service.simulator.server import Simulator
from service.simulator.truth import Truth
from service.simulator.weather import SyntheticTruth
from service.stamps import utc_now

EPILOG = """
\b
Example: colluvium simulate-feeds --today 2026-03-10 --faults faults.toml
\b
A fault script, TOML or JSON. Days are the simulated clock's, UTC, both included:
  [[faults]]
  kind = "shifted"
  feed = "kerala_dams_level"     "*": all feeds
  since = 2026-03-10
  until = 2026-03-12
  series = ["SAA"]               left out: all series
\b
""" + "\n".join(f"  {kind.model_fields['kind'].default:<17} {kind.teaches}" for kind in KINDS)


@click.command("simulate-feeds", epilog=EPILOG)
@click.option(
    "-c", "--config", type=click.Path(path_type=Path, dir_okay=False),
    help="Serve this region's own readings, of its archive or its csv files (default: a synthetic weather).",
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Of the synthetic weather.")
@click.option(
    "--bounds", type=(float, float, float, float), default=(56.9, 29.4, 57.1, 29.6), show_default=True,
    metavar="W S E N", help="Of the synthetic weather, degrees; the default is the demo's ground.",
)  # fmt: skip
@click.option(
    "--gauges",
    default=10,
    show_default=True,
    type=click.IntRange(1, 20_000),
    help="Of the synthetic weather.",
)
@click.option("--reservoirs", default=2, show_default=True, type=click.IntRange(1, 600), help="Likewise.")
@click.option(
    "--today",
    type=DAY,
    help="The day that the clock starts with (default: today; -c: after the last reading).",
)
@click.option("--feed", "feeds", multiple=True, metavar="NAME", help="Serve only this one; may be repeated.")
@click.option(
    "--faults",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A fault script, TOML or JSON; see below.",
)
@click.option(
    "--latency-hours", type=float,
    help="After a day's end, all feeds publish it (default: each as its service does).",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", default=8090, show_default=True, type=click.IntRange(0, 65_535), help="0: any that is free."
)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("simulated-feeds"),
    show_default=True, help="For the files that the printed settings name: series and ratings.",
)  # fmt: skip
@json_option
def simulate_feeds(
    config: Path | None,
    seed: int,
    bounds: tuple[float, float, float, float],
    gauges: int,
    reservoirs: int,
    today: date | None,
    feeds: tuple[str, ...],
    faults: Path | None,
    latency_hours: float | None,
    host: str,
    port: int,
    folder: Path,
    as_json: bool,
) -> None:
    """Serve rain and reservoirs over HTTP in each preset's format, with faults on demand.

    Prints settings that read them, ready to paste into a region's file, and serves until it is stopped.
    Nothing of it is real: keep it away from a region that publishes.
    """
    publishers = {item.feed: item for item in PUBLISHERS}
    chosen = feeds or tuple(publishers)
    if unknown := sorted(set(chosen) - publishers.keys()):
        raise UsageError(f"no such feed: {', '.join(unknown)}; there are {', '.join(publishers)}")
    script = NO_FAULTS if faults is None else read_faults(faults, frozenset(chosen))
    truth = _truth(config, seed, bounds, gauges, reservoirs)
    first = today or (truth.last + timedelta(days=1) if config is not None else None)
    latency = {} if latency_hours is None else dict.fromkeys(chosen, timedelta(hours=latency_hours))
    try:
        simulator = Simulator(
            truth, [publishers[name] for name in chosen], _clock(first), script,
            host=host, port=port, latency=latency,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error
    with simulator:
        settings = sections(simulator, folder, chosen)
        if as_json:
            print_json({
                "address": simulator.base,
                "today": simulator.clock().date(),
                "feeds": [
                    {
                        "name": name,
                        "what": publishers[name].teaches,
                        "example": f"{simulator.address(name)}/{publishers[name].example(view)}",
                        "newest_day": view.newest,
                    }
                    for name in chosen
                    for view in (simulator.view(name),)
                ],
                "faults": [fault.model_dump(mode="json") for fault in script.faults],
                "settings": settings,
            })  # fmt: skip
        else:
            click.echo(
                f"# Simulated feeds on {simulator.base}; today is {simulator.clock():%Y-%m-%d}. Not real.\n"
            )
            click.echo(settings)
            click.echo("serving; stop it with Ctrl-C", err=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            counts = sum(simulator.requests.values())
            click.echo(f"{counts} requests answered", err=True)


def _truth(
    config: Path | None, seed: int, bounds: tuple[float, float, float, float], gauges: int, reservoirs: int
) -> Truth:
    if config is not None:
        return RecordedTruth.of_region(load_settings(config), utc_now())
    west, south, east, north = bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise UsageError(f"--bounds {bounds}: west, south, east, north in degrees are needed")
    return SyntheticTruth(bounds, seed, gauge_count=gauges, reservoir_count=reservoirs)


def _clock(first: date | None) -> Callable[[], datetime]:
    """Return a clock that goes on from now, or from noon of a day."""
    start = utc_now()
    shift = (
        timedelta(0)
        if first is None
        else datetime(first.year, first.month, first.day, 12, tzinfo=UTC) - start
    )
    return lambda: utc_now() + shift


COMMANDS = (simulate_feeds,)
