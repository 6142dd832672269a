"""What a CAP message says: of a zone's level, in words and figures, in each language of the settings."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Literal

import shapely

from exporters.cap import CapArea, CapBasis, CapInfo, CapMessage, Kind, Status
from exporters.cap_area import Ring, zone_polygons
from exporters.layer import LEVEL_LABELS, Layer, LayerStatus, ZoneWarning
from service.cap_texts import Texts, read_texts
from service.drills import Drill
from service.files import digest_of
from service.region import Zone, make_grid
from service.settings import Settings
from service.stamps import to_stamp

_HEADLINE_MOST = 160  # characters: what CAP 1.2 (3.2.2) advises for small displays
_SEVERITIES: dict[int, Literal["Moderate", "Severe", "Extreme"]] = {1: "Moderate", 2: "Severe", 3: "Extreme"}
# A model may tell nobody to leave: Evacuate, Shelter and AllClear are for people to say.
_RESPONSES: dict[int, Literal["Monitor", "Prepare", "Avoid"]] = {1: "Monitor", 2: "Prepare", 3: "Avoid"}
_CANCEL_HOLDS = timedelta(hours=6)  # how long receivers show that a warning is over


class Ending(StrEnum):
    """Why a thread is cancelled."""

    ENDED = "ended"  # the levels went down
    WITHDRAWN = "withdrawn"  # a person withdrew the map that it rested on
    UNJUDGED = "unjudged"  # the zone, or the model's leave to warn, is gone
    REPLACED = "replaced"  # status or sender changed in the settings
    DRILL_OVER = "drill_over"


@dataclass(frozen=True)
class Part:
    """One span of time that a message speaks of, and what it rests on; a drill rests on no layer."""

    basis: CapBasis
    onset: datetime
    expires: datetime
    layer: Layer | None
    warning: ZoneWarning | None


class Writer:
    """Writes the messages of one moment. Raises SettingsError for texts that cannot be used."""

    def __init__(self, settings: Settings, zones: Sequence[Zone], now: datetime) -> None:
        if settings.cap is None:
            raise ValueError("these settings send no CAP messages")
        self._settings, self._cap = settings, settings.cap
        self._zones = {zone.id: zone for zone in zones}
        self._rings: dict[str, tuple[Ring, ...]] = {}
        self._texts = read_texts(settings.cap)
        self._now = now.astimezone(settings.timezone).replace(microsecond=0)

    def may_continue(self, last: CapMessage) -> bool:
        """Tell whether a thread may go on under the settings as they are now."""
        return last.status == self._cap.status and last.sender == self._cap.sender

    def begin(self, zone: str, name: str, parts: Sequence[Part]) -> CapMessage:
        """Return the Alert that begins a thread."""
        infos = [self._info(texts, name, part) for part in parts for texts in self._texts]
        return self._message("Alert", zone, name, infos, parts, self._cap.status)

    def update(self, last: CapMessage, name: str, parts: Sequence[Part]) -> CapMessage:
        """Return the Update that takes the place of a thread's last message."""
        infos = [self._info(texts, name, part) for part in parts for texts in self._texts]
        return self._message("Update", last.zone, name, infos, parts, last.status, last=last)

    def cancel(self, last: CapMessage, ending: Ending, name: str, nowcast: Layer | None = None) -> CapMessage:
        """Return the Cancel that ends a thread. It never says that all is clear: no model knows."""
        day = nowcast.day if nowcast is not None else self._now.date()
        words = {texts.language: texts.say(f"text.{ending}", day=day.isoformat()) for texts in self._texts}
        return self._over(last, ending, name, words)

    def thread_of(self, drill: Drill) -> str:
        """Name the thread of a drill."""
        began = drill.started_at.astimezone(UTC)
        return f"{self._settings.region.id}-drill-{drill.id}-{began:%Y%m%dT%H%M%SZ}"

    def day_of(self, moment: datetime) -> date:
        """Return the region's calendar day of a moment."""
        return moment.astimezone(self._settings.timezone).date()

    def begin_drill(self, drill: Drill, part: Part) -> CapMessage:
        """Return the Exercise that a drill sends."""
        name = self._name(drill.zone)
        infos = [self._drill_info(texts, name, drill, part) for texts in self._texts]
        thread = self.thread_of(drill)
        return self._message("Alert", drill.zone, name, infos, [part], "Exercise", thread=thread)

    def end_drill(self, last: CapMessage, drill: Drill) -> CapMessage:
        """Return the Cancel at a drill's end."""
        words = {
            texts.language: texts.say("text.drill_over", by=drill.by, reason=drill.reason)
            for texts in self._texts
        }
        return self._over(last, Ending.DRILL_OVER, self._name(drill.zone), words)

    def _message(
        self,
        kind: Kind,
        zone: str,
        name: str,
        infos: Sequence[CapInfo],
        parts: Sequence[Part],
        status: Status,
        *,
        last: CapMessage | None = None,
        thread: str | None = None,
        note: str | None = None,
    ) -> CapMessage:
        basis = tuple(part.basis for part in parts) if parts or last is None else last.basis
        sender = last.sender if last is not None and kind == "Cancel" else self._cap.sender
        before = last.identifier if last is not None else ""
        told = [to_stamp(self._now), sender, kind, zone, before, [item.model_dump_json() for item in basis]]
        identifier = (
            f"{self._settings.region.id}-{self._now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
            f"-{digest_of(*told, thread)[:10]}"
        )
        return CapMessage(
            identifier=identifier,
            sender=sender,
            sent=self._now,
            status=status,
            kind=kind,
            source=self._source(status, parts),
            restriction=None if status == "Actual" else "Only for those who run and test this service",
            note=note or self._note(status),
            references=(*last.references, last.as_reference()) if last is not None else (),
            thread=thread or (last.thread if last is not None else identifier),
            infos=tuple(infos),
            area=self._area(zone, name, last),
            zone=zone,
            basis=basis,
        )

    def _over(self, last: CapMessage, ending: Ending, name: str, words: dict[str, str]) -> CapMessage:
        infos = []
        for texts in self._texts:
            said = [words[texts.language], *self._marks(texts, last.status)]
            infos.append(
                CapInfo(
                    language=texts.language,
                    event=texts.say("event"),
                    response="None" if last.status == "Exercise" else "Monitor",
                    urgency="Past" if ending in (Ending.ENDED, Ending.DRILL_OVER) else "Unknown",
                    severity=last.infos[0].severity,
                    certainty="Unknown",
                    effective=self._now,
                    onset=self._now,
                    expires=self._now + _CANCEL_HOLDS,
                    sender_name=self._sender_name,
                    headline=self._headline(texts, last.status, f"headline.{ending}", name),
                    description=" ".join(said),
                    instruction=texts.say("do.drill" if last.status == "Exercise" else "do.over"),
                    web=self._web,
                    contact=self._cap.contact or None,
                )
            )
        note = words[self._texts[0].language]
        return self._message("Cancel", last.zone, name, infos, (), last.status, last=last, note=note)

    def _info(self, texts: Texts, name: str, part: Part) -> CapInfo:
        basis = part.basis
        shows = "forecast" if basis.lead else "last_known" if basis.last_known else "now"
        doubtful = basis.unconfirmed or basis.last_known
        level = texts.say(f"level.{basis.level}")
        return CapInfo(
            language=texts.language,
            event=texts.say("event"),
            response=_RESPONSES[basis.level],
            urgency="Future" if basis.lead else "Immediate" if basis.level == 3 else "Expected",
            severity=_SEVERITIES[basis.level],
            # Never Likely: that would be more than one in two, and an index is no probability.
            certainty="Unknown" if doubtful else "Possible",
            effective=self._now,
            onset=part.onset.astimezone(self._settings.timezone),
            expires=part.expires.astimezone(self._settings.timezone),
            sender_name=self._sender_name,
            headline=self._headline(
                texts, self._cap.status, f"headline.{shows}", name, level=level, day=basis.day.isoformat()
            ),
            description=" ".join(
                [
                    *_figures(texts, name, part),
                    texts.say("text.index"),
                    *self._marks(texts, self._cap.status),
                ]
            ),
            instruction=texts.say(f"do.{basis.level}"),
            web=self._web,
            contact=self._cap.contact or None,
            parameters=_parameters(part),
        )

    def _drill_info(self, texts: Texts, name: str, drill: Drill, part: Part) -> CapInfo:
        said = [texts.say("text.drill", by=drill.by, reason=drill.reason), *self._marks(texts, "Exercise")]
        return CapInfo(
            language=texts.language,
            event=texts.say("event"),
            response="None",
            urgency="Immediate" if drill.level == 3 else "Expected",
            severity=_SEVERITIES[drill.level],
            certainty="Unknown",
            effective=self._now,
            onset=part.onset.astimezone(self._settings.timezone),
            expires=part.expires.astimezone(self._settings.timezone),
            sender_name=self._sender_name,
            headline=self._headline(
                texts, "Exercise", "headline.drill", name, level=texts.say(f"level.{drill.level}")
            ),
            description=" ".join(said),
            instruction=texts.say("do.drill"),
            web=self._web,
            contact=self._cap.contact or None,
            parameters=(("colluvium:level", LEVEL_LABELS[drill.level]), ("colluvium:exercise", "true")),
        )

    def _marks(self, texts: Texts, status: Status) -> list[str]:
        """What nobody may overlook: that it is a draft or a test, or that the place is not real."""
        said = [texts.say(f"text.{status}")] if status in ("Draft", "Test") else []
        return [*said, texts.say("text.synthetic")] if self._settings.region.synthetic else said

    def _headline(self, texts: Texts, status: Status, key: str, zone: str, **values: str) -> str:
        marks = [texts.say(f"mark.{status}")] if status != "Actual" else []
        if self._settings.region.synthetic:
            marks.append(texts.say("mark.synthetic"))
        before = "".join(f"{mark} - " for mark in marks)
        text = before + texts.say(key, zone=zone, **values)
        if len(text) > _HEADLINE_MOST:
            most = max(1, len(zone) - (len(text) - _HEADLINE_MOST) - 1)
            text = before + texts.say(key, zone=f"{zone[:most]}…", **values)
        return text

    def _area(self, zone: str, name: str, last: CapMessage | None) -> CapArea:
        """Return the zone's polygons; those of the last message where the zone is no longer on the map."""
        if zone not in self._zones and last is not None:
            return last.area
        if zone not in self._rings:
            self._rings[zone] = self._outline(zone)
        geocodes = ((f"{self._settings.region.id}:zone", zone),) if zone else ()
        return CapArea(description=name, polygons=self._rings[zone], geocodes=geocodes)

    def _outline(self, zone: str) -> tuple[Ring, ...]:
        grid = make_grid(self._settings)
        if zone in self._zones:
            shape = self._zones[zone].geometry
        elif self._zones:
            shape = shapely.union_all([found.geometry for found in self._zones.values()])
        else:
            shape = shapely.box(*grid.bounds)
        return zone_polygons(shape, str(grid.crs.to_string()), self._cap.polygon_points)

    def _name(self, zone: str) -> str:
        return self._zones[zone].name if zone in self._zones else zone or self._settings.region.name

    def _source(self, status: Status, parts: Sequence[Part]) -> str:
        said = [f"Colluvium {importlib.metadata.version('colluvium')}"]
        model = next((part.layer.model for part in parts if part.layer is not None), None)
        if model is not None:
            said.append(f"model {model.name} {model.version}")
        if status == "Actual":
            said.append(f"Actual by decision of {self._cap.actual_by}")
        return ", ".join(said)

    def _note(self, status: Status) -> str | None:
        texts = self._texts[0]
        if status == "Exercise":
            return texts.say("do.drill")
        return " ".join(self._marks(texts, status)) or None

    @property
    def _sender_name(self) -> str:
        return self._cap.sender_name or self._settings.region.name

    @property
    def _web(self) -> str | None:
        return self._cap.web or self._settings.web.public_url


def _figures(texts: Texts, name: str, part: Part) -> list[str]:
    layer, warning = part.layer, part.warning
    if layer is None or warning is None:
        return []
    said = []
    rows = [area for area in layer.areas if area.zone == warning.zone and "high" in area.label]
    shares = [area.ratio for area in rows if area.ratio is not None]
    if rows and len(shares) == len(rows):
        area_km2 = sum(area.area_m2 for area in rows) / 1e6
        share, area = texts.number(100 * sum(shares)), texts.number(area_km2, 2)
        said.append(texts.say("text.share", share=share, zone=name, area=area))
    for days in sorted({days for area in rows for days in area.change_m2}):
        grown = [area.change_m2[days] for area in rows if days in area.change_m2]
        if len(grown) == len(rows):
            change = texts.number(sum(grown) / 1e6, 2, signed=True)
            said.append(texts.say("text.growth", days=str(days), change=change))
    if part.basis.lead:
        issued = layer.day - timedelta(days=layer.lead)
        said.append(texts.say("text.forecast", issued=issued.isoformat()))
    if part.basis.last_known:
        said.append(texts.say("text.last_known"))
    if part.basis.unconfirmed:
        said.append(texts.say("text.unconfirmed"))
    if layer.status == LayerStatus.DEGRADED:
        said.append(texts.say("text.degraded", coverage=texts.number(100 * layer.coverage, 0)))
    return said


def _parameters(part: Part) -> tuple[tuple[str, str], ...]:
    """What machines read: the level, what it rests on, and the rule and numbers that led to it."""
    basis, warning = part.basis, part.warning
    found = [
        ("colluvium:level", LEVEL_LABELS[basis.level]),
        ("colluvium:day", basis.day.isoformat()),
        ("colluvium:lead", str(basis.lead)),
        ("colluvium:last_known", str(basis.last_known).lower()),
        ("colluvium:unconfirmed", str(basis.unconfirmed).lower()),
    ]
    if basis.layer_id is not None:
        found.append(("colluvium:layer", basis.layer_id))
    if warning is not None:
        found.append(("colluvium:rule", warning.rule))
        for name, value in sorted(warning.numbers.items()):
            if value is not None:  # what is not known is absent
                found.append((f"colluvium:{name}", f"{value:.6g}"))
    return tuple(found)
