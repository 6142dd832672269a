"""The threads of this machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from service.threads import in_order
from service.tile_work import TileOrder, TileResult, TileWork


@dataclass(frozen=True)
class LocalEngine:
    """Computes tiles on `workers` threads."""

    workers: int

    def run(self, work: TileWork, orders: Iterable[TileOrder]) -> Generator[TileResult, None, None]:
        """Yield the results in order."""

        def expected() -> Iterator[TileOrder]:
            for order in orders:
                work.expect(order)
                yield order

        return in_order(work.compute, expected(), self.workers, ahead=4 * max(1, self.workers))
