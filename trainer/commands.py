"""The trainer's commands; the service's command line finds them by entry point."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from service.commands.shared import config_option, json_option, print_json
from service.errors import UsageError
from service.lock import exclusive
from service.progress import progress_bar
from service.region import open_region
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import lock_path


@click.command(epilog="Example: colluvium factors -c region.toml")
@config_option
@json_option
def factors(config: Path, as_json: bool) -> None:
    """Derive the factor stack from DEM, vectors and rasters.

    Terrain, hydrology, distances, categories and continuous rasters, all on the region's grid, in one tiled
    GeoTIFF. Skipped where nothing it is made from has changed.
    """
    with _extra("factors"):
        from trainer.factors import derive
    settings = load_settings(config)
    with exclusive(lock_path(settings), "colluvium factors"), progress_bar("factors") as progress:
        report = derive(settings, open_region(settings), progress)
    bands = [asdict(band) for band in report.bands]
    if as_json:
        print_json({**asdict(report), "path": str(report.path), "bands": bands})
        return
    click.echo(
        f"{report.path}: {'unchanged' if report.unchanged else 'written'}, digest {report.digest[:16]}"
    )
    click.echo(f"  {report.cells:,} cells, {len(bands)} factors, {report.seconds:.1f} s")
    for band in report.bands:
        click.echo(
            f"  {band.name:<24} {band.minimum:12.4g} to {band.maximum:12.4g} {band.unit:<8}"
            f"{band.valid_share:7.1%} of the mask{', logarithmic' if band.log else ''}"
        )
    if report.cells_cut_by_edge:
        share = report.cells_cut_by_edge / report.cells
        click.echo(f"  {share:.1%} of the cells lie in catchments that the DEM's edge cuts (see .edge.tif)")
    for note in report.notes:
        click.echo(f"  note: {note}")


@click.command(epilog="Example: colluvium train -c config/demo.toml --out build/bundle")
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the bundle goes (default: bundle.path of the settings).",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@json_option
def train(config: Path, out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Train a bundle as the settings' [training] section says, prove it, and write its model card."""
    with _extra("trainer"):
        from trainer.train import train as train_bundle
    settings = load_settings(config)
    target = out or settings.bundle.path
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; either pass --overwrite or another --out")
    with progress_bar("training") as progress:
        manifest = train_bundle(settings, target, progress=progress)
    if as_json:
        print_json(json.loads(manifest.model_dump_json()))
        return
    click.echo(f"{manifest.name} {manifest.version} in {target}")
    for name, value in manifest.training.metrics.items():
        click.echo(f"  {name:<28} {value:.4f}")
    click.echo(f"  {manifest.may_warn_reason}")


@click.command(epilog="Example: colluvium demo --dir demo --days 60 --no-serve")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the synthetic region and its layers go.",
)
@click.option("--days", type=click.IntRange(8, 365), default=60, show_default=True, help="Days to refresh.")
@click.option("--serve/--no-serve", default=True, show_default=True, help="Serve the pages afterwards.")
def demo(folder: Path, days: int, serve: bool) -> None:
    """From nothing to a map: a SYNTHETIC region, its factors, readings, layers and pictures.

    Ends with a summary as one JSON object on the last line, then serves the map on localhost until Ctrl-C.
    """
    with _extra("factors"):
        from trainer.demo import run_demo
    summary = run_demo(folder, days=days, say=click.echo)
    print_json(summary)
    if serve:
        from service.daemon import run_daemon

        config = folder / "region.toml"
        settings = load_settings(config)
        click.echo(
            f"serving http://{settings.http.host}:{settings.http.port} until Ctrl-C\n"
            f"its readings end on {summary['last_day']}, so the page says STALE, as for any silent feed",
            err=True,
        )
        run_daemon(settings, config, utc_now)


@contextlib.contextmanager
def _extra(name: str) -> Iterator[None]:
    """Turn a missing third-party package into the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("service", "trainer", "exporters"):
            raise
        raise UsageError(
            f"this command needs {error.name}, which is not installed: pip install 'colluvium[{name}]'"
        ) from error
