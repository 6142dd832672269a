"""The maps on display, held against what happened."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from pathlib import Path

import click

from service.challenger import challenger_ledger
from service.commands.shared import config_option, json_option, print_json
from service.commands.work import DAY
from service.errors import UsageError
from service.files import replacing
from service.ledger import Ledger
from service.ledger_verifications import Of
from service.progress import progress_bar
from service.settings import load_settings
from service.stamps import utc_now
from service.verify import news_digest
from service.verify import verify as verify_maps
from service.verify_report import report_html
from service.verify_tables import write_events
from service.verify_text import summary
from service.workshop import ledger_path


@click.command(epilog="Example: colluvium verify -c region.toml --report verification.html")
@config_option
@click.option("--since", type=DAY, help="First day (default: that of the first map).")
@click.option("--until", type=DAY, help="Last day (default: that of the newest map or landslide).")
@click.option(
    "--rebuild", is_flag=True, help="Make missing maps again, as of their day; takes a refresh for each."
)
@click.option("--challenger", is_flag=True, help="Judge the challenger's maps instead of those on display.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a report, one HTML file."
)
@click.option(
    "--events", type=click.Path(path_type=Path, dir_okay=False), help="Write the landslides: .csv or .gpkg."
)
@click.option(
    "--if-news",
    is_flag=True,
    help="End at once where no landslide, look or map has changed since the one that is kept.",
)
@click.option("--no-keep", is_flag=True, help="Do not keep the result for page, API and metrics.")
@json_option
def verify(
    config: Path,
    since: date | None,
    until: date | None,
    rebuild: bool,
    challenger: bool,
    report: Path | None,
    events: Path | None,
    if_news: bool,
    no_keep: bool,
    as_json: bool,
) -> None:
    """Hold each dated landslide against the map that was on display before it.

    A hit is a landslide where the map said high or very high. A false alarm is counted only where somebody
    looked: in scenes whose review was closed, and on visits on which nothing was seen. The result of all days
    is kept; that of a part of them (--since, --until), or one that rests on maps made again (--rebuild), is
    only shown.
    """
    if since and until and since > until:
        raise UsageError(f"--since {since} is after --until {until}")
    if rebuild and challenger:
        raise UsageError("--rebuild makes maps of the model on display; it cannot rebuild a challenger's")
    settings = load_settings(config)
    of: Of = "challenger" if challenger else "display"
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(ledger_path(settings), utc_now))
        layers = stack.enter_context(challenger_ledger(settings, utc_now)) if challenger else None
        if if_news:
            kept = ledger.verifications.newest(of)
            digest = news_digest(settings, ledger, layers, since=since, until=until, rebuild=rebuild)
            if kept is not None and kept.digest == digest:
                _say_nothing_new(as_json=as_json)
                return
        with progress_bar("reading maps") as progress:
            record = verify_maps(
                settings,
                ledger,
                utc_now,
                layers=layers,
                settings_path=config,
                rebuild=rebuild,
                since=since,
                until=until,
                progress=progress,
            )
        # A rebuilt map was on nobody's display, and the daemon's next round would judge without it.
        if not (no_keep or rebuild) and since is None and until is None:
            ledger.verifications.keep(record)
    if events is not None:
        write_events(events, record.events)
    if report is not None:
        with replacing(report) as temporary:
            temporary.write_text(report_html(record), "utf-8")
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        click.echo(summary(record))


def _say_nothing_new(*, as_json: bool) -> None:
    if as_json:
        print_json({"outcome": "unchanged"})
    else:
        click.echo("unchanged: no landslide, look or map has changed since the verification that is kept")


COMMANDS = (verify,)
