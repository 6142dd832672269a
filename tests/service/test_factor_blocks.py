"""Factors by squares: a tile is the same however the stack is cut, and no square is read twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from service import factor_blocks
from service.factor_stack import FactorStack
from service.patches import NO_DATA, OUTSIDE, VALID, PatchReader
from tests.fix_bundle import FloatArray
from tests.fix_scene import Scene, make_scene

NAMES = {1: "forest", 2: "field", 3: "rock", 7: "glacier"}
P, HALF = 23, 11


def spoil(factors: FloatArray) -> None:
    """Make gaps, values out of range, and a category that no model knows."""
    factors[1, 40, 60] = np.nan
    factors[-1, 12, 70] = np.nan
    factors[0, 30:33, 25] = 130
    factors[2, 5, 5] = -4
    factors[-1, 33, 30] = 7


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene with holes in mask and factors."""
    mask = np.ones((70, 90), bool)
    mask[:20, 50:60] = False
    folder = tmp_path_factory.mktemp("blocks")
    return make_scene(folder, mask=mask, change=spoil, categories=NAMES)


def reader(scene: Scene, least: float = 1.0) -> PatchReader:
    return PatchReader(scene.region, scene.stack, scene.bundle.manifest, least)


def expected(
    scene: Scene, row: int, column: int, height: int, width: int, least: float
) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Work the tile out from the factors as they were written, without squares."""
    far = 200
    padded = np.pad(scene.factors, ((0, 0), (far, far), (far, far)), constant_values=np.nan)
    inside = np.pad(scene.mask, far)
    rows = slice(row + far - HALF, row + far + height + HALF)
    columns = slice(column + far - HALF, column + far + width + HALF)
    factors = padded[:, rows, columns].copy()
    seen = np.isfinite(factors)
    squares = np.lib.stride_tricks.sliding_window_view(seen.all(axis=0), (P, P))
    counts = squares.sum(axis=(2, 3))
    outside = counts < P**2
    centre = (slice(HALF, HALF + height), slice(HALF, HALF + width))
    for number, spec in enumerate(scene.bundle.manifest.factors):
        band = factors[number]
        if spec.categories is None:
            assert spec.minimum is not None
            assert spec.maximum is not None
            outside |= ((band < spec.minimum) | (band > spec.maximum))[centre]
            band[~seen[number]] = (spec.minimum + spec.maximum) / 2
        else:
            strange = seen[number] & ~np.isin(band, [1, 2, 3])
            outside |= strange[centre]
            band[strange] = 0
    flags = np.where(outside, OUTSIDE, VALID).astype(np.uint8)
    there = inside[row + far : row + far + height, column + far : column + far + width]
    flags[~there | (counts < np.ceil(least * P**2 - 1e-6))] = NO_DATA
    return factors, flags


@given(
    square=st.sampled_from([16, 23, 40, 256]),
    row=st.integers(-30, 80),
    column=st.integers(-30, 100),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    least=st.sampled_from([1.0, 0.8]),
)
def test_a_tile_is_what_the_stack_holds_there_however_it_is_cut(
    scene: Scene, square: int, row: int, column: int, height: int, width: int, least: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_blocks, "SQUARE", square)
        tile = reader(scene, least).read(row, column, height, width)
    factors, flags = expected(scene, row, column, height, width, least)
    np.testing.assert_array_equal(tile.flags, flags)
    np.testing.assert_array_equal(tile.factors, factors)


def test_threads_that_want_the_same_square_read_it_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factor_blocks, "SQUARE", 16)
    windows: list[tuple[int, int]] = []
    read = FactorStack.read

    def counted(stack: FactorStack, names: Any, window: Window) -> FloatArray:
        windows.append((int(window.row_off), int(window.col_off)))
        return read(stack, names, window)

    monkeypatch.setattr(FactorStack, "read", counted)
    patches = reader(scene)
    with ThreadPoolExecutor(4) as pool:
        tiles = list(pool.map(lambda column: patches.read(20, column, 8, 8), range(20, 60)))
    assert len(tiles) == 40
    assert len(windows) == len(set(windows)) == 3 * 5
    patches.blocks.forget()
    patches.read(20, 20, 8, 8)
    assert len(windows) > 15


def test_memory_holds_a_bounded_number_of_squares(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factor_blocks, "SQUARE", 8)
    monkeypatch.setattr(factor_blocks, "_KEPT_BYTES", 1)
    patches = reader(scene)
    first = patches.read(0, 0, 60, 60)
    again = patches.read(0, 0, 60, 60)
    np.testing.assert_array_equal(first.factors, again.factors)
    assert len(patches.blocks._kept) <= 4


def test_a_square_that_cannot_be_read_fails_for_everyone_and_is_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = reader(scene)
    with monkeypatch.context() as broken:
        broken.setattr(FactorStack, "read", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        for _ in range(2):
            with pytest.raises(OSError, match="gone"):
                patches.read(20, 20, 8, 8)
    assert patches.read(20, 20, 8, 8).flags.any()
