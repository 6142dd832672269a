"""The spatial state: what the static factors put into the first dense layer, once per region and bundle.

    state/<digest>/state.json   what it was made from, and its layout
                   state.bin    one record for each active forcing cell: scale float32 (D,), offset float32
                                (D,), codes uint8 (k*k, D); state = codes * scale + offset. Not there for
                                kind `whole`, and where the records are recomputed for each layer
                   flags.bin    uint8 (n, k*k): 0 no-data, 1 valid, 2 valid but outside the training ranges
                   cells.bin    int32 (n, 2): valid cells, and those of them outside the training ranges

Every record carries its own scale, so quantisation is as fine as the forcing cell's own range and one pass
is enough. The folder is renamed into place when it is whole; its name is the digest of all it depends on.
Whether the records are stored or recomputed changes neither that digest nor a bit of a layer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from service.bundle import Bundle
from service.errors import BundleError, StorageError
from service.factor_stack import FactorStack
from service.files import digest_of, remove_leftovers, replacing_folder, write_json
from service.manifest import Manifest
from service.patches import Flags, PatchReader
from service.region import ForcingGrid, Region
from service.runtime import arithmetic_of
from service.state_build import (
    CELLS,
    CELLS_BYTES,
    FLAGS,
    STATE,
    BuildTiles,
    Members,
    begin,
    build_tiles,
    tiles_to_build,
)
from service.state_readers import RecomputedReader, StateReader, StoredReader, TileState
from service.state_records import Block, BlockFile, Records, quantise

__all__ = [
    "Block",
    "BlockFile",
    "Keep",
    "SpatialState",
    "StateReader",
    "StateRecord",
    "StoredReader",
    "TileState",
    "open_or_build_state",
    "open_state",
    "quantise",
    "state_bytes",
    "state_digest",
]

Keep = Literal["stored", "recomputed"]
Progress = Callable[[int, int], None]

_LAYOUT = 1
RECORD = "state.json"
AHEAD = "ahead"  # an empty file: built ahead of a switch of bundle, no refresh has used it

log = structlog.get_logger()


class StateRecord(BaseModel):
    """state.json"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Literal[1] = 1
    digest: str
    kind: Literal["factored", "whole"]
    stack: str  # digests
    mask: str
    forcing: str
    graph: str  # of spatial.onnx, or of whole.onnx
    min_patch_observed: float
    forcing_cells: int  # n
    k: int
    channels: int  # D
    valid_cells: int
    outside_share: float | None  # of the valid cells; None where there are none
    stored: bool = True  # False: no state.bin, its records are recomputed
    bundle: str = ""  # name and version of the bundle that it was built for
    made_with: str = ""  # what computed the records (runtime.arithmetic_of); empty where there are none


class SpatialState:
    """A finished spatial state. Reading is safe from several threads."""

    def __init__(
        self,
        folder: Path,
        record: StateRecord,
        patches: PatchReader,
        forcing: ForcingGrid | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        """`forcing` and `bundle` (with spatial.onnx) are what a state that is not stored is computed with."""
        self.folder = folder
        self.record = record
        self.patches = patches
        self._forcing, self._bundle = forcing, bundle
        cells = np.fromfile(folder / CELLS, np.int32).reshape(-1, 2)
        self.valid_cells: npt.NDArray[np.int32] = cells[:, 0]  # (n,)
        self.outside_cells: npt.NDArray[np.int32] = cells[:, 1]  # (n,)

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that the state depends on."""
        return self.record.digest

    @property
    def stored(self) -> bool:
        """Whether its records are on the disk, or recomputed whenever they are read."""
        return self.record.stored

    @property
    def made_with(self) -> str:
        """What computed its records, or computes them whenever they are read (runtime.arithmetic_of)."""
        if self.stored or self._bundle is None:
            return self.record.made_with
        return arithmetic_of(self._bundle.device)

    def flags(self, first: int, last: int) -> Flags:
        """Return the flags of active forcing cells first to last - 1: uint8 (last - first, k*k)."""
        size = self.record.k**2
        flags = np.fromfile(self.folder / FLAGS, np.uint8, count=(last - first) * size, offset=first * size)
        return flags.reshape(-1, size)

    def reader(self) -> AbstractContextManager[StateReader]:
        """Return what gives the state tile by tile: from the disk, or computed."""
        if self.stored or self.record.kind == "whole":
            return StoredReader(self)
        return self._recomputed()

    @contextmanager
    def opened(self) -> Iterator[Records]:
        """Yield what gives single records: the open state.bin, or what computes the tile of each."""
        if self.stored:
            with self.file() as file:
                yield file
        else:
            yield self._recomputed()

    @contextmanager
    def file(self) -> Iterator[BlockFile]:
        """Yield the open state.bin of a state that is stored."""
        descriptor = os.open(self.folder / STATE, os.O_RDONLY)
        try:
            yield BlockFile(descriptor, self.record.k, self.record.channels)
        finally:
            os.close(descriptor)

    def _recomputed(self) -> RecomputedReader:
        if self._forcing is None or self._bundle is None:
            raise StorageError(
                f"the records of the spatial state {self.folder} are not stored, and it was opened without "
                "the bundle that computes them"
            )
        return RecomputedReader(self._forcing, self.patches, self._bundle)


def open_or_build_state(
    region: Region,
    stack: FactorStack,
    bundle: Bundle,
    folder: Path,
    *,
    min_patch_observed: float,
    workers: int,
    progress: Progress | None = None,
    keep: Keep = "stored",
    build: BuildTiles | None = None,
    patches: PatchReader | None = None,
) -> SpatialState:
    """Return the spatial state of a region and bundle from `folder`/<digest>, built first where it is not.

    With `keep` "recomputed" the records are not kept on the disk, and removed where they are; what a layer
    needs to know before, the flags and counts, is. `build` fills in the tiles (default: `workers` threads).
    `progress` is called with forcing cells done and in all. An error in it, or a kill, leaves nothing that
    looks finished. The state reads factors through `stack`, which must stay open as long as it is used, or
    through `patches`, the PatchReader of the same for another state.

    Raises BundleError for another k than the region's, FactorError for factors that the bundle cannot use,
    StorageError when the state would not fit on the disk.
    """
    manifest = bundle.manifest
    if manifest.kind == "factored" and manifest.forcing_cell != region.forcing.k:
        raise BundleError(
            f"bundle {manifest.name} {manifest.version} has forcing cells of {manifest.forcing_cell} cells, "
            f"the region of {region.forcing.k}; set grid.forcing_cell = {manifest.forcing_cell}"
        )
    patches = patches or PatchReader(region, stack, manifest, min_patch_observed)
    digest = state_digest(region, stack, manifest, min_patch_observed)
    place = folder / digest[:16]
    record = _finished(place, digest, keep)
    if record is None:
        remove_leftovers(folder)
        with replacing_folder(place) as temporary:
            stored = manifest.kind == "factored" and keep == "stored"
            begin(
                temporary,
                len(region.forcing.active),
                region.forcing.k,
                manifest.channels if stored else None,
            )
            on_threads = _on_threads(region.forcing, patches, bundle, workers)
            _run(build or on_threads, temporary, region, patches, progress)
            made_with = arithmetic_of(bundle.device) if stored else ""
            record = _record_of(
                temporary, region, stack, manifest, min_patch_observed, digest, keep, made_with
            )
            write_json(temporary / RECORD, record.model_dump(mode="json"))
        patches.blocks.forget()
        log.info(
            "spatial state built", digest=digest[:16], valid_cells=record.valid_cells, stored=record.stored
        )
    return SpatialState(place, record, patches, region.forcing, bundle)


def state_digest(region: Region, stack: FactorStack, manifest: Manifest, min_patch_observed: float) -> str:
    """Return the SHA-256 of everything that the state depends on."""
    inputs = stack.digest, region.mask_digest, region.forcing.digest, _graph(manifest), min_patch_observed
    specs = [spec.model_dump(mode="json") for spec in manifest.factors]
    return digest_of(_LAYOUT, manifest.kind, *inputs, specs, manifest.patch, manifest.channels)


def state_bytes(manifest: Manifest, forcing_cells: int, k: int, *, keep: Keep = "stored") -> int:
    """Return what the states of a bundle and its members take on the disk, bytes."""
    flags = k**2 + CELLS_BYTES
    if manifest.kind == "whole":
        return forcing_cells * flags
    records = Block(k, manifest.channels).nbytes if keep == "stored" else 0
    return (1 + manifest.members) * forcing_cells * (records + flags)


def open_state(
    folder: Path,
    digest: str,
    patches: PatchReader,
    forcing: ForcingGrid | None = None,
    bundle: Bundle | None = None,
) -> SpatialState | None:
    """Return the finished state of a digest below `folder`; None where it is not there, or damaged.

    For those who only look: nothing is built or removed. One that is not stored is opened with the region's
    forcing grid and the bundle, and is None without them.
    """
    place = folder / digest[:16]
    record = whole_record(place, digest)
    if record is None or (not record.stored and (bundle is None or forcing is None)):
        return None
    return SpatialState(place, record, patches, forcing, bundle)


def whole_record(place: Path, digest: str | None = None) -> StateRecord | None:
    """Return the record of a folder whose files are all there, and of this digest; else None."""
    try:
        record = StateRecord.model_validate_json((place / RECORD).read_text("utf-8"))
        sizes = {FLAGS: record.k**2, CELLS: CELLS_BYTES}
        if record.kind == "factored" and record.stored:
            sizes[STATE] = Block(record.k, record.channels).nbytes
        whole = all((place / name).stat().st_size == n * record.forcing_cells for name, n in sizes.items())
        if whole and (digest is None or record.digest == digest):
            return record
    except (OSError, ValidationError):
        pass
    return None


def _finished(place: Path, digest: str, keep: Keep) -> StateRecord | None:
    """Return the record of a state whose files are all there; remove one whose files are not."""
    if not place.exists():
        return None
    record = whole_record(place, digest)
    if record is None:
        log.warning("spatial state damaged, it is built again", folder=place.name)
        shutil.rmtree(place)
        return None
    if record.kind == "whole":
        return record
    if keep == "stored" and not record.stored:
        log.info("spatial state is stored from here on, it is built", folder=place.name)
        shutil.rmtree(place)
        return None
    if keep == "recomputed":
        if record.stored:
            record = record.model_copy(update={"stored": False})
            write_json(place / RECORD, record.model_dump(mode="json"))
        # After the record, so that a kill in between leaves a file too many and not one too few.
        (place / STATE).unlink(missing_ok=True)
    return record


def _run(
    build: BuildTiles, folder: Path, region: Region, patches: PatchReader, progress: Progress | None
) -> None:
    done, total = 0, len(region.forcing.active)
    with closing(build(folder, tiles_to_build(region.forcing, patches))) as counts:
        for count in counts:
            done += count
            if progress is not None:
                progress(done, total)


def _on_threads(forcing: ForcingGrid, patches: PatchReader, bundle: Bundle, workers: int) -> BuildTiles:
    def build(folder: Path, tiles: Sequence[Members]) -> Generator[int, None, None]:
        return build_tiles(forcing, patches, bundle, folder, tiles, workers)

    return build


def _record_of(
    folder: Path,
    region: Region,
    stack: FactorStack,
    manifest: Manifest,
    min_patch_observed: float,
    digest: str,
    keep: Keep,
    made_with: str,
) -> StateRecord:
    cells = np.fromfile(folder / CELLS, np.int32).reshape(-1, 2)
    valid, outside = cells.sum(axis=0, dtype=np.int64).tolist()
    return StateRecord(
        digest=digest,
        kind=manifest.kind,
        stack=stack.digest,
        mask=region.mask_digest,
        forcing=region.forcing.digest,
        graph=_graph(manifest),
        min_patch_observed=min_patch_observed,
        forcing_cells=len(region.forcing.active),
        k=region.forcing.k,
        channels=manifest.channels,
        valid_cells=valid,
        outside_share=outside / valid if valid else None,
        stored=manifest.kind == "whole" or keep == "stored",
        bundle=f"{manifest.name} {manifest.version}",
        made_with=made_with,
    )


def _graph(manifest: Manifest) -> str:
    return manifest.files["spatial.onnx" if manifest.kind == "factored" else "whole.onnx"]
