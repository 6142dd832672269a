"""One refresh, from the readings to the published layer, in the order in which things happen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from itertools import count
from pathlib import Path

import shapely

from exporters.geopackage import write_areas
from exporters.layer import Layer, LayerStatus, ZoneArea, ZoneWarning
from exporters.stac import write_item
from service.areas import Change, zone_areas
from service.display import show_latest
from service.drift import OutputCounter
from service.errors import HeldError, Outcome, UsageError
from service.files import replacing_folder
from service.forecast import forecast_windows
from service.hotspots import Hotspots
from service.inference import layer_strips
from service.kept import Keeper
from service.layer_basis import are_comparable, fixed_basis, layer_basis, layer_digest
from service.layer_counts import LayerCounts
from service.layer_files import LayerFiles
from service.layer_windows import LayerWindows, complete_enough, default_day, refuse_empty, windows_of
from service.ledger_levels import Decided
from service.refreshed import Refreshed, Stages
from service.threads import Behind
from service.unconfirmed import weigh_suspects
from service.warnings import decide, figures_of, incomparable
from service.workshop import Workshop

_SMALL_FOOTPRINT = 0.9  # below this share of the known area, growth carries a note


def refresh(
    shop: Workshop, day: date | None, stages: Stages, *, lead: int = 0, by_hand: bool = True
) -> Refreshed:
    """Make the layer of a day and publish it.

    Without a day: of lead 0 the newest whose window is complete, else the day that is `lead` days ahead.
    With `shop.as_of` set, rebuild it as it would have been made then, under replays/, and publish nothing.
    A withdrawn day is published again only where a person names it (`by_hand`), and with other inputs.
    The caller holds the region's lock and records how it ended (service.runs); exporters get the layer from
    the outbox (service.delivery).
    """
    replay = shop.as_of is not None
    with stages("windows"):
        chosen = day or (shop.today + timedelta(days=lead) if lead else default_day(shop))
        _refuse_other_days(shop, chosen, lead)
        if not replay:
            _refuse_held(shop, chosen, lead, by_hand=by_hand and day is not None)
        made = forecast_windows(shop, chosen) if lead else _nowcast_windows(shop, chosen)
        refuse_empty(shop, made)
    digest = layer_digest(shop, made, lead)
    shown = shop.ledger.newest_revision(chosen, lead, as_of=shop.as_of)
    if not replay and shop.ledger.is_withdrawn(chosen, digest, lead):
        raise HeldError(f"the layer of {chosen} with these inputs was withdrawn, and they have not changed")
    if shown is not None and shown.digest == digest and not replay:
        return Refreshed(Outcome.UNCHANGED, chosen, shown, lead=lead, seconds=stages.seconds)

    destination = _destination(shop, chosen, lead, digest)
    output, keeper = OutputCounter(), Keeper(shop, made)
    with replacing_folder(destination) as folder:
        with (
            closing(LayerFiles(shop, made, lead, folder)) as files,
            LayerCounts(shop, chosen, made.windows) as counts,
        ):
            with stages("head"), keeper.values() as kept, Behind("counts") as behind:
                for strip in layer_strips(
                    shop.region,
                    shop.state,
                    shop.bundle,
                    made.windows,
                    forecasts=made.members,
                    # How far models disagree is said of one window, which a forecast of several has not.
                    members=() if made.members else shop.members,
                    odds=shop.bundle.manifest.odds,
                    kept=kept,
                    workers=shop.workers,
                    engine=shop.engine,
                ):
                    behind.do(counts.add, strip.row, strip.stored, files.write(strip))
                    behind.do(output.add, strip)
                behind.finish()
            with stages("files"):
                files.finish()
        with stages("areas"):
            changes, hotspots = counts.changes(), counts.hotspots()
            region = shop.region
            areas = zone_areas(counts.by_zone, region.zones, region.grid.cell_area_m2, changes)
            warnings = _warnings(shop, chosen, areas, shown, unconfirmed=made.unconfirmed)
        with stages("layer"):
            notes = (*shop.notes, *made.notes, *_notes(changes, hotspots))
            layer = _layer(shop, made, lead, digest, shown, areas, hotspots, warnings, notes, destination)
            layer = output.tell(layer, shop.bundle.manifest, int(shop.state.valid_cells.sum()))
            write_areas(folder / "areas.gpkg", layer, _zone_shapes(shop))
            write_item(layer, folder / "item.json")
    if replay:
        return Refreshed(Outcome.UNCHANGED, chosen, layer, lead=lead, replay=True, seconds=stages.seconds)
    with stages("ledger"):
        _record(shop, layer, layer_basis(shop, made), shown)
    with stages("latest"):
        show_latest(shop.settings.data_dir, shop.ledger)
        keeper.note(layer)
    return Refreshed(Outcome.PUBLISHED, chosen, layer, lead=lead, seconds=stages.seconds)


def _nowcast_windows(shop: Workshop, day: date) -> LayerWindows:
    weighed = weigh_suspects(shop, windows_of(shop, day))
    return LayerWindows(
        weighed.windows,
        data_until=weighed.windows.days[-1],
        notes=weighed.notes,
        basis=weighed.basis,
        unconfirmed=bool(weighed.taken),
    )


def _refuse_other_days(shop: Workshop, day: date, lead: int) -> None:
    """A forecast is of the day `lead` days after today, a nowcast of none that is still to come."""
    today = f"today is {shop.today} in {shop.settings.region.timezone}"
    if lead and day != shop.today + timedelta(days=lead):
        raise UsageError(
            f"a layer of lead {lead} is of {shop.today + timedelta(days=lead)}, not of {day} ({today}); "
            "'--as-of' rebuilds one of an earlier day"
        )
    if not lead and day > shop.today:
        raise UsageError(
            f"{day} is in the future ({today}); a layer needs the rain of the days before it, "
            "or a forecast of it: '--lead'"
        )


def _refuse_held(shop: Workshop, day: date, lead: int, *, by_hand: bool) -> None:
    _refuse_hold(shop)
    newest = shop.ledger.newest_revision(day, lead)
    if newest is not None and newest.status == LayerStatus.WITHDRAWN and not by_hand:
        again = f"refresh --day {day}" + (f" --lead {lead}" if lead else "")
        raise HeldError(f"{newest.id} was withdrawn; publish that day again with '{again}'")


def _refuse_hold(shop: Workshop) -> None:
    hold = shop.ledger.hold()
    if hold is not None:
        raise HeldError(f"publication is held by {hold.by} since {hold.at:%Y-%m-%d %H:%M} UTC: {hold.reason}")


def _record(shop: Workshop, layer: Layer, basis: dict[str, str], shown: Layer | None) -> None:
    """Write the layer to the ledger, unless a person decided otherwise while it was made."""
    try:
        with shop.ledger.transaction():
            _refuse_hold(shop)
            newest = shop.ledger.newest_revision(layer.day, layer.lead)
            if newest is not None and newest != shown:
                raise HeldError(f"{newest.id} was withdrawn while {layer.id} was made; it is not published")
            shop.ledger.add_layer(layer, basis, [exporter.name for exporter in shop.settings.exporters])
    except HeldError:
        shutil.rmtree(layer.folder)
        raise


def _destination(shop: Workshop, day: date, lead: int, digest: str) -> Path:
    """A folder that does not exist yet: finished folders are never rewritten."""
    if shop.as_of is not None:
        moment = shop.as_of.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        parent = shop.settings.data_dir / "replays" / f"{day}-l{lead}-asof-{moment}"
        shutil.rmtree(parent / digest[:16], ignore_errors=True)
        return parent / digest[:16]
    parent = shop.settings.data_dir / "layers" / f"{day}-l{lead}"
    plain = parent / digest[:16]
    if not plain.exists():
        return plain
    # Inputs went back to what they were two revisions ago.
    numbered = (parent / f"{digest[:16]}-{number}" for number in count(2))
    return next(folder for folder in numbered if not folder.exists())


def _notes(changes: Mapping[int, Change], hotspots: Hotspots) -> list[str]:
    """What a reader of the figures must know beside them."""
    notes = []
    for days, change in changes.items():
        share = change.footprint_share
        if share is not None and share < _SMALL_FOOTPRINT:
            notes.append(
                f"growth over {days} days is counted on {share:.0%} of the known area: elsewhere the two "
                "layers rest on different gauges"
            )
    if hotspots.left_out:
        notes.append(
            f"{hotspots.left_out} more hotspots, {hotspots.left_out_area_m2 / 1e6:.2f} km2, are not listed"
        )
    return notes


def _warnings(
    shop: Workshop, day: date, areas: tuple[ZoneArea, ...], shown: Layer | None, *, unconfirmed: bool
) -> tuple[ZoneWarning, ...]:
    """The level of each zone, after the newest day before; none where the model may not warn."""
    if not (shop.model.may_warn and shop.settings.warnings.enabled):
        return ()
    before = _levels(shop, shop.ledger.levels.before(day, as_of=shop.as_of))
    stands = shown is not None and shown.status != LayerStatus.WITHDRAWN
    earlier = _levels(shop, Decided.of_layer(shown) if shown is not None and stands else None)
    decided_at = shop.clock()
    return tuple(
        decide(
            figures,
            shop.settings.warnings,
            before.get(figures.zone),
            earlier.get(figures.zone),
            decided_at=decided_at,
            unconfirmed=unconfirmed,
        )
        for figures in figures_of(areas)
    )


def _levels(shop: Workshop, decided: Decided | None) -> dict[str, ZoneWarning]:
    if decided is None:
        return {}
    same = are_comparable(fixed_basis(shop), shop.ledger.basis(decided.layer_id))
    return {item.zone: item if same else incomparable(item) for item in decided.warnings}


def _layer(
    shop: Workshop,
    made: LayerWindows,
    lead: int,
    digest: str,
    shown: Layer | None,
    areas: tuple[ZoneArea, ...],
    hotspots: Hotspots,
    warnings: tuple[ZoneWarning, ...],
    notes: tuple[str, ...],
    folder: Path,
) -> Layer:
    windows, grid, zone = made.windows, shop.region.grid, shop.settings.timezone
    day = windows.day
    known_m2 = sum(area.area_m2 for area in areas if area.zone == "")
    good = LayerStatus.PROVISIONAL if lead else LayerStatus.COMPLETE
    carried = bool((windows.carried[windows.complete] > 0).any())
    revision = shown.revision + (shown.digest != digest) if shown else 1
    return Layer(
        id=f"{shop.region.id}-{day}-l{lead}-r{revision}",
        region=shop.region.id,
        day=day,
        lead=lead,
        revision=revision,
        digest=digest,
        status=good if complete_enough(shop, windows) else LayerStatus.DEGRADED,
        unconfirmed=made.unconfirmed or carried,
        data_until=made.data_until,
        issued_at=shop.clock(),
        valid_from=datetime.combine(day, time_of_day(), zone),
        valid_to=datetime.combine(day + timedelta(days=1), time_of_day(), zone),
        model=shop.model,
        classes=shop.scheme,
        coverage=windows.coverage,
        cells=round(known_m2 / grid.cell_area_m2),
        crs=str(grid.crs.to_string()),
        bounds=grid.bounds,
        shape=(grid.height, grid.width),
        cell_size_m=grid.cell_size_m,
        synthetic=shop.settings.region.synthetic,
        attribution=shop.settings.region.attribution,
        notes=notes,
        areas=areas,
        hotspots=hotspots.found,
        warnings=warnings,
        members=0 if made.members else len(shop.members),
        odds=shop.bundle.manifest.odds,
        forecast=made.forecast,
        folder=folder,
    )


def _zone_shapes(shop: Workshop) -> list[tuple[str, str, bytes]]:
    return [(zone.id, zone.name, shapely.to_wkb(zone.geometry, byte_order=1)) for zone in shop.region.zones]
