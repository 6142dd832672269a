"""Forcing cells whose windows have not changed since an earlier layer keep their values.

    kept/<day>-l<lead>-<folder>.npz   of a layer: what the values of each of its forcing cells depend on, and
                                      the SHA-256 of the rasters in which they lie

Written once its layer is published, for the newest few of each lead. Any of them may be removed: then more is
computed. Only a layer made by the same model, state and arithmetic counts, so that a layer is the same byte
for byte whether anything was carried over or not. In arid regions that spares most of the work on most days.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import structlog
from pydantic import BaseModel, ConfigDict

from exporters.layer import Layer, LayerStatus
from service.files import digest_of, replacing, sha256_file
from service.kept_values import PLACES, Cells, Fingerprints, KeptValues
from service.layer_windows import LayerWindows
from service.ledger import Ledger
from service.runtime import CPU_PROVIDER, arithmetic_of
from service.workshop import WITHOUT_EFFECT, Workshop

# Of what turns windows into stored values in this code: another one where a value could become another.
_ARITHMETIC = 1
_AT_MOST = 2  # of each lead: the day before, and the day itself where it is made again

log = structlog.get_logger()


class KeptRecord(BaseModel):
    """What a file says of the layer that it belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str
    arithmetic: str  # digest of all that is the same for the whole layer
    files: dict[str, str]  # SHA-256 by name, of the rasters that hold values


@dataclass(frozen=True)
class _Noted:
    """What a file holds."""

    record: KeptRecord
    prints: Fingerprints | None = None


class Keeper:
    """Finds what a layer may keep of an earlier one, and notes what later ones may keep of it.

    Idle for a replay, which must not rest on what came later; for a forecast of several members, of which
    the layer holds the median; on a graphics card, whose results depend on what else is in a batch; and with
    `inference.keep_unchanged` = false. The caller holds the region's lock.
    """

    def __init__(self, shop: Workshop, made: LayerWindows) -> None:
        self._shop, self._made = shop, made
        self._folder = shop.settings.data_dir / "kept"
        self._idle = (
            not shop.settings.inference.keep_unchanged
            or shop.as_of is not None
            or bool(made.members)
            or shop.bundle.device.provider != CPU_PROVIDER
        )

    @contextmanager
    def values(self) -> Iterator[KeptValues | None]:
        """Yield what the layer keeps; None where nothing is, which the log explains where it is a fault."""
        found = None if self._idle else self._best()
        if found is None:
            yield None
            return
        layer, cells = found
        log.info(f"kept {cells[self._serve].mean():.0%} of the forcing cells", since=layer.id)
        with KeptValues(self._shop.region.forcing, cells, layer.folder, threads=self._shop.workers) as values:
            yield values

    def note(self, layer: Layer) -> None:
        """Note what later layers may keep of this one, which is published, and forget older notes.

        A full disk is no reason to fail: the layer is there, and the next one is computed.
        """
        if self._idle:
            return
        path = self._folder / f"{layer.day}-l{layer.lead}-{layer.folder.name}.npz"
        names = sorted({name for name, _ in PLACES.values() if (layer.folder / name).exists()})
        try:
            files = {name: sha256_file(layer.folder / name) for name in names}
            record = KeptRecord(layer=layer.id, arithmetic=self._arithmetic, files=files)
            with replacing(path) as temporary, temporary.open("wb") as out:
                np.savez(
                    out,
                    record=np.frombuffer(record.model_dump_json().encode(), np.uint8),
                    windows=self._prints.windows,
                    corner_rows=self._prints.corner_rows,
                    reach=self._prints.reach,
                )
        except OSError as error:
            log.warning("what the next layer could keep was not noted", reason=str(error))
            return
        # The one just written stays, though the clock may have been ahead when others were.
        others = [other for other in _newest_first(self._folder, layer.lead) if other != path]
        for old in others[_AT_MOST - 1 :]:
            old.unlink(missing_ok=True)

    @cached_property
    def _serve(self) -> Cells:
        """The forcing cells that have values at all."""
        return self._made.windows.complete & (self._shop.state.valid_cells > 0)

    @cached_property
    def _prints(self) -> Fingerprints:
        manifest = self._shop.bundle.manifest
        # The generic path gives such a model zeros for a window.
        blind = manifest.kind == "whole" and "window" in manifest.ignores
        return Fingerprints.of(self._made.windows, without_windows=blind)

    @cached_property
    def _arithmetic(self) -> str:
        """The digest of what is the same for the whole layer and could change a value."""
        shop = self._shop
        odds = shop.bundle.manifest.odds
        settings = shop.settings.inference.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))
        states = shop.state, *(member.state for member in shop.members)
        return digest_of(
            _ARITHMETIC,
            shop.bundle.digest,
            # A state that is built again by another library is of the same digest, and not of the same bits.
            [(state.digest, state.made_with) for state in states],
            odds.model_dump(mode="json") if odds else None,
            settings,
            shop.settings.engine.model_dump(mode="json", include={"kind", "scheduler"}),
            arithmetic_of(shop.bundle.device),
        )

    def _best(self) -> tuple[Layer, Cells] | None:
        """Return the layer of which most can be kept, and the forcing cells; None where nothing can."""
        found: list[tuple[int, KeptRecord, Cells]] = []
        for path in _newest_first(self._folder):
            noted = _read(path, self._arithmetic)
            if noted is None or noted.prints is None or len(noted.prints.corner_rows) != len(self._serve):
                continue
            cells = self._prints.same(noted.prints)
            count = int(np.count_nonzero(cells & self._serve))
            if count:
                found.append((count, noted.record, cells))
        for _, record, cells in sorted(found, key=lambda item: -item[0]):
            layer = self._layer_of(record)
            if layer is not None:
                return layer, cells
        return None

    def _layer_of(self, record: KeptRecord) -> Layer | None:
        """Return the layer itself, if it stands and its files are what was published."""
        ledger = self._shop.ledger
        layer = ledger.layer(record.layer)
        if layer is None or layer.status == LayerStatus.WITHDRAWN or ledger.removed_at(layer.id) is not None:
            return None
        try:
            wrong = [name for name, sha in record.files.items() if sha256_file(layer.folder / name) != sha]
        except OSError as error:
            log.warning("nothing is kept of an earlier layer: it cannot be read", reason=str(error))
            return None
        if wrong:
            reason = f"{layer.folder / wrong[0]} is not the file that was published"
            log.warning("nothing is kept of an earlier layer: it is damaged", reason=reason)
            return None
        return layer


def sweep_kept(data_dir: Path, ledger: Ledger) -> None:
    """Remove the notes of layers that the ledger does not name, or whose files are gone.

    Only the holder of the region's lock may call this.
    """
    standing = {layer.id for layer in ledger.standings() if layer.removed_at is None}
    for path in _newest_first(data_dir / "kept"):
        noted = _read(path)
        if noted is None or noted.record.layer not in standing:
            path.unlink(missing_ok=True)


def _newest_first(folder: Path, lead: int | None = None) -> list[Path]:
    """Return the files of one lead or of all, those written last first."""
    found = folder.glob("*.npz" if lead is None else f"*-l{lead}-*.npz")
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _read(path: Path, arithmetic: str | None = None) -> _Noted | None:
    """Read a file; None where it is of another arithmetic, or (the log says so) damaged.

    Without `arithmetic` only its record is read.
    """
    try:
        # Opened here, because np.load leaves a file that is not a zip open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            record = KeptRecord.model_validate_json(file["record"].tobytes())
            if arithmetic is None:
                return _Noted(record)
            if record.arithmetic != arithmetic:
                return None
            prints = Fingerprints(file["windows"], file["corner_rows"], file["reach"])
            prints.check()
            return _Noted(record, prints)
    except Exception as error:  # noqa: BLE001 - of a flipped bit zipfile and NumPy make whatever they like
        log.warning("what an earlier layer noted cannot be read", file=path.name, reason=str(error))
        return None
