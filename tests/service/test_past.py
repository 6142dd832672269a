"""The past of a cell: what each layer's file says there."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import NODATA
from service.ledger_rows import ShownLayer
from service.past import PastReader

SHAPE = (300, 470)  # squares are cut at the right and at the bottom


def make_layers(folder: Path, count: int) -> tuple[list[ShownLayer], npt.NDArray[np.uint8]]:
    random = np.random.default_rng(1)
    values = random.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    layers = []
    for number, value in enumerate(values):
        place = folder / f"{number}"
        place.mkdir()
        profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint8"}
        with rasterio.open(
            place / SUSCEPTIBILITY, "w", transform=rasterio.Affine(30, 0, 0, 0, -30, 0), **profile
        ) as out:
            out.write(value, 1)
        day = date(2026, 1, 1) + timedelta(days=number)
        grid = ("EPSG:32632", (0.0, 0.0, 1.0, 1.0), SHAPE)
        layers.append(ShownLayer(f"l{number}", day, f"digest{number}", place, (0.2, 0.4, 0.6), "m", grid))
    return layers, values


@pytest.mark.parametrize("kept", [1536, 3])
def test_a_cell_s_past_is_what_each_file_says_however_little_is_kept(tmp_path: Path, kept: int) -> None:
    layers, values = make_layers(tmp_path, 5)
    reader = PastReader(kept=kept)
    random = np.random.default_rng(2)
    for row, column in [(0, 0), (299, 469), (255, 256), *random.integers((0, 0), SHAPE, (20, 2)).tolist()]:
        for _ in range(2):
            found = reader.stored(layers, int(row), int(column))
            assert found.dtype == np.uint8
            assert found.tolist() == values[:, row, column].tolist()


def test_what_was_read_is_kept_until_room_is_needed(tmp_path: Path) -> None:
    layers, values = make_layers(tmp_path, 3)
    reader = PastReader(kept=3)
    reader.stored(layers, 5, 5)
    for layer in layers:
        (layer.folder / SUSCEPTIBILITY).unlink()

    assert reader.stored(layers, 6, 7).tolist() == values[:, 6, 7].tolist()
    # Another square of the newest layer takes the place of the oldest one's.
    assert reader.stored(layers[2:], 290, 5).tolist() == [NODATA]


def test_a_layer_whose_file_is_gone_or_damaged_says_nothing_and_hides_no_other(tmp_path: Path) -> None:
    layers, values = make_layers(tmp_path, 3)
    (layers[0].folder / SUSCEPTIBILITY).unlink()
    (layers[1].folder / SUSCEPTIBILITY).write_bytes(b"no raster")

    assert PastReader().stored(layers, 9, 9).tolist() == [NODATA, NODATA, values[2, 9, 9]]
