"""Drift: a map that resembles a day of the training years is stable, one that resembles none is not."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporters.layer import NODATA, TOP, Layer
from service.bundle import read_manifest
from service.drift import SHIFT, binned, nearest_psi, psi
from service.ensemble import count_outside, marks_of
from service.files import write_json
from service.manifest import MANIFEST_NAME, OutputReference
from tests.fix_region import ToyRegion
from trainer.reference import reference_of

DAY = date(2026, 3, 5)
COUNTS = arrays(np.int64, 6, elements=st.integers(0, 1000)).filter(lambda counts: counts.sum() > 0)


def stored_of(layer: Layer) -> npt.NDArray[np.uint8]:
    with rasterio.open(layer.folder / "susceptibility.tif") as raster:
        return np.asarray(raster.read(1), np.uint8)


def reference_from(layer: Layer, shift: int = 0) -> OutputReference:
    """A reference whose every day is the layer's map, `shift` codes higher."""
    codes = stored_of(layer)
    by_code = np.bincount(np.clip(codes[codes <= TOP] + shift, 0, TOP), minlength=NODATA + 1)
    days = np.stack([by_code] * 8)
    return reference_of(days, cells=int(by_code.sum()), first=DAY, last=DAY, seed=0)


def give_reference(toy: ToyRegion, reference: OutputReference) -> None:
    folder = toy.folder / "bundle"
    manifest, _ = read_manifest(folder)
    told = manifest.model_copy(update={"reference": reference})
    write_json(folder / MANIFEST_NAME, told.model_dump(mode="json"))


def published(toy: ToyRegion, day: date = DAY) -> Layer:
    (result,) = toy.refresh(day)
    assert result.layer is not None, result.reason
    return result.layer


@given(COUNTS, COUNTS)
def test_the_index_is_zero_for_the_same_map_never_negative_and_blind_to_direction(
    one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> None:
    assert psi(one, one[None])[0] == 0
    assert psi(one, other[None])[0] >= 0
    assert psi(one, other[None])[0] == pytest.approx(psi(other, one[None])[0])
    assert psi(3 * one, other[None])[0] == pytest.approx(psi(one, other[None])[0])


def test_the_index_of_two_distributions_by_hand() -> None:
    found = psi(np.array([50, 50]), np.array([[90, 10]]))[0]
    assert found == pytest.approx((0.5 - 0.9) * np.log(0.5 / 0.9) + (0.5 - 0.1) * np.log(0.5 / 0.1))


def test_what_counts_is_the_kind_of_day_that_is_most_alike() -> None:
    calm, storm = [950, 50, 0], [200, 300, 500]
    kinds = np.array([calm, storm])
    assert nearest_psi(np.array([205, 295, 500]), kinds) < 0.01
    assert nearest_psi(np.array([945, 55, 0]), kinds) < 0.01
    assert nearest_psi(np.array([0, 0, 1000]), kinds) > SHIFT


def test_a_code_belongs_to_the_bin_that_begins_with_it_and_unknown_to_none() -> None:
    by_code = np.zeros(256, np.int64)
    by_code[[0, 9, 10, TOP, NODATA]] = 1, 2, 4, 8, 16
    assert binned(by_code, (1, 10, TOP)).tolist() == [1, 2, 4, 8]


def test_a_layer_says_how_unlike_the_training_years_it_is(toy: ToyRegion) -> None:
    plain = published(toy)
    assert plain.output_stability is None  # the bundle has no reference: not measured, and not 0

    give_reference(toy, reference_from(plain))
    same = published(toy)
    give_reference(toy, reference_from(plain, shift=60))
    other = published(toy)

    assert same.output_stability == pytest.approx(0, abs=1e-9)
    assert other.output_stability is not None
    assert other.output_stability > SHIFT
    with toy.ledger() as ledger:
        kept = ledger.latest()
    assert kept is not None
    assert kept.output_stability == other.output_stability


def test_less_ground_is_not_compared(toy: ToyRegion) -> None:
    give_reference(toy, reference_from(published(toy)))
    toy.config.write_text(toy.config.read_text().replace("max_distance_km = 5", "max_distance_km = 0.9"))

    assert published(toy).output_stability is None


def test_a_reference_of_another_region_is_not_compared(toy: ToyRegion) -> None:
    give_reference(toy, reference_from(published(toy)))
    path = toy.folder / "bundle" / MANIFEST_NAME
    told = json.loads(path.read_text())
    told["training"]["region"] = "elsewhere"
    path.write_text(json.dumps(told))
    toy.config.write_text(
        toy.config.read_text().replace('path = "bundle"', 'path = "bundle"\nallow_transfer = true')
    )

    assert published(toy).output_stability is None


def test_the_share_outside_the_training_ranges_is_counted_over_known_cells(toy: ToyRegion) -> None:
    inside = published(toy)
    path = toy.folder / "bundle" / MANIFEST_NAME
    told = json.loads(path.read_text())
    told["variables"][0]["maximum"] = 0.5  # mm: every window of this rain lies outside
    path.write_text(json.dumps(told))
    outside = published(toy)

    assert inside.outside_ratio is not None
    assert inside.outside_ratio < 0.5
    assert outside.outside_ratio == 1


def test_factors_outside_count_cell_by_cell(toy: ToyRegion) -> None:
    path = toy.folder / "bundle" / MANIFEST_NAME
    told = json.loads(path.read_text())
    told["factors"][0]["maximum"] = 50.0
    told["variables"][0]["maximum"] = 1e6
    path.write_text(json.dumps(told))
    layer = published(toy)

    with rasterio.open(toy.folder / "factors.tif") as raster:
        beyond = raster.read(1) > 50
    known = stored_of(layer) != NODATA
    assert layer.outside_ratio == pytest.approx((beyond & known).sum() / known.sum())
    assert 0 < (layer.outside_ratio or 0) < 1


def test_a_bundle_without_a_reference_keeps_its_bytes(toy: ToyRegion, tmp_path: Path) -> None:
    before = (toy.folder / "bundle" / MANIFEST_NAME).read_bytes()
    manifest, _ = read_manifest(toy.folder / "bundle")
    write_json(tmp_path / MANIFEST_NAME, manifest.model_dump(mode="json"))
    assert (tmp_path / MANIFEST_NAME).read_bytes() == before
    assert b"reference" not in before


@pytest.mark.parametrize("ignores", [(), ("patches",), ("window",)])
def test_the_count_outside_is_that_of_the_marks(
    toy: ToyRegion, ignores: tuple[Literal["patches", "window"], ...]
) -> None:
    manifest, _ = read_manifest(toy.folder / "bundle")
    told = manifest.model_copy(update={"ignores": ignores})
    random = np.random.default_rng(0)
    flags = random.integers(0, 3, (5, 64)).astype(np.uint8)
    known = random.random((5, 64)) < 0.7
    strange = np.array([True, False, False, True, False])

    marks = marks_of(told, flags, strange)

    assert count_outside(told, flags, known, strange) == np.count_nonzero(marks[known])
