"""The port of an engine: tiles in, results in the same order out."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Protocol

from service.tile_work import TileOrder, TileResult, TileWork


class Engine(Protocol):
    """Runs a layer's tiles. The results do not depend on which engine it is."""

    def run(self, work: TileWork, orders: Iterable[TileOrder]) -> Generator[TileResult, None, None]:
        """Yield work.compute(order) in the order of the orders; memory holds a few of them.

        Closing the generator drops what has not begun. Raises what `compute` raises.
        """
        ...
