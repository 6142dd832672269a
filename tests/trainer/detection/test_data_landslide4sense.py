"""A dataset folder in the official layout of Landslide4Sense is read as it was unpacked.

    data/landslide4sense/
      TrainData/img/image_1.h5  ... image_3799.h5     dataset "img", (128, 128, 14), float64
      TrainData/mask/mask_1.h5  ... mask_3799.h5      dataset "mask", (128, 128), uint8, 0 or 1
      ValidData/img/image_1.h5  ... image_245.h5      with mask/mask_1.h5 ... where they were released
      TestData/img/image_1.h5   ... image_800.h5      alike

Planes 1 to 12 are Sentinel-2's B1 to B12 without B8A, 13 is slope, 14 elevation.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from service.detection.bands import LANDSLIDE4SENSE
from service.errors import InputError
from tests.trainer.detection.fix_patches import FOLDERS, image_of, write_h5, write_part
from trainer.detection.landslide4sense import open_landslide4sense, parts_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_part(tmp_path, "train", (1, 2, 10))
    write_part(tmp_path, "valid", (1,), masks=False)
    write_part(tmp_path, "test", (1, 2))
    return tmp_path


def test_the_official_layout_is_read_unchanged(root: Path) -> None:
    assert parts_in(root) == ("train", "valid", "test")
    patches = open_landslide4sense(root, "train")
    assert len(patches) == 3
    assert patches.ids == ("train/1", "train/2", "train/10")
    assert patches.bands == LANDSLIDE4SENSE
    patch = patches.read(2)
    assert (patch.image.shape, patch.image.dtype) == ((14, 128, 128), np.float32)
    np.testing.assert_array_equal(patch.image, np.moveaxis(image_of(10), 2, 0).astype(np.float32))
    assert patch.mask is not None
    assert (patch.mask.dtype, patch.mask.sum(), patch.mask[:64, :64].all()) == (np.uint8, 64 * 64, True)


def test_the_published_values_are_no_reflectance(root: Path) -> None:
    assert open_landslide4sense(root, "train").radiometry == "landslide4sense"


def test_a_folder_can_say_that_its_values_are_reflectance_and_synthetic(root: Path) -> None:
    (root / "colluvium.json").write_text('{"radiometry": "reflectance", "synthetic": true}')
    patches = open_landslide4sense(root, "train")
    assert (patches.radiometry, patches.synthetic) == ("reflectance", True)


@pytest.mark.parametrize("text", ['{"radiometry": "guess"}', '{"radiometri": "reflectance"}', "{"])
def test_a_card_that_cannot_be_understood_is_refused(root: Path, text: str) -> None:
    (root / "colluvium.json").write_text(text)
    with pytest.raises(InputError, match=r"colluvium\.json cannot be read"):
        open_landslide4sense(root, "train")


def test_a_card_names_no_file_elsewhere(root: Path) -> None:
    (root / "colluvium.json").write_text('{"regions": "../regions.csv"}')
    with pytest.raises(InputError, match="by its name alone"):
        open_landslide4sense(root, "train")


def test_a_part_without_masks_is_predicted_and_not_judged(root: Path) -> None:
    patches = open_landslide4sense(root, "valid")
    assert patches.judged == (False,)
    assert patches.read(0).mask is None
    assert open_landslide4sense(root, "test").judged == (True, True)


def test_bands_are_chosen_by_name_in_the_order_asked_for(root: Path) -> None:
    patches = open_landslide4sense(root, "train", ("B11", "elevation", "B02"))
    assert patches.bands == ("B11", "elevation", "B02")
    np.testing.assert_allclose(patches.read(0).image.mean(axis=(1, 2)), [10, 13, 1], atol=0.05)


def test_a_band_that_the_set_has_not_is_refused_and_those_it_has_are_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"has no B8A; it has B01, B02.*elevation"):
        open_landslide4sense(root, "train", ("B02", "B8A"))
    with pytest.raises(InputError, match="'B99' is no band"):
        open_landslide4sense(root, "train", ("B99",))
    with pytest.raises(InputError, match="asked for twice"):
        open_landslide4sense(root, "train", ("B02", "B02"))


def test_regions_come_from_a_table_of_ids(root: Path) -> None:
    (root / "where.csv").write_text("id,region\ntrain/1,kodagu\ntrain/10,taitung\n")
    assert open_landslide4sense(root, "train", regions_csv=root / "where.csv").regions == (
        "kodagu", None, "taitung",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,place\n", "id and region are wanted"),
        ("id,region\ntrain/1,\n", "line 2: id or region is empty"),
        ("id,region\ntrain/1,a\ntrain/1,b\n", "line 3: train/1 is there twice"),
    ],
)
def test_a_table_of_regions_that_says_nothing_clear_is_refused(root: Path, text: str, words: str) -> None:
    (root / "where.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        open_landslide4sense(root, "train", regions_csv=root / "where.csv")


def test_an_image_without_its_mask_is_refused_by_name(root: Path) -> None:
    (root / "TrainData/mask/mask_2.h5").unlink()
    with pytest.raises(InputError, match=r"image_2\.h5 has no mask_2\.h5"):
        open_landslide4sense(root, "train")


def test_a_mask_without_its_image_is_refused_by_name(root: Path) -> None:
    (root / "TrainData/img/image_10.h5").unlink()
    with pytest.raises(InputError, match=r"mask_10\.h5 has no image_10\.h5"):
        open_landslide4sense(root, "train")


def test_training_data_without_any_mask_is_refused(root: Path) -> None:
    shutil.rmtree(root / "TrainData/mask")
    with pytest.raises(InputError, match="nothing can be trained without masks"):
        open_landslide4sense(root, "train")


def test_one_number_written_twice_is_refused(root: Path) -> None:
    shutil.copy(root / "TrainData/img/image_1.h5", root / "TrainData/img/image_01.h5")
    with pytest.raises(InputError, match=r"image_01\.h5.*zeros before it"):
        open_landslide4sense(root, "train")


def test_a_file_of_another_name_is_refused(root: Path) -> None:
    shutil.copy(root / "TrainData/img/image_1.h5", root / "TrainData/img/image_1 (copy).h5")
    with pytest.raises(InputError, match=r"image_1 \(copy\)\.h5 is not named as in Landslide4Sense"):
        open_landslide4sense(root, "train")


def test_an_empty_folder_and_another_layout_are_refused(tmp_path: Path) -> None:
    (tmp_path / "TrainData/img").mkdir(parents=True)
    with pytest.raises(InputError, match="is empty"):
        open_landslide4sense(tmp_path, "train")
    with pytest.raises(InputError, match=r"has no TestData/img; the layout is .* Folders in it: TrainData"):
        open_landslide4sense(tmp_path, "test")
    with pytest.raises(InputError, match="Folders in it: none"):
        open_landslide4sense(tmp_path / "nowhere", "test")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((128, 128, 13), "13 planes; Landslide4Sense has 14"),
        ((128, 64, 14), "square"),
        ((128, 128), "square"),
    ],
)
def test_an_image_of_another_shape_is_refused_by_file(root: Path, shape: tuple[int, ...], words: str) -> None:
    write_h5(root / "TrainData/img/image_2.h5", "img", np.zeros(shape))
    with pytest.raises(InputError, match=rf"image_2\.h5: .*{words}"):
        open_landslide4sense(root, "train").read(1)


def test_an_endless_image_or_mask_is_refused_before_it_is_read(root: Path) -> None:
    # Nothing was written to these: 14 TB that take a few kilobytes of file.
    for kind, name, shape in (("img", "image", (2**20, 2**20, 14)), ("mask", "mask", (2**20, 2**20))):
        place = root / "TrainData" / kind / f"{name}_{2 if kind == 'img' else 1}.h5"
        with h5py.File(place, "w") as file:
            file.create_dataset(kind, shape, "u1", chunks=(1024, 1024, *shape[2:]))
    patches = open_landslide4sense(root, "train")
    with pytest.raises(InputError, match=r"mask_1\.h5: mask has shape"):
        patches.read(patches.numbers.index(1))
    with pytest.raises(InputError, match=r"image_2\.h5: img has 1048576 cells a side; at most 4096"):
        patches.read(patches.numbers.index(2))


def test_a_mask_of_another_shape_is_refused_by_file(root: Path) -> None:
    write_h5(root / "TrainData/mask/mask_2.h5", "mask", np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match=r"mask_2\.h5: mask has shape \(64, 64\), its image \(128, 128\)"):
        open_landslide4sense(root, "train").read(1)


@pytest.mark.parametrize("value", [2.0, 255.0, -1.0, 0.5, float("nan")])
def test_a_mask_with_other_values_than_0_and_1_is_refused(root: Path, value: float) -> None:
    mask = np.zeros((128, 128))
    mask[3, 4] = value
    write_h5(root / "TrainData/mask/mask_2.h5", "mask", mask)
    with pytest.raises(InputError, match=rf"mask_2\.h5: mask holds {value:g}; only 0"):
        open_landslide4sense(root, "train").read(1)


def test_what_is_not_known_stays_unknown_and_infinity_is_refused(root: Path) -> None:
    image = image_of(2)
    image[5, 6, 3] = np.nan
    write_h5(root / "TrainData/img/image_2.h5", "img", image)
    read = open_landslide4sense(root, "train").read(1).image
    assert np.isnan(read[3, 5, 6])
    assert np.isnan(read).sum() == 1
    image[5, 6, 3] = np.inf
    write_h5(root / "TrainData/img/image_2.h5", "img", image)
    with pytest.raises(InputError, match=r"image_2\.h5: B04 holds infinite values"):
        open_landslide4sense(root, "train").read(1)
    # A band that nobody asked for does not matter.
    assert np.isfinite(open_landslide4sense(root, "train", ("B02",)).read(1).image).all()


def test_a_file_that_is_no_hdf5_or_holds_something_else_is_refused(root: Path) -> None:
    (root / "TrainData/img/image_1.h5").write_bytes(b"<html>not found</html>")
    write_h5(root / "TrainData/img/image_2.h5", "image", image_of(2))
    write_h5(root / "TrainData/mask/mask_10.h5", "mask", np.full((128, 128), b"x"))
    patches = open_landslide4sense(root, "train")
    with pytest.raises(InputError, match=r"image_1\.h5 cannot be read as HDF5"):
        patches.read(0)
    with pytest.raises(InputError, match=r"image_2\.h5 has no dataset 'img'; it has image"):
        patches.read(1)
    with pytest.raises(InputError, match=r"mask_10\.h5: mask is of type"):
        patches.read(2)


def test_a_set_can_be_handed_to_a_worker(root: Path) -> None:
    patches = open_landslide4sense(root, "train")
    again = pickle.loads(pickle.dumps(patches))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(again.read(0).image, patches.read(0).image)


def test_opening_reads_no_patch(root: Path) -> None:
    for path in (root / FOLDERS["train"]).rglob("*.h5"):
        path.write_bytes(b"")
    assert len(open_landslide4sense(root, "train")) == 3
    assert json.dumps(open_landslide4sense(root, "train").name) == f'"TrainData of {root.name}"'
