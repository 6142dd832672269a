"""A toy region with two days published, for tests that only look."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from exporters.layer import Layer
from service.hillshade import ensure_hillshade
from tests import fix_places
from tests.fix_forecasts import add_forecasts
from tests.fix_places import make_valley
from tests.fix_region import LEFT, NOW, SHAPE, TOP, Clock, ToyRegion

DAY = date(2026, 3, 5)
ISSUED = datetime(2026, 3, 5, 6, 0, tzinfo=UTC)  # the published region's clock stands days later
# The fourth day before has no layer.
VALLEY_DAYS = [fix_places.DAY - timedelta(days=back) for back in (6, 5, 3, 2, 1, 0)]


@pytest.fixture(scope="session")
def published_template(toy_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy region with the layers of two days and a hillshade; never changed by a test."""
    folder = tmp_path_factory.mktemp("published") / "toy"
    shutil.copytree(toy_template, folder)
    toy = ToyRegion(folder, Clock())
    write_dem(folder / "dem.tif")
    text = toy.config.read_text("utf-8")
    toy.config.write_text(text.replace("[factors]\n", '[factors]\ndem = "dem.tif"\n'), "utf-8")
    # A dry north and a wet south on the second day, so that classes fall and rise.
    toy.set_rain({(DAY - timedelta(days=1), "north"): 0.0, (DAY - timedelta(days=1), "south"): 180.0})
    toy.ingest()
    toy.refresh(DAY - timedelta(days=1), DAY)
    ensure_hillshade(toy.settings)
    return folder


@pytest.fixture
def published(published_template: Path) -> ToyRegion:
    """A region with two days published, to look at."""
    return ToyRegion(published_template, Clock())


@pytest.fixture
def changing(published_template: Path, tmp_path: Path) -> ToyRegion:
    """The same as a copy of the test's own, to change."""
    folder = tmp_path / "toy"
    shutil.copytree(published_template, folder)
    return ToyRegion(folder, Clock())


@pytest.fixture(scope="session")
def forecast_template(published_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published region with forecasts for one to three days ahead; never changed by a test."""
    folder = tmp_path_factory.mktemp("forecast") / "toy"
    shutil.copytree(published_template, folder)
    add_forecasts(ToyRegion(folder, Clock(ISSUED)))
    return folder


@pytest.fixture
def forecast(forecast_template: Path) -> ToyRegion:
    """A region with forecasts, on the morning of their issue, to look at."""
    return ToyRegion(forecast_template, Clock(ISSUED))


@pytest.fixture
def own_forecast(forecast_template: Path, tmp_path: Path) -> ToyRegion:
    """The same as a copy of the test's own, to change."""
    folder = tmp_path / "toy"
    shutil.copytree(forecast_template, folder)
    return ToyRegion(folder, Clock(ISSUED))


@pytest.fixture(scope="session")
def valley_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valley with six layers within a week; never changed by a test."""
    toy = make_valley(tmp_path_factory.mktemp("places") / "valley")
    toy.refresh(*VALLEY_DAYS)
    return toy.folder


@pytest.fixture
def valley(valley_template: Path) -> ToyRegion:
    """The valley, to look at."""
    return ToyRegion(valley_template, Clock())


@pytest.fixture
def own_valley(valley_template: Path, tmp_path: Path) -> ToyRegion:
    """The valley as a copy of the test's own."""
    shutil.copytree(valley_template, tmp_path / "valley")
    return ToyRegion(tmp_path / "valley", Clock(NOW + timedelta(hours=1)))


def layers_by_day(toy: ToyRegion) -> dict[date, Layer]:
    """Return the layer of each day."""
    with toy.ledger() as ledger:
        return {layer.day: layer for layer in ledger.layers()}


def write_dem(path: Path) -> None:
    """Write hills on the toy's grid; the first ten rows of the first ten columns are unknown."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    metres = 500 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    metres[:10, :10] = -9999
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=SHAPE[0],
        width=SHAPE[1],
        count=1,
        dtype="float32",
        nodata=-9999,
        crs="EPSG:32632",
        transform=Affine(30, 0, LEFT, 0, -30, TOP),
    ) as out:
        out.write(metres, 1)
