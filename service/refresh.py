"""One refresh, from the readings to the published layer, in the order in which things happen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from itertools import count
from pathlib import Path

import shapely

from exporters.geopackage import write_areas
from exporters.layer import Layer, LayerStatus, ZoneArea
from exporters.stac import write_item
from service.areas import AreaCounter, Change, class_area_changes, zone_areas
from service.display import show_latest
from service.errors import HeldError, Outcome, UsageError
from service.files import digest_of, replacing_folder
from service.hotspots import Hotspots, date_hotspots, find_hotspots
from service.inference import layer_strips
from service.layer_files import LayerFiles
from service.manifest import Manifest
from service.refreshed import Refreshed, Stages
from service.sequences import WindowSet, build_windows
from service.settings import RegionSettings
from service.workshop import Workshop

CHANGE_DAYS = (1, 7)
_SMALL_FOOTPRINT = 0.9  # below this share of the known area, growth carries a note


def refresh(shop: Workshop, day: date | None, stages: Stages, *, by_hand: bool = True) -> Refreshed:
    """Make the layer of a day (None: the newest whose window is complete) and publish it.

    With `shop.as_of` set, rebuild it as it would have been made then, under replays/, and publish nothing.
    A withdrawn day is published again only where a person names it (`by_hand`), and with other inputs.
    The caller holds the region's lock and records how it ended (service.runs); exporters get the layer from
    the outbox (service.delivery).
    """
    replay = shop.as_of is not None
    with stages("windows"):
        chosen = day or default_day(shop)
        _refuse_future(shop, chosen)
        if not replay:
            _refuse_held(shop, chosen, by_hand=by_hand and day is not None)
        windows = _windows(shop, chosen)
        _refuse_empty(shop, windows)
    digest = _digest(shop, windows)
    shown = shop.ledger.newest_revision(chosen, as_of=shop.as_of)
    if not replay and shop.ledger.is_withdrawn(chosen, digest):
        raise HeldError(f"the layer of {chosen} with these inputs was withdrawn, and they have not changed")
    if shown is not None and shown.digest == digest and not replay:
        return Refreshed(Outcome.UNCHANGED, chosen, shown, seconds=stages.seconds)

    destination = _destination(shop, chosen, digest)
    with replacing_folder(destination) as folder:
        with closing(LayerFiles(shop, windows, folder)) as files, _counting(shop) as counter:
            with stages("head"):
                for strip in layer_strips(
                    shop.region,
                    shop.state,
                    shop.bundle,
                    windows,
                    members=shop.members,
                    odds=shop.bundle.manifest.odds,
                    workers=shop.workers,
                ):
                    counter.add(strip.row, files.write(strip))
            with stages("files"):
                files.finish()
        with stages("areas"):
            changes = _changes(shop, chosen, folder)
            region = shop.region
            areas = zone_areas(counter.counts, region.zones, region.grid.cell_area_m2, changes)
            hotspots = _hotspots(shop, chosen, folder)
        with stages("layer"):
            notes = (*shop.notes, *_notes(changes, hotspots))
            layer = _layer(shop, windows, digest, shown, areas, hotspots, notes, destination)
            write_areas(folder / "areas.gpkg", layer, _zone_shapes(shop))
            write_item(layer, folder / "item.json")
    if replay:
        return Refreshed(Outcome.UNCHANGED, chosen, layer, replay=True, seconds=stages.seconds)
    with stages("ledger"):
        _record(shop, layer, _basis(shop, windows), shown)
    with stages("latest"):
        show_latest(shop.settings.data_dir, shop.ledger)
    return Refreshed(Outcome.PUBLISHED, chosen, layer, seconds=stages.seconds)


def default_day(shop: Workshop) -> date:
    """Return the newest day whose window is complete enough, or else the newest day with any reading.

    Complete enough: coverage, and the share of forcing cells with four windows, reach
    `forcing.min_coverage`. Raises HeldError where there is no reading at all.
    """
    lag = timedelta(days=shop.bundle.manifest.lag_days)
    newest = [shop.archive.newest_day(variable) for variable in archive_variables(shop.bundle.manifest)]
    known = [day for day in newest if day is not None]
    if len(known) < len(newest) or not known:
        raise HeldError(
            "there are no readings of every variable yet; bring some with 'colluvium ingest', "
            "and see 'colluvium check'"
        )
    latest = min(shop.today, min(known) + lag)
    for back in range(shop.bundle.manifest.window_days):
        day = latest - timedelta(days=back)
        windows = _windows(shop, day)
        if _complete_enough(shop, windows):
            return day
    return latest


def _windows(shop: Workshop, day: date) -> WindowSet:
    manifest = shop.bundle.manifest
    return build_windows(
        shop.settings,
        shop.region,
        shop.archive,
        manifest.variables,
        day,
        window_days=manifest.window_days,
        lag_days=manifest.lag_days,
        as_of=shop.as_of,
        reservoirs=shop.reservoirs,
    )


def _complete_enough(shop: Workshop, windows: WindowSet) -> bool:
    least = shop.settings.forcing.min_coverage
    return bool(windows.coverage >= least and windows.complete.mean() >= least)


def _refuse_future(shop: Workshop, day: date) -> None:
    if day > shop.today:
        raise UsageError(
            f"{day} is in the future (today is {shop.today} in {shop.settings.region.timezone}); "
            "a layer needs the rain of the days before it"
        )


def _refuse_held(shop: Workshop, day: date, *, by_hand: bool) -> None:
    _refuse_hold(shop)
    newest = shop.ledger.newest_revision(day)
    if newest is not None and newest.status == LayerStatus.WITHDRAWN and not by_hand:
        raise HeldError(f"{newest.id} was withdrawn; publish that day again with 'refresh --day {day}'")


def _refuse_hold(shop: Workshop) -> None:
    hold = shop.ledger.hold()
    if hold is not None:
        raise HeldError(f"publication is held by {hold.by} since {hold.at:%Y-%m-%d %H:%M} UTC: {hold.reason}")


def _record(shop: Workshop, layer: Layer, basis: dict[str, str], shown: Layer | None) -> None:
    """Write the layer to the ledger, unless a person decided otherwise while it was made."""
    try:
        with shop.ledger.transaction():
            _refuse_hold(shop)
            newest = shop.ledger.newest_revision(layer.day)
            if newest is not None and newest != shown:
                raise HeldError(f"{newest.id} was withdrawn while {layer.id} was made; it is not published")
            shop.ledger.add_layer(layer, basis, [exporter.name for exporter in shop.settings.exporters])
    except HeldError:
        shutil.rmtree(layer.folder)
        raise


def _refuse_empty(shop: Workshop, windows: WindowSet) -> None:
    if not windows.complete.any():
        raise HeldError(
            f"no forcing cell has a complete window for {windows.day} "
            f"(days {windows.days[0]} to {windows.days[-1]}, coverage {windows.coverage:.0%}); "
            f"the last good layer stays. Which feed is late? See 'colluvium status'"
        )
    if not shop.state.valid_cells[windows.complete].any():
        raise HeldError(
            f"for {windows.day} no cell has both a window and a complete {shop.bundle.manifest.patch} x "
            f"{shop.bundle.manifest.patch} patch of factors; the last good layer stays"
        )


def _digest(shop: Workshop, windows: WindowSet) -> str:
    """Everything that can change the layer, and nothing else."""
    return digest_of(_basis(shop, windows), windows.day.isoformat(), 0)


def _basis(shop: Workshop, windows: WindowSet) -> dict[str, str]:
    return {
        "windows": windows.digest,
        "hotspots": digest_of(shop.settings.hotspots.model_dump()),
        "coverage": digest_of(shop.settings.forcing.min_coverage),
        "region": _region_digest(shop.settings.region),
        **_fixed_basis(shop),
    }


def _region_digest(region: RegionSettings) -> str:
    """What the layer says of the region on its face: a map that forgot to say "synthetic" is made again."""
    return digest_of(region.id, region.timezone, region.synthetic, region.attribution)


def _fixed_basis(shop: Workshop) -> dict[str, str]:
    """What must be the same for two layers to be compared."""
    return {
        "bundle": shop.bundle.digest,
        "state": shop.state.digest,
        "stack": shop.stack.digest,
        "mask": shop.region.mask_digest,
        "zones": shop.region.zones_digest,
        "classes": digest_of(list(shop.scheme.breaks)),
    }


def _destination(shop: Workshop, day: date, digest: str) -> Path:
    """A folder that does not exist yet: finished folders are never rewritten."""
    if shop.as_of is not None:
        moment = shop.as_of.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        parent = shop.settings.data_dir / "replays" / f"{day}-l0-asof-{moment}"
        shutil.rmtree(parent / digest[:16], ignore_errors=True)
        return parent / digest[:16]
    parent = shop.settings.data_dir / "layers" / f"{day}-l0"
    plain = parent / digest[:16]
    if not plain.exists():
        return plain
    # Inputs went back to what they were two revisions ago.
    numbered = (parent / f"{digest[:16]}-{number}" for number in count(2))
    return next(folder for folder in numbered if not folder.exists())


@contextmanager
def _counting(shop: Workshop) -> Iterator[AreaCounter]:
    counter = AreaCounter(shop.region.zones_path, len(shop.region.zones), shop.region.mask_path)
    with closing(counter):
        yield counter


def _changes(shop: Workshop, day: date, folder: Path) -> dict[int, Change]:
    """How cells changed class since the comparable layers of 1 and 7 days before."""
    earlier = {}
    for days in CHANGE_DAYS:
        before = shop.ledger.current(day - timedelta(days=days), as_of=shop.as_of)
        kept = before is not None and shop.ledger.removed_at(before.id) is None
        if before is not None and kept and _comparable(shop, before):
            earlier[days] = before.folder
    region = shop.region
    return class_area_changes(folder, earlier, region.zones_path, len(region.zones), k=region.forcing.k)


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


def _comparable(shop: Workshop, layer: Layer) -> bool:
    """The same model, state, mask, zones and breaks: only then is a difference a change of the weather."""
    basis = shop.ledger.basis(layer.id)
    return all(basis.get(kind) == digest for kind, digest in _fixed_basis(shop).items())


def _hotspots(shop: Workshop, day: date, folder: Path) -> Hotspots:
    previous = shop.ledger.latest(before=day, as_of=shop.as_of)
    comparable = previous is not None and _comparable(shop, previous)
    before = previous if comparable else None
    found = find_hotspots(
        folder,
        shop.region.zones_path,
        shop.region.zones,
        min_area_m2=shop.settings.hotspots.min_area_m2,
        at_most=shop.settings.hotspots.at_most,
        previous=before.folder if before is not None else None,
    )
    return date_hotspots(found, day, before)


def _layer(
    shop: Workshop,
    windows: WindowSet,
    digest: str,
    shown: Layer | None,
    areas: tuple[ZoneArea, ...],
    hotspots: Hotspots,
    notes: tuple[str, ...],
    folder: Path,
) -> Layer:
    day, grid, zone = windows.day, shop.region.grid, shop.settings.timezone
    known_m2 = sum(area.area_m2 for area in areas if area.zone == "")
    revision = shown.revision + (shown.digest != digest) if shown else 1
    return Layer(
        id=f"{shop.region.id}-{day}-l0-r{revision}",
        region=shop.region.id,
        day=day,
        lead=0,
        revision=revision,
        digest=digest,
        status=LayerStatus.COMPLETE if _complete_enough(shop, windows) else LayerStatus.DEGRADED,
        unconfirmed=bool((windows.carried[windows.complete] > 0).any()),
        data_until=windows.days[-1],
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
        members=len(shop.members),
        odds=shop.bundle.manifest.odds,
        folder=folder,
    )


def _zone_shapes(shop: Workshop) -> list[tuple[str, str, bytes]]:
    return [(zone.id, zone.name, shapely.to_wkb(zone.geometry, byte_order=1)) for zone in shop.region.zones]


def archive_variables(manifest: Manifest) -> tuple[str, ...]:
    """Return the variables of the archive that a model's windows are made from."""
    names = {"rain" if spec.name == "rain" else "level" for spec in manifest.variables}
    return tuple(sorted(names))
