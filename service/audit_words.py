"""The first page of an audit: what the archive holds, in plain words, and how to read it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporters.layer import LEVEL_LABELS, Layer
from service.audit_archive import CHECKSUMS
from service.settings import Settings

if TYPE_CHECKING:
    from service.audit import Audit

_FILES = """\
timeline.csv             everything below in the order in which it happened
shown/display.csv        which map stood when, and which forecasts beside it
shown/areas.csv          areas of the classes by zone, and their growth
shown/<layer>/           each layer as it was published: its record, what it was made from, its files
known/readings.csv       readings of the days behind these layers as they were known by then; doubted and
                         rejected ones too, and of forecasts the issues that a layer used
known/doubts.csv         what the checks said of them
known/rasters.csv        raster products of those days by digest (the rasters themselves are not in here)
known/series.csv         where gauges and reservoirs stood
known/feeds.csv          each attempt to read a feed, with its problems
known/rejections.csv     rows that could not be read
known/inputs.csv         digests of settings, zones, mask, bundle and factor stack in force; the small ones
                         are in known/ as well (environment variables that override settings are not kept)
decided/levels.csv       warning levels by zone, with the rule and the numbers that led to them
decided/acts.csv         what people did, and why (withdrawals, holds, readings, drills)
decided/drills.csv       exercises
decided/reports.csv      reports from the field that came in or were decided about
decided/events.csv       the inventory's landslides and visits of this day, as far as they were known by then
decided/event-changes.csv  what entered the inventory on this day, or was retracted
decided/runs.csv         each run and how it ended; `run` is the number in the log's lines
sent/deliveries.csv      what was brought to which exporter
sent/cap.csv, sent/cap/  messages in the Common Alerting Protocol, word for word
"""

_NOT_IN_HERE = """\
Not in here: alerts that Prometheus and Alertmanager sent, which keep records of their own; the growth, the
levels and the ages that they went by are in shown/ and decided/.
The archive names persons, and may hold readings that may not be passed on: see the feeds' licences.
"""


def readme(settings: Settings, audit: Audit, layers: Iterable[Layer], version: str) -> str:
    """Return README.txt."""
    region = settings.region
    lines = [
        f"Audit of {audit.day}: {region.name} ({region.id}), written by Colluvium {version}",
        "",
        f"From {_utc(audit.since)} to {_utc(audit.until)}, the day in {region.timezone}"
        + ("" if audit.whole else ", which was not over yet")
        + ". All times in the files are UTC.",
        "As it was then: what came in, was corrected, withdrawn or decided later stays out.",
    ]
    if region.synthetic:
        lines += ["", "SYNTHETIC inputs: these maps say nothing about any real place."]
    lines += ["", "What was on display", ""]
    for item in audit.displays:
        ahead = f", forecasts {', '.join(item.forecasts)}" if item.forecasts else ""
        lines.append(f"  {_utc(item.since)} to {_utc(item.until)}: {item.nowcast or 'NO MAP'}{ahead}")
    lines += ["", "Warning levels of those layers", ""]
    lines += _levels(layers) or ["  none: no model that may warn was in use, or warnings were switched off"]
    if audit.notes:
        lines += ["", "To know", "", *(f"  {note}" for note in audit.notes)]
    lines += ["", "Files", "", _FILES, f"{CHECKSUMS}: check with 'sha256sum -c {CHECKSUMS}'.", _NOT_IN_HERE]
    return "\n".join(lines)


def _levels(layers: Iterable[Layer]) -> list[str]:
    lines = []
    for layer in layers:
        for one in layer.warnings:
            if one.level == 0:
                continue
            label = "NOT KNOWN" if one.level is None else LEVEL_LABELS[one.level].upper()
            doubt = ", unconfirmed" if one.unconfirmed else ""
            lines.append(f"  {layer.id}, {one.name} ({one.zone}): {label}{doubt}. {one.rule}")
        if layer.warnings and all(one.level == 0 for one in layer.warnings):
            lines.append(f"  {layer.id}: all zones {LEVEL_LABELS[0]}")
    return lines


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
