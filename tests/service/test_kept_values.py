"""What a forcing cell keeps of an earlier layer: the same strips, for any set of changed windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.layer import NODATA, Odds
from service.ensemble import Member
from service.errors import StorageError
from service.inference import LayerStrip, layer_strips
from service.kept_values import PLACES, Fingerprints, KeptValues
from service.sequences import WindowSet
from service.state import SpatialState
from tests.fix_bundle import ToyNetwork
from tests.fix_scene import Scene, make_scene, without_window
from tests.service.test_ensemble import ensemble, opened

LIVELY = ToyNetwork(gain=5)
ODDS = Odds(event_rate=1e-4, per="cell and day", positives_share=0.5)
SHAPE = (270, 260)  # three bands, nine tiles


@dataclass(frozen=True)
class Made:
    """A scene with all its models, and a layer of it below `folder`."""

    scene: Scene
    state: SpatialState
    members: tuple[Member, ...]
    folder: Path

    def strips(self, windows: WindowSet, kept: KeptValues | None = None) -> list[LayerStrip]:
        scene = self.scene
        return [
            # What is between the strips is used again.
            replace(strip, stored=strip.stored.copy())
            for strip in layer_strips(
                scene.region, self.state, scene.bundle, windows,
                members=self.members, odds=ODDS, kept=kept, workers=2,
            )
        ]  # fmt: skip

    @contextmanager
    def kept(self, now: WindowSet, before: WindowSet) -> Iterator[KeptValues]:
        cells = Fingerprints.of(now).same(Fingerprints.of(before))
        with KeptValues(self.scene.region.forcing, cells, self.folder) as kept:
            yield kept


def rasters_of(strips: list[LayerStrip]) -> dict[str, npt.NDArray[np.generic]]:
    """Return what strips hold, by the names of PLACES, and what they count."""
    beside = np.concatenate([strip.uncertainty for strip in strips if strip.uncertainty is not None], axis=1)
    return {
        "stored": np.concatenate([strip.stored for strip in strips]),
        "spread": beside[0],
        "marks": beside[1],
        "probability": np.concatenate([one.probability for one in strips if one.probability is not None]),
        "outside": np.array([(strip.row, strip.outside) for strip in strips]),
    }


def write_layer(folder: Path, strips: list[LayerStrip]) -> None:
    """Write the rasters in which values lie, in blocks that are not the strips."""
    folder.mkdir()
    found = rasters_of(strips)
    for file in {file for file, _ in PLACES.values()}:
        bands = {band: found[name] for name, (where, band) in PLACES.items() if where == file}
        height, width = bands[1].shape
        with rasterio.open(
            folder / file, "w", driver="GTiff", height=height, width=width, count=len(bands),
            dtype=bands[1].dtype, tiled=True, blockxsize=64, blockysize=80, compress="deflate",
            crs="EPSG:32632", transform=rasterio.Affine(30, 0, 0, 0, -30, 0),
        ) as out:  # fmt: skip
            for band, values in bands.items():
                out.write(values, band)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    mask = np.ones(SHAPE, bool)
    mask[30:70, 80:] = False

    def strange(factors: npt.NDArray[np.float32]) -> None:
        factors[0, 200:, :90] = 101.0  # outside what the model was trained on

    folder = tmp_path_factory.mktemp("kept")
    scene = ensemble(folder / "scene", shape=SHAPE, mask=mask, change=strange)
    made = Made(scene, scene.state(), opened(scene), folder / "layer")
    write_layer(made.folder, made.strips(before_of(scene)))
    return made


def before_of(scene: Scene) -> WindowSet:
    """Return windows of which some are strange to the model, one is missing and one cell is half in reach."""
    values = scene.windows.windows.copy()
    values[40:50, 3, 0] = 1e4
    windows = replace(without_window(scene.windows, 5), windows=values)
    return replace(windows, partial={9: np.arange(LIVELY.k**2) % 3 == 0})


nodes = st.integers(0, 10_000)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changed=st.one_of(st.sets(nodes, max_size=6), st.sets(nodes, min_size=150, max_size=400)),
    lost=st.sets(nodes, max_size=3),
    reached=st.sets(nodes, max_size=3),
)
def test_a_layer_is_the_same_whatever_is_kept(
    made: Made, changed: set[int], lost: set[int], reached: set[int]
) -> None:
    before = before_of(made.scene)
    values, rows = before.windows.copy(), before.corner_rows.copy()
    for number in changed:
        values[number % len(values), number % LIVELY.days, 0] += 1 + number % 7
    for number in lost:
        rows[number % len(rows), number % 4] = -1
    partial = {number % len(rows): np.arange(LIVELY.k**2) % 5 > 1 for number in reached}
    now = replace(before, windows=values, corner_rows=rows, partial=partial)

    expected = rasters_of(made.strips(now))
    with made.kept(now, before) as kept:
        found = rasters_of(made.strips(now, kept))

    for name, raster in expected.items():
        np.testing.assert_array_equal(found[name], raster, err_msg=name)


def test_only_what_changed_is_computed_and_the_rest_is_read(made: Made, tmp_path: Path) -> None:
    before = before_of(made.scene)
    values = before.windows.copy()
    node = int(before.corner_rows[0, 0])
    values[node] += 3
    now = replace(before, windows=values)
    cells = Fingerprints.of(now).same(Fingerprints.of(before))
    touched = (before.corner_rows == node).any(axis=1)
    np.testing.assert_array_equal(cells, ~touched)

    # An earlier layer that says 7 everywhere: what is kept says so too.
    strips = made.strips(before)
    write_layer(tmp_path / "other", [replace(one, stored=np.full_like(one.stored, 7)) for one in strips])
    with KeptValues(made.scene.region.forcing, cells, tmp_path / "other") as kept:
        found = rasters_of(made.strips(now, kept))["stored"]
    expected = rasters_of(made.strips(now))["stored"]
    forcing, k = made.scene.region.forcing, LIVELY.k
    for index, (row, column) in enumerate(forcing.active.tolist()):
        block = np.s_[row * k : row * k + k, column * k : column * k + k]
        assert (found[block] == (expected[block] if touched[index] else 7)).all()


def test_where_nothing_changed_the_model_is_not_run(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    before = before_of(made.scene)
    expected = rasters_of(made.strips(before))

    def refuse(*_: object) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr("service.bundle.Bundle._run", refuse)
    monkeypatch.setattr("service.state.StoredReader.tile", refuse)
    with made.kept(before, before) as kept:
        found = rasters_of(made.strips(before, kept))

    for name, raster in expected.items():
        np.testing.assert_array_equal(found[name], raster, err_msg=name)


@pytest.mark.parametrize("what", ["a value", "its sign", "the order of days", "the reach", "a window"])
def test_a_forcing_cell_is_changed_by(made: Made, what: str) -> None:
    before = before_of(made.scene)
    values, rows, partial = before.windows.copy(), before.corner_rows.copy(), dict(before.partial)
    cell = 20
    node = int(rows[cell, 2])
    if what == "a value":
        values[node, 4, 0] = np.nextafter(values[node, 4, 0], np.float32(1e9))
    elif what == "its sign":
        values[node, 4, 0] = -values[node, 4, 0]
    elif what == "the order of days":
        values[node, :2] = values[node, 1::-1]
    elif what == "the reach":
        partial[cell] = np.arange(LIVELY.k**2) > 0
    else:
        rows[cell, 2] = -1
    now = replace(before, windows=values, corner_rows=rows, partial=partial)

    cells = Fingerprints.of(now).same(Fingerprints.of(before))

    assert not cells[cell]
    assert cells.any()


def test_windows_are_known_by_what_is_in_them_and_not_by_their_number(made: Made) -> None:
    before = before_of(made.scene)
    turned = replace(
        before,
        windows=before.windows[::-1].copy(),
        corner_rows=np.where(before.corner_rows < 0, -1, len(before.windows) - 1 - before.corner_rows).astype(
            np.int32
        ),
    )
    assert Fingerprints.of(turned).same(Fingerprints.of(before)).all()


def test_a_model_that_is_given_no_windows_is_changed_by_reach_alone(made: Made) -> None:
    before = before_of(made.scene)
    now = replace(before, windows=before.windows + 1)
    one, other = (Fingerprints.of(each, without_windows=True) for each in (now, before))
    assert one.same(other).all()
    lost = Fingerprints.of(without_window(now, 30), without_windows=True)
    assert np.flatnonzero(~lost.same(other)).tolist() == [30]


def test_a_bundle_of_kind_whole_keeps_too(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY, kind="whole")
    made = Made(scene, scene.state(), (), tmp_path / "layer")
    strips = list(layer_strips(scene.region, made.state, scene.bundle, scene.windows, workers=2))
    stored = np.concatenate([strip.stored for strip in strips])
    made.folder.mkdir()
    with rasterio.open(
        made.folder / "susceptibility.tif", "w", driver="GTiff", height=70, width=90, count=1, dtype="uint8",
        crs="EPSG:32632", transform=rasterio.Affine(30, 0, 0, 0, -30, 0),
    ) as out:  # fmt: skip
        out.write(stored, 1)
    values = scene.windows.windows.copy()
    values[0] += 5
    now = replace(scene.windows, windows=values)

    full = list(layer_strips(scene.region, made.state, scene.bundle, now, workers=2))
    with made.kept(now, scene.windows) as kept:
        part = list(layer_strips(scene.region, made.state, scene.bundle, now, kept=kept, workers=2))

    assert 0 < np.count_nonzero(~kept.cells) <= 4
    for one, other in zip(full, part, strict=True):
        np.testing.assert_array_equal(one.stored, other.stored)
        assert one.outside == other.outside
    assert any((strip.stored != NODATA).any() for strip in part)


def test_an_earlier_layer_that_goes_away_meanwhile_is_named(made: Made, tmp_path: Path) -> None:
    before = before_of(made.scene)
    with (
        pytest.raises(StorageError, match=r"susceptibility\.tif could be read a moment ago"),
        KeptValues(made.scene.region.forcing, np.ones(len(before.corner_rows), bool), tmp_path) as kept,
    ):
        made.strips(before, kept)


def test_arrays_that_do_not_belong_together_are_no_fingerprints(made: Made) -> None:
    good = Fingerprints.of(before_of(made.scene))
    good.check()
    for bad in (
        replace(good, reach=good.reach[1:]),
        replace(good, windows=good.windows[:3]),
        replace(good, corner_rows=good.corner_rows.astype(np.float64)),
    ):
        with pytest.raises(ValueError, match=r"fingerprints|window"):
            bad.check()


def test_what_a_window_gives_does_not_depend_on_the_others(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, ToyNetwork(lstm=(128, 64), gain=5), shape=(150, 150))
    windows = scene.windows.windows
    assert len(windows) > 300
    every = scene.bundle.temporal(windows)
    random = np.random.default_rng(5)
    for count in (1, 2, 3, 63, 64, 65, 200):
        some = random.permutation(len(windows))[:count]
        np.testing.assert_array_equal(scene.bundle.temporal(windows[some]), every[some])
