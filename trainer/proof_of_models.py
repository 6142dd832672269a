"""Every model that is trained can be served: the published layer against the model's Python form.

    serve(fitted, config, folder, day=...) -> Served      exports a bundle, refreshes a day with it
    prove(fitted, served) -> ServedProof                  holds bundle and layer against Python, cell by cell

`refresh` is the real one, from the readings to the layer on disk. A model of kind "whole" is compared on
each cell's own window. A factored one is compared as it is served, with what Wt t + b is at the four nodes,
interpolated; what that costs against the cell's own window is reported beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import torch

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import NODATA, SCALE, ClassScheme, Layer
from service.bundle import Bundle
from service.errors import InputError
from service.factor_stack import FactorStack
from service.manifest import Training
from service.patches import PatchReader
from service.readings import Archive
from service.region import Region, open_region
from service.runs import run_days
from service.sequences import WindowSet, build_windows
from service.settings import Settings, load_settings
from service.stamps import utc_now
from service.whole_path import own_windows
from service.workshop import archive_path, reservoirs_of
from trainer.bundle import export_fitted, network_of
from trainer.calibration import Calibration
from trainer.models.base import Fitted
from trainer.networks.cnn_lstm import CnnLstm
from trainer.rain_test import centre

GRAPH_TOLERANCE = 1e-4  # of susceptibility, whole.onnx against Python
LAYER_TOLERANCE = SCALE / 2  # half a stored step
FACTORED_TOLERANCE = SCALE  # and as much again for the spatial state in uint8
_ROUNDING = 1e-5  # of float32, at a value that lies on the edge of two stored steps

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Served:
    """A model's bundle, and the layer that it made."""

    settings: Settings  # with the bundle in its place
    bundle: Bundle
    layer: Layer
    calibration: Calibration | None
    seconds: dict[str, float]  # of the refresh, by stage


@dataclass(frozen=True)
class ServedProof:
    """Differences of susceptibility on random known cells of one layer."""

    model: str
    kind: str
    cells: int
    graph_difference: float  # whole.onnx against Python, each cell with its own window
    layer_difference: float  # the layer, decoded, against Python as the model is served
    node_difference: float  # the layer against Python with each cell's own window
    spread: float  # largest less least susceptibility among the cells: that there is something to compare
    cells_per_s: float  # of the refresh from windows to strips

    @property
    def layer_tolerance(self) -> float:
        """What storing values in steps may cost."""
        return (FACTORED_TOLERANCE if self.kind == "factored" else LAYER_TOLERANCE) + _ROUNDING

    @property
    def passed(self) -> bool:
        """Whether both differences are within their bounds."""
        return self.graph_difference <= GRAPH_TOLERANCE and self.layer_difference <= self.layer_tolerance


@dataclass(frozen=True)
class Cells:
    """What a model is given of some cells."""

    patches: FloatArray  # (n, C, P, P)
    windows: FloatArray  # (n, N, V), each cell's own
    corners: FloatArray  # (n, 4, N, V)
    weights: FloatArray  # (n, 4)


def serve(
    fitted: Fitted,
    config: Path,
    folder: Path,
    *,
    name: str,
    title: str,
    day: date,
    members: Sequence[Fitted] = (),
    calibration: Calibration | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Served:
    """Export a model to `folder`, which must not exist, and refresh `day` of the region of `config` with it.

    The region's settings stay as they are, but for the bundle. Readings must be ingested and the factor
    stack be there. Raises InputError where no layer comes of it.
    """
    settings = load_settings(config)
    training = Training(
        region=settings.region.id,
        data="samples of the proof that it can be served",
        synthetic=settings.region.synthetic,
        samples={},
        events=0,
        sampling_ratio=1.0,
        split="none",
        seed=0,
        metrics={},
    )
    export_fitted(
        fitted,
        folder,
        members=members,
        title=title,
        name=name.replace("_", "-"),
        version="1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        classes=ClassScheme(breaks=(0.2, 0.4, 0.6)),
        training=training,
        rain_test=None,
        forcing_cell=settings.grid.forcing_cell,
        calibration=calibration,
    )
    settings = settings.model_copy(update={"bundle": settings.bundle.model_copy(update={"path": folder})})
    (result,) = run_days(settings, config, lambda _: [day], purpose="proof", clock=clock)
    if result.layer is None:
        raise InputError(f"no layer of {day} with {name}: {result.outcome.value}, {result.reason}")
    return Served(settings, Bundle.load(folder), result.layer, calibration, result.seconds)


def prove(fitted: Fitted, served: Served, *, patch: int, cells: int = 1000, seed: int = 0) -> ServedProof:
    """Compare `cells` random known cells of the layer; `patch` is the P that the model was fitted on.

    Raises InputError where the layer knows fewer.
    """
    bundle, layer = served.bundle, served.layer
    with rasterio.open(layer.folder / SUSCEPTIBILITY) as raster:
        stored = raster.read(1)
    known = np.flatnonzero(stored != NODATA)
    if len(known) < cells:
        raise InputError(f"{layer.id} knows {len(known)} cells, fewer than the {cells} of the proof")
    chosen = np.sort(np.random.default_rng(seed).choice(known, cells, replace=False))
    at = _read(served, patch, *np.divmod(chosen, stored.shape[1]))
    published = stored.ravel()[chosen] * SCALE

    def calibrated(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return served.calibration.apply(values) if served.calibration is not None else values

    python = calibrated(fitted.predict(at.patches, at.windows))
    network = network_of(fitted) if bundle.manifest.kind == "factored" else None
    as_served = python if network is None else calibrated(_at_nodes(network, at))
    inner = np.ascontiguousarray(centre(at.patches, bundle.manifest.patch))
    graph = np.concatenate(
        [bundle.whole(inner[n : n + 256], at.windows[n : n + 256]) for n in range(0, cells, 256)]
    )
    return ServedProof(
        model=bundle.manifest.model,
        kind=bundle.manifest.kind,
        cells=cells,
        graph_difference=float(np.abs(graph - python).max()),
        layer_difference=float(np.abs(published - as_served).max()),
        node_difference=float(np.abs(published - python).max()),
        spread=float(np.ptp(python)),
        cells_per_s=layer.cells / served.seconds["head"] if served.seconds.get("head") else float("nan"),
    )


def _read(served: Served, patch: int, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Cells:
    """Read what the layer's cells were made from, with the service's own code."""
    settings = served.settings
    # A model of tabular features is served on the cell alone; its Python form takes the patch of its samples.
    manifest = served.bundle.manifest.model_copy(update={"patch": patch})
    region = open_region(settings)
    forcing, k = region.forcing, region.forcing.k
    with FactorStack.open(settings.stack_path, region.grid) as stack:
        windows = _windows(served, region, stack)
        patches = PatchReader(region, stack, manifest, settings.inference.min_patch_observed)
        place = {tuple(cell): index for index, cell in enumerate(forcing.active.tolist())}
        owner = np.array(
            [place[key] for key in zip((rows // k).tolist(), (columns // k).tolist(), strict=True)]
        )
        number = (rows % k) * k + columns % k
        around = np.empty((len(rows), len(manifest.factors), patch, patch), np.float32)
        own = np.empty((len(rows), *windows.windows.shape[1:]), np.float32)
        for index in np.unique(owner).tolist():
            here = np.flatnonzero(owner == index)
            row, column = (forcing.active[index].astype(np.int64) * k).tolist()
            tile = patches.read(row, column, k, k).factors
            for cell in here.tolist():
                south, east = int(rows[cell]) - row, int(columns[cell]) - column
                around[cell] = tile[:, south : south + patch, east : east + patch]
            own[here] = own_windows(windows, index, k, number[here])
    return Cells(around, own, windows.windows[windows.corner_rows[owner]], forcing.corner_weights[number])


def _windows(served: Served, region: Region, stack: FactorStack) -> WindowSet:
    settings, manifest = served.settings, served.bundle.manifest
    with Archive(archive_path(settings), utc_now, make=False) as archive:
        return build_windows(
            settings,
            region,
            archive,
            manifest.variables,
            served.layer.day,
            window_days=manifest.window_days,
            lag_days=manifest.lag_days,
            as_of=None,
            reservoirs=reservoirs_of(settings, region, stack),
        )


def _at_nodes(network: CnnLstm, at: Cells) -> npt.NDArray[np.float64]:
    """Return the susceptibility of cells with Wt t + b of their four nodes, interpolated: (n,)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(at.patches), 256):
            rows = slice(start, start + 256)
            patches, corners = torch.from_numpy(at.patches[rows]), torch.from_numpy(at.corners[rows])
            state = network.dense_spatial(network.embed(patches))
            temporal = network.temporal(network.window_scaling(corners.flatten(0, 1)))
            nodes = network.dense_temporal(temporal).unflatten(0, (-1, 4))
            between = (torch.from_numpy(at.weights[rows])[:, :, None] * nodes).sum(dim=1)
            hidden = torch.relu(network.dense2(torch.relu(state + between)))
            parts.append(torch.sigmoid(network.out(hidden)).squeeze(1).numpy())
    return np.concatenate(parts).astype(np.float64)
