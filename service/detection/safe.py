"""Sentinel-2 products as ESA hands them out: a .SAFE folder of JPEG 2000 bands beside MTD_MSIL*.xml.

    MTD_MSIL2A.xml  GRANULE/<granule>/IMG_DATA/R10m/T32TQP_20230523T101601_B02_10m.jp2, R20m/..., R60m/...
    MTD_MSIL1C.xml  GRANULE/<granule>/IMG_DATA/T32TQP_20230523T101601_B02.jp2

Reflectance = (stored + offset) / quantification. Since processing baseline 04.00 (January 2022) the offset is
-1000, so that dark ground does not end at zero; it is read from the product, band by band, and never assumed.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree as Xml
from zoneinfo import ZoneInfo

from service.detection.bands import BY_NAME
from service.detection.scene import Scene, Source, grid_of
from service.errors import InputError

_XML_BYTES = 8 * 2**20  # a product's metadata has some 60 KiB; a tree takes ten times its text
_IMAGE = re.compile(r"_(B\d\d|B8A|SCL)(?:_(\d\d)m)?\.jp2$", re.IGNORECASE)
# The numbers by which the product's tables name the bands.
_NUMBERED = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_OFFSETS_SINCE = (4, 0)


def is_safe(path: Path) -> bool:
    """Tell whether a folder is a Sentinel-2 product."""
    return path.is_dir() and any(path.glob("MTD_MSIL*.xml"))


def open_safe(path: Path, *, day: date | None, after: date | None, zone: ZoneInfo | None) -> Scene:
    """Return a product as a scene. Raises InputError where it cannot be used."""
    metadata = sorted(path.glob("MTD_MSIL*.xml"))
    if len(metadata) != 1:
        raise InputError(f"{path} holds {len(metadata)} files MTD_MSIL*.xml; a product has one")
    level = metadata[0].stem.removeprefix("MTD_MSI")[1:]
    if level not in ("2A", "1C"):
        raise InputError(f"{path} is a product of Level {level}; give Level 2A or 1C")
    root = _parsed(metadata[0])
    sensed = _sensed(root, metadata[0]).astimezone(zone or UTC).date()
    if day is not None and day != sensed:
        raise InputError(
            f"{path} was sensed on {sensed}, as its metadata says, and not on {day}; leave --date out"
        )
    images = _images(path)
    quantification = _number(
        root, metadata[0], "BOA_QUANTIFICATION_VALUE" if level == "2A" else "QUANTIFICATION_VALUE"
    )
    if quantification <= 0:
        raise InputError(f"{metadata[0]}: a quantification value of {quantification:g} cannot be")
    offsets = _offsets(root, metadata[0], level)
    without = sorted(name for name in images if name in BY_NAME and name not in offsets)
    if offsets and without:
        raise InputError(
            f"{metadata[0]} names the offsets of {', '.join(sorted(offsets))} and none of "
            f"{', '.join(without)}; they would be brighter than they are. Fetch the product again"
        )
    special = _special(root)
    bands = {
        name: Source(str(file), 1, 1 / quantification, offsets.get(name, 0.0), special)
        for name, file in images.items()
        if name in BY_NAME
    }
    finest = min(bands, key=lambda name: (BY_NAME[name].resolution_m, name))
    crs, transform, shape = grid_of(bands[finest].name, str(path))
    notes: tuple[str, ...] = ()
    if level == "1C":
        notes = (
            "Level 1C: reflectance at the top of the atmosphere; a detector trained on Level 2A (at the "
            "ground) sees other values here",
        )
    return Scene(
        id=_text(root, "PRODUCT_URI").removesuffix(".SAFE") or path.name.removesuffix(".SAFE"),
        path=path,
        product=f"Sentinel-2 Level-{level}",
        sensed_on=sensed,
        after=after,
        crs=crs,
        transform=transform,
        shape=shape,
        bands=bands,
        classes=Source(str(images["SCL"])) if "SCL" in images else None,
        notes=notes,
        files=(metadata[0],),
    )


def _parsed(path: Path) -> Xml.Element:
    try:
        with path.open("rb") as file:
            content = file.read(_XML_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; copy the product again") from error
    if len(content) > _XML_BYTES:
        raise InputError(f"{path} is larger than {_XML_BYTES // 2**20} MiB, which no product's metadata is")
    # Entities are declared in a DOCTYPE; no product has one, and without one nothing can be expanded. A file
    # in UTF-16 would hide it.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\x00" in content:
        raise InputError(
            f"{path} declares entities or is no UTF-8, as no product's metadata does; it is not read"
        )
    try:
        return Xml.fromstring(content)  # noqa: S314 - nothing in it can be expanded, see above
    except Xml.ParseError as error:
        raise InputError(f"{path} is no XML: {error}; copy the product again") from error


def _elements(root: Xml.Element, name: str) -> list[Xml.Element]:
    """Return elements by name, in whatever namespace: it differs by the product's version."""
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == name]


def _text(root: Xml.Element, name: str) -> str:
    return next(((element.text or "").strip() for element in _elements(root, name)), "")


def _number(root: Xml.Element, path: Path, name: str) -> float:
    text = _text(root, name)
    try:
        return float(text)
    except ValueError as error:
        said = f"says {text!r}" if text else "is missing"
        raise InputError(f"{path}: {name} {said}; without it the bands have no scale") from error


def _sensed(root: Xml.Element, path: Path) -> datetime:
    text = _text(root, "DATATAKE_SENSING_START") or _text(root, "PRODUCT_START_TIME")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{path}: neither DATATAKE_SENSING_START nor PRODUCT_START_TIME is a moment"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _offsets(root: Xml.Element, path: Path, level: str) -> dict[str, float]:
    """Return each band's offset, in stored units."""
    name = "BOA_ADD_OFFSET" if level == "2A" else "RADIO_ADD_OFFSET"
    numbered = {
        element.get("bandId", ""): element.get("physicalBand", "")
        for element in _elements(root, "Spectral_Information")
    }
    found = {}
    for element in _elements(root, name):
        number = element.get("band_id", "")
        try:
            band = _padded(numbered[number]) if number in numbered else _numbered(number)
            found[band] = float(element.text or "")
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{path}: {name} of band {number!r} is {element.text!r}, and not a number"
            ) from error
    baseline = _text(root, "PROCESSING_BASELINE")
    try:
        version = tuple(int(part) for part in baseline.split("."))
    except ValueError as error:
        raise InputError(f"{path}: PROCESSING_BASELINE {baseline!r} is no version") from error
    if not found and version >= _OFFSETS_SINCE:
        raise InputError(
            f"{path} is of processing baseline {baseline} and names no {name}; without it the bands would be "
            "brighter by 0.1 than they are. Fetch the product again"
        )
    return found


def _numbered(number: str) -> str:
    if not number.isdigit():  # -1 would be the last band
        raise ValueError(number)
    return _NUMBERED[int(number)]


def _padded(physical: str) -> str:
    """Return our name of a band that the product calls B1 ... B8A."""
    return f"B{physical[1:]:0>2}"


def _special(root: Xml.Element) -> tuple[float, ...]:
    """Return the stored numbers that are no values: no data and saturated."""
    texts = [(element.text or "").strip() for element in _elements(root, "SPECIAL_VALUE_INDEX")]
    return tuple(dict.fromkeys((0.0, 65535.0, *(float(text) for text in texts if text.isdigit()))))


def _images(path: Path) -> dict[str, Path]:
    """Return the band files by name, of each band the finest."""
    granules = sorted(folder for folder in (path / "GRANULE").glob("*") if folder.is_dir())
    if len(granules) != 1:
        raise InputError(
            f"{path} holds {len(granules)} granules; a scene has one. Products from before December 2016 "
            "hold many: give each granule's bands as a folder of rasters"
        )
    found: dict[str, tuple[int, Path]] = {}
    for file in sorted((granules[0] / "IMG_DATA").rglob("*.jp2")):
        match = _IMAGE.search(file.name)
        if match is None:
            continue
        name, metres = match[1].upper(), int(match[2] or 0)
        if name not in found or metres < found[name][0]:
            found[name] = metres, file
    if not any(name in BY_NAME for name in found):
        raise InputError(f"{granules[0] / 'IMG_DATA'} holds no band (*_B02_10m.jp2); copy the product again")
    return {name: file for name, (_, file) in found.items()}
