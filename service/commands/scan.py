"""`colluvium scan`: scenes that arrived in the watched folder."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import click

from service.commands.shared import config_option, json_option, print_json, say_error
from service.errors import EXIT_CODES, Outcome, UsageError
from service.files import DETECTIONS
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import progress_bar
from service.scenes import Scan, scan_scenes, sweep
from service.settings import load_settings
from service.stamps import utc_now
from service.terminal import plain
from service.workshop import ledger_path


@click.command(epilog="Example: colluvium scan -c region.toml --json")
@config_option
@json_option
def scan(config: Path, as_json: bool) -> None:
    """Look for landslides in the scenes that arrived in detection.scenes.

    The daemon does this by itself, on detection.schedule. A scene that still grows is left for the next
    round. One that cannot be used is named, and tried again when its files change. What is found waits for a
    person: 'colluvium detections scenes'. Exit status 1 if a scene could not be used in this round.
    """
    settings = load_settings(config)
    detection = settings.detection
    if detection is None or detection.scenes is None:
        raise UsageError("detection.scenes names no folder, so there is nothing to look at")
    from service.scene_eyes import open_eyes

    # A lock of its own: a scene takes minutes, and no refresh has to wait for it.
    with (
        exclusive(settings.data_dir / "scan.lock", "colluvium scan"),
        progress_bar("rows of the scene") as on_row,
        Ledger(ledger_path(settings), utc_now) as ledger,
    ):
        sweep(settings.data_dir / DETECTIONS, utc_now())
        done = scan_scenes(
            detection.scenes,
            ledger,
            open_eyes(settings, on_row),
            settle=timedelta(minutes=detection.settle_minutes),
            max_unseen=detection.max_unseen,
            clock=utc_now,
        )
    if as_json:
        print_json(done.to_json())
    else:
        _print(done)
    if done.failed:
        sys.exit(EXIT_CODES[Outcome.FAILED])


def _print(done: Scan) -> None:
    for item in done.looked:
        click.echo(
            f"{plain(item.scene)}, {item.sensed_on}: {item.new} detections, {item.seen_share:.0%} clear, "
            f"scene before {item.after or 'none'}"
        )
    for path in done.growing:
        click.echo(f"{plain(path.name)}: still arriving, left for the next round")
    for problem in done.failed:
        say_error(f"{plain(problem.path.name)}: {plain(problem.reason, 400)}")
    for problem in done.still:
        click.echo(f"{plain(problem.path.name)}: as before, not used: {plain(problem.reason, 400)}")
    if not (done.looked or done.growing or done.failed):
        click.echo(f"nothing new; {done.known} scenes were looked at before")


COMMANDS = (scan,)
