"""Killed while it builds the spatial state, the next start finds nothing half-built and builds the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import Outcome
from tests.fix_region import ToyRegion

# Builds the state as a refresh, or ahead of one, and kills its own process in the middle of a tile's writing.
DRIVER = """
import os, signal, sys
from pathlib import Path
from service import state_build
from service.state_list import build_ahead
from service.state_records import BlockFile
from tests.fix_region import Clock, ToyRegion

write, written = BlockFile.write, []

def killing(file, index, blocks):
    write(file, index, blocks)
    written.append(index)
    if len(written) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

BlockFile.write = killing
toy = ToyRegion(Path(sys.argv[1]), Clock())
toy.refresh(None) if sys.argv[2] == "refresh" else build_ahead(toy.settings, None)
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("purpose", ["refresh", "build"])
def test_a_kill_in_the_middle_of_a_state_leaves_nothing_and_the_next_one_is_the_same(
    toy: ToyRegion, tmp_path: Path, purpose: str
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, str(toy.folder), purpose], cwd=ROOT, check=False, timeout=120
    )

    assert killed.returncode == -signal.SIGKILL
    states = toy.data / "state"
    (half,) = states.iterdir()
    assert half.name.startswith(".")
    assert (half / "state.bin").stat().st_blocks > 0

    (result,) = toy.refresh(None)

    assert result.outcome == Outcome.PUBLISHED
    (whole,) = states.iterdir()
    assert not whole.name.startswith(".")
    after = {path.name: path.read_bytes() for path in whole.glob("*.bin")}
    for path in whole.iterdir():
        path.unlink()
    whole.rmdir()
    toy.refresh(None)
    (undisturbed,) = states.iterdir()
    assert {path.name: path.read_bytes() for path in undisturbed.glob("*.bin")} == after
    assert set(after) == {"state.bin", "flags.bin", "cells.bin"}
