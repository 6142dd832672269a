"""Which feeds may be shown: those that say so, and no other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.reading_values import SeriesPosition
from service.readings import Archive
from service.sharing import withheld_because, withheld_feeds
from tests.fix_places import change_settings, make_valley
from tests.fix_region import ToyRegion

NOW = datetime(2026, 3, 11, tzinfo=UTC)


@pytest.fixture
def valley(tmp_path: Path) -> ToyRegion:
    """A region with a feed of rain and one of levels."""
    return make_valley(tmp_path / "valley")


def test_a_feed_is_shown_unless_the_settings_withhold_it(valley: ToyRegion) -> None:
    with Archive(valley.data / "readings.sqlite") as archive:
        assert withheld_feeds(valley.settings, archive, "rain") == ()
        change_settings(valley, 'name = "gauges"', 'name = "gauges"\nredistribute = false')
        assert withheld_feeds(valley.settings, archive, "rain") == ("gauges",)
        assert withheld_feeds(valley.settings, archive, "level") == ()


def test_a_feed_that_only_the_archive_knows_is_withheld(valley: ToyRegion) -> None:
    with Archive(valley.data / "readings.sqlite") as archive:
        archive.add_series("radar", "rain", [SeriesPosition("r1", 9.0, 45.0)], NOW)
        assert withheld_feeds(valley.settings, archive, "rain") == ("radar",)
        # A feed of that name that brings something else does not open it.
        change_settings(valley, 'name = "dams"', 'name = "radar"')
        assert withheld_feeds(valley.settings, archive, "rain") == ("radar",)
        assert withheld_feeds(valley.settings, archive, "level") == ("dams",)


def test_a_feed_without_a_reading_yet_is_withheld_too(valley: ToyRegion) -> None:
    change_settings(valley, 'name = "gauges"', 'name = "gauges"\nredistribute = false')
    with Archive(valley.folder / "empty.sqlite") as archive:
        assert withheld_feeds(valley.settings, archive, "rain") == ("gauges",)


def test_the_reason_names_the_feeds() -> None:
    assert withheld_because(()) is None
    assert "gauges, radar" in str(withheld_because(("gauges", "radar")))
