"""The spatial state: what the static factors put into the first dense layer, once per region and bundle.

    state/<digest>/state.json   what it was made from, and its layout
                   state.bin    one record for each active forcing cell: scale float32 (D,), offset float32
                                (D,), codes uint8 (k*k, D); state = codes * scale + offset. Kind `whole`: none
                   flags.bin    uint8 (n, k*k): 0 no-data, 1 valid, 2 valid but outside the training ranges
                   cells.bin    int32 (n, 2): valid cells, and those of them outside the training ranges

Every record carries its own scale, so quantisation is as fine as the forcing cell's own range and one pass
is enough. The folder is renamed into place when it is whole; its name is the digest of all it depends on.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from service.bundle import Bundle
from service.errors import BundleError, StorageError
from service.factor_stack import FactorStack
from service.files import digest_of, remove_leftovers, replacing_folder, write_json
from service.manifest import Manifest
from service.patches import NO_DATA, OUTSIDE, Flags, PatchReader
from service.region import ForcingGrid, Region

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Cells along a tile of spatial.onnx: larger ones leave the cache, smaller ones are mostly halo.
_TILE_CELLS = 128
_LAYOUT = 1

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


class SpatialState:
    """A finished spatial state on disk. Reading is safe from several threads."""

    def __init__(self, folder: Path, record: StateRecord, patches: PatchReader) -> None:
        self.folder = folder
        self.record = record
        self.patches = patches
        cells = np.fromfile(folder / "cells.bin", np.int32).reshape(-1, 2)
        self.valid_cells: npt.NDArray[np.int32] = cells[:, 0]  # (n,)
        self.outside_cells: npt.NDArray[np.int32] = cells[:, 1]  # (n,)

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that the state depends on."""
        return self.record.digest

    def flags(self, first: int, last: int) -> Flags:
        """Return the flags of active forcing cells first to last - 1: uint8 (last - first, k*k)."""
        size = self.record.k**2
        flags = np.fromfile(
            self.folder / "flags.bin", np.uint8, count=(last - first) * size, offset=first * size
        )
        return flags.reshape(-1, size)

    @contextmanager
    def opened(self) -> Iterator[BlockFile]:
        """Yield the open state.bin."""
        descriptor = os.open(self.folder / "state.bin", os.O_RDONLY)
        try:
            yield BlockFile(descriptor, self.record.k, self.record.channels)
        finally:
            os.close(descriptor)


class Block:
    """Room for one forcing cell's record, used again and again."""

    def __init__(self, k: int, channels: int) -> None:
        self.scaling: FloatArray = np.empty((2, channels), np.float32)
        self.codes = np.empty((1, k * k, channels), np.uint8)

    @property
    def scale(self) -> FloatArray:
        """(D,)"""
        return np.asarray(self.scaling[0])

    @property
    def offset(self) -> FloatArray:
        """(D,)"""
        return np.asarray(self.scaling[1])

    @property
    def nbytes(self) -> int:
        """Size of a record on disk."""
        return self.scaling.nbytes + self.codes.nbytes


class BlockFile:
    """An open state.bin."""

    def __init__(self, descriptor: int, k: int, channels: int) -> None:
        self._descriptor = descriptor
        self.k, self.channels = k, channels

    def block(self) -> Block:
        """Return room for one record."""
        return Block(self.k, self.channels)

    def read(self, index: int, into: Block) -> None:
        """Read the record of active forcing cell `index`. Raises StorageError when the file is cut short."""
        buffers = [into.scaling.data, into.codes.data]
        if os.preadv(self._descriptor, buffers, index * into.nbytes) != into.nbytes:
            raise StorageError(
                f"the spatial state is cut short at forcing cell {index}; remove its folder under state/ "
                "and the next refresh builds it again"
            )

    def write(self, index: int, block: Block) -> None:
        """Write the record of active forcing cell `index`."""
        buffers = [block.scaling.data, block.codes.data]
        if os.pwritev(self._descriptor, buffers, index * block.nbytes) != block.nbytes:
            raise StorageError(f"could not write the whole spatial state of forcing cell {index}: disk full?")


def open_or_build_state(
    region: Region,
    stack: FactorStack,
    bundle: Bundle,
    folder: Path,
    *,
    min_patch_observed: float,
    workers: int,
    progress: Progress | None = None,
) -> SpatialState:
    """Return the spatial state of a region and bundle from `folder`/<digest>, built first where it is not.

    `progress` is called with forcing cells done and in all. An error in it, or a kill, leaves nothing that
    looks finished. The state reads factors through `stack`, which must stay open as long as it is used.

    Raises BundleError for another k than the region's, FactorError for factors that the bundle cannot use,
    StorageError when the state would not fit on the disk.
    """
    manifest = bundle.manifest
    if manifest.kind == "factored" and manifest.forcing_cell != region.forcing.k:
        raise BundleError(
            f"bundle {manifest.name} {manifest.version} has forcing cells of {manifest.forcing_cell} cells, "
            f"the region of {region.forcing.k}; set grid.forcing_cell = {manifest.forcing_cell}"
        )
    patches = PatchReader(region, stack, manifest, min_patch_observed)
    graph = manifest.files["spatial.onnx" if manifest.kind == "factored" else "whole.onnx"]
    inputs = (stack.digest, region.mask_digest, region.forcing.digest, graph, min_patch_observed)
    specs = [spec.model_dump(mode="json") for spec in manifest.factors]
    digest = digest_of(_LAYOUT, manifest.kind, *inputs, specs, manifest.patch, manifest.channels)
    place = folder / digest[:16]
    record = _finished(place, digest)
    if record is None:
        remove_leftovers(folder)
        with replacing_folder(place) as temporary:
            _build(region.forcing, bundle, patches, temporary, workers, progress)
            cells = np.fromfile(temporary / "cells.bin", np.int32).reshape(-1, 2)
            valid, outside = cells.sum(axis=0).tolist()
            record = StateRecord(
                digest=digest,
                kind=manifest.kind,
                stack=stack.digest,
                mask=region.mask_digest,
                forcing=region.forcing.digest,
                graph=graph,
                min_patch_observed=min_patch_observed,
                forcing_cells=len(region.forcing.active),
                k=region.forcing.k,
                channels=manifest.channels,
                valid_cells=valid,
                outside_share=outside / valid if valid else None,
            )
            write_json(temporary / "state.json", record.model_dump(mode="json"))
        log.info("spatial state built", digest=digest[:16], valid_cells=valid)
    return SpatialState(place, record, patches)


def state_bytes(manifest: Manifest, forcing_cells: int, k: int) -> int:
    """Return what the states of a bundle and its members take on the disk, bytes."""
    flags = k**2 + 8
    if manifest.kind == "whole":
        return forcing_cells * flags
    return (1 + manifest.members) * forcing_cells * (Block(k, manifest.channels).nbytes + flags)


def open_state(folder: Path, digest: str, patches: PatchReader) -> SpatialState | None:
    """Return the finished state of a digest below `folder`; None where it is not there, or damaged.

    For those who only look: nothing is built or removed.
    """
    place = folder / digest[:16]
    record = _whole_record(place, digest)
    return SpatialState(place, record, patches) if record is not None else None


def _finished(place: Path, digest: str) -> StateRecord | None:
    """Return the record of a state whose files are all there; remove one whose files are not."""
    if not place.exists():
        return None
    record = _whole_record(place, digest)
    if record is None:
        log.warning("spatial state damaged, it is built again", folder=place.name)
        shutil.rmtree(place)
    return record


def _whole_record(place: Path, digest: str) -> StateRecord | None:
    try:
        record = StateRecord.model_validate_json((place / "state.json").read_text("utf-8"))
        size = record.k**2
        sizes = {"flags.bin": size, "cells.bin": 8}
        if record.kind == "factored":
            sizes["state.bin"] = Block(record.k, record.channels).nbytes
        whole = all((place / name).stat().st_size == n * record.forcing_cells for name, n in sizes.items())
        if whole and record.digest == digest:
            return record
    except (OSError, ValidationError):
        pass
    return None


def _build(
    forcing: ForcingGrid,
    bundle: Bundle,
    patches: PatchReader,
    folder: Path,
    workers: int,
    progress: Progress | None,
) -> None:
    """Fill the files tile by tile; a few tiles are in memory at a time."""
    k, total = forcing.k, len(forcing.active)
    tiles = _tiles(forcing)
    with ExitStack() as stack:
        flags_file = stack.enter_context(_sized(folder / "flags.bin", total * k**2))
        cells_file = stack.enter_context(_sized(folder / "cells.bin", total * 8))
        blocks = None
        if bundle.manifest.kind == "factored":
            size = total * Block(k, bundle.manifest.channels).nbytes
            _refuse_full_disk(folder, size)
            descriptor = stack.enter_context(_sized(folder / "state.bin", size))
            blocks = BlockFile(descriptor, k, bundle.manifest.channels)

        def one_tile(members: npt.NDArray[np.intp]) -> int:
            corner = forcing.active[members].min(axis=0)
            extent = (forcing.active[members].max(axis=0) - corner + 1) * k
            tile = patches.read(int(corner[0]) * k, int(corner[1]) * k, int(extent[0]), int(extent[1]))
            state = None
            if blocks is not None and (tile.flags != NO_DATA).any():
                state = bundle.spatial(tile.factors[None])[0]
            for index in members.tolist():
                row, column = ((forcing.active[index] - corner) * k).tolist()
                here = (slice(row, row + k), slice(column, column + k))
                flags = np.ascontiguousarray(tile.flags[here])
                counts = np.array([(flags != NO_DATA).sum(), (flags == OUTSIDE).sum()], np.int32)
                os.pwrite(flags_file, flags.data, index * k**2)
                os.pwrite(cells_file, counts.data, index * 8)
                if blocks is not None and state is not None and counts[0]:
                    blocks.write(index, quantise(state[:, *here], flags))
            return len(members)

        done = 0
        for count in in_order(one_tile, tiles, workers, ahead=2 * workers):
            done += count
            if progress is not None:
                progress(done, total)


def quantise(state: FloatArray, flags: Flags) -> Block:
    """Return the record of one forcing cell: state float32 (D, k, k), flags uint8 (k, k), some valid.

    Each channel's range over the valid cells is cut into 255 steps, so decoding is off by at most half of
    one. Cells without data get code 0.
    """
    channels, k, _ = state.shape
    values = state.reshape(channels, k * k)
    valid = flags.reshape(-1) != NO_DATA
    if not valid.all():
        anywhere = values[:, int(np.argmax(valid))]
        # Whatever the graph made of no-data must not widen the range.
        values = np.where(valid, values, anywhere[:, None])
    low, high = values.min(axis=1), values.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise BundleError("spatial.onnx gave a value that is not finite for cells with complete patches")
    block = Block(k, channels)
    # A floor keeps a constant channel's scale above zero.
    scale = np.maximum((high - low) / np.float32(255), np.float32(1e-6))
    block.scaling[0], block.scaling[1] = scale, low
    codes = (values - low[:, None]) * (1 / scale)[:, None]
    codes += np.float32(0.5)
    np.minimum(codes, np.float32(255), out=codes)
    coded = codes.astype(np.uint8)
    if not valid.all():
        coded[:, ~valid] = 0
    block.codes[0] = coded.T
    return block


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield work(item) in the order of the items, from worker threads, at most `ahead` items at a time.

    When the caller stops, or work raises, what has not begun is dropped and what runs is waited for.
    """
    with ThreadPoolExecutor(max(1, workers), "colluvium") as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(running) >= max(1, ahead):
                    yield running.popleft().result()
                running.append(pool.submit(work, item))
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _tiles(forcing: ForcingGrid) -> list[npt.NDArray[np.intp]]:
    """Group active forcing cells by the square of forcing cells that they lie in, north to south."""
    along = max(1, _TILE_CELLS // forcing.k)
    square = forcing.active.astype(np.int64) // along
    code = square[:, 0] * (forcing.columns // along + 1) + square[:, 1]
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order])) + 1
    return [members for members in np.split(order, starts) if len(members)]


@contextmanager
def _sized(path: Path, size: int) -> Iterator[int]:
    """Yield the descriptor of a new file of a given size; forcing cells without data stay holes in it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.truncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_full_disk(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StorageError(
            f"the spatial state needs {size / 1e9:.2f} GB and the disk of {folder.parent} has "
            f"{free / 1e9:.2f} GB free: no space left; free some, or point region.data_dir at another disk"
        )
