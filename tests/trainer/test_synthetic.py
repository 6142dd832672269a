"""The synthetic region: the same from the same seed, plausible, and true to its physical model."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from trainer.synthetic.region import LABEL, SyntheticRegion, make_region, write_region
from trainer.synthetic.slopes import draw_landslides, level_fall, on_grid, stored_water
from trainer.synthetic.weather import (
    LAST_DAY,
    STORM_LAST,
    TRAINING_FIRST,
    TRAINING_LAST,
)

SIZE, SEED = 192, 2


@pytest.fixture(scope="module")
def region() -> SyntheticRegion:
    return make_region(SEED, SIZE)


@pytest.fixture(scope="module")
def files(region: SyntheticRegion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("region")
    write_region(region, folder, since=LAST_DAY - timedelta(days=40))
    return folder


def test_the_same_seed_writes_the_same_bytes(files: Path, tmp_path: Path) -> None:
    write_region(make_region(SEED, SIZE), tmp_path, since=LAST_DAY - timedelta(days=40))

    first = {path.name: path.read_bytes() for path in files.iterdir()}
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first == again


def test_another_seed_is_another_region(region: SyntheticRegion) -> None:
    other = make_region(3, SIZE)

    assert not np.array_equal(other.terrain.elevation_m, region.terrain.elevation_m)
    assert not np.array_equal(other.weather.gauge_mm, region.weather.gauge_mm, equal_nan=True)


def test_every_file_says_that_it_is_synthetic(files: Path) -> None:
    for path in files.iterdir():
        if path.suffix == ".tif":
            with rasterio.open(path) as raster:
                assert raster.tags()["DESCRIPTION"] == LABEL
        elif path.suffix == ".geojson":
            collection = json.loads(path.read_text())
            assert collection["description"] == LABEL
            assert all(feature["properties"]["synthetic"] for feature in collection["features"])
        else:
            assert "SYN" in path.read_text(), path.name


def test_rasters_stand_on_one_projected_grid(files: Path) -> None:
    grids = set()
    for path in files.glob("*.tif"):
        with rasterio.open(path) as raster:
            grids.add((raster.crs.to_epsg(), raster.transform, raster.shape))

    ((epsg, transform, shape),) = grids
    assert (epsg, transform.a, shape) == (32640, 30.0, (SIZE, SIZE))


def test_gauges_stand_inside_the_region(region: SyntheticRegion) -> None:
    rows, columns = region.weather.gauge_rc.T * 32

    assert len(rows) == 10
    assert ((rows > 0) & (rows < SIZE) & (columns > 0) & (columns < SIZE)).all()


def test_lakes_fill_real_valleys(region: SyntheticRegion) -> None:
    for lake in region.terrain.lakes:
        assert lake.mask.any()
        # All that the lake covers lies level, and its shore lies higher, but for the dam.
        assert np.allclose(region.terrain.elevation_m[lake.mask], lake.full_level_m, atol=0.01)
        shore = region.terrain.elevation_m[_ring(lake.mask)]
        assert (shore >= lake.full_level_m - 0.01).mean() > 0.9


def _ring(mask: np.ndarray) -> np.ndarray:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown & ~mask


def test_levels_never_stand_above_the_rim_and_fall_rapidly_once(region: SyntheticRegion) -> None:
    weather = region.weather
    shown = weather.below_full_m[weather.index(LAST_DAY) - 60 :]

    assert (weather.below_full_m <= 0).all()
    assert (weather.below_full_m > -40).all()
    assert level_fall(weather)[-60:].max() > 6
    assert (np.ptp(shown, axis=0) > 0).all()


def test_the_storm_of_the_last_week_outdoes_the_two_months_before(region: SyntheticRegion) -> None:
    weather = region.weather
    daily = weather.rain_mm.mean(axis=(1, 2))
    storm = weather.index(STORM_LAST)

    assert 0 < (LAST_DAY - STORM_LAST).days <= 7
    assert daily[storm - 2 : storm + 1].sum() > 2 * max(
        daily[day : day + 3].sum() for day in range(storm - 60, storm - 5)
    )


def test_years_are_as_dry_as_the_climate_they_imitate(region: SyntheticRegion) -> None:
    weather = region.weather
    years = weather.rain_mm.mean(axis=(1, 2))[: 9 * 365].reshape(9, 365)

    assert 120 < years.sum(axis=1).mean() < 350
    wettest_half = weather.rain_mm.mean(axis=(1, 2))
    months = np.array([(weather.first + timedelta(days=n)).month for n in range(weather.days)])
    assert (
        wettest_half[(months >= 11) | (months <= 4)].sum()
        > 3 * wettest_half[(months > 4) & (months < 11)].sum()
    )


def test_gauges_have_real_gaps_that_are_not_zeros(region: SyntheticRegion) -> None:
    silent = np.isnan(region.weather.gauge_mm)

    assert 0.005 < silent.mean() < 0.1
    assert silent.any(axis=0).sum() >= 8


@given(water=st.floats(0, 400), more=st.floats(0, 200), fall=st.floats(0, 20))
def test_more_water_never_makes_a_slope_safer(
    region: SyntheticRegion, water: float, more: float, fall: float
) -> None:
    slopes = region.slopes.at(np.arange(0, SIZE, 7), np.arange(0, SIZE, 7))
    falls = np.array([fall, 0.0])
    dry, wet = (np.full(slopes.dry.shape, value) for value in (water, water + more))

    assert (slopes.safety(wet, falls) <= slopes.safety(dry, falls) + 1e-12).all()
    chance = slopes.probability(wet, falls)
    assert ((chance >= 0) & (chance <= 1)).all()
    assert (chance >= slopes.probability(dry, falls) - 1e-12).all()


def test_a_rapid_drawdown_weakens_the_rim_and_nothing_far_away(region: SyntheticRegion) -> None:
    slopes = region.slopes
    dry = np.zeros((SIZE, SIZE))
    before = slopes.safety(dry, np.array([0.0, 0.0]))
    after = slopes.safety(dry, np.array([10.0, 0.0]))
    near = slopes.rim[..., 0] > 0.5
    far = slopes.rim[..., 0] < 1e-4

    assert (after[near] < before[near]).all()
    assert np.allclose(after[far], before[far], rtol=1e-3)


def test_the_rain_of_a_day_acts_on_the_next(region: SyntheticRegion) -> None:
    weather = region.weather
    water = stored_water(weather)
    first_rain = weather.index(STORM_LAST) - 2

    assert water[first_rain].max() < 20
    assert water[first_rain + 1].mean() > water[first_rain].mean() + 10


def test_landslides_come_at_the_rate_of_their_probability(region: SyntheticRegion) -> None:
    slides, rate = draw_landslides(region.slopes, region.weather, SEED, events=300)

    assert 0 < rate < 1
    # The expected number is reckoned from a sample of cells, so it is off by some per cent too.
    assert 240 < len(slides) < 360
    assert all(TRAINING_FIRST <= slide.day <= TRAINING_LAST for slide in slides)
    assert [slide.day for slide in slides] == sorted(slide.day for slide in slides)
    # They fall where and when slopes are unstable.
    water, fall = stored_water(region.weather), level_fall(region.weather)
    chance = []
    for slide in slides[::10]:
        day = region.weather.index(slide.day)
        chance.append(
            region.slopes.probability(on_grid(water[day], SIZE), fall[day])[slide.row, slide.column]
        )
    assert np.median(chance) > 0.05


def test_the_truth_at_a_place_is_that_of_its_cell(region: SyntheticRegion) -> None:
    slides, _ = draw_landslides(region.slopes, region.weather, SEED, events=100)
    slide = slides[0]
    x, y = 492_480.0 + (slide.column + 0.5) * 30, 3_271_200.0 - (slide.row + 0.5) * 30
    day = region.weather.index(slide.day)
    stored = on_grid(stored_water(region.weather)[day], SIZE)
    expected = region.slopes.probability(stored, level_fall(region.weather)[day])[slide.row, slide.column]

    assert region.probability(np.array([x]), np.array([y]), [slide.day]) == pytest.approx([expected])


def test_a_size_that_does_not_fit_the_weather_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        make_region(SEED, 100)
