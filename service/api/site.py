"""What every route is given: the region, its ledger and archive, and how to find a layer by its id."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated

from fastapi import Path as PathParameter
from fastapi import Query, Request
from starlette.exceptions import HTTPException

from exporters.layer import Layer, LayerStatus
from service.api.drawing import Drawing
from service.api.serving import ServingBundle
from service.bundle import Bundle
from service.display import forecasts_shown
from service.ledger import Ledger
from service.readings import Archive
from service.region import Region, open_region
from service.settings import Settings
from service.workshop import archive_path, ledger_path

LATEST = "latest"
# What a layer's id may look like; anything else is refused before it is looked up.
LAYER_ID = r"^(latest|[a-z][a-z0-9_]{0,39}-[0-9]{4}-[0-9]{2}-[0-9]{2}-l[0-9]{1,2}-r[0-9]{1,6})$"
_LAYER_ID = re.compile(LAYER_ID)
# The pattern is for readers of the schema: `Site.layer` refuses other ids, with 404, as ids that nothing has.
LayerId = Annotated[
    str,
    PathParameter(
        description="a layer's id as /layers lists them, or `latest`: the newest nowcast",
        examples=[LATEST],
        json_schema_extra={"pattern": LAYER_ID},
    ),
]

MOST_LEAD = 99
# Of routes that find a layer by its day: who does not ask for a forecast never gets one.
Lead = Annotated[
    int,
    Query(
        ge=0, le=MOST_LEAD, description="days ahead: 0 is the nowcast, 1 and more a forecast", examples=[0]
    ),
]
# Of routes that find a layer by its id.
LeadOfLatest = Annotated[
    int | None,
    Query(
        ge=0,
        le=MOST_LEAD,
        description="with `latest`: the current forecast for so many days ahead, instead of the nowcast; "
        "an id says its lead itself, and another one here is refused",
    ),
]


@dataclass(frozen=True)
class Site:
    """One region as the API sees it. Routes run on several threads: each opens its own ledger and archive."""

    settings: Settings
    clock: Callable[[], datetime]
    loaded: Bundle | None  # at the start

    @property
    def bundle(self) -> Bundle | None:
        """The bundle that serves; where another one was promoted since the start, that one."""
        return self._serving.get()

    @cached_property
    def _serving(self) -> ServingBundle:
        return ServingBundle(self.settings, self.clock, self.loaded)

    def ledger(self) -> Ledger:
        """Open the ledger to read; close it (`with`)."""
        return Ledger(ledger_path(self.settings), self.clock, make=False)

    def archive(self) -> Archive:
        """Open the archive of readings to read; close it (`with`)."""
        return Archive(archive_path(self.settings), self.clock, make=False)

    @cached_property
    def drawing(self) -> Drawing:
        """The threads that draw, and what they drew."""
        return Drawing()

    @cached_property
    def region(self) -> Region:
        """Grid, mask and zones; opened at the first use. Raises ColluviumError (503)."""
        return open_region(self.settings)

    @property
    def today(self) -> date:
        """The calendar day in the region's time zone."""
        return self.clock().astimezone(self.settings.timezone).date()

    def layer(self, identity: str, lead: int | None = None) -> Layer:
        """Return a layer by id, or the one on display for `latest`. Raises HTTPException (404).

        `latest` is the newest nowcast, or the current forecast of `lead`. A withdrawn layer is returned as
        such; `shown` is for those who draw or read its values.
        """
        if not _LAYER_ID.fullmatch(identity):
            raise HTTPException(404, "that is no id of a layer; /layers lists them")
        if identity == LATEST:
            return self._newest(lead or 0)
        with self.ledger() as ledger:
            found = ledger.layer(identity)
        if found is None:
            raise HTTPException(404, f"there is no layer {identity}; /layers lists them")
        if lead not in (None, found.lead):
            raise HTTPException(404, f"{identity} is of lead {found.lead}, not {lead}; leave `lead` out")
        return found

    def shown(self, identity: str, lead: int | None = None) -> Layer:
        """Return a layer whose values may be shown. Raises HTTPException (404; 410 if withdrawn)."""
        return _unless_withdrawn(self.layer(identity, lead))

    def shown_on(self, day: date | None, lead: int = 0) -> Layer:
        """Return the layer of a lead that is shown for a day; for None the newest nowcast, or the current
        forecast. Where there is no nowcast of the day, no forecast of it takes its place.

        Raises HTTPException: 404 where there is none, 410 where it was withdrawn or is no longer kept.
        """
        if day is None:
            return self.shown(LATEST, lead)
        with self.ledger() as ledger:
            newest = ledger.newest_revision(day, lead)
            removed = ledger.removed_at(newest.id) if newest is not None else None
        if newest is None:
            what = f"forecast of {day} for {lead} days ahead" if lead else f"layer of {day}"
            raise HTTPException(404, f"no {what}; /layers lists the days")
        if removed is not None and newest.status != LayerStatus.WITHDRAWN:
            raise _removed(newest, removed)
        return _unless_withdrawn(newest)

    def forecasts(self) -> list[Layer]:
        """Return the current forecasts, by lead."""
        with self.ledger() as ledger:
            return forecasts_shown(ledger)

    def _newest(self, lead: int) -> Layer:
        if lead == 0:
            with self.ledger() as ledger:
                latest = ledger.latest()
            if latest is None:
                raise HTTPException(404, "no layer is on display yet; see /status")
            return latest
        found = next((layer for layer in self.forecasts() if layer.lead == lead), None)
        if found is None:
            raise HTTPException(404, f"no forecast for {lead} days ahead is current; /forecasts lists them")
        return found

    def has_files(self, layer: Layer) -> bool:
        """Tell whether a layer's folder is there; retention may have removed it."""
        return layer.folder.is_dir()

    def file(self, layer: Layer, name: str) -> Path:
        """Return the path of a layer's file.

        Raises HTTPException: 410 where retention removed it, 503 where it is lost.
        """
        path = layer.folder / name
        if path.is_file():
            return path
        with self.ledger() as ledger:
            removed = ledger.removed_at(layer.id)
        if removed is not None:
            raise _removed(layer, removed)
        raise HTTPException(503, f"{layer.id} has lost its {name}; restore {layer.folder} from a backup")

    def address(self, request: Request) -> str:
        """Return the address that links in answers begin with, without a slash at the end."""
        return self.settings.web.public_url or str(request.base_url).rstrip("/")


def _unless_withdrawn(layer: Layer) -> Layer:
    if layer.status == LayerStatus.WITHDRAWN:
        raise HTTPException(410, f"{layer.id} was withdrawn: its values are not to be used")
    return layer


def _removed(layer: Layer, since: datetime) -> HTTPException:
    return HTTPException(
        410, f"the files of {layer.id} were removed on {since:%Y-%m-%d}, as the region's retention says"
    )


def has_it_already(request: Request, etag: str) -> bool:
    """Tell whether the client's copy, by its If-None-Match, is the current one."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    return etag in known or "*" in known
