"""The bar: gradient boosted trees on the same cells, as LHASA 2 runs them (Stanley et al. 2021).

300 trees of depth 6 (histogram method) on the static factors of a cell and on sums of its window. The trees
learn the classes that the layer on display has, so that they are as deep as they may be. What is timed is the
whole way from features in a file to a stored value; they lie there as float32 rows, which no reader beats.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import NODATA, Layer, store
from service.bench.meter import Rate, on_threads
from service.bench.yardsticks import Yardstick, busy_cells
from service.layer_windows import windows_of
from service.patches import NO_DATA
from service.sequences import WindowSet
from service.workshop import Workshop

FloatArray = npt.NDArray[np.float32]

TREES, DEPTH = 300, 6
_SUMS_OVER_DAYS = (1, 3, 7, 15, 30)
_TRAINED_ON = 20_000
# Forcing cells in one call: with small ones a call costs as much as the trees, large ones leave the cache.
_BATCHES = (4, 16, 64)
_TRIAL_SHARE = 0.15


def measure_boosted(shop: Workshop, layer: Layer, sample: int, at_least_s: float) -> Yardstick | None:
    """Predict about `sample` cells of the layer's region with trees; None where xgboost is not installed."""
    try:
        xgboost = importlib.import_module("xgboost")
    except ImportError:
        return None
    windows = windows_of(shop, layer.day)
    k = shop.region.forcing.k
    places = busy_cells(shop, windows, max(max(_BATCHES), sample // k**2))
    with tempfile.TemporaryDirectory(prefix=".bench-features-", dir=shop.settings.data_dir) as name:
        path = Path(name) / "features.bin"
        rows = _write_features(shop, places, path)
        weather = _aggregates(windows, places)
        booster = _train(xgboost, shop, layer, places, path, rows, weather)
        found: dict[str, tuple[Rate, int]] = {}
        for way, make in (("inplace_predict", _in_place), ("DMatrix", _matrix)):
            for batch in _BATCHES:
                predict = make(xgboost, booster)
                work = _work(path, rows, weather, predict, k, batch)
                rate = on_threads(work, shop.workers, _TRIAL_SHARE * at_least_s)
                found[f"{way}, {batch * k * k} cells in a call"] = rate, batch * k * k
        best = max(found, key=lambda name: found[name][0].per_second * found[name][1])
        cells = found[best][1]
        predict = (_in_place if best.startswith("inplace") else _matrix)(xgboost, booster)
        lasts = max(at_least_s, sample / (found[best][0].per_second * cells))
        rate = on_threads(_work(path, rows, weather, predict, k, cells // k**2), shop.workers, lasts)
    return Yardstick(
        f"XGBoost {xgboost.__version__}, {TREES} trees of depth {DEPTH}, features in a file to stored values",
        rate.times * cells,
        rate.seconds,
        rate.cpu_s,
        best,
    )


Predict = Callable[[FloatArray], FloatArray]


def _in_place(_: Any, booster: Any) -> Predict:
    return lambda features: np.asarray(booster.inplace_predict(features, validate_features=False))


def _matrix(xgboost: Any, booster: Any) -> Predict:
    return lambda features: np.asarray(booster.predict(xgboost.DMatrix(features, nthread=1)))


def _work(
    path: Path, rows: int, weather: FloatArray, predict: Predict, k: int, batch: int
) -> Callable[[int], None]:
    """Return what reads the features of `batch` forcing cells, adds their weather and predicts."""
    static = path.stat().st_size // (4 * rows)
    cells = k * k
    groups = max(1, len(weather) // batch)

    def one(number: int) -> None:
        first = number % groups * batch
        here = weather[first : first + batch]
        features = np.empty((len(here), cells, static + weather.shape[1]), np.float32)
        stored = np.fromfile(path, np.float32, len(here) * cells * static, offset=4 * first * cells * static)
        features[:, :, :static] = stored.reshape(len(here), cells, static)
        features[:, :, static:] = here[:, None]
        store(predict(features.reshape(-1, features.shape[2])))

    return one


def _write_features(shop: Workshop, places: list[int], path: Path) -> int:
    """Write the factors of forcing cells as float32 rows, cells row-major; return how many rows."""
    k = shop.region.forcing.k
    names = [spec.name for spec in shop.bundle.manifest.factors]
    with path.open("wb") as out:
        for index in places:
            row, column = (shop.region.forcing.active[index].astype(np.int64) * k).tolist()
            factors = shop.stack.read(names, Window(column, row, k, k))
            out.write(np.ascontiguousarray(factors.reshape(len(names), -1).T).tobytes())
    return len(places) * k * k


def _aggregates(windows: WindowSet, places: list[int]) -> FloatArray:
    """Return sums over the last days and the last value, of the mean of the corner windows: (n, features)."""
    corners = windows.windows[windows.corner_rows[places]].mean(axis=1)
    sums = [corners[:, -days:].sum(axis=1) for days in _SUMS_OVER_DAYS]
    return np.concatenate([*sums, corners[:, -1]], axis=1).astype(np.float32)


def _train(
    xgboost: Any,
    shop: Workshop,
    layer: Layer,
    places: list[int],
    path: Path,
    rows: int,
    weather: FloatArray,
) -> Any:
    """Fit the trees to where the layer is above its median."""
    k = shop.region.forcing.k
    random = np.random.default_rng(0)
    chosen = np.sort(random.choice(len(places), min(len(places), 64), replace=False))
    static = path.stat().st_size // (4 * rows)
    features, values = [], []
    with rasterio.open(layer.folder / SUSCEPTIBILITY) as raster:
        for place in chosen.tolist():
            index = places[place]
            row, column = (shop.region.forcing.active[index].astype(np.int64) * k).tolist()
            block = raster.read(
                1, window=Window(column, row, k, k), boundless=True, fill_value=NODATA
            ).reshape(-1)
            known = (block != NODATA) & (shop.state.flags(index, index + 1)[0] != NO_DATA)
            stored = np.fromfile(path, np.float32, k * k * static, offset=4 * place * k * k * static)
            own = np.repeat(weather[place][None], k * k, axis=0)
            features.append(np.concatenate([stored.reshape(k * k, static), own], axis=1)[known])
            values.append(block[known])
    rows_known, stored_known = np.concatenate(features), np.concatenate(values)
    some = random.permutation(len(rows_known))[:_TRAINED_ON]
    target = stored_known[some] > np.median(stored_known)
    # Noise in the labels, as inventories have it, keeps later trees from having nothing to do.
    target ^= random.random(len(some)) < 0.1
    settings = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": DEPTH,
        "learning_rate": 0.1,
        "nthread": shop.workers,
    }
    data = xgboost.DMatrix(rows_known[some], label=target.astype(np.float32))
    booster = xgboost.train(settings, data, num_boost_round=TREES)
    # Each of our threads predicts its own cells.
    booster.set_param({"nthread": 1})
    return booster
