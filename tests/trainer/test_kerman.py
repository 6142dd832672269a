"""The synthetic Kerman: the paper's counts, a truth that physics and sampling agree on, usable files."""

from __future__ import annotations

import csv
import itertools
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from service.settings import load_settings
from trainer.evaluate import area_under_curve
from trainer.samples import Kind
from trainer.synthetic import kerman as module
from trainer.synthetic.kerman import DEVELOPMENT_SEEDS, TEST_SEEDS, Kerman, make_kerman, write_kerman
from trainer.synthetic.kerman_dataset import CONFIG
from trainer.synthetic.kerman_inventory import APART_M, CLEARANCE_M, EVENTS, draw_inventory
from trainer.synthetic.kerman_slopes import BodySlopes, undrained_fall
from trainer.synthetic.kerman_weather import GAP_DAYS, RECORD_FIRST, RECORD_LAST, trigger_of
from trainer.synthetic.region import CELL_M, LABEL, LEFT, TOP
from trainer.training_settings import read_training

SEED, SIZE, COUNT = 101, 128, 60


@pytest.fixture(scope="module")
def kerman() -> Kerman:
    return make_kerman(SEED, SIZE, COUNT)


@pytest.fixture(scope="module")
def files(kerman: Kerman, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kerman")
    write_kerman(kerman, folder)
    return folder


def places(kerman: Kerman, label: int) -> np.ndarray:
    return np.array([(sample.x, sample.y) for sample in kerman.samples if sample.label == label])


def test_the_full_inventory_has_the_counts_of_the_paper() -> None:
    assert EVENTS == 719
    assert module.SIZE * CELL_M >= 20_000


def test_no_seed_is_for_both_improving_and_judging() -> None:
    assert len(TEST_SEEDS) == 5
    assert not set(TEST_SEEDS) & set(DEVELOPMENT_SEEDS)


def test_there_are_as_many_non_landslides_as_landslides(kerman: Kerman) -> None:
    kinds = [sample.kind for sample in kerman.samples]

    assert kinds.count(Kind.EVENT) == COUNT
    assert kinds.count(Kind.SPATIAL) == kinds.count(Kind.BOTH) == COUNT // 2
    assert [sample.label for sample in kerman.samples] == [1] * COUNT + [0] * COUNT


def test_non_landslides_stand_clear_of_landslides_and_of_each_other(kerman: Kerman) -> None:
    slid, free = places(kerman, 1), places(kerman, 0)

    assert cKDTree(slid).query(free)[0].min() >= CLEARANCE_M - 0.02  # centimetres are rounded
    assert cKDTree(free).query(free, 2)[0][:, 1].min() >= APART_M - 0.02


def test_half_of_the_non_landslides_have_days_of_landslides(kerman: Kerman) -> None:
    days = {sample.day for sample in kerman.samples if sample.label}

    assert all(sample.day in days for sample in kerman.samples if sample.kind is Kind.SPATIAL)
    others = [sample.day for sample in kerman.samples if sample.kind is Kind.BOTH]
    assert len(set(others) - days) > COUNT // 4
    assert all(RECORD_FIRST <= day <= RECORD_LAST for day in others)


def test_the_same_seed_writes_the_same_bytes(files: Path, tmp_path: Path) -> None:
    write_kerman(make_kerman(SEED, SIZE, COUNT), tmp_path)

    first = {path.name: path.read_bytes() for path in files.iterdir()}
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_the_files_are_those_that_the_settings_name(files: Path) -> None:
    text = CONFIG.read_text("utf-8").replace('"../build/kerman/source/', f'"{files}/')
    path = files.parent / "region.toml"
    path.write_text(text, "utf-8")
    settings = load_settings(path)

    named = {part.split('"')[0] for part in text.split(f'"{files}/')[1:]}
    assert named <= {path.name for path in files.iterdir()}
    assert "SYNTHETIC" in settings.region.name
    assert settings.region.synthetic
    assert read_training(settings).first_day == RECORD_FIRST


def test_inventory_and_non_landslides_are_written_with_their_days(kerman: Kerman, files: Path) -> None:
    for name, label in (("inventory.csv", 1), ("non_landslides.csv", 0)):
        with (files / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        expected = [sample for sample in kerman.samples if sample.label == label]
        assert [row["date"] for row in rows] == [sample.day.isoformat() for sample in expected]
        assert [row["id"] for row in rows] == [sample.event for sample in expected]
    assert LABEL in (files / "SYNTHETIC.txt").read_text()


def test_the_written_elevation_is_measured_and_lakes_are_flat(kerman: Kerman, files: Path) -> None:
    with rasterio.open(files / "dem.tif") as raster:
        elevation = raster.read(1)

    for lake in kerman.terrain.lakes:
        assert np.ptp(elevation[lake.mask]) == 0
    # White noise of a metre or two makes neighbouring cells differ by that much everywhere.
    rough = np.abs(np.diff(elevation, 2, axis=0))[kerman.terrain.slope_deg[1:-1] < 3]
    assert 1.0 < np.median(rough) < 4.0


def test_a_trigger_is_alone_in_every_window(kerman: Kerman) -> None:
    starts = [trigger.first for trigger in kerman.triggers]

    gaps = [(after - before).days for before, after in itertools.pairwise(starts)]
    assert min(gaps) >= GAP_DAYS
    first = kerman.triggers[0]
    assert trigger_of(first.first, kerman.triggers) is None
    assert trigger_of(first.first + timedelta(days=1), kerman.triggers) == first.name
    assert trigger_of(first.last + timedelta(days=30), kerman.triggers) == first.name


def test_landslides_follow_storms_and_drawdowns(kerman: Kerman) -> None:
    triggers = [sample.storm for sample in kerman.samples if sample.label]

    assert np.mean([name is not None for name in triggers]) > 0.8
    assert len(set(triggers)) >= 8  # enough to keep whole ones on one side of a split


def test_the_truth_ranks_the_samples_best_of_all_that_is_known(kerman: Kerman) -> None:
    label = np.array([sample.label for sample in kerman.samples])
    x, y = (np.array([getattr(sample, axis) for sample in kerman.samples]) for axis in "xy")
    days = [sample.day for sample in kerman.samples]
    failure = kerman.probability(x, y, days)
    row, column = ((TOP - y) / CELL_M).astype(int), ((x - LEFT) / CELL_M).astype(int)

    assert kerman.best_auc > 0.9
    assert kerman.best_auc >= area_under_curve(label, failure) - 0.01
    assert kerman.best_auc > area_under_curve(label, kerman.terrain.slope_deg[row, column]) + 0.05


def test_the_truth_is_calibrated(kerman: Kerman) -> None:
    label = np.array([sample.label for sample in kerman.samples])

    # The mean of a calibrated probability is the share of landslides, one half here.
    assert abs(kerman.truth.mean() - 0.5) < 0.08
    unsure = (kerman.truth > 0.02) & (kerman.truth < 0.98)
    assert abs((label - kerman.truth)[unsure].mean()) < 3 * 0.5 / np.sqrt(unsure.sum())


def some_ground() -> BodySlopes:
    random = np.random.default_rng(1)
    share = random.dirichlet(np.ones(4), 50)
    return BodySlopes(
        dry=random.uniform(1.1, 2.0, 50),
        loss=random.uniform(0.2, 1.0, 50),
        wetness=random.uniform(0.45, 2.4, 50),
        share=share,
        rim=random.random((50, 2)),
        able=np.ones(50, bool),
    )


@given(
    st.floats(0, 300), st.floats(0, 100), st.floats(0, 10), st.integers(0, 3),
)  # fmt: skip
def test_more_water_or_a_deeper_fall_never_lowers_the_probability(
    water: float, more: float, fall: float, group: int
) -> None:
    ground = some_ground()
    stored, excess = np.full((50, 4), water), np.full((2, 4), fall)
    wetter, deeper = stored.copy(), excess.copy()
    wetter[:, group] += more
    deeper[:, group] += more / 10

    before = ground.probability(stored, excess)
    assert (ground.probability(wetter, excess) >= before).all()
    assert (ground.probability(stored, deeper) >= before).all()
    assert ((before >= 0) & (before <= 1)).all()


def test_ground_that_cannot_fail_never_does() -> None:
    ground = some_ground()
    firm = BodySlopes(ground.dry, ground.loss, ground.wetness, ground.share, ground.rim, ~ground.able)

    assert (firm.probability(np.full((50, 4), 1e4), np.full((2, 4), 100.0)) == 0).all()


def test_the_water_needed_is_where_the_probability_becomes_faint() -> None:
    ground = some_ground()
    needed = ground.water_needed(1e-4)
    reachable = np.isfinite(needed) & (needed > 0)

    at = ground.probability(np.repeat(needed[:, None], 4, axis=1), np.zeros((2, 4)))
    assert reachable.any()
    np.testing.assert_allclose(at[reachable], 1e-4, rtol=0.05)


def test_slow_ground_remembers_a_drawdown_longer(kerman: Kerman) -> None:
    excess = undrained_fall(kerman.weather)
    fall = next(trigger for trigger in kerman.triggers if trigger.name.startswith("drawdown"))
    lake = int(fall.name.split("-")[1]) - 1
    later = excess[kerman.weather.index(fall.last + timedelta(days=8)), lake]

    assert later[2] > later[1] > later[0] > later[3] > 0  # weak, medium, strong, loose


def test_a_region_without_room_says_so(kerman: Kerman) -> None:
    with pytest.raises(ValueError, match="have room on this ground"):
        draw_inventory(kerman.hazard, kerman.weather, kerman.triggers, SEED, 400)


def test_a_size_that_is_no_multiple_of_the_lattice_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        make_kerman(SEED, 100)
