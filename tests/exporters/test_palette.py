from __future__ import annotations

import numpy as np
import pytest

from exporters.layer import CLASS_COLOURS, NODATA, TOP
from exporters.palette import (
    CLASS_TABLE,
    DIFFERENCE_TABLE,
    SHADE_TABLE,
    SUSCEPTIBILITY_TABLE,
    lightness_and_hue,
    stored_of,
)

# What a deuteranope and a protanope see, in linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
BLINDNESS = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


def seen_by(rgb: np.ndarray, blindness: str) -> np.ndarray:
    light = rgb / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.array(BLINDNESS[blindness]).T, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def test_every_stored_value_has_a_colour_of_its_own_and_comes_back_from_it() -> None:
    stored = np.array([*range(TOP + 1), NODATA], np.uint8).reshape(4, 63)
    assert len(np.unique(SUSCEPTIBILITY_TABLE[: TOP + 1], axis=0)) == 251
    np.testing.assert_array_equal(stored_of(SUSCEPTIBILITY_TABLE[stored], SUSCEPTIBILITY_TABLE), stored)
    classes = np.array([[0, 1, 2, 3, 4]], np.uint8)
    np.testing.assert_array_equal(stored_of(CLASS_TABLE[classes], CLASS_TABLE), classes)


def test_a_colour_that_was_not_drawn_by_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no colour of this table"):
        stored_of(np.full((1, 1, 4), 255, np.uint8), CLASS_TABLE)


def test_unknown_is_transparent_and_nothing_else_is() -> None:
    for table, known in (
        (CLASS_TABLE, slice(1, 5)),
        (SUSCEPTIBILITY_TABLE, slice(0, TOP + 1)),
        (DIFFERENCE_TABLE, slice(1, 8)),
        (SHADE_TABLE, slice(1, 256)),
    ):
        opaque = np.zeros(256, bool)
        opaque[known] = True
        np.testing.assert_array_equal(table[:, 3] == 255, opaque)
        np.testing.assert_array_equal(table[:, 3] == 0, ~opaque)


@pytest.mark.parametrize("blindness", [None, *BLINDNESS])
def test_more_susceptible_is_darker_for_every_eye(blindness: str | None) -> None:
    colours = SUSCEPTIBILITY_TABLE[: TOP + 1, :3].astype(float)
    lightness = lightness_and_hue(colours if blindness is None else seen_by(colours, blindness))[:, 0]
    # Ten steps apart is what a reader can name; each of them is darker by a visible amount.
    assert (np.diff(lightness[::10]) < -1).all()
    assert lightness[0] - lightness[-1] > 50


@pytest.mark.parametrize("blindness", list(BLINDNESS))
def test_classes_and_changes_can_be_told_apart_by_the_colour_blind(blindness: str) -> None:
    for colours in (np.array(CLASS_COLOURS, float), DIFFERENCE_TABLE[1:8, :3].astype(float)):
        seen = lightness_and_hue(seen_by(colours, blindness))
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 1_000 * np.eye(len(seen))
        assert apart.min() > 8


def test_steps_of_susceptibility_look_alike() -> None:
    seen = lightness_and_hue(SUSCEPTIBILITY_TABLE[: TOP + 1, :3])
    steps = np.linalg.norm(np.diff(seen[::10], axis=0), axis=1)
    assert steps.max() < 2 * steps.min()


def test_lightness_is_that_of_the_standard() -> None:
    white, grey, red = lightness_and_hue(np.array([[255, 255, 255], [119, 119, 119], [255, 0, 0]]))
    np.testing.assert_allclose(white, [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(grey, [50.03, 0, 0], atol=0.05)
    np.testing.assert_allclose(red, [53.24, 80.09, 67.20], atol=0.05)
