"""Each raster preset against files built from its service's published format; none of them was recorded.

A GeoTIFF has the whole grid, the number type and the tags of its service, and values around the region only.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest
import rasterio.shutil
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.windows import Window

from service.ingest import ingest
from service.readings import Archive
from service.settings import parse_settings
from service.settings_feeds import with_preset
from service.settings_raster import RasterFeed
from tests.fix_rasters import BOUNDS, context, fetch, netcdf, raster_feed, serving, tiff

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
MARCH_8, MARCH_9 = date(2026, 3, 8), date(2026, 3, 9)
ROME = ZoneInfo("Europe/Rome")


def preset(name: str, change: Callable[[str], str] = str, **more: Any) -> RasterFeed:
    """A feed made from a preset, its texts changed (hosts, paths)."""
    section = with_preset({"name": "sat", "preset": name, **more})
    return RasterFeed.model_validate(json.loads(change(json.dumps(section))))


def world(pixel: float, north: float, dtype: str, values: npt.NDArray[Any]) -> bytes:
    """A global GeoTIFF from 180 W, `values` (n, n) from 10 E and 46 N on, tags of the grid alone."""
    width, height = round(360 / pixel), round(2 * north / pixel)
    window = Window(round(190 / pixel), round((north - 46) / pixel), *values.shape[::-1])
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=width, height=height, count=1, dtype=dtype, crs="EPSG:4326",
            transform=Affine(pixel, 0, -180, 0, -pixel, north), tiled=True, compress="deflate",
            sparse_ok=True,
        ) as raster:  # fmt: skip
            raster.write(values.astype(dtype), 1, window=window)
        return bytes(memory.read())


def test_chirps_v3_is_read_and_final_takes_the_place_of_preliminary(tmp_path: Path) -> None:
    rain = np.random.default_rng(1).gamma(0.5, 10, (60, 60)).astype(np.float32)
    rain[25, 25] = -9999  # the sea; the files do not say what the value means
    root = "/products/CHIRPS/v3.0/daily"
    day = date(2026, 2, 20)
    with serving() as server:
        feed = preset("chirps_v3", lambda text: text.replace("https://data.chc.ucsb.edu", server.url))
        name = f"{root}/prelim/sat/2026/chirps-v3.0.prelim.2026.02.20.tif"
        server.files[name] = world(0.05, 60, "float32", rain)
        found, batch = fetch(feed, context(tmp_path, datetime(2026, 2, 26, 9, 30, tzinfo=UTC)))
        assert list(found) == [day]
        assert (found[day].version, batch.problems) == ("prelim 3.0", ())
        # The region and two pixels more: 10.9 to 12.1 E, 45.1 to 43.9 N.
        np.testing.assert_array_equal(np.nan_to_num(found[day].values, nan=-9999), rain[18:42, 18:42])
        assert np.isnan(found[day].values).sum() == 1
        assert found[day].ends_at == "2026-02-21T00:00:00.000000Z"

        name = f"{root}/final/sat/2026/chirps-v3.0.sat.2026.02.20.tif"
        server.files[name] = world(0.05, 60, "float32", rain * 2)
        told = context(tmp_path, known_days=lambda: {day: "prelim 3.0"})
        found, _ = fetch(feed, told)
        assert {found[day].version for day in found} == {"final 3.0"}
        assert found[day].latency == timedelta(days=52)
        assert float(found[day].values[0, 0]) == pytest.approx(2 * float(rain[18, 18]))


@pytest.mark.parametrize("name", ["chirps_v3_prelim", "chirps_v3_final"])
def test_one_chirps_product_alone_is_read_as_well(name: str, tmp_path: Path) -> None:
    kind, word = ("prelim", "prelim") if name.endswith("prelim") else ("final", "sat")
    path = f"/products/CHIRPS/v3.0/daily/{kind}/sat/2026/chirps-v3.0.{word}.2026.03.05.tif"
    rain = np.full((60, 60), 4.5)
    with serving({path: world(0.05, 60, "float32", rain)}) as server:
        feed = preset(name, lambda text: text.replace("https://data.chc.ucsb.edu", server.url))
        found, _ = fetch(feed, context(tmp_path))
    assert list(found) == [date(2026, 3, 5)]
    assert np.unique(found[date(2026, 3, 5)].values).tolist() == [4.5]


def imerg_path(letter: str, day: date, version: str) -> str:
    folder = "early/" if letter == "E" else ""
    return (
        f"/imerg/gis/{folder}{day:%Y/%m}/3B-HHR-{letter}.MS.MRG.3IMERG.{day:%Y%m%d}-S233000-E235959.1410."
        f"{version}.1day.tif"
    )


def test_imerg_is_read_in_tenths_with_its_login_and_late_takes_the_place_of_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPS_PASSWORD", "ann@example.org")
    tenths = np.random.default_rng(1).integers(0, 900, (30, 30))
    tenths[15, 15] = 29999
    early = world(0.1, 90, "uint16", tenths)
    login = {"user": "ann@example.org", "password": {"env": "PPS_PASSWORD"}}
    with serving() as server:
        server.authorization = "Basic YW5uQGV4YW1wbGUub3JnOmFubkBleGFtcGxlLm9yZw=="
        feed = preset(
            "gpm_imerg",
            lambda text: text.replace("https://jsimpsonhttps.pps.eosdis.nasa.gov", server.url),
            http=login,
        )
        server.files[imerg_path("E", MARCH_9, "V07C")] = early
        server.files[imerg_path("E", MARCH_8, "V07C")] = early
        server.files[imerg_path("L", MARCH_8, "V07B")] = early
        found, batch = fetch(feed, context(tmp_path, region_timezone=ROME))
    assert {day: grid.version for day, grid in found.items()} == {
        MARCH_8: "late V07B",
        MARCH_9: "early V07C",
    }
    assert batch.problems == ()
    expected = np.where(tenths == 29999, np.nan, tenths / 10)[8:22, 8:22]
    np.testing.assert_allclose(found[MARCH_9].values, expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "letter"), [("imerg_early", "E"), ("imerg_late", "L")])
def test_one_imerg_run_alone_is_read_as_well_whatever_its_version(
    name: str, letter: str, tmp_path: Path
) -> None:
    tenths = np.full((30, 30), 25)
    for version in ("V07B", "V07C"):
        with serving({imerg_path(letter, MARCH_8, version): world(0.1, 90, "uint16", tenths)}) as server:
            feed = preset(
                name, lambda text: text.replace("https://jsimpsonhttps.pps.eosdis.nasa.gov", server.url)
            )  # fmt: skip
            found, _ = fetch(feed, context(tmp_path))
        assert found[MARCH_8].version == version
        assert np.unique(found[MARCH_8].values).tolist() == [2.5]


def gsmap(rate: float) -> bytes:
    """An hour of GSMaP: 3600 x 1200 little-endian float32 from 0 E and 60 N, gzip; -99 is not seen."""
    rates = np.full((1200, 3600), -99, dtype="<f4")
    rates[140:160, :200] = rate  # 46 to 44 N, 0 to 20 E
    rates[150, 115] = -4.0
    return gzip.compress(rates.tobytes(), compresslevel=1)


def test_gsmap_is_summed_over_the_hours_of_the_regions_day(tmp_path: Path) -> None:
    hours = [datetime(2026, 3, 7, 12, tzinfo=UTC) + timedelta(hours=n) for n in range(48)]
    bodies = {"hourly": gsmap(0.5), "hourly_G": gsmap(2.0)}
    for hour in hours:
        for folder, body in bodies.items():
            if folder == "hourly_G" and hour >= datetime(2026, 3, 8, 23, tzinfo=UTC):
                continue  # the adjusted product comes later
            word = "gsmap_gauge_nrt" if folder == "hourly_G" else "gsmap_nrt"
            path = tmp_path / f"gsmap/{folder}/{hour:%Y/%m/%d}/{word}.{hour:%Y%m%d.%H}00.dat.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    feed = preset("gsmap", lambda text: text.replace('"gsmap/', f'"{tmp_path}/gsmap/'))
    # Two hours ahead of UTC: 8 March is 22 to 22 UTC.
    told = context(tmp_path, region_timezone=ZoneInfo("Africa/Cairo"))
    found, _ = fetch(feed, told, date(2026, 3, 8), date(2026, 3, 9))
    grid = found[date(2026, 3, 8)]
    assert (grid.version, grid.ends_at) == ("gauge_nrt", "2026-03-08T22:00:00.000000Z")
    assert set(np.unique(grid.values[np.isfinite(grid.values)]).tolist()) == {48.0}
    assert np.isnan(grid.values).sum() == 1 + 2 * 14  # the pixel of ice, and two rows south of 44 N
    # Of 9 March (Cairo) the last hours are not there yet, of any product.
    assert list(found) == [date(2026, 3, 8)]


def test_era5_land_hours_since_midnight_in_metres_become_millimetres_of_the_regions_day(
    tmp_path: Path,
) -> None:
    # As the store delivers an area now: valid_time in seconds, float32, no CRS. (It sends NetCDF-4; the file
    # here is classic NetCDF, with the same names.)
    hourly = np.random.default_rng(3).gamma(0.3, 1, (72, 30, 30))  # mm in the hours from 6 March 00 UTC on
    tp = np.concatenate([part.cumsum(axis=0) for part in np.split(hourly, 3)]).astype(np.float32) / 1000
    start = datetime(2026, 3, 6, tzinfo=UTC)
    times = [(start + timedelta(hours=n + 1)).timestamp() for n in range(72)]
    netcdf(
        tmp_path / "era5_land/order-17.nc", tp, times, "seconds since 1970-01-01", west=9.95, north=46.05,
        pixel=0.1, dimension="valid_time",
    )  # fmt: skip
    feed = preset("era5_land", lambda text: text.replace('"era5_land/', f'"{tmp_path}/era5_land/'))
    found, _ = fetch(feed, context(tmp_path, region_timezone=ROME), date(2026, 3, 5), date(2026, 3, 9))
    # One hour ahead: 7 and 8 March are 23 to 23 UTC; of the 6th and the 9th an hour is missing at least.
    assert list(found) == [date(2026, 3, 7), date(2026, 3, 8)]
    whole = hourly[23:47].sum(axis=0)
    at = found[date(2026, 3, 7)].transform
    top, left = round((46.05 - at.f) / 0.1), round((at.c - 9.95) / 0.1)
    height, width = found[date(2026, 3, 7)].values.shape
    np.testing.assert_allclose(
        found[date(2026, 3, 7)].values, whole[top : top + height, left : left + width], atol=2e-3
    )
    west, _, east, _ = BOUNDS
    assert (left, left + width) == (8, 23)
    assert 9.95 + 0.1 * left <= west - 0.2
    assert 9.95 + 0.1 * (left + width) >= east + 0.2


def test_netcdf_4_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "20260309.nc"
    plain = tmp_path / "plain.tif"
    plain.write_bytes(tiff(np.full((16, 20), 7.5, dtype=np.float32)))
    rasterio.shutil.copy(plain, path, driver="netCDF", FORMAT="NC4C")
    assert path.read_bytes().startswith(b"\x89HDF")
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.nc"), format="netcdf")
    found, _ = fetch(feed, context(tmp_path))
    assert np.unique(found[MARCH_9].values).tolist() == [7.5]


def test_early_is_corrected_by_late_in_the_archive_and_never_the_other_way(tmp_path: Path) -> None:
    settings = parse_settings(
        f"""
        [region]
        id = "toy"
        name = "Toy"
        timezone = "Europe/Rome"
        data_dir = "data"
        [grid]
        crs = "EPSG:32632"
        extent = [680000, 4880000, 689600, 4889600]
        [bundle]
        path = "bundle"
        [[feeds]]
        name = "imerg"
        preset = "gpm_imerg"
        products = [
            {{ name = "late", path = "{tmp_path}/late.{{day:%Y%m%d}}.tif" }},
            {{ name = "early", path = "{tmp_path}/early.{{day:%Y%m%d}}.tif" }},
        ]
        """,
        base=tmp_path,
        origin="toy.toml",
    )

    def put(product: str, tenths: int) -> None:
        body = world(0.1, 90, "uint16", np.full((30, 30), tenths))
        (tmp_path / f"{product}.20260309.tif").write_bytes(body)

    def stands(as_of: datetime | None = None) -> tuple[str, float] | None:
        ((*found,),) = archive.rasters.days("rain", [MARCH_9], as_of)
        return (found[0].version, round(float(found[0].values[0, 0]), 3)) if found else None

    with Archive(tmp_path / "readings.sqlite") as archive:
        put("early", 50)
        (first,) = ingest(settings, archive, NOW).feeds
        assert (first.outcome, first.new, first.newest_day) == ("ok", 1, MARCH_9)
        assert stands() == ("early", 5.0)
        later = NOW + timedelta(hours=10)
        put("late", 80)
        (second,) = ingest(settings, archive, later).feeds
        assert (second.new, second.corrected) == (0, 1)
        assert (stands(), stands(NOW)) == (("late", 8.0), ("early", 5.0))
        (tmp_path / "late.20260309.tif").unlink()
        put("early", 99)
        (third,) = ingest(settings, archive, later + timedelta(hours=1)).feeds
        assert (third.outcome, third.new, third.corrected) == ("ok", 0, 0)
        assert stands() == ("late", 8.0)
