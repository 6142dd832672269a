"""Words in pictures, in capitals of 5 x 7 dots: enough for a day and a status, with no font or library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 5, 7
_ADVANCE = WIDTH + 1

# Seven rows a letter, the leftmost dot in bit 4.
_ROWS = {
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e",
    "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111",
    "I": "0e04040404040e", "J": "0702020202120c", "K": "11121418141211", "L": "1010101010101f",
    "M": "111b1515111111", "N": "11191513111111", "O": "0e11111111110e", "P": "1e11111e101010",
    "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a", "X": "11110a040a1111",
    "Y": "11110a04040404", "Z": "1f01020408101f",
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010608101f", "3": "0e11010601110e",
    "4": "02060a121f0202", "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808",
    "8": "0e11110e11110e", "9": "0e11110f01020c",
    " ": "00000000000000", "-": "0000000e000000", ".": "00000000000c0c", ",": "000000000c0408",
    ":": "000c0c000c0c00", "%": "18190204081303", "/": "00010204081000", "(": "02040808080402",
    ")": "08040202020408", "?": "0e110102040004",
}  # fmt: skip


def text_width(text: str, scale: int) -> int:
    """Return the pixels that a line of text takes across."""
    return max(0, len(text) * _ADVANCE - 1) * scale


def wrap(text: str, width: int, scale: int) -> list[str]:
    """Break text between words into lines of at most `width` pixels; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", scale) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def write_text(
    rgba: npt.NDArray[np.uint8], text: str, at: tuple[int, int], scale: int, colour: tuple[int, int, int]
) -> None:
    """Write a line into a picture (rows, columns, 4), its upper left corner `at` (row, column).

    What reaches beyond the picture is left out; a letter that is not known here becomes a question mark.
    """
    row, column = at
    for place, letter in enumerate(text.upper()):
        dots = np.frombuffer(bytes.fromhex(_ROWS.get(letter, _ROWS["?"])), np.uint8)
        bits = (dots[:, None] >> np.arange(WIDTH - 1, -1, -1)) & 1
        ink = bits.repeat(scale, axis=0).repeat(scale, axis=1).astype(bool)
        left = column + place * _ADVANCE * scale
        target = rgba[row : row + HEIGHT * scale, left : left + WIDTH * scale]
        target[ink[: target.shape[0], : target.shape[1]]] = (*colour, 255)
