"""Child processes of long work: they leave Ctrl-C to their parent and do not outlive it."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def begin_child() -> None:
    """Set up a child process; the initializer of a pool.

    Where the parent is killed the kernel ends the child too (Linux): what it was at would otherwise go on
    beside the comparison that is started again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
