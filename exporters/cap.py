"""Messages in the Common Alerting Protocol 1.2 (OASIS Standard, 1 July 2010), and the Atom feed of them.

A `CapMessage` is kept as it was sent: its XML is a pure function of it, so that what was said on a day can be
shown later, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from uuid import NAMESPACE_URL, uuid5
from xml.etree import ElementTree as ET

from pydantic import BaseModel, ConfigDict, Field

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
ATOM = "http://www.w3.org/2005/Atom"
CAP_TYPE = "application/cap+xml"
# "MUST NOT include spaces, commas or restricted characters (< and &)": of identifier and sender.
PLAIN = r"^[^\s,<&]+$"

Kind = Literal["Alert", "Update", "Cancel"]
Status = Literal["Draft", "Test", "Exercise", "Actual"]
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
# What XML 1.0 cannot carry at all, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CapBasis(_Value):
    """What a message rests on: the level of its zone in one layer. Levels are decided elsewhere."""

    layer_id: str | None  # None: of a drill
    day: date
    lead: Annotated[int, Field(ge=0)]
    level: Annotated[int, Field(ge=1, le=3)]
    unconfirmed: bool = False
    last_known: bool = False  # nothing newer is known of that day, although it should be


class CapReference(_Value):
    """An earlier message of the thread."""

    identifier: Annotated[str, Field(pattern=PLAIN)]
    sender: Annotated[str, Field(pattern=PLAIN)]
    sent: datetime


class CapArea(_Value):
    """The warned zone. Polygons are closed rings of (latitude, longitude) in WGS 84."""

    description: str
    polygons: tuple[tuple[tuple[float, float], ...], ...]
    geocodes: tuple[tuple[str, str], ...] = ()


class CapInfo(_Value):
    """What is said of one span of time, in one language."""

    language: str
    event: str
    response: Literal["Prepare", "Avoid", "Monitor", "None"]
    urgency: Literal["Immediate", "Expected", "Future", "Past", "Unknown"]
    severity: Literal["Extreme", "Severe", "Moderate", "Minor", "Unknown"]
    certainty: Literal["Observed", "Likely", "Possible", "Unlikely", "Unknown"]
    effective: datetime
    onset: datetime
    expires: datetime
    sender_name: str
    headline: str
    description: str
    instruction: str
    web: str | None = None
    contact: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()


class CapMessage(_Value):
    """One message of a thread. `basis` and `zone` are the service's own and not part of the XML."""

    identifier: Annotated[str, Field(pattern=PLAIN)]
    sender: Annotated[str, Field(pattern=PLAIN)]
    sent: datetime
    status: Status
    kind: Kind
    source: str
    restriction: str | None  # None: for the public
    note: str | None
    references: tuple[CapReference, ...]
    thread: Annotated[str, Field(pattern=PLAIN)]
    infos: Annotated[tuple[CapInfo, ...], Field(min_length=1)]
    area: CapArea
    zone: str
    basis: tuple[CapBasis, ...]

    @property
    def expires(self) -> datetime:
        """When the last thing that it says ends."""
        return max(info.expires for info in self.infos)

    def as_reference(self) -> CapReference:
        """Return what a later message of the thread calls this one."""
        return CapReference(identifier=self.identifier, sender=self.sender, sent=self.sent)


def cap_time(moment: datetime) -> str:
    """Return a moment as CAP has it: whole seconds, the offset in figures, UTC as -00:00 (3.3.2)."""
    text = moment.replace(microsecond=0).isoformat()
    return f"{text[:-6]}-00:00" if moment.utcoffset() == timedelta(0) else text


def cap_xml(message: CapMessage) -> bytes:
    """Return a message as an XML document."""
    alert = ET.Element("alert", {"xmlns": NAMESPACE})
    _add(alert, "identifier", message.identifier)
    _add(alert, "sender", message.sender)
    _add(alert, "sent", cap_time(message.sent))
    _add(alert, "status", message.status)
    _add(alert, "msgType", message.kind)
    _add(alert, "source", message.source)
    _add(alert, "scope", "Restricted" if message.restriction else "Public")
    _add(alert, "restriction", message.restriction)
    _add(alert, "note", message.note)
    references = (f"{item.sender},{item.identifier},{cap_time(item.sent)}" for item in message.references)
    _add(alert, "references", " ".join(references))
    _add(alert, "incidents", message.thread)
    for info in message.infos:
        _add_info(alert, info, message.area)
    return _document(alert)


def cap_feed(messages: Iterable[CapMessage], *, address: str, title: str, author: str) -> bytes:
    """Return the Atom feed (RFC 4287) of messages, in their order; each entry links to its own XML.

    `address` is where the feed's site begins. A feed that has nothing to list was last changed in 1970.
    """
    listed = list(messages)
    feed = ET.Element("feed", {"xmlns": ATOM})
    _add(feed, "id", f"{address}/cap")
    _add(feed, "title", title)
    _add(feed, "updated", _atom_time(max((message.sent for message in listed), default=_NEVER)))
    _add(ET.SubElement(feed, "author"), "name", author)
    ET.SubElement(feed, "link", {"rel": "self", "type": "application/atom+xml", "href": f"{address}/cap"})
    for message in listed:
        info = message.infos[0]
        entry = ET.SubElement(feed, "entry")
        _add(entry, "id", uuid5(NAMESPACE_URL, f"{message.sender},{message.identifier}").urn)
        _add(entry, "title", info.headline)
        _add(entry, "updated", _atom_time(message.sent))
        _add(entry, "published", _atom_time(message.sent))
        _add(ET.SubElement(entry, "author"), "name", info.sender_name)
        _add(entry, "summary", info.description)
        for term in (message.status, message.kind, info.severity):
            ET.SubElement(entry, "category", {"term": term})
        href = f"{address}/cap/{message.identifier}.xml"
        ET.SubElement(entry, "link", {"rel": "alternate", "type": CAP_TYPE, "href": href})
    return _document(feed)


def _add_info(alert: ET.Element, said: CapInfo, area: CapArea) -> None:
    info = ET.SubElement(alert, "info")
    _add(info, "language", said.language)
    _add(info, "category", "Geo")
    _add(info, "event", said.event)
    _add(info, "responseType", said.response)
    _add(info, "urgency", said.urgency)
    _add(info, "severity", said.severity)
    _add(info, "certainty", said.certainty)
    _add(info, "effective", cap_time(said.effective))
    _add(info, "onset", cap_time(said.onset))
    _add(info, "expires", cap_time(said.expires))
    _add(info, "senderName", said.sender_name)
    _add(info, "headline", said.headline)
    _add(info, "description", said.description)
    _add(info, "instruction", said.instruction)
    _add(info, "web", said.web)
    _add(info, "contact", said.contact)
    for name, value in said.parameters:
        _add_pair(info, "parameter", name, value)
    place = ET.SubElement(info, "area")
    _add(place, "areaDesc", area.description)
    for ring in area.polygons:
        _add(place, "polygon", " ".join(f"{lat:.5f},{lon:.5f}" for lat, lon in ring))
    for name, value in area.geocodes:
        _add_pair(place, "geocode", name, value)


def _add_pair(parent: ET.Element, tag: str, name: str, value: str) -> None:
    pair = ET.SubElement(parent, tag)
    _add(pair, "valueName", name)
    _add(pair, "value", value or " ")


def _add(parent: ET.Element, tag: str, text: str | None) -> None:
    if text:
        ET.SubElement(parent, tag).text = _NOT_XML.sub("\ufffd", text)


def _document(root: ET.Element) -> bytes:
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _atom_time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
