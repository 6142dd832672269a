"""The demo: its settings, its committed bundle, and the whole of it on a small synthetic region."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import rasterio

from service.bundle import Bundle
from service.errors import UsageError
from service.settings import load_settings
from trainer import demo
from trainer.factors import declared_bands
from trainer.synthetic.region import SEED, SyntheticRegion, make_region

CONFIG = Path(__file__).resolve().parents[2] / "config" / "demo.toml"
BUNDLE = CONFIG.parent / "demo" / "bundle"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    def small(seed: int = SEED) -> SyntheticRegion:
        return make_region(seed, 192)

    folder = tmp_path_factory.mktemp("demo") / "region"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "make_region", small)
        return folder, demo.run_demo(folder, days=8)


def test_the_demo_publishes_every_day_and_says_so(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = ran

    assert summary["outcomes"] == {"published": 8}
    assert summary["days"] == len(summary["class_area_ratio_by_day"]) == 8
    assert summary["last_day"] == "2026-03-31"
    assert (folder / "data" / "latest.json").exists()


def test_the_storm_shows_on_the_map(ran: tuple[Path, dict[str, Any]]) -> None:
    _, summary = ran
    before, after = (item["class_area_ratio"] for item in (summary["before"], summary["after"]))

    assert summary["before"]["day"] < summary["after"]["day"]
    assert before["high"] + before["very_high"] < 0.02
    assert after["high"] + after["very_high"] > 0.05


def test_layers_and_settings_of_the_demo_are_labelled_synthetic(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = ran
    settings = load_settings(folder / "region.toml")

    assert summary["demo"] == "SYNTHETIC"
    assert settings.region.synthetic
    assert "SYNTHETIC" in settings.region.name
    layer = next((folder / "data" / "layers").rglob("class.tif"))
    with rasterio.open(layer) as raster:
        assert "synthetic" in str(raster.tags()).lower()


def test_the_demo_draws_two_pictures(ran: tuple[Path, dict[str, Any]]) -> None:
    _, summary = ran

    assert len(summary["pictures"]) == 2
    for path in summary["pictures"]:
        head = Path(path).read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        assert min(struct.unpack(">II", head[16:])) > 500


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(UsageError, match="not a demo"):
        demo.run_demo(tmp_path, days=8)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_committed_bundle_may_warn_and_is_small() -> None:
    bundle = Bundle.load(BUNDLE)
    manifest = bundle.manifest

    assert sum(path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()) < 3_000_000
    assert manifest.training.synthetic
    assert manifest.may_warn
    assert manifest.rain_test is not None
    assert manifest.rain_test.passed
    card = (BUNDLE / "model-card.md").read_text()
    assert "Synthetic" in card
    assert "best_reachable_auc" in card


def test_the_committed_bundle_fits_the_settings_of_the_demo() -> None:
    settings = load_settings(CONFIG)
    manifest = Bundle.load(BUNDLE).manifest

    assert settings.bundle.path == BUNDLE
    assert {band.name for band in declared_bands(settings)} == {factor.name for factor in manifest.factors}
    assert manifest.forcing_cell == settings.grid.forcing_cell
    assert list(manifest.classes.breaks) == settings.training["breaks"]
