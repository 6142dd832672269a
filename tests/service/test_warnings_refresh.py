"""Promises about levels in a refresh: decided once, with the layer, after the nowcast of the day before."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from click.testing import CliRunner

from exporters.layer import Layer, LayerStatus, ZoneWarning
from service.cli import main_group
from service.errors import Outcome
from service.ledger_levels import Decided
from service.warnings import decide, figures_of
from tests.fix_forecast import add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_region import LAST_DAY, ToyRegion

DAY = LAST_DAY + timedelta(days=1)
_PASSED = {
    "passed": True, "largest_drop": 0.0, "scales": [0, 3], "mean_susceptibility": [0.1, 0.2], "samples": 1,
}  # fmt: skip
# Half of each of the toy's zones is the rim that no patch reaches.
RULES = """
[classes]
breaks = [0.4, 0.64, 0.8]

[warnings]
yellow = { share = 0.001, growth = 0.0001 }
orange = { share = 0.05, growth = 0.02 }
red = { share = 0.9, growth = 0.5 }
max_unknown = 0.6
"""


@pytest.fixture
def toy(toy: ToyRegion) -> ToyRegion:
    """The toy region with a model that may warn."""
    path = toy.folder / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "may_warn": True, "rain_test": _PASSED}))
    toy.config.write_text(toy.config.read_text() + RULES)
    return toy


def made(toy: ToyRegion, *days: date) -> list[Layer]:
    results = toy.refresh(*days)
    assert {result.outcome for result in results} == {Outcome.PUBLISHED}
    return [result.layer for result in results if result.layer is not None]


def kept(toy: ToyRegion, layer: Layer) -> Layer:
    with toy.ledger() as ledger:
        found = ledger.layer(layer.id)
    assert found is not None
    return found


def days_until(day: date, count: int) -> list[date]:
    return [day - timedelta(days=back) for back in reversed(range(count))]


def test_each_day_is_decided_after_the_one_before_and_kept_with_its_layer(toy: ToyRegion) -> None:
    layers = made(toy, *days_until(DAY, 4))
    before: dict[str, ZoneWarning] = {}
    for layer in layers:
        assert [item.zone for item in layer.warnings] == ["west", "east"]
        assert kept(toy, layer).warnings == layer.warnings
        for figures, found in zip(figures_of(layer.areas), layer.warnings, strict=True):
            again = decide(
                figures,
                toy.settings.warnings,
                before.get(found.zone),
                decided_at=found.decided_at,
            )
            assert found == again
            before[found.zone] = found
    assert {item.level for item in layers[0].warnings} == {None}, "nothing to compare the first map with"
    assert {item.level for item in layers[-1].warnings} != {None}


def test_the_ledgers_view_lays_the_levels_out(toy: ToyRegion) -> None:
    (layer,) = made(toy, DAY)
    with toy.ledger() as ledger:
        rows = list(ledger._db.execute("SELECT layer_id, zone, level, record FROM zone_warning"))
    assert [(row["layer_id"], row["zone"]) for row in rows] == [(layer.id, "west"), (layer.id, "east")]
    assert json.loads(rows[0]["record"])["rule"] == layer.warnings[0].rule


def test_a_model_that_may_not_warn_has_no_levels(toy: ToyRegion) -> None:
    path = toy.folder / "bundle" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "may_warn": False}))
    (layer,) = made(toy, DAY)
    assert layer.warnings == ()


def test_levels_can_be_switched_off(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text() + "enabled = false\n")
    (layer,) = made(toy, DAY)
    assert layer.warnings == ()


def test_other_thresholds_make_the_newest_layer_again_and_the_same_ones_do_not(toy: ToyRegion) -> None:
    made(toy, *days_until(DAY, 2))
    (again,) = toy.refresh(DAY)
    assert again.outcome == Outcome.UNCHANGED
    toy.config.write_text(toy.config.read_text().replace("growth = 0.0001", "growth = 0.001"))
    (layer,) = made(toy, DAY)
    assert layer.revision == 2


def test_the_levels_of_a_withdrawn_layer_no_longer_stand(toy: ToyRegion) -> None:
    first, second = made(toy, *days_until(LAST_DAY, 2))
    with toy.ledger() as ledger:
        assert ledger.levels.before(DAY) == Decided.of_layer(second)
        ledger.withdraw(second, "A. Rossi", "gauge flooded", [])
        assert ledger.levels.before(DAY) == Decided.of_layer(first)
        assert [item.layer_id for item in ledger.levels.changes(date.min, date.max)] == [first.id]
    (third,) = made(toy, DAY)
    expected = {item.zone: item.level for item in first.warnings}
    assert {item.zone: item.previous for item in third.warnings} == expected


def test_a_day_is_decided_again_when_the_one_before_it_no_longer_stands(toy: ToyRegion) -> None:
    *_, before, wrong, newest = made(toy, *days_until(DAY, 4))
    with toy.ledger() as ledger:
        ledger.withdraw(wrong, "A. Rossi", "a gauge was flooded", [])

    (again,) = toy.refresh(DAY)

    assert again.outcome == Outcome.PUBLISHED
    assert again.layer is not None
    assert again.layer.revision == newest.revision + 1
    assert [item.previous for item in again.layer.warnings] == [item.level for item in before.warnings]
    assert toy.refresh(DAY)[0].outcome == Outcome.UNCHANGED


def test_a_replay_of_an_earlier_moment_decides_as_it_was_decided_then(toy: ToyRegion) -> None:
    *_, third = made(toy, *days_until(DAY, 3))
    then = toy.clock()
    toy.clock.now += timedelta(hours=2)
    with toy.ledger() as ledger:
        before = ledger.current(LAST_DAY)
        assert before is not None
        ledger.withdraw(before, "A. Rossi", "gauge flooded", [])
    toy.config.write_text(toy.config.read_text().replace("growth = 0.0001", "growth = 0.01"))
    (replayed,) = toy.refresh(DAY, as_of=then)
    assert replayed.layer is not None
    undated = [item.model_copy(update={"decided_at": then}) for item in replayed.layer.warnings]
    assert undated == [item.model_copy(update={"decided_at": then}) for item in third.warnings]


def test_a_forecast_is_decided_after_the_newest_nowcast(toy: ToyRegion) -> None:
    add_forecast_feed(toy)
    layers = made(toy, *days_until(DAY, 8))
    issue(toy, dict.fromkeys(days_from(DAY, 5), 30.0))
    ahead = [result.layer for result in refresh_leads(toy, 1, 2) if result.layer and result.layer.lead]
    assert [layer.lead for layer in ahead] == [1, 2]
    for layer in ahead:
        assert layer.status != LayerStatus.WITHDRAWN
        previous = {item.zone: item.level for item in layers[-1].warnings}
        assert {item.zone: item.previous for item in layer.warnings} == previous
        assert all(item.level is not None for item in layer.warnings)


def test_another_map_of_zones_lowers_no_level_on_its_first_day(toy: ToyRegion) -> None:
    made(toy, *days_until(DAY, 3))
    with toy.ledger() as ledger:
        record = json.loads(ledger._db.execute("SELECT record FROM layer ORDER BY day DESC").fetchone()[0])
        for item in record["warnings"]:
            item |= {"level": 3, "reference_share": 0.0}
        ledger._db.execute("UPDATE layer SET record = ? WHERE day = ?", (json.dumps(record), DAY.isoformat()))
    zones = toy.folder / "zones.geojson"
    features = json.loads(zones.read_text())
    features["features"][0]["properties"]["name"] = "Ovest"
    zones.write_text(json.dumps(features))
    toy.set_rain({(DAY, gauge): 0.0 for gauge in ("north", "south")})
    toy.clock.now += timedelta(days=1)
    toy.ingest()
    (layer,) = made(toy, DAY + timedelta(days=1))
    assert [item.level for item in layer.warnings] == [3, 3]
    assert {item.reference_share for item in layer.warnings} == {None}
    assert all("no map of 1 or 7 days before" in item.rule for item in layer.warnings)


def run(toy: ToyRegion, *arguments: str) -> str:
    result = CliRunner().invoke(main_group, ["alerts", *arguments, "-c", str(toy.config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands_say_each_level_with_its_rule_and_each_change(toy: ToyRegion) -> None:
    assert "there is no map" in run(toy, "levels")
    toy.ingest()
    layers = made(toy, *days_until(DAY, 4))
    text = run(toy, "levels")
    for item in layers[-1].warnings:
        assert item.rule in text
    (said,) = json.loads(run(toy, "levels", "--json"))["layers"]
    assert [item["level"] for item in said["zones"]] == [item.level for item in layers[-1].warnings]

    changes = json.loads(run(toy, "list", "--json"))["changes"]
    expected = [
        (str(layer.day), item.zone, item.level)
        for layer in layers
        for item in layer.warnings
        if (item.level or item.previous) and item.level != item.previous
    ]
    assert expected
    assert [(item["day"], item["zone"], item["level"]) for item in changes] == expected
    assert expected[0][0] in run(toy, "list")
    assert "no level changed" in run(toy, "list", "--since", "2030-01-01")


def test_a_map_without_levels_says_why(toy: ToyRegion) -> None:
    path = toy.folder / "bundle" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "may_warn": False}))
    made(toy, DAY)
    assert "the model toy may not warn here" in run(toy, "levels")
