"""`colluvium bench`: how fast is a refresh on this machine, and against what."""

from __future__ import annotations

import math
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from pydantic import ValidationError

from service.commands.shared import json_option, print_json
from service.errors import UsageError
from service.progress import progress_bar
from service.settings_outlets import PostgisLogin
from service.stamps import utc_now

# What measures is loaded by the command, not by every start of the program.
_PARTS = ("parts", "naive", "dense", "xgboost", "arid", "limits")
_PATH = click.Path(path_type=Path)


@click.command(
    epilog="Example: colluvium bench --json > bench.json; colluvium bench --extrapolate bench.json"
)
@click.option(
    "--cells",
    type=click.IntRange(min=64**2),
    default=4096**2,
    show_default=True,
    help="Of the synthetic region, a square of whole forcing cells; measured is the nearest that there is.",
)
@click.option(
    "--bundle", type=_PATH, help="Of the synthetic region (default: random weights, P 23, C 16, V 2)."
)
@click.option(
    "--outline",
    type=_PATH,
    help="Polygons (GeoJSON, GeoPackage): a synthetic region inside them instead of a square.",
)
@click.option("--cell-size", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Metres.")
@click.option(
    "-c",
    "--config",
    type=_PATH,
    envvar=None,
    help="Measure this region instead, beside its data folder; nothing of it changes, nothing is published.",
)
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Threads (default: one a core).")
@click.option("--dir", "folder", type=_PATH, help="Work here and keep it; the next run finds it again.")
@click.option("--days", type=click.IntRange(1, 7), default=3, show_default=True, help="Measured, in a row.")
@click.option(
    "--sample", type=click.IntRange(min=64), default=16_384, show_default=True, help="Cells, patch by patch."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.01),
    default=3.0,
    show_default=True,
    help="At least so long for each thing that is measured by itself.",
)
@click.option(
    "--only",
    type=click.Choice((*_PARTS, "refresh")),
    multiple=True,
    help="Beside the refresh, measure this alone; repeatable. 'refresh': nothing beside it.",
)
@click.option("--postgis", metavar="DSN", help="A superuser's: deliver to a database made there and dropped.")
@click.option("--engine", type=click.Choice(("local", "dask")), help="Instead of that of the settings.")
@click.option(
    "--extrapolate",
    type=_PATH,
    multiple=True,
    help="Measure nothing: what this report (--json) comes to elsewhere. Several show how memory grows.",
)
@json_option
def bench(
    cells: int,
    bundle: Path | None,
    outline: Path | None,
    cell_size: float,
    config: Path | None,
    workers: int,
    folder: Path | None,
    days: int,
    sample: int,
    seconds: float,
    only: tuple[str, ...],
    postgis: str | None,
    engine: str | None,
    extrapolate: tuple[Path, ...],
    as_json: bool,
) -> None:
    """How fast is a refresh on this machine, and against what?

    Days in a row are refreshed as 'colluvium refresh' does it, with stored state and all files; then the same
    cells are done patch by patch, without stored state, and by boosted trees, and the machine's limits are
    measured. The region is SYNTHETIC, of smooth factors, unless -c gives one. Not beside other work: the
    figures are those of the machine as it is at the time.
    """
    if extrapolate:
        _extrapolate(extrapolate, as_json=as_json)
        return
    if config is not None and (bundle is not None or outline is not None):
        raise UsageError("-c measures a region as it is; --bundle and --outline are for a synthetic one")
    _refuse_password(postgis)
    from service.bench.measure import BenchRequest, measure
    from service.bench.report import print_table, to_json
    from service.bench.scene import SceneRequest, square_side

    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="colluvium-bench-")))
        scene = None
        if config is None:
            side = square_side(cells, bundle)
            scene = SceneRequest(side, cell_size, outline.resolve() if outline else None, bundle)
        request = BenchRequest(
            folder.resolve(),
            scene,
            config,
            workers or os.cpu_count() or 1,
            days,
            frozenset(only or _PARTS) - {"refresh"},
            postgis,
            engine,
            sample,
            at_least_s=seconds,
        )
        with progress_bar("bench") as progress:
            report = to_json(measure(request, utc_now(), progress))
    if as_json:
        print_json(report)
    else:
        print_table(report)


def _refuse_password(dsn: str | None) -> None:
    try:
        PostgisLogin(dsn=dsn or "")
    except ValidationError as error:
        raise UsageError(
            "--postgis: take the password out of the DSN, which others on this machine can see; a passfile "
            "or PGPASSWORD gives it"
        ) from error


def _extrapolate(paths: tuple[Path, ...], *, as_json: bool) -> None:
    from service.bench.cost import estimates, read_reports

    found = estimates(read_reports(paths))
    if as_json:
        rows = [{**one.to_json(), "state_seconds": _number(one.state_seconds)} for one in found]
        print_json({"estimates": rows})
        return
    click.echo(
        f"{'where':<38} {'on':<30} {'cells, M':>9} {'refresh':>9} {'state once':>10} {'memory':>8} "
        f"{'state':>9} {'layer':>8} {'database':>9}  bottleneck"
    )
    for one in found:
        database = "" if one.database_bytes is None else _size(one.database_bytes)
        click.echo(
            f"{one.place:<38} {one.machine:<30} {one.cells / 1e6:>9,.0f} {_time(one.seconds):>9} "
            f"{_time(one.state_seconds):>10} {_size(one.memory_bytes):>8} {_size(one.state_bytes):>9} "
            f"{_size(one.layer_bytes):>8} {database:>9}  {one.bottleneck} ({one.marked})"
        )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"


COMMANDS = (bench,)
