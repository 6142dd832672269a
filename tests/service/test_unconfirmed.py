"""Promises about suspect extremes: no calm map by quarantine, no alarm by a broken gauge."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from exporters.layer import Layer, LayerStatus
from service.errors import Outcome
from service.reading_values import Doubt, Finding, SeriesDay
from service.readings import Archive
from service.unconfirmed import SUSPECTS, selection_of
from service.workshop import archive_path
from tests.fix_forecast import add_forecast_feed, days_from, issue, refresh_leads
from tests.fix_region import LAST_DAY, ToyRegion, make_toy_region

DAY = LAST_DAY + timedelta(days=1)
EXTREME = Finding("spatial_outlier", "far above its neighbours", extreme=True)
BROKEN = Finding("unit_change", "25.4 times its neighbours", extreme=False)
AT = SeriesDay("gauges", "rain", "north", LAST_DAY)


@pytest.fixture
def toy(tmp_path: Path) -> ToyRegion:
    """250 mm in the north on the last day: they put 0.9 % more of the east into the toy's high classes."""
    toy = make_toy_region(tmp_path)
    toy.set_rain({(LAST_DAY, "north"): 250.0})
    toy.ingest()
    return toy


def doubt(toy: ToyRegion, *findings: Finding) -> None:
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        archive.doubt([Doubt(AT, 250.0, findings)], toy.clock())


def with_share(toy: ToyRegion, share: float) -> None:
    toy.config.write_text(f"{toy.config.read_text()}\n[quality]\nunconfirmed_share = {share}\n")


def layer_of(toy: ToyRegion) -> Layer:
    (result,) = toy.refresh(DAY)
    assert result.outcome == Outcome.PUBLISHED
    assert result.layer is not None
    return result.layer


def high_m2(layer: Layer, zone: str) -> float:
    return sum(area.area_m2 for area in layer.areas if area.zone == zone and "high" in area.label)


def test_an_extreme_that_would_raise_a_zone_is_published_as_unconfirmed(toy: ToyRegion) -> None:
    believed = layer_of(toy)
    doubt(toy, EXTREME)
    with_share(toy, 0.005)
    layer = layer_of(toy)
    assert layer.unconfirmed
    assert not believed.unconfirmed
    assert [area.area_m2 for area in layer.areas] == [area.area_m2 for area in believed.areas]
    (note,) = [note for note in layer.notes if "UNCONFIRMED" in note]
    for word in ("gauges/north", "250", str(LAST_DAY), "spatial_outlier", "East", "colluvium readings"):
        assert word in note


def test_an_extreme_that_changes_little_stays_out_and_is_named(toy: ToyRegion) -> None:
    believed = layer_of(toy)
    doubt(toy, EXTREME)
    layer = layer_of(toy)  # the default share is 1 %
    assert not layer.unconfirmed
    assert high_m2(layer, "east") < high_m2(believed, "east")
    assert any("left out as suspect" in note and "gauges/north" in note for note in layer.notes)


def test_what_no_extreme_can_explain_never_raises_a_map(toy: ToyRegion) -> None:
    doubt(toy, EXTREME, BROKEN)
    with_share(toy, 0.0)
    layer = layer_of(toy)
    assert not layer.unconfirmed
    assert not any("UNCONFIRMED" in note for note in layer.notes)


def test_where_nothing_else_is_known_the_extreme_is_better_than_no_map(toy: ToyRegion) -> None:
    toy.set_rain({(LAST_DAY, "south"): None, (LAST_DAY, "north"): 250.0})
    lonely = make_toy_region(toy.folder / "lonely")
    lonely.set_rain({(LAST_DAY, "south"): None, (LAST_DAY, "north"): 250.0})
    lonely.ingest()
    doubt(lonely, EXTREME)
    layer = layer_of(lonely)
    assert layer.unconfirmed
    assert layer.cells > 0


def test_a_doubt_for_too_little_rain_does_not_come_into_the_map_with_one_for_too_much(toy: ToyRegion) -> None:
    storm = LAST_DAY - timedelta(days=1)
    toy.set_rain({(storm, "north"): 300.0, (LAST_DAY, "south"): 0.1})
    toy.ingest()
    clogged = AT._replace(series="south")
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        archive.doubt([Doubt(clogged, 0.1, (EXTREME,))], toy.clock())
        archive.doubt([Doubt(AT._replace(day=storm), 300.0, (EXTREME,))], toy.clock())
    with_share(toy, 0.0)
    layer = layer_of(toy)
    with toy.ledger() as ledger:
        assert selection_of(ledger.basis(layer.id)).suspects == {AT._replace(day=storm)}


@pytest.mark.parametrize("members", [1, 3])
def test_a_forecast_is_not_calmer_than_the_nowcast_that_it_follows(toy: ToyRegion, members: int) -> None:
    add_forecast_feed(toy)
    today = toy.clock().date()
    rain = [dict.fromkeys(days_from(today, 3), 10.0 + number) for number in range(members)]
    issue(toy, rain if members > 1 else rain[0])
    believed = refresh_leads(toy, 1)[0].layer
    doubt(toy, EXTREME)
    with_share(toy, 0.005)
    layer = refresh_leads(toy, 1)[0].layer
    assert believed is not None
    assert layer is not None
    assert (believed.unconfirmed, layer.unconfirmed) == (False, True)
    assert [area.area_m2 for area in layer.areas] == [area.area_m2 for area in believed.areas]
    assert any("UNCONFIRMED" in note and "gauges/north" in note for note in layer.notes)
    with toy.ledger() as ledger:
        assert selection_of(ledger.basis(layer.id)).suspects == {AT}


def test_a_storm_of_which_every_reading_is_doubted_is_still_the_newest_day(tmp_path: Path) -> None:
    toy = make_toy_region(tmp_path)
    toy.set_rain({(LAST_DAY, "north"): 250.0, (LAST_DAY, "south"): 240.0})
    toy.ingest()
    doubt(toy, EXTREME)
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        archive.doubt([Doubt(AT._replace(series="south"), 240.0, (EXTREME,))], toy.clock())
    (result,) = toy.refresh()
    assert result.layer is not None
    assert (result.layer.day, result.layer.unconfirmed) == (DAY, True)


@pytest.mark.parametrize("share", [0.005, 0.01])
def test_what_was_weighed_for_the_shown_layer_is_not_weighed_again(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    doubt(toy, EXTREME)
    with_share(toy, share)
    layer = layer_of(toy)

    def refuse(*_: object) -> None:
        raise AssertionError("both maps were computed again")

    with monkeypatch.context() as patched:
        patched.setattr("service.unconfirmed._rise", refuse)
        (again,) = toy.refresh(DAY)
    assert again.outcome == Outcome.UNCHANGED
    toy.config.write_text(toy.config.read_text().replace(str(share), str(0.015 - share)))
    assert layer_of(toy).unconfirmed != layer.unconfirmed


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_a_decision_ends_it(toy: ToyRegion, decision: str) -> None:
    doubt(toy, EXTREME)
    with_share(toy, 0.005)
    unconfirmed = layer_of(toy)
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        (suspect,) = archive.suspects()
        getattr(archive, decision)(suspect.number, "A. Rossi", "called the observer", toy.clock())
    decided = layer_of(toy)
    assert decided.revision == unconfirmed.revision + 1
    assert not decided.unconfirmed
    assert decided.status == LayerStatus.COMPLETE
    same = high_m2(decided, "east") == high_m2(unconfirmed, "east")
    assert same == (decision == "accept")


def test_the_layer_remembers_which_readings_it_took_as_true_and_rebuilds_with_them(toy: ToyRegion) -> None:
    doubt(toy, EXTREME)
    with_share(toy, 0.005)
    layer = layer_of(toy)
    with toy.ledger() as ledger:
        basis = ledger.basis(layer.id)
    assert selection_of(basis).suspects == {AT}
    assert SUSPECTS not in {key for key in basis if not selection_of(basis).suspects}
    then = toy.clock()
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        archive.reject(archive.suspects()[0].number, "A. Rossi", "stuck valve", toy.clock())
    (replay,) = toy.refresh(DAY, as_of=then)
    assert replay.layer is not None
    assert replay.layer.digest == layer.digest


def test_without_suspects_a_layer_is_what_it_always_was(toy: ToyRegion) -> None:
    layer = layer_of(toy)
    with toy.ledger() as ledger:
        assert SUSPECTS not in ledger.basis(layer.id)
    assert not layer.notes
