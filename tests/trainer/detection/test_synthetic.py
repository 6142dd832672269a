"""Made-up patches: in the published layout, called synthetic, and not to be solved by a threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from service.detection.bands import LANDSLIDE4SENSE
from service.errors import InputError, UsageError
from tests.trainer.detection.fix_patches import quiet
from trainer.detection.data import Patch, facts
from trainer.detection.landslide4sense import open_landslide4sense
from trainer.detection.synthetic import BACKGROUNDS, OPTICAL, draw_scars, paint
from trainer.detection.synthetic_ground import LARGEST_M2, SMALLEST_M2, make_ground, scar_areas_m2, slope_of
from trainer.detection.synthetic_set import WrittenSet, make_patch, write_synthetic
from trainer.detection.synthetic_spectra import MATERIALS, spectrum, wetted

NAMES = tuple(BACKGROUNDS)


@pytest.fixture(scope="module")
def patches() -> list[Patch]:
    """Five patches of each background."""
    return [make_patch(11, "train", number, NAMES[number % len(NAMES)]) for number in range(25)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenSet:
    folder = tmp_path_factory.mktemp("sets") / "made"
    return write_synthetic(folder, 3, {"train": 6, "valid": 1, "test": 2}, quiet, size=64)


def best_f1(values: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> float:
    """Return the highest F1 of any threshold, from either side."""
    best = 0.0
    for sign in (1, -1):
        hits = np.cumsum(truth[np.argsort(-sign * values)])
        best = max(best, float((2 * hits / (np.arange(1, len(hits) + 1) + truth.sum())).max()))
    return best


def plane(patches: list[Patch], name: str) -> npt.NDArray[np.float32]:
    return np.stack([patch.image[LANDSLIDE4SENSE.index(name)] for patch in patches])


def truth(patches: list[Patch]) -> npt.NDArray[np.bool_]:
    return np.stack([patch.mask == 1 for patch in patches])


def test_no_threshold_on_one_band_or_ndvi_solves_the_set(patches: list[Patch]) -> None:
    slid = truth(patches).ravel()
    red, near = plane(patches, "B04"), plane(patches, "B08")
    scores = {name: best_f1(plane(patches, name).ravel(), slid) for name in LANDSLIDE4SENSE}
    scores["NDVI"] = best_f1(((near - red) / (near + red)).ravel(), slid)
    print("best F1 of one threshold:", {name: round(score, 2) for name, score in scores.items()})
    # An index that knew nothing would score 2p / (1 + p), about 0.04; one that knew all, 1.
    assert max(scores.values()) < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_in_every_country_scars_are_less_green_than_what_is_around(name: str) -> None:
    ground = np.random.default_rng(5)
    elevation = make_ground(ground, 128, 24, 10.0, 500)
    scars = draw_scars(elevation, ground, 12)
    bands = paint(elevation, scars, ground, name)
    ndvi = (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"])
    assert ndvi[scars].mean() < ndvi[~scars].mean() - 0.08


def test_scars_begin_on_steep_ground_and_mostly_lie_on_it() -> None:
    steeper = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        elevation = make_ground(rng, 128, 20, 10.0, 500)
        scars, slope = draw_scars(elevation, rng, 10), slope_of(elevation, 10.0)
        steeper.append(slope[scars].mean() - slope[~scars].mean())
    assert np.mean(steeper) > 3


def test_the_countries_look_different() -> None:
    elevation = make_ground(np.random.default_rng(5), 96, 20, 10.0, 500)
    none = np.zeros(elevation.shape, bool)
    colours = []
    for name in NAMES:
        bands = paint(elevation, none, np.random.default_rng(1), name)
        colours.append([np.median(bands[band]) for band in ("B03", "B04", "B08", "B11")])
    apart = [
        np.abs(np.log(np.array(first) / np.array(second))).max()
        for index, first in enumerate(colours)
        for second in colours[:index]
    ]
    assert len(NAMES) >= 4
    assert min(apart) > 0.05


def test_all_thirteen_bands_come_as_reflectance(patches: list[Patch]) -> None:
    elevation = make_ground(np.random.default_rng(5), 64, 20, 10.0, 500)
    bands = paint(elevation, np.zeros(elevation.shape, bool), np.random.default_rng(1))
    assert tuple(bands) == OPTICAL
    assert len(bands) == 13
    for band in bands.values():
        assert (band.shape, band.dtype) == ((64, 64), np.float32)
    for patch in patches:
        optical = patch.image[:12]
        assert np.isfinite(patch.image).all()
        assert optical.min() > 0
        assert optical.max() < 1.5


def test_bands_are_as_coarse_as_the_instrument() -> None:
    elevation = make_ground(np.random.default_rng(5), 60, 20, 10.0, 500)
    bands = paint(elevation, np.zeros(elevation.shape, bool), np.random.default_rng(1), "cropland")

    def same(name: str) -> float:
        """Return the share of neighbours, west to east, that hold one value."""
        return float((np.diff(bands[name], axis=1) == 0).mean())

    assert [same(name) < 0.01 for name in ("B02", "B03", "B04", "B08")] == [True] * 4
    for name in ("B05", "B06", "B07", "B8A", "B11", "B12"):
        assert same(name) == pytest.approx(1 / 2, abs=0.02)
    for name in ("B01", "B09", "B10"):
        assert same(name) == pytest.approx(5 / 6, abs=0.02)


def test_a_terrain_of_any_shape_and_cell_size_can_be_painted() -> None:
    elevation = make_ground(np.random.default_rng(2), 90, 22, 30.0, 500)[:70]
    scars = draw_scars(elevation, np.random.default_rng(1), 8, 30.0)
    bands = paint(elevation, scars, np.random.default_rng(1), "red_hills", 30.0)
    assert bands["B09"].shape == (70, 90)
    assert scars.any()


def test_clouds_are_painted_where_they_are_wanted() -> None:
    elevation = make_ground(np.random.default_rng(2), 64, 15, 10.0, 500)
    none, clouds = np.zeros(elevation.shape, bool), np.zeros(elevation.shape, bool)
    clouds[:, :24] = True
    blue = paint(elevation, none, np.random.default_rng(1), "forest", clouds=clouds)["B02"]
    assert blue[:, :16].min() > 0.3
    assert np.median(blue[:, 40:]) < 0.15


def test_scars_run_down_the_slope_and_are_longer_than_wide() -> None:
    along, ratios = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        elevation = make_ground(rng, 128, 26, 10.0, 500)
        numbered, count = ndimage.label(draw_scars(elevation, rng, 6))
        smooth = ndimage.gaussian_filter(elevation, 2)
        south, east = np.gradient(smooth)
        for number in range(1, count + 1):
            rows, columns = np.nonzero(numbered == number)
            if len(rows) < 20:
                continue
            spread, axes = np.linalg.eigh(np.cov(np.stack([rows, columns])))
            down = np.array([south[rows, columns].mean(), east[rows, columns].mean()])
            along.append(abs(axes[:, 1] @ down) / np.hypot(*down))
            ratios.append(np.sqrt(spread[1] / spread[0]))
    assert len(along) > 20
    # Of a direction drawn at random the mean would be 0.64.
    assert np.mean(along) > 0.8
    assert np.median(ratios) > 1.4


def test_scar_areas_are_mostly_small_within_their_bounds() -> None:
    areas = scar_areas_m2(np.random.default_rng(0), 4000)
    assert areas.min() >= SMALLEST_M2
    assert areas.max() <= LARGEST_M2
    assert np.median(areas) < 3 * SMALLEST_M2
    # The tail falls as a power of -(rho + 1) = -2.4 in density, -1.4 in what is exceeded.
    exceeded = [(areas > area).mean() for area in (3000, 12_000)]
    assert np.log(exceeded[0] / exceeded[1]) / np.log(4) == pytest.approx(1.4, abs=0.4)


def test_flat_ground_does_not_slide() -> None:
    flat = np.zeros((64, 64), np.float32)
    assert not draw_scars(flat, np.random.default_rng(0), 10).any()
    assert not draw_scars(
        make_ground(np.random.default_rng(0), 64, 25, 10.0, 0), np.random.default_rng(0), 0
    ).any()


def test_the_same_seed_makes_the_same_patch_and_another_one_another() -> None:
    one, same, other = (make_patch(seed, "train", 4, "forest", 64) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.mask, same.mask)
    assert np.abs(one.image - other.image).max() > 0.01
    assert np.abs(one.image - make_patch(1, "test", 4, "forest", 64).image).max() > 0.01


def test_a_written_set_is_read_as_any_folder_of_the_layout(written: WrittenSet) -> None:
    patches = open_landslide4sense(written.folder, "train")
    assert (len(patches), patches.synthetic, patches.radiometry) == (6, True, "reflectance")
    assert patches.regions == (*NAMES, NAMES[0])
    made = make_patch(3, "train", 2, NAMES[1], 64)
    np.testing.assert_array_equal(patches.read(1).image, made.image)
    np.testing.assert_array_equal(patches.read(1).mask, made.mask)
    assert len(open_landslide4sense(written.folder, "valid")) == 1
    assert facts(open_landslide4sense(written.folder, "test"), quiet).judged == 2


def test_a_written_set_says_that_it_is_synthetic(written: WrittenSet) -> None:
    text = (written.folder / "SYNTHETIC.txt").read_text()
    assert text.startswith("SYNTHETIC. Nothing here was seen from space")
    assert "6 in TrainData, 1 in ValidData, 2 in TestData" in text
    assert "Seed 3" in text
    assert all(name in text for name in NAMES)


def test_a_longer_set_begins_with_the_shorter_one(written: WrittenSet, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "long", 3, {"train": 7}, quiet, size=64)
    np.testing.assert_array_equal(
        open_landslide4sense(tmp_path / "long", "train").read(3).image,
        open_landslide4sense(written.folder, "train").read(3).image,
    )


def test_a_set_that_was_broken_off_is_not_there_and_can_be_made_again(tmp_path: Path) -> None:
    def break_off(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "set", 3, {"train": 3}, break_off, size=32)
    assert not (tmp_path / "set").exists()
    write_synthetic(tmp_path / "set", 3, {"train": 3}, quiet, size=32)
    assert [item.name for item in tmp_path.iterdir()] == ["set"]


def test_nothing_is_written_over(written: WrittenSet) -> None:
    with pytest.raises(UsageError, match="holds something already"):
        write_synthetic(written.folder, 3, {"train": 1}, quiet)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    elevation = make_ground(np.random.default_rng(5), 32, 20, 10.0, 500)
    none = np.zeros(elevation.shape, bool)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="no background 'moon'; there are forest, cropland"):
        paint(elevation, none, rng, "moon")
    with pytest.raises(InputError, match=r"scars have shape \(3, 3\), the terrain \(32, 32\)"):
        paint(elevation, none[:3, :3], rng)
    holed = elevation.copy()
    holed[3, 4] = np.nan
    for work in (lambda: paint(holed, none, rng), lambda: draw_scars(holed, rng, 2)):
        with pytest.raises(InputError, match="1 cells without elevation"):
            work()
    with pytest.raises(InputError, match="8 by 8 cells at least"):
        paint(elevation[:4], none[:4], rng)
    with pytest.raises(InputError, match="TrainData needs one at least"):
        write_synthetic(tmp_path / "set", 0, {"test": 3}, quiet)
    with pytest.raises(InputError, match="no background 'moon'"):
        write_synthetic(tmp_path / "set", 0, {"train": 3}, quiet, backgrounds=["moon"])
    with pytest.raises(InputError, match="32 at least"):
        write_synthetic(tmp_path / "set", 0, {"train": 3}, quiet, size=16)
    with pytest.raises(InputError, match="no background was given"):
        write_synthetic(tmp_path / "set", 0, {"train": 3}, quiet, backgrounds=[])


def test_spectra_are_reflectance_and_soils_darken_when_wet() -> None:
    for name in MATERIALS:
        values = spectrum(name)
        assert values.shape == (13,)
        assert ((values > 0) & (values < 1)).all()
    dry = spectrum("loam")
    assert (wetted(dry, 0.0) == dry).all()
    assert (wetted(dry, 0.8) < dry).all()
    # Plants reflect the near infrared far more than red, soils do not.
    red, near = OPTICAL.index("B04"), OPTICAL.index("B08")
    assert spectrum("broadleaf")[near] > 5 * spectrum("broadleaf")[red]
    assert dry[near] < 2 * dry[red]
