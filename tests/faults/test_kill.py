"""Killed at any named stage, the next run ends as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import rasterio

from exporters.layer import LayerStatus
from service.errors import Outcome
from service.refreshed import STAGES
from tests.fix_region import ToyRegion

# Runs one refresh and kills its own process, without any clean-up, when the stage begins.
DRIVER = """
import os, signal, sys
from datetime import date
from pathlib import Path
from tests.fix_region import Clock, ToyRegion

def on_stage(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

ToyRegion(Path(sys.argv[1]), Clock()).refresh(date(2026, 3, 5), on_stage=on_stage)
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_leaves_no_half_layer_and_the_next_run_ends_well(toy: ToyRegion, stage: str) -> None:
    (good,) = toy.refresh(None)
    assert good.layer is not None

    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, str(toy.folder), stage], cwd=ROOT, check=False, timeout=120
    )

    assert killed.returncode == -signal.SIGKILL
    for folder in (toy.data / "layers").glob("[!.]*/[!.]*"):
        # What has its final name is whole.
        with rasterio.open(folder / "susceptibility.tif") as raster:
            raster.read(1)
        assert (folder / "item.json").exists()
    latest = toy.latest()
    assert latest is not None
    assert latest["layer"] == good.layer.id

    (again,) = toy.refresh(good.day)
    (day,) = toy.refresh(date(2026, 3, 5))

    assert again.outcome == Outcome.UNCHANGED
    # Killed after the layer was recorded, there is nothing left to do; before, it is made now.
    recorded = STAGES.index(stage) > STAGES.index("ledger")
    assert day.outcome == (Outcome.UNCHANGED if recorded else Outcome.PUBLISHED)
    assert day.layer is not None
    assert day.layer.revision == 1
    assert day.layer.status == LayerStatus.COMPLETE
    assert not list(toy.data.rglob(".*.part*"))
    with toy.ledger() as ledger:
        assert ledger.folders() == {str(path) for path in (toy.data / "layers").glob("*/*") if path.is_dir()}
        assert all(run.outcome is not None for run in ledger.runs())


def test_a_request_to_stop_abandons_the_day_in_hand_and_leaves_nothing(toy: ToyRegion) -> None:
    def stop(stage: str) -> None:
        if stage == "files":
            raise KeyboardInterrupt

    (result,) = toy.refresh(None, on_stage=stop)

    assert result.outcome == Outcome.ABANDONED
    assert toy.latest() is None
    assert not list((toy.data / "layers").glob("*/*"))
    (again,) = toy.refresh(None)
    assert again.outcome == Outcome.PUBLISHED
