"""Rows of an audit's tables from what the ledger gives as values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime

from exporters.cap import CapMessage
from exporters.layer import LEVEL_LABELS, Layer
from service.drills import Drill
from service.proposals import Proposal
from service.stamps import to_stamp

Row = tuple[object, ...]


def area_rows(layers: Iterable[Layer]) -> Iterator[Row]:
    """Areas of the classes by layer and zone; the region's zone is the empty one."""
    for layer in layers:
        for area in layer.areas:
            yield (
                layer.id,
                area.zone,
                area.name,
                area.label,
                area.area_m2,
                area.ratio,
                area.unknown_m2,
                json.dumps(area.change_m2),
                json.dumps(area.change_ratio),
            )


def level_rows(layers: Iterable[Layer]) -> Iterator[Row]:
    """Levels by layer and zone; one that is not known has no figure."""
    for layer in layers:
        for one in layer.warnings:
            yield (
                layer.id,
                layer.day,
                layer.lead,
                one.zone,
                one.name,
                one.level,
                "not known" if one.level is None else LEVEL_LABELS[one.level],
                one.previous,
                one.unconfirmed,
                one.rule,
                json.dumps(one.numbers),
                one.reference_share,
                one.calm_days,
                to_stamp(one.decided_at),
            )


def drill_rows(drills: Iterable[Drill]) -> Iterator[Row]:
    """Exercises."""
    for one in drills:
        began, ends = to_stamp(one.started_at), to_stamp(one.ends_at)
        yield one.id, one.zone, one.level, began, ends, one.by, one.reason


def message_rows(messages: Iterable[CapMessage]) -> Iterator[Row]:
    """Messages in short."""
    for one in messages:
        yield (
            to_stamp(one.sent),
            one.identifier,
            one.kind,
            one.status,
            one.zone,
            one.thread,
            to_stamp(one.expires),
            one.infos[0].headline,
        )


def report_row(item: Proposal, until: datetime) -> Row:
    """A report from the field; a decision made later had not been made yet."""
    said = (item.uid, item.kind, item.observed_on, to_stamp(item.received_at), item.lon, item.lat)
    by_whom = (item.accuracy_m, item.note, item.reporter)
    if item.decided_at is None or item.decided_at > until:
        return (*said, *by_whom, "proposed", None, None, None)
    return (*said, *by_whom, item.state, to_stamp(item.decided_at), item.by, item.reason)
