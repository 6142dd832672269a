"""A dataset: labelled samples with what models may see of them, on disk and read as it is used.

    Dataset.patches   float32 (n, C, P, P) physical units, complete; memory-mapped; None: nothing of the place
    Dataset.windows   float32 (n, N, V) physical units, complete; memory-mapped; None: nothing of the time
    save_dataset(data, folder, rows=None) -> Dataset   samples.csv, dataset.json, *.npy; in place when whole
    load_dataset(folder) -> Dataset

A model sees patches and windows, never coordinates, days, groups or `truth`: those are for splits and judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.crs import CRS

from service.errors import InputError
from service.files import digest_of, replacing_folder, sha256_file, write_json
from service.manifest import VariableName
from trainer.sample_table import read_samples, write_samples
from trainer.samples import Sample

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_ARRAYS = ("patches", "windows", "nodata_share", "truth")
_TABLE, _RECORD = "samples.csv", "dataset.json"
_ROWS = 256  # copied at a time


@dataclass(frozen=True)
class Factor:
    """A channel of the patches. `categories`: code -> name; None for a continuous factor."""

    name: str
    unit: str = ""
    log: bool = False
    categories: dict[int, str] | None = None


@dataclass(frozen=True)
class Variable:
    """A variable of the windows, in the order of the last axis."""

    name: VariableName
    unit: str
    log: bool = False
    unlinked: float = 0.0


@dataclass(frozen=True)
class Dataset:
    """n labelled samples. Arrays may be memory-mapped: a batch is read when it is used."""

    samples: tuple[Sample, ...]
    factors: tuple[Factor, ...]
    variables: tuple[Variable, ...]
    patches: FloatArray | None  # (n, C, P, P)
    windows: FloatArray | None  # (n, N, V)
    crs: str
    cell_size_m: float
    lag_days: int
    synthetic: bool
    digest: str  # SHA-256 of all that is in it
    zone: tuple[str, ...] = ()  # id of the zone of each sample, "" outside; empty where there are none
    nodata_share: FloatArray | None = (
        None  # (n,) of the ground around; for the footprint check, never an input
    )
    truth: npt.NDArray[np.float64] | None = None  # (n,) true probability, where landslides were made up

    def __post_init__(self) -> None:
        if self.patches is None and self.windows is None:
            raise InputError("a dataset needs patches, windows or both")
        for name in ("patches", "windows", "nodata_share", "truth"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.samples):
                raise InputError(f"{len(self.samples)} samples, but {len(value)} {name}")

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def label(self) -> npt.NDArray[np.int64]:
        """1 landslide, 0 none: (n,)."""
        return np.array([sample.label for sample in self.samples], np.int64)

    @cached_property
    def xy(self) -> npt.NDArray[np.float64]:
        """Places in `crs`, metres: (n, 2)."""
        return np.array([(sample.x, sample.y) for sample in self.samples], np.float64).reshape(-1, 2)

    @property
    def patch(self) -> int:
        """P, cells; 0 without patches."""
        return 0 if self.patches is None else int(self.patches.shape[-1])

    @property
    def window_days(self) -> int:
        """N; 0 without windows."""
        return 0 if self.windows is None else int(self.windows.shape[1])

    def batches(
        self, rows: Indices, size: int = 256
    ) -> Iterator[tuple[Indices, FloatArray | None, FloatArray | None]]:
        """Yield (rows, patches, windows) of at most `size` rows each, read from disk one batch at a time."""
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield (
                chosen,
                None if self.patches is None else np.array(self.patches[chosen], np.float32),
                None if self.windows is None else np.array(self.windows[chosen], np.float32),
            )


def save_dataset(data: Dataset, folder: Path, rows: Indices | None = None) -> Dataset:
    """Write a dataset (or some of its rows) to `folder`, which must not exist, and return what was written.

    Arrays are copied batch by batch. The digest is worked out here, from all that is written.
    """
    chosen = np.arange(len(data)) if rows is None else rows
    with replacing_folder(folder) as temporary:
        for name in _ARRAYS:
            value = getattr(data, name)
            if value is not None:
                _copy(value, chosen, temporary / f"{name}.npy")
        write_samples(
            temporary / _TABLE, [data.samples[row] for row in chosen], CRS.from_user_input(data.crs)
        )
        files = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
        record = _Record(
            factors=data.factors,
            variables=data.variables,
            crs=data.crs,
            cell_size_m=data.cell_size_m,
            lag_days=data.lag_days,
            synthetic=data.synthetic,
            zone=tuple(data.zone[row] for row in chosen) if data.zone else (),
            files=files,
            digest="",
        )
        described = record.model_dump(mode="json", exclude={"digest"})
        write_json(temporary / _RECORD, {**described, "digest": digest_of(described)})
    return load_dataset(folder)


def load_dataset(folder: Path) -> Dataset:
    """Open a dataset; its patches and windows stay on disk.

    Raises InputError where a file is missing, cut short or of another format.
    """
    try:
        record = _Record.model_validate_json((folder / _RECORD).read_text("utf-8"))
    except (OSError, ValidationError) as error:
        raise InputError(f"{folder} is no dataset: {error}; remove it and it is made again") from error
    arrays: dict[str, Any] = dict.fromkeys(_ARRAYS)
    for name in _ARRAYS:
        path = folder / f"{name}.npy"
        if path.name in record.files:
            try:
                arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"{path} cannot be read: {error}; remove {folder}") from error
    return Dataset(
        samples=read_samples(folder / _TABLE).samples,
        factors=record.factors,
        variables=record.variables,
        crs=record.crs,
        cell_size_m=record.cell_size_m,
        lag_days=record.lag_days,
        synthetic=record.synthetic,
        digest=record.digest,
        zone=record.zone,
        **arrays,
    )


class _Record(BaseModel):
    """dataset.json"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    factors: tuple[Factor, ...]
    variables: tuple[Variable, ...]
    crs: str
    cell_size_m: float
    lag_days: int
    synthetic: bool
    zone: tuple[str, ...]
    files: dict[str, str]  # file name -> SHA-256
    digest: str


def _copy(values: npt.NDArray[Any], rows: Indices, path: Path) -> None:
    out = np.lib.format.open_memmap(path, "w+", values.dtype, (len(rows), *values.shape[1:]))
    for start in range(0, len(rows), _ROWS):
        out[start : start + _ROWS] = values[rows[start : start + _ROWS]]
    out.flush()
