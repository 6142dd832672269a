"""Commands about landslides seen from space: what detectors found, and what people decide on it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import click

from service.commands.shared import act_options, config_option, json_option, print_json
from service.commands.work import DAY
from service.errors import UsageError
from service.ledger import Ledger
from service.ledger_detection_rows import DetectionDecision, DetectionState, KeptDetection, KeptScene
from service.settings import load_settings
from service.stamps import utc_now
from service.terminal import plain
from service.workshop import ledger_path

_HA = 10_000.0


class Numbers(click.ParamType[tuple[int, ...]]):
    """Numbers and ranges, such as 3 or 5-9."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse a number or a range, or fail with what was expected."""
        if isinstance(value, tuple):
            return value
        first, dash, last = str(value).partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor a range such as 5-9", param, ctx)
        if not 0 < low <= high:
            self.fail(f"{value!r} is no range: it ends before it begins", param, ctx)
        if high - low >= 100_000:
            self.fail(f"{value!r} is too wide; see 'colluvium detections list'", param, ctx)
        return tuple(range(low, high + 1))


NUMBERS = Numbers()


@click.group()
def detections() -> None:
    """Landslides seen from space: look at them, accept or reject them, close the review of a scene."""


@detections.command(epilog="Example: colluvium detections scenes -c region.toml --open")
@config_option
@click.option("--open", "open_only", is_flag=True, help="Only those whose review is not closed.")
@json_option
def scenes(config: Path, open_only: bool, as_json: bool) -> None:
    """List the scenes that a detector looked at, and those that could not be used.

    The first column is the number that close, reopen, --scene and --all-of take.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        found = ledger.detections.scenes(open_only=open_only)
        attempts = ledger.detections.attempts()
    if as_json:
        print_json(
            {
                "scenes": [_scene_json(item) for item in found],
                "unusable": [asdict(item) for item in attempts],
            }
        )
        return
    for item in found:
        review = f"reviewed by {plain(item.by)}" if item.by else "OPEN"
        synthetic = ", SYNTHETIC" if item.synthetic else ""
        click.echo(
            f"{item.number:>5}  {item.sensed_on}  after {item.after or '?':<10}  {plain(item.scene)}  "
            f"{item.seen_share:.0%} clear  {item.proposed} to decide, {item.accepted} accepted, "
            f"{item.rejected} rejected  [{review}]  {plain(item.detector.words)}{synthetic}"
        )
    for attempt in attempts:
        click.echo(f"    -  {plain(str(attempt.path))}: {plain(attempt.reason, 300)}  [not used]")
    if not found and not attempts:
        click.echo("no scenes")


@detections.command("list", epilog="Example: colluvium detections list -c region.toml --state proposed")
@config_option
@click.option(
    "--state", type=click.Choice(["proposed", "accepted", "rejected"]), help="Only those (default: all)."
)
@click.option("--scene", type=int, metavar="NUMBER", help="Only of this scene.")
@json_option
def list_detections(config: Path, state: DetectionState | None, scene: int | None, as_json: bool) -> None:
    """List what was found and what was decided; the first column is the number that accept and reject take.

    Of those that wait for a decision, landslides of the inventory that they may show again are named.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        if scene is not None:
            ledger.detections.scene(scene)
        found = ledger.detections.all(state, scene)
        landslides = ledger.events.all("landslide")
        known = {
            item.number: [event.uid for event in ledger.detections.already(item, landslides)]
            for item in found
            if item.state == "proposed"
        }
    if as_json:
        print_json(
            {
                "detections": [
                    {**_detection_json(item), "already": known.get(item.number, [])} for item in found
                ]
            }
        )
        return
    for item in found:
        unseen = ", goes on unseen" if item.touches_unseen else ""
        decided = f" by {plain(item.by)}: {plain(item.reason or '')}" if item.by else ""
        again = known.get(item.number)
        already = f"  MAY BE KNOWN as {plain(', '.join(again))}" if again else ""
        click.echo(
            f"{item.number:>5}  scene {item.scene_number}  {item.after or '?'} < day <= {item.sensed_on}  "
            f"{item.lat:.5f} {item.lon:.5f}  {item.area_m2 / _HA:.2f} ha  {item.confidence:.2f}{unseen}  "
            f"[{item.state}{decided}]{already}"
        )
    if not found:
        click.echo("no detections")


@detections.command(epilog="Example: colluvium detections show 12 -c region.toml")
@config_option
@click.argument("number", type=int)
@json_option
def show(config: Path, number: int, as_json: bool) -> None:
    """Show one detection: its place, its outline's file and picture, and what it may show again."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        item = ledger.detections.get(number)
        scene = ledger.detections.scene(item.scene_number)
        before = ledger.detections.clear_before(item)
        known = ledger.detections.already(item)
    if as_json:
        print_json(
            {
                **_detection_json(item),
                "outline": item.outline,
                "clear_before": before,
                "already": [event.uid for event in known],
                "folder": str(scene.folder),
            }
        )
        return
    click.echo(f"detection {item.number} ({item.uid}), {item.state}")
    click.echo(f"  scene {scene.number}: {plain(item.scene)}, sensed on {item.sensed_on}")
    click.echo(f"  its ground was last clear and seen on {before or 'no day that is known'}")
    click.echo(f"  at {item.lat:.6f} {item.lon:.6f}, {item.area_m2 / _HA:.2f} ha")
    click.echo(
        f"  confidence {item.confidence:.2f} (an index, no probability), highest {item.highest:.2f}, by "
        f"{plain(item.detector.words)}" + (", SYNTHETIC: made-up landslides" * item.synthetic)
    )
    if item.touches_unseen:
        click.echo("  its outline ends at cloud, shadow or the scene's edge, and may go on there")
    if item.by:
        click.echo(f"  {item.state} by {plain(item.by)}: {plain(item.reason or '', 1000)}")
    for event in known:
        click.echo(f"  may be the {event.source} landslide {plain(event.uid)} of {event.day}")
    click.echo(f"  files in {scene.folder}")


def _chosen(command: Any) -> Any:
    """Add the ways to name detections."""
    command = click.option(
        "--min-confidence",
        type=click.FloatRange(0, 1),
        help="With --all-of: only those of at least this confidence.",
    )(command)
    command = click.option(
        "--max-confidence",
        type=click.FloatRange(0, 1),
        help="With --all-of: only those of less than this confidence.",
    )(command)
    command = click.option(
        "--all-of", type=int, metavar="SCENE", help="All of this scene that wait for a decision."
    )(command)
    return click.argument("numbers", type=NUMBERS, nargs=-1)(command)


@detections.command(
    epilog='Example: colluvium detections accept 3 5-9 -c region.toml --day 2023-05-16 --by "A. Rossi" '
    '--reason "storm of that day, seen on the picture"'
)
@config_option
@_chosen
@click.option("--day", type=DAY, help="When it happened, where that is known; say in --reason from what.")
@click.option("--after", type=DAY, help="The last day on which it had not happened yet.")
@click.option("--again", is_flag=True, help="Also those that the inventory may hold already.")
@click.option(
    "--skip-known",
    is_flag=True,
    help="Leave those undecided that the inventory, or an undecided outline of an earlier scene, may hold.",
)
@act_options
@json_option
def accept(
    config: Path,
    numbers: tuple[tuple[int, ...], ...],
    all_of: int | None,
    min_confidence: float | None,
    max_confidence: float | None,
    day: date | None,
    after: date | None,
    again: bool,
    skip_known: bool,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    """Accept detections for the inventory, all that are named or none.

    Without --day, each happened on one of the days since its ground was last clear and seen. The decision is
    kept in the journal, and may be changed.
    """
    settings = load_settings(config)
    if again and skip_known:
        raise UsageError("give --again or --skip-known, not both")
    with Ledger(ledger_path(settings), utc_now) as ledger:
        chosen = _numbers(ledger, numbers, all_of, min_confidence, max_confidence)
        skipped = []
        if skip_known:
            skipped = [number for number in chosen if _may_be_known(ledger, number)]
            chosen = [number for number in chosen if number not in skipped]
        done = ledger.detections.decide_all(chosen, "accepted", by, reason, day=day, after=after, again=again)
    _say_decided(done, "accepted", as_json, skipped)


@detections.command(
    epilog="Example: colluvium detections reject --all-of 4 --max-confidence 0.6 -c region.toml "
    '--by "A. Rossi" --reason "fields ploughed"'
)
@config_option
@_chosen
@act_options
@json_option
def reject(
    config: Path,
    numbers: tuple[tuple[int, ...], ...],
    all_of: int | None,
    min_confidence: float | None,
    max_confidence: float | None,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    """Reject detections, all that are named or none. Kept in the journal, and may be changed."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        chosen = _numbers(ledger, numbers, all_of, min_confidence, max_confidence)
        done = ledger.detections.decide_all(chosen, "rejected", by, reason)
    _say_decided(done, "rejected", as_json, [])


@detections.command(
    epilog='Example: colluvium detections close 4 -c region.toml --by "A. Rossi" --reason "all of it read"'
)
@config_option
@click.argument("scene", type=int)
@act_options
@json_option
def close(config: Path, scene: int, by: str, reason: str, as_json: bool) -> None:
    """Close the review of a scene: all its detections are decided, and you looked for what was missed.

    From then on its clear ground counts as looked at: an alarm there without a landslide is a false one.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        _say_review(ledger.detections.close(scene, by, reason), as_json)


@detections.command(
    epilog='Example: colluvium detections reopen 4 -c region.toml --by "A. Rossi" --reason "a valley missed"'
)
@config_option
@click.argument("scene", type=int)
@act_options
@json_option
def reopen(config: Path, scene: int, by: str, reason: str, as_json: bool) -> None:
    """Open the review of a scene again: its ground no longer counts as looked at."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        _say_review(ledger.detections.reopen(scene, by, reason), as_json)


def _numbers(
    ledger: Ledger,
    named: tuple[tuple[int, ...], ...],
    all_of: int | None,
    low: float | None,
    high: float | None,
) -> list[int]:
    """Return the detections that are meant. Raises UsageError where that are none, or it is not clear."""
    if bool(named) == (all_of is not None):
        raise UsageError("name detections by number (3 5-9), or all of a scene with --all-of")
    if all_of is None:
        if low is not None or high is not None:
            raise UsageError("--min-confidence and --max-confidence go with --all-of")
        return list(dict.fromkeys(number for group in named for number in group))
    ledger.detections.scene(all_of)
    found = [
        item.number
        for item in ledger.detections.all("proposed", all_of)
        if (low is None or item.confidence >= low) and (high is None or item.confidence < high)
    ]
    if not found:
        raise UsageError(f"no detection of scene {all_of} waits for a decision within these bounds")
    return found


def _may_be_known(ledger: Ledger, number: int) -> bool:
    item = ledger.detections.get(number)
    return bool(ledger.detections.already(item) or ledger.detections.drawn_before(item))


def _say_decided(
    done: list[KeptDetection], decision: DetectionDecision, as_json: bool, skipped: list[int]
) -> None:
    if as_json:
        print_json({"detections": [_detection_json(item) for item in done], "skipped": skipped})
        return
    for item in done:
        click.echo(f"detection {item.number} ({item.lat:.5f} {item.lon:.5f}) is {decision}")
    if skipped:
        click.echo(f"left undecided, because they may be known already: {', '.join(map(str, skipped))}")


def _say_review(scene: KeptScene, as_json: bool) -> None:
    if as_json:
        print_json(_scene_json(scene))
    else:
        state = "closed" if scene.reviewed_at else "open"
        click.echo(f"the review of scene {scene.number} ({plain(scene.scene)}) is {state}")


def _scene_json(item: KeptScene) -> dict[str, Any]:
    return {key: value for key, value in asdict(item).items() if key != "seen"}


def _detection_json(item: KeptDetection) -> dict[str, Any]:
    return {key: value for key, value in asdict(item).items() if key != "outline"}


COMMANDS = (detections,)
