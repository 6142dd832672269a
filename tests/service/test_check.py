"""`colluvium check`: everything is looked at, and one failure hides no other."""

from __future__ import annotations

from service.check import Check, run_checks
from tests.fix_region import ToyRegion


def checks(toy: ToyRegion) -> dict[str, Check]:
    """Run the checks; by name."""
    steps: list[tuple[int, int]] = []
    found = run_checks(toy.settings, lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1]
    return {check.name: check for check in found}


def test_a_region_that_has_all_it_needs_fails_nowhere(toy: ToyRegion) -> None:
    found = checks(toy)

    assert {name for name, check in found.items() if check.state == "fail"} == set()
    assert "138 readings of 2 series" in found["feed gauges"].message
    assert found["disk"].state == "ok"


def test_a_broken_region_is_named_and_feed_and_bundle_are_looked_at_all_the_same(toy: ToyRegion) -> None:
    (toy.folder / "zones.geojson").unlink()

    found = checks(toy)

    assert found["region"].state == "fail"
    assert "zones.geojson" in found["region"].message
    assert found["factors"].state == found["disk"].state == "warn"
    assert found["feed gauges"].state == "ok"
    assert found["bundle"].state != "fail"


def test_a_bundle_of_another_region_fails_the_check(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text().replace('id = "toy"', 'id = "elsewhere"'))

    found = checks(toy)

    assert found["bundle"].state == "fail"
    assert "elsewhere" in found["bundle"].message


def test_unreadable_rows_are_a_warning_that_names_the_first(toy: ToyRegion) -> None:
    rain = toy.folder / "rain.csv"
    rain.write_text(rain.read_text() + "north,2026-03-09,heavy\n")

    feed = checks(toy)["feed gauges"]

    assert feed.state == "warn"
    assert "rain.csv, row 140" in feed.message


def test_without_feeds_there_is_no_map(toy: ToyRegion) -> None:
    text = toy.config.read_text()
    start, end = text.index("[[feeds]]"), text.index("[forcing]")
    toy.config.write_text(text[:start] + text[end:])

    assert checks(toy)["feeds"].state == "fail"


def test_looking_takes_in_no_reading_and_records_no_run(toy: ToyRegion) -> None:
    (toy.data / "readings.sqlite").unlink()

    checks(toy)

    assert not (toy.data / "readings.sqlite").exists()
    assert not (toy.data / "ledger.sqlite").exists()


def test_exporters_that_cannot_be_delivered_to_fail_by_name(toy: ToyRegion) -> None:
    share = toy.folder / "share"
    toy.config.write_text(
        toy.config.read_text()
        + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{share}"\n'
        + '\n[[exporters]]\nkind = "postgis"\nname = "gis"\n'
        + 'writer = { dsn = "host=127.0.0.1 port=1 dbname=x" }\n'
    )

    found = checks(toy)

    assert (found["exporter share"].state, found["exporter gis"].state) == ("fail", "fail")
    assert "cannot connect" in found["exporter gis"].message
    assert not share.exists()
    share.mkdir()
    assert checks(toy)["exporter share"].state == "ok"
