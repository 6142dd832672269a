"""/point: how much of a value is terrain, rain and reservoir, and what changed since the day before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import rasterio

from exporters.layer import SCALE
from tests.fix_bundle import write_toy_bundle
from tests.fix_places import (
    DAY,
    DRY_CELL,
    LAKE_CELL,
    NETWORK,
    change_settings,
    client_of,
    look,
)
from tests.fix_region import GAUGES, ToyRegion
from tests.service.api.conftest import VALLEY_DAYS as DAYS

CELLS = (LAKE_CELL, DRY_CELL, (20, 55), (50, 15))


def test_the_parts_add_up_to_the_published_value_at_every_kind_of_place(valley: ToyRegion) -> None:
    http = client_of(valley)
    for cell in CELLS:
        found = look(http, cell)
        reasons = found["reasons"]
        assert reasons["agrees"]
        assert reasons["published"] == found["value"]["susceptibility"]
        assert abs(reasons["explained"] - reasons["published"]) <= SCALE
        known = [part for part in reasons["parts"].values() if part is not None]
        assert sum(known) == pytest.approx(reasons["explained"], abs=1e-5)
        assert (reasons["parts"]["reservoir"] is None) == (found["where"]["reservoir"] is None)
        change = reasons["change"]
        assert change["since"] == (DAY - timedelta(days=1)).isoformat()
        assert change["parts"]["terrain"] == 0
        moved = [part for part in change["parts"].values() if part is not None]
        assert sum(moved) == pytest.approx(change["change"], abs=SCALE)
        assert change["before"] == found["past"]["susceptibility"][-2]
    lake = look(http, LAKE_CELL)
    assert lake["where"]["reservoir"] == {"id": "lake", "name": "Lake"}
    assert lake["reasons"]["parts"]["reservoir"] != 0
    assert look(http, DRY_CELL)["where"]["reservoir"] is None


def test_a_correction_that_came_later_leaves_the_published_value_explained(
    own_valley: ToyRegion,
) -> None:
    before = look(client_of(own_valley), DRY_CELL)
    own_valley.set_rain({(DAY - timedelta(days=2), gauge): 190.0 for gauge in GAUGES})
    own_valley.ingest()

    after = look(client_of(own_valley), DRY_CELL)

    assert after["reasons"] == before["reasons"]
    assert after["window"] == before["window"]


def test_settings_that_changed_since_are_said_and_not_explained_away(
    own_valley: ToyRegion,
) -> None:
    # Other weights of the gauges: the windows of the layer can no longer be rebuilt.
    change_settings(own_valley, "max_distance_km = 5", "max_distance_km = 5\npower = 0.1")
    http = client_of(own_valley)
    found = [look(http, cell)["reasons"] for cell in CELLS]
    assert any(not reasons["agrees"] for reasons in found)
    for reasons in found:
        assert (reasons["says"] is None) == reasons["agrees"]


def test_without_a_layer_of_the_day_before_nothing_is_said_to_have_changed(valley: ToyRegion) -> None:
    reasons = look(client_of(valley), DRY_CELL, day=DAYS[2].isoformat())["reasons"]
    assert reasons["change"] is None
    assert reasons["change_missing"]["code"] == "no_layer_before"


def test_a_new_model_is_said_and_neither_ranked_against_nor_compared_with_the_old_one(
    own_valley: ToyRegion,
) -> None:
    old = client_of(own_valley)
    new = replace(NETWORK, seed=9)
    shutil.rmtree(own_valley.folder / "bundle")
    write_toy_bundle(own_valley.folder / "bundle", new)
    stale = look(old, DRY_CELL, day=DAY.isoformat())
    assert stale["reasons"] is not None  # the daemon has the layer's bundle in memory still

    other = look(client_of(own_valley), DRY_CELL)
    assert other["value"]["susceptibility"] is not None
    assert other["reasons"] is None
    assert other["reasons_missing"]["code"] == other["window_missing"]["code"] == "other_bundle"
    assert other["factors"] == []

    own_valley.refresh(DAY + timedelta(days=1))
    found = look(client_of(own_valley), DRY_CELL)
    assert found["reasons"]["agrees"]
    assert found["reasons"]["change"]["parts"] is None
    assert found["reasons"]["change"]["says"]
    assert found["rank"] is None
    assert found["past"]["model_changes"] == [(DAY + timedelta(days=1)).isoformat()]


def _lose_state(toy: ToyRegion) -> None:
    shutil.rmtree(toy.data / "state")


def _derive_factors_again(toy: ToyRegion) -> None:
    with rasterio.open(toy.folder / "factors.tif", "r+") as stack:
        stack.update_tags(digest="another")


@pytest.mark.parametrize(
    ("change", "code"), [(_lose_state, "no_state"), (_derive_factors_again, "inputs_changed")]
)
def test_what_a_layer_was_made_from_may_be_gone_and_the_value_stays(
    own_valley: ToyRegion, change: Callable[[ToyRegion], None], code: str
) -> None:
    before = look(client_of(own_valley), DRY_CELL)
    change(own_valley)
    found = look(client_of(own_valley), DRY_CELL)
    assert found["value"] == before["value"]
    assert found["past"] == before["past"]
    assert found["reasons"] is None
    assert found["reasons_missing"]["code"] == code
    assert not (own_valley.data / "state").exists() or code != "no_state"  # looking builds nothing


def test_without_a_bundle_the_value_is_there_and_the_reasons_are_not(valley: ToyRegion) -> None:
    found = look(client_of(valley, loaded=False), DRY_CELL)
    assert found["value"]["susceptibility"] is not None
    assert found["reasons_missing"]["code"] == found["window_missing"]["code"] == "no_bundle"
