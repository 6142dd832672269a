"""Text from outside, as one harmless line of a terminal."""

from __future__ import annotations

_SHOWN = 120


def plain(text: str, most: int = _SHOWN) -> str:
    """Return one line of what others wrote, without what a terminal would obey, at most so many letters."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= most else f"{line[:most]}..."
