"""Parts of a value: exact, additive, and true to what a layer would say."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.explain import Parts, explain, explain_change, reference_corners, shapley
from service.place import PlaceWindow
from service.sequences import window_days
from service.surfaces import Kind
from tests.fix_places import DAY, DRY_CELL, LAKE_CELL, client_of, look, make_valley, set_levels
from tests.fix_region import read_rain

worths = st.integers(1, 4).flatmap(
    lambda players: st.lists(st.floats(-1, 1, width=32), min_size=2**players, max_size=2**players)
)


def window(values: np.ndarray, names: tuple[str, ...], reservoir: int | None) -> PlaceWindow:
    corners = np.asarray(values, np.float32)
    days = corners.shape[1]
    return PlaceWindow(
        days=window_days(DAY, days, 1),
        variables=names,
        corners=corners,
        kinds=np.full(corners.shape[1:], Kind.OBSERVED, np.uint8),
        in_range=np.ones(days, bool),
        weights=np.full(4, 0.25, np.float32),
        nearest=(None,) * days,
        nearest_km=np.full(days, np.nan, np.float32),
        reservoir=reservoir,
    )


@given(worths)
def test_shapley_values_are_the_mean_gain_over_all_orders_of_joining(worth: list[float]) -> None:
    players = len(worth).bit_length() - 1
    orders = list(permutations(range(players)))
    gains = np.zeros(players)
    for order in orders:
        joined = 0
        for player in order:
            gains[player] += worth[joined | 1 << player] - worth[joined]
            joined |= 1 << player
    found = shapley(worth)
    assert found == pytest.approx(gains / len(orders), abs=1e-6)
    assert sum(found) == pytest.approx(worth[-1] - worth[0], abs=1e-6)


def test_sets_of_players_that_are_not_all_are_refused() -> None:
    with pytest.raises(ValueError, match="3 sets"):
        shapley([0.0, 1.0, 2.0])


def test_a_month_in_which_nothing_happened_is_dry_with_a_lake_that_stands_where_it_stood() -> None:
    random = np.random.default_rng(0)
    names = ("rain", "level_below_full", "level_change_7d")
    corners = random.uniform(1, 9, (4, 5, 3)).astype(np.float32)

    still = reference_corners(window(corners, names, reservoir=0))
    assert (still[:, :, [0, 2]] == 0).all()
    assert (still[:, :, 1] == corners[:, :1, 1]).all()

    # Without a lake the levels are constants that the model was told to expect; they stay.
    assert np.array_equal(
        reference_corners(window(corners, names, reservoir=None))[:, :, 1:], corners[:, :, 1:]
    )


@given(st.data())
def test_parts_add_up_and_a_group_without_influence_has_none(data: st.DataObject) -> None:
    shape = (4, 3, 2)
    values = st.lists(st.floats(0, 5, width=32), min_size=24, max_size=24)
    now, before = (np.array(data.draw(values), np.float32).reshape(shape) for _ in range(2))
    weights = np.array(data.draw(values), np.float32).reshape(shape)
    deaf = data.draw(st.booleans())
    if deaf:
        weights[:, :, 1] = 0  # this model does not listen to levels

    def model(corners: np.ndarray) -> np.ndarray:
        return np.tanh((corners * weights).sum(axis=(1, 2, 3)) / 100).astype(np.float32)

    names = ("rain", "level_below_full")
    parts = explain(model, window(now, names, reservoir=0))
    assert parts.rain is not None
    assert parts.reservoir is not None
    assert parts.terrain + parts.rain + parts.reservoir == pytest.approx(parts.total, abs=1e-5)
    assert parts.total == pytest.approx(float(model(now[None])[0]), abs=1e-6)
    if deaf:
        assert parts.reservoir == 0

    change = explain_change(model, window(before, names, reservoir=0), window(now, names, reservoir=0))
    assert change.rain is not None
    assert change.reservoir is not None
    assert change.rain + change.reservoir == pytest.approx(change.after - change.before, abs=1e-5)
    assert change.after == pytest.approx(parts.total, abs=1e-6)


def test_a_group_that_the_model_does_not_take_or_that_is_not_linked_has_no_part() -> None:
    corners = np.ones((4, 3, 1), np.float32)
    parts = explain(lambda c: c.mean(axis=(1, 2, 3)), window(corners, ("rain",), reservoir=None))
    assert parts == Parts(total=1.0, terrain=0.0, rain=1.0, reservoir=None)

    two = np.ones((4, 3, 2), np.float32)
    unlinked = explain(
        lambda c: c.mean(axis=(1, 2, 3)), window(two, ("rain", "level_below_full"), reservoir=None)
    )
    assert unlinked == Parts(total=1.0, terrain=0.5, rain=0.5, reservoir=None)


@pytest.mark.parametrize("kind", ["factored", "whole"])
def test_terrain_is_what_a_layer_says_after_a_month_without_rain_beside_a_lake_that_stands_still(
    tmp_path: Path, kind: str
) -> None:
    toy = make_valley(tmp_path / "valley", kind="whole" if kind == "whole" else "factored")
    toy.refresh(DAY)
    cells = {cell: look(client_of(toy), cell)["reasons"] for cell in (LAKE_CELL, DRY_CELL)}

    calm = make_valley(tmp_path / "calm", kind="whole" if kind == "whole" else "factored")
    calm.set_rain(dict.fromkeys(read_rain(calm.folder / "rain.csv"), 0.0))
    first = window_days(DAY, 30, 1)[0]
    levels = (calm.folder / "levels.csv").read_text().splitlines()
    level = next(float(line.split(",")[2]) for line in levels if f",{first}," in line)
    days = [line.split(",")[1] for line in levels[1:]]
    set_levels(calm, {type(DAY).fromisoformat(day): level for day in days})
    calm.ingest()
    calm.refresh(DAY)

    for cell, reasons in cells.items():
        published = look(client_of(calm), cell)["value"]["susceptibility"]
        assert reasons["parts"]["terrain"] == pytest.approx(published, abs=0.0021)
        assert reasons["parts"]["rain"] != 0
