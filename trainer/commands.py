"""The trainer's commands; the service's command line finds them by entry point."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

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


@click.command(epilog="Example: colluvium samples -c config/demo.toml --out samples.gpkg --map samples.png")
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the samples: .csv, or .gpkg for a GIS.",
)
@click.option(
    "--map", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw them on a map (PNG)."
)
@json_option
def samples(config: Path, out: Path | None, picture: Path | None, as_json: bool) -> None:
    """Draw labelled, dated samples as the settings' [training] section says, without training.

    Says how many of each kind there are, which could not be found, which rows of the inventory were left
    out and why, and which factors are younger than the landslides.
    """
    with _extra("trainer"):
        from trainer.prepare import open_inputs
        from trainer.region_samples import draw_region
        from trainer.sample_map import draw_sample_map
        from trainer.sample_table import write_samples
        from trainer.training_settings import read_training
    settings = load_settings(config)
    wanted = read_training(settings)
    with open_inputs(settings, wanted, "colluvium samples") as opened:
        drawn = draw_region(opened, wanted, wanted.sampling)
        if out is not None:
            write_samples(out, drawn.samples, opened.region.grid.crs)
        if picture is not None:
            dem = settings.factors.dem or settings.grid.dem
            if dem is None:
                raise UsageError("--map needs a relief to draw on: set grid.dem or factors.dem")
            draw_sample_map(
                picture,
                drawn.samples,
                dem,
                opened.region.grid.crs,
                title=f"Samples of {settings.region.name}",
                synthetic=settings.region.synthetic,
            )
    counts = Counter(sample.kind.value for sample in drawn.samples)
    if as_json:
        print_json({
            "samples": len(drawn.samples), "counts": counts, "not_found": drawn.shortfalls,
            "landslides_of": drawn.sources, "left_out": drawn.problems, "vintage": drawn.vintage,
            "out": out, "map": picture,
        })  # fmt: skip
        return
    click.echo(f"{len(drawn.samples)} samples: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    for source, count in drawn.sources.items():
        click.echo(f"  {count} landslides: {source}")
    for kind, count in drawn.shortfalls.items():
        click.echo(f"  {count} {kind} could not be found under these rules")
    for title, lines in (("left out", drawn.problems), ("vintage", drawn.vintage)):
        for line in lines[:20]:
            click.echo(f"  {title}: {line}")
        if len(lines) > 20:
            click.echo(f"  {title}: {len(lines) - 20} more; all with --json")
    for path in (out, picture):
        if path is not None:
            click.echo(f"written: {path}")


@click.command(epilog="Example: colluvium train -c config/demo.toml --out build/bundle")
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the bundle goes (default: bundle.path of the settings).",
)
@click.option(
    "--model", help="Another model than training.model, such as random_forest; docs/training.md names all."
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@json_option
def train(config: Path, out: Path | None, model: str | None, overwrite: bool, as_json: bool) -> None:
    """Train a bundle as the settings' [training] section says, prove it, and write its model card.

    A killed training goes on from its last checkpoint. The same settings give the same bundle.
    """
    with _extra("trainer"):
        from trainer.train import train as train_bundle
    settings = load_settings(config)
    if model is not None and model != settings.training.get("model", "cnn_lstm"):
        # Hyperparameters that are stated are those of the model that is stated.
        stated = {name: value for name, value in settings.training.items() if name != "hyperparameters"}
        settings = settings.model_copy(update={"training": {**stated, "model": model}})
    target = out or settings.bundle.path
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; either pass --overwrite or another --out")
    if target.exists() and any(target.iterdir()) and not (target / "manifest.json").exists():
        raise UsageError(f"{target} holds other files and no bundle; it is not replaced: give another --out")
    with progress_bar("training") as progress:
        manifest = train_bundle(settings, target, progress=progress)
    if as_json:
        print_json(json.loads(manifest.model_dump_json()))
        return
    click.echo(f"{manifest.name} {manifest.version} in {target}")
    for name, value in manifest.training.metrics.items():
        click.echo(f"  {name:<28} {value:.4f}")
    click.echo(f"  {manifest.may_warn_reason}")


@click.command(epilog="Example: colluvium compare -c config/kerman-synthetic.toml --out build/kerman")
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for datasets, runs, comparison.json and report.html; what is there goes on.",
)
@click.option(
    "--protocol",
    default="teng2026",
    show_default=True,
    help="Samples, split, models and hyperparameters: a shipped protocol, or a TOML file.",
)
@click.option("--models", default="", help="Only these models of the protocol, separated by commas.")
@click.option(
    "--synthetic-seeds", default="", help="Seeds of made-up regions, separated by commas: one case each."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at once (default: one a core).")
@json_option
def compare(
    config: Path, out: Path, protocol: str, models: str, synthetic_seeds: str, jobs: int | None, as_json: bool
) -> None:
    """Fit all models of a protocol on the same samples and folds, and judge them together.

    Runs are kept one by one: stopped or killed, the same command goes on where it was. Ends with a table,
    comparison.json and report.html.
    """
    with _extra("trainer"):
        from trainer.comparing import run_compare
    settings = load_settings(config)
    chosen = tuple(name.strip() for name in models.split(",") if name.strip())
    seeds = _numbers("--synthetic-seeds", synthetic_seeds)
    with exclusive(out / "lock", "colluvium compare"), progress_bar("compare") as progress:
        summary = run_compare(
            settings,
            config,
            protocol,
            out,
            chosen=chosen,
            synthetic_seeds=seeds,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        print_json(summary)
        return
    _print_comparison(summary)
    click.echo(f"written: {out / 'comparison.json'}, {out / 'report.html'}")


@click.command(epilog="Example: colluvium report build/kerman")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The HTML file (default: report.html in the folder).",
)
def report(folder: Path, out: Path | None) -> None:
    """Write the report of a finished comparison again, as one HTML file; nothing is fitted."""
    with _extra("trainer"):
        from trainer.compare_report import report_inputs
        from trainer.report import write_report
    target = out or folder / "report.html"
    write_report(report_inputs(folder), target)
    click.echo(f"written: {target}")


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"{option} takes whole numbers separated by commas, not {text!r}") from error
    if any(number < 0 for number in numbers) or len(set(numbers)) < len(numbers):
        raise UsageError(f"{option} takes numbers of 0 or more, each once, not {text!r}")
    return numbers


def _print_comparison(summary: dict[str, Any]) -> None:
    """Print a line for each model, the best AUC first, and what speaks against believing it."""
    rows = summary["models"].values()
    click.echo(f"{summary['title']}{' (SYNTHETIC data)' if summary['synthetic'] else ''}")
    click.echo(f"  {'':<22}{'AUC':>8}  {'95 % interval':<16}{'accuracy':>9}{'Brier':>8}{'seconds':>9}")
    for row in sorted(rows, key=lambda row: -row["metrics"]["auc"]["mean"]):
        auc, metrics = row["metrics"]["auc"], row["metrics"]
        click.echo(
            f"  {row['title']:<22}{auc['mean']:8.3f}  {auc['low']:.3f} to {auc['high']:.3f}  "
            f"{metrics['accuracy']['mean']:9.3f}{metrics['brier']['mean']:8.3f}{row['seconds']:9.0f}"
        )
    if summary["best_reachable"]:
        auc = summary["best_reachable"]["auc"]
        click.echo(f"  {'best reachable':<22}{auc['mean']:8.3f}  {auc['low']:.3f} to {auc['high']:.3f}")
    auc = summary["footprint"]["auc"]
    click.echo(f"  {'footprint only':<22}{auc['mean']:8.3f}  {auc['low']:.3f} to {auc['high']:.3f}")
    for leak in summary["leaks"]:
        if leak["severity"] != "note":
            click.echo(f"  {leak['severity']}: {leak['check']}: {leak['finding']}")
    for words in summary["data"]["warnings"]:
        click.echo(f"  warning: {words}")
    for name, kinds in summary["data"]["shortfalls"].items():
        for kind, count in kinds.items():
            click.echo(f"  {name}: {count} {kind} could not be found under the sampling rules")


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
@click.option(
    "--live", is_flag=True, help="For a daemon that runs today: a calm week, no pictures, no serving."
)
@click.option("--storm", is_flag=True, help="With --live: the storm arrives; only the feeds' files change.")
@click.option("--loop", is_flag=True, help="From a storm seen from space to a promoted model; needs torch.")
@click.option(
    "--detector",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --loop: another detector than the one in config/demo/detector.",
)
def demo(
    folder: Path, days: int, serve: bool, live: bool, storm: bool, loop: bool, detector: Path | None
) -> None:
    """From nothing to a map: a SYNTHETIC region, its factors, readings, layers and pictures.

    Ends with a summary as one JSON object on the last line, then serves the map on localhost until Ctrl-C.

    \b
    With --live the same region is made for a daemon whose days are the real ones:
      colluvium demo --live --dir DIR            a calm week until yesterday
      colluvium run -c DIR/region.toml           the daemon
      colluvium demo --live --storm --dir DIR    last night's readings come in: a storm

    \b
    With --loop its landslides are found in a made-up scene, judge the maps, and train the next model:
      colluvium demo --loop --dir DIR            every step is a command, printed as it is typed
    """
    if storm and not live:
        raise UsageError("--storm is of the live demo: give --live as well")
    if loop and live:
        raise UsageError("--loop and --live are two demos; give one")
    if detector is not None and not loop:
        raise UsageError("--detector is of the loop: give --loop as well")
    if loop:
        given = click.get_current_context().get_parameter_source
        for name, option in (("days", "--days"), ("serve", "--serve")):
            if given(name) is not ParameterSource.DEFAULT:
                raise UsageError(f"{option} is not of the loop, which has days of its own and serves nothing")
        with _extra("trainer"):
            from trainer.demo_loop import DETECTOR, run_loop
        print_json(run_loop(folder, detector=detector or DETECTOR, say=click.echo))
        return
    if live:
        with _extra("factors"):
            from trainer.demo_live import prepare_live
        print_json(prepare_live(folder, storm=storm, now=utc_now(), say=click.echo))
        return
    with _extra("factors"):
        from trainer.demo import run_demo
        from trainer.demo_forecast import demo_clock
    summary = run_demo(folder, days=days, say=click.echo)
    print_json(summary)
    if serve:
        from service.daemon import serve_pages

        settings = load_settings(folder / "region.toml")
        clock = demo_clock(settings, summary["last_day"])
        click.echo(
            f"serving http://{settings.http.host}:{settings.http.port} until Ctrl-C\n"
            f"its clock starts on the morning of {summary['last_day']}, where the demo's weather ends, and "
            f"nothing is fetched or made. The daemon itself: colluvium run -c {folder / 'region.toml'}",
            err=True,
        )
        serve_pages(settings, clock)


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
