"""Training from a region's settings: the same settings give the same bundle."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from rasterio.crs import CRS

import trainer.synthetic.region as synthetic
from exporters.layer import Odds
from service.bundle import Bundle
from service.errors import SettingsError
from service.ledger import Ledger
from service.settings import Settings, parse_settings
from tests.fix_inventory import event
from tests.fix_region import Clock
from trainer.calibration import Calibration
from trainer.inventory import read_inventory
from trainer.models import recipe_of
from trainer.synthetic.region import SyntheticRegion, make_region, write_region
from trainer.synthetic.slopes import draw_landslides
from trainer.train import odds_of, read_training, train
from trainer.training_settings import EventRate

CONFIG = Path(__file__).resolve().parents[2] / "config" / "demo.toml"
SMALL = 192


def demo_settings(base: Path, **changes: str) -> Settings:
    text = CONFIG.read_text("utf-8").replace("../build/demo", str(base))
    for before, after in changes.items():
        key = next(line for line in text.splitlines() if line.startswith(f"{before} = "))
        text = text.replace(key, f"{before} = {after}")
    return parse_settings(text, base=CONFIG.parent, origin="test")


@pytest.fixture(scope="module")
def region() -> SyntheticRegion:
    made = make_region(2, SMALL)
    # A smaller region has fewer landslides; cached_property takes what stands in the instance.
    made.__dict__["landslides"] = draw_landslides(made.slopes, made.weather, 2, events=120)
    return made


@pytest.mark.slow
def test_the_same_settings_give_the_same_bundle(
    region: SyntheticRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "make_region", lambda _: region)
    settings = demo_settings(tmp_path / "data", epochs="1", spatial="1", both="1")
    settings = settings.model_copy(
        update={
            "training": {
                **settings.training,
                "reference": {"cells": 50, "days": 60},
                "inventory": {**settings.training["inventory"], "with_events": True},
            }
        }
    )
    write_region(region, tmp_path / "data" / "source", landslides=True)
    place = read_inventory(read_training(settings).inventory, CRS.from_epsg(4326), settings.timezone).events[
        0
    ]
    day = place.day + timedelta(days=90)
    with Ledger(tmp_path / "data" / "ledger.sqlite", Clock()) as ledger:
        ledger.events.add(event(lon=place.x, lat=place.y, day_from=day, day=day))

    first = train(settings, tmp_path / "bundle")
    digest = Bundle.load(tmp_path / "bundle").digest
    train(settings, tmp_path / "bundle")  # in its own place: the old bundle is replaced

    assert Bundle.load(tmp_path / "bundle").digest == digest
    assert first.training.synthetic
    assert first.training.region == "demo"
    assert first.training.samples["event"] == first.training.events > 10
    assert "best_reachable_auc" in first.training.metrics
    assert first.reference is not None
    assert first.reference.days + first.reference.held_out_days == 60
    card = (tmp_path / "bundle" / "model-card.md").read_text()
    assert "## What its maps looked like" in card
    assert re.search(r"Landslides by where they are from: \d+ file, 1 added\.", card)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "bundle"}


def test_a_region_without_training_is_told_what_to_add(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path).model_copy(update={"training": {}})

    with pytest.raises(SettingsError, match=r"\[training\]"):
        read_training(settings)


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)
    wrong = settings.model_copy(update={"training": {**settings.training, "epoch": 3}})

    with pytest.raises(SettingsError, match=r"training\.epoch"):
        read_training(wrong)


def test_the_inventory_is_sought_beside_the_settings(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)

    assert read_training(settings).inventory.path == tmp_path / "source" / "landslides.csv"
    plain = parse_settings(CONFIG.read_text("utf-8"), base=CONFIG.parent, origin="test")
    assert read_training(plain).inventory.path == CONFIG.parents[1] / "build/demo/source/landslides.csv"


@pytest.mark.parametrize(
    ("method", "weights", "share"),
    [("none", "none", 0.2), ("none", "balanced", 0.5), ("platt", "none", 0.4), ("platt", "balanced", 0.4)],
)
def test_the_odds_are_corrected_from_the_share_that_made_the_index(
    method: Literal["none", "platt"], weights: str, share: float
) -> None:
    rate = EventRate(rate=1e-4, per="cell and day", source="counted")
    recipe = recipe_of("lstm_only", {"class_weight": weights})
    training, validation = np.array([1, 0, 0, 0, 0]), np.array([1, 1, 0, 0, 0])
    odds = odds_of(rate, recipe, Calibration(method=method), training, validation)
    assert odds == Odds(event_rate=1e-4, per="cell and day", positives_share=share)
    assert odds_of(None, recipe, Calibration(method=method), training, validation) is None
