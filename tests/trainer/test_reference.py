"""The reference of a model's output: what its maps looked like in the training years."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from service.bundle import Bundle, read_manifest
from service.drift import SHIFT, binned, nearest_psi, psi
from service.errors import BundleError, InputError
from service.factor_stack import FactorStack
from service.files import sha256_file, write_json
from service.manifest import Manifest, OutputReference
from service.readings import Archive
from service.region import open_region
from service.workshop import archive_path
from tests.fix_region import FIRST_DAY, LAST_DAY, ToyRegion, make_toy_region
from trainer.dataset import Variable
from trainer.model_card import reference_section, with_reference
from trainer.reference import add_reference, output_reference, reference_of
from trainer.region_dataset import Opened, WindowRule
from trainer.training_settings import ReferenceSettings

RULE = WindowRule((Variable("rain", "mm"),), window_days=5, lag_days=1, patch=7)
SPAN = date(2016, 1, 1), date(2025, 12, 31)
SMALL = ReferenceSettings(cells=60, days=60)
TRAINING = """
[training]
name = "toy"
version = "1"
created = 2026-01-01T00:00:00Z
data = "made up"
first_day = 2026-01-01
last_day = 2026-03-10
reference = { cells = 60, days = 40 }
inventory = { path = "none.csv" }
"""


def days_of(random: np.random.Generator, count: int = 120) -> npt.NDArray[np.int64]:
    """Calm days, one storm in ten: (count, 256)."""
    days = np.zeros((count, 256), np.int64)
    for number in range(count):
        storm = number % 10 == 0
        codes = random.gamma(2.0, 30.0 if storm else 2.0, 1000).astype(int)
        days[number] = np.bincount(np.clip(codes, 0, 250), minlength=256)
    random.shuffle(days)
    return days


def reference(days: npt.NDArray[np.int64]) -> OutputReference:
    return reference_of(days, cells=1000, first=SPAN[0], last=SPAN[1], seed=0)


def test_calm_and_storm_are_both_usual_and_a_map_in_other_units_is_not() -> None:
    random = np.random.default_rng(1)
    found = reference(days_of(random))

    def stability(scale: float) -> float:
        codes = np.clip(random.gamma(2.0, scale, 1000).astype(int), 0, 250)
        counts = binned(np.bincount(codes, minlength=256), found.edges)
        return nearest_psi(counts, np.array(found.kinds))

    assert stability(2.0) < SHIFT
    assert stability(30.0) < SHIFT
    assert stability(8.0) > SHIFT  # between the two: no such day was seen
    assert stability(300.0) > SHIFT
    assert found.held_out_days == 30
    assert found.held_out_beyond == 0
    assert sum(found.shares) == pytest.approx(1, abs=1e-4)


def test_no_day_that_the_kinds_were_picked_from_is_farther_than_the_radius() -> None:
    days = days_of(np.random.default_rng(2))
    found = reference(days)
    usual = np.delete(days, np.s_[::4], axis=0)
    nearest = [nearest_psi(binned(day, found.edges), np.array(found.kinds)) for day in usual]
    assert max(nearest) == pytest.approx(found.radius, abs=1e-6)
    assert found.radius <= 0.1
    apart = psi(np.array(found.kinds[0]), np.array(found.kinds[1:]))
    assert apart.min() > 0  # none is kept twice


def test_what_is_stored_as_zero_is_a_bin_of_its_own() -> None:
    days = np.zeros((60, 256), np.int64)
    days[:, 0], days[:, 100], days[:, 200] = 980, 15, 5
    found = reference(days)
    assert found.edges[0] == 1
    assert any(100 < edge <= 200 for edge in found.edges)


def test_a_model_that_gives_nothing_but_zero_has_a_reference() -> None:
    days = np.zeros((60, 256), np.int64)
    days[:, 0] = 500
    found = reference(days)
    assert found.kinds == ((500, 0),)
    assert nearest_psi(np.array([0, 500]), np.array(found.kinds)) > SHIFT


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ToyRegion:
    toy = make_toy_region(tmp_path_factory.mktemp("region"))
    toy.ingest()
    return toy


@pytest.fixture(scope="module")
def opened(made: ToyRegion) -> Iterator[Opened]:
    declared = made.settings
    region = open_region(declared)
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(archive_path(declared)))
        factors = stack.enter_context(FactorStack.open(declared.stack_path, region.grid))
        yield Opened(declared, region, archive, factors, None)


def wetness(patches: npt.NDArray[np.float32], windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    assert np.isfinite(patches).all()
    return np.asarray(1 - np.exp(-windows.sum(axis=(1, 2)) / 50), np.float64)


def test_the_same_seed_gives_the_same_reference_and_another_other_days(opened: Opened) -> None:
    names = [opened.stack.bands[0].name]

    def made_with(seed: int) -> OutputReference:
        wanted = SMALL.model_copy(update={"seed": seed})
        return output_reference(opened, wetness, names, RULE, FIRST_DAY, LAST_DAY, wanted)

    assert made_with(0) == made_with(0)
    assert made_with(0) != made_with(1)
    found = made_with(0)
    # A window of 5 days that ends a day before: the first day that can have one.
    assert (found.first_day, found.last_day) == (FIRST_DAY + timedelta(days=5), LAST_DAY)
    assert found.days + found.held_out_days == SMALL.days
    assert found.cells == SMALL.cells


def test_too_few_days_with_windows_are_refused_and_the_way_out_is_named(opened: Opened) -> None:
    names = [opened.stack.bands[0].name]
    soon = FIRST_DAY + timedelta(days=20)
    with pytest.raises(InputError, match=r"training\.reference.* need 40 days"):
        output_reference(opened, wetness, names, RULE, FIRST_DAY, soon, SMALL)


def add_training(toy: ToyRegion) -> None:
    text = toy.config.read_text()
    toy.config.write_text(text if "[training]" in text else text + TRAINING)


def test_a_bundle_gets_its_reference_and_its_graphs_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy_region(tmp_path / "region")
    toy.ingest()
    add_training(toy)
    card = toy.folder / "bundle" / "model-card.md"
    card.write_text("# toy 1\n\n## Inputs\n\nRain.\n")
    _list(toy.folder / "bundle", "model-card.md")
    # 30 days of window leave too few of the toy's days for the least that a user is held to.
    monkeypatch.setattr("trainer.reference._LEAST_DAYS", 20)
    monkeypatch.setattr("trainer.prepare.derive", lambda *_: None)

    told = add_reference(toy.settings, toy.settings.bundle.path, tmp_path / "new")

    new, old = Bundle.load(tmp_path / "new"), Bundle.load(toy.folder / "bundle")
    assert new.digest != old.digest
    assert old.manifest.reference is None
    assert new.manifest.reference == told.reference is not None
    for name in ("spatial.onnx", "head_u8.onnx", "whole.onnx"):
        assert (tmp_path / "new" / name).read_bytes() == (toy.folder / "bundle" / name).read_bytes()
    text = (tmp_path / "new" / "model-card.md").read_text()
    assert text.index("## What its maps looked like") < text.index("## Inputs")


def test_a_bundle_of_another_region_gets_none(tmp_path: Path) -> None:
    toy = make_toy_region(tmp_path / "region")
    add_training(toy)
    toy.config.write_text(toy.config.read_text().replace('id = "toy"', 'id = "elsewhere"'))
    with pytest.raises(BundleError, match="trained for region 'toy'"):
        add_reference(toy.settings, toy.settings.bundle.path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_card_tells_what_the_reference_is_once() -> None:
    days = days_of(np.random.default_rng(3))
    first, second = reference_section(reference(days)), reference_section(reference(days[::-1]))
    card = "# demo\n\n## Warnings\n\nMay warn.\n\n## Inputs\n\nRain.\n"

    once = with_reference(card, first)
    twice = with_reference(once, second)

    assert once == f"# demo\n\n## Warnings\n\nMay warn.\n\n{first}\n\n## Inputs\n\nRain.\n"
    assert twice == once.replace(first, second)
    assert "30 further days of the same years, 0.0%" in first


def test_a_reference_whose_bins_do_not_fit_is_refused(made: ToyRegion) -> None:
    manifest, _ = read_manifest(made.folder / "bundle")
    good = reference(days_of(np.random.default_rng(4))).model_dump(mode="json")
    said = manifest.model_dump(mode="json")
    assert Manifest.model_validate({**said, "reference": good}).reference is not None
    for wrong in ({"edges": good["edges"][::-1]}, {"edges": good["edges"][1:]}, {"kinds": []}):
        with pytest.raises(ValidationError):
            Manifest.model_validate({**said, "reference": {**good, **wrong}})


def _list(bundle: Path, name: str) -> None:
    manifest, _ = read_manifest(bundle)
    files = {**manifest.files, name: sha256_file(bundle / name)}
    told = manifest.model_copy(update={"files": files})
    write_json(bundle / "manifest.json", told.model_dump(mode="json"))
