"""Work beside the API yields to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.priority import NICENESS, lower


def test_a_child_yields_in_its_own_session_and_between_sessions() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        lower(child.pid)
        own = os.getpriority(os.PRIO_PROCESS, child.pid)
        group = Path(f"/proc/{child.pid}/autogroup")
        told = group.read_text("ascii") if group.exists() else ""
        child.communicate(b"\n")
    assert own == NICENESS
    if not told:
        pytest.skip("this kernel does not group processes by session")
    assert told.split()[-1] == str(NICENESS)
