"""What of a training survives a kill: all of its state after an epoch, in one file renamed into place.

The file is torch's, of tensors, numbers and strings alone, and is read with `weights_only=True`. A run that
is resumed from it takes the same steps, draws the same numbers and ends with the same weights as one that was
never stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch

from service.files import replacing

_FORMAT = 1
_FILE = "fit.pt"
_log = structlog.get_logger()

State = dict[str, Any]  # tensors, numbers, strings, and lists and dictionaries of them


@dataclass
class Checkpoint:
    """Where a training keeps its state, and how often: after an epoch, `seconds` after the last time.

    One folder is of one training. What another training left there (other samples, settings or first
    weights) is not taken up, and replaced.
    """

    folder: Path
    seconds: float = 2.0
    _saved: float = field(default=float("-inf"), init=False)

    @property
    def path(self) -> Path:
        return self.folder / _FILE

    def load(self, fingerprint: str) -> State | None:
        """Return the state that a training of this fingerprint left, or None to start from the beginning."""
        if not self.path.exists():
            return None
        try:
            state: State = torch.load(self.path, map_location="cpu", weights_only=True)
            known = state["format"] == _FORMAT and state["fingerprint"] == fingerprint
        except Exception as error:  # noqa: BLE001 - whatever a damaged file raises, it starts over
            _log.warning("checkpoint cannot be read; starting over", path=str(self.path), reason=str(error))
            return None
        if not known:
            _log.warning("checkpoint is of another training; starting over", path=str(self.path))
            return None
        return state

    def due(self) -> bool:
        """Tell whether the last save is long enough ago."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, fingerprint: str, state: State) -> None:
        """Write the state beside its place and rename it there."""
        with replacing(self.path) as temporary:
            torch.save({**state, "format": _FORMAT, "fingerprint": fingerprint}, temporary)
        self._saved = time.monotonic()
