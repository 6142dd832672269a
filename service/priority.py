"""The low priority of work beside the API."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICENESS = 10


def lower(pid: int) -> None:
    """Let a child process that leads a session of its own yield to this one."""
    os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    # Where the kernel groups processes by session (outside containers and systemd units), a niceness counts
    # only within the session: the child's group needs one of its own. Elsewhere there is no such file, or it
    # says nothing.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{NICENESS}\n", "ascii")
