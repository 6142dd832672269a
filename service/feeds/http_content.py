"""Is a body what was asked for? Servers answer 200 with a page that says that they are ill."""

from __future__ import annotations

import html
import re
from typing import Literal

Expect = Literal["json", "text", "csv", "tiff", "netcdf", "any"]

LOOKED_AT = 4096  # bytes of a body that the check needs

_JSON_STARTS = b'{["-0123456789tfn'
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NETCDF = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NAMES = {"json": "JSON", "text": "text", "csv": "CSV", "tiff": "a TIFF", "netcdf": "a NetCDF file"}
_FIRST_WORDS = 120


def wrong_content(start: bytes, expect: Expect) -> str | None:
    """Return what is wrong with a body by its first bytes, quoting its first words, or None.

    `start` is the body's first LOOKED_AT bytes, or all of it. Compressed bodies pass for anything but JSON:
    whoever unpacks them sees what is inside.
    """
    if expect == "any":
        return None
    if not start.strip():
        return f"an empty reply in place of {_NAMES[expect]}"
    if _fits(start, expect):
        return None
    words = first_words(start)
    what = "a web page" if _is_markup(start) else "something else"
    return f"{what} in place of {_NAMES[expect]}" + (f", which begins: {words!r}" if words else "")


def _fits(start: bytes, expect: Expect) -> bool:
    match expect:
        case "tiff":
            return start.startswith(_TIFF + _COMPRESSED)
        case "netcdf":
            return start.startswith(_NETCDF + _COMPRESSED)
        case "json":
            begun = start.removeprefix(b"\xef\xbb\xbf").lstrip()
            return begun[:1] in {bytes((byte,)) for byte in _JSON_STARTS}
        case _:
            if start.startswith(_COMPRESSED + _UTF_16):
                return True
            document = expect == "csv" and start.lstrip()[:1] in (b"{", b"[")
            return not (document or _is_markup(start) or b"\0" in start)


def _is_markup(start: bytes) -> bool:
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def first_words(start: bytes) -> str:
    """Return the first words that a person would read of a body; empty where it is not text."""
    text = start[:LOOKED_AT].decode("utf-8", "replace").lstrip("\ufeff")
    if sum(not letter.isprintable() and not letter.isspace() for letter in text) > len(text) // 20:
        return ""
    if _is_markup(start):
        text = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|$)", " ", text)
        text = html.unescape(re.sub(r"(?s)<[^>]*(>|$)", " ", text))
    words = " ".join(text.split())
    return words if len(words) <= _FIRST_WORDS else words[:_FIRST_WORDS].rstrip() + "..."
