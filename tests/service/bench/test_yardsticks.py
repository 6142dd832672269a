"""What the refresh is held against is done as well as it can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from service.bench.yardsticks import busy_tiles
from service.state_build import tiles_to_build
from tests.fix_scene import make_scene


def test_without_a_stored_state_tiles_come_in_the_order_that_reads_factors_once(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, shape=(300, 280))
    state = scene.state()
    every = tiles_to_build(scene.region.forcing, state.patches)
    rows = scene.windows.corner_rows.copy()
    rows[every[4]] = -1
    shop: Any = SimpleNamespace(region=scene.region, state=state)
    found = busy_tiles(shop, replace(scene.windows, corner_rows=rows))
    expected = [*every[:4], *every[5:]]
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
