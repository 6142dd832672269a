"""Promises of raster feeds: the best product of each day, all of a day or none of it, missing never zero."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from service.feeds.base import FeedFault
from service.settings import parse_settings
from service.settings_raster import RasterFeed
from tests.fix_rasters import (
    DAILY,
    MARCH,
    SHAPE,
    context,
    day_path,
    fetch,
    of_region,
    rain,
    raster_feed,
    serving,
    tiff,
)

# --- which days, from which product ---


def test_the_newest_days_are_found_and_those_known_are_not_asked_for_again(tmp_path: Path) -> None:
    with serving({day_path(day): tiff(rain(day)) for day in (6, 7, 8)}) as server:
        feed = raster_feed(url=server.url + DAILY)
        found, batch = fetch(feed, context(tmp_path))
        assert list(found) == MARCH[5:8]
        np.testing.assert_array_equal(found[MARCH[7]].values, of_region(rain(8)))
        assert (found[MARCH[7]].ends_at, found[MARCH[7]].version) == ("2026-03-09T00:00:00.000000Z", "")
        assert found[MARCH[7]].source == server.url + day_path(8)
        assert (batch.problems, list(batch.rows)) == ((), [])
        # Today is not over, so nobody has it.
        assert server.paths() == [day_path(day) for day in (9, 8, 7, 6)]
        server.asked.clear()
        known = {MARCH[7]: "", MARCH[6]: "", MARCH[5]: ""}
        found, batch = fetch(feed, context(tmp_path, known_days=lambda: known))
        assert (found, batch.problems) == ({}, ())
        assert server.paths() == [day_path(9)]


def test_a_young_day_is_read_again_though_it_is_known_and_a_named_one_whatever_its_age(
    tmp_path: Path,
) -> None:
    known = dict.fromkeys(MARCH, "")
    with serving({day_path(day): tiff(rain(day)) for day in range(1, 10)}) as server:
        feed = raster_feed(url=server.url + DAILY, recheck_days=2)
        told = context(tmp_path, known_days=lambda: known)
        assert list(fetch(feed, told)[0]) == MARCH[7:9]
        assert list(fetch(feed, told, MARCH[0], MARCH[1])[0]) == MARCH[:2]


PRODUCTS: list[dict[str, Any]] = [
    {"name": "final", "path": "final/{day:%Y%m%d}.tif"},
    {"name": "late", "path": "late/{day:%Y%m%d}.{version}.tif", "versions": ["B", "A"]},
    {"name": "early", "path": "early/{day:%Y%m%d}.tif"},
]


def products(folder: Path, **changes: Any) -> Any:
    listed = [{**product, "path": str(folder / str(product["path"]))} for product in PRODUCTS]
    return raster_feed(products=listed, **changes)


def put(folder: Path, name: str, values: npt.NDArray[Any]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(tiff(values))


def test_each_day_comes_from_its_best_product_and_says_which(tmp_path: Path) -> None:
    for number, name in enumerate(
        [
            "early/20260309",
            "early/20260308",
            "late/20260308.A",
            "late/20260307.A",
            "late/20260307.B",
            "final/20260306",
            "early/20260306",
        ]
    ):
        put(tmp_path, f"{name}.tif", rain(number))
    found, _ = fetch(products(tmp_path), context(tmp_path))
    assert {day.day: grid.version for day, grid in found.items()} == {
        9: "early",
        8: "late A",
        7: "late B",
        6: "final",
    }
    np.testing.assert_array_equal(found[MARCH[5]].values, of_region(rain(5)))


def test_a_better_product_replaces_what_is_known_and_a_worse_one_never_does(tmp_path: Path) -> None:
    for name in ("early/20260309", "early/20260308", "late/20260308.A", "late/20260307.A", "final/20260306"):
        put(tmp_path, f"{name}.tif", rain(1))
    known = {MARCH[8]: "late B", MARCH[7]: "early", MARCH[6]: "late A", MARCH[5]: "final"}
    found, _ = fetch(products(tmp_path), context(tmp_path, known_days=lambda: known))
    assert {day.day: grid.version for day, grid in found.items()} == {8: "late A"}


def test_a_day_that_is_old_is_left_with_the_product_it_has(tmp_path: Path) -> None:
    for day in (4, 8):
        put(tmp_path, f"final/202603{day:02d}.tif", rain(day))
    known = dict.fromkeys(MARCH, "early")
    feed = products(tmp_path, settle_days=5, lookback_days=9)
    assert list(fetch(feed, context(tmp_path, known_days=lambda: known))[0]) == [MARCH[7]]


def test_a_version_that_the_settings_no_longer_name_is_worse_than_any(tmp_path: Path) -> None:
    put(tmp_path, "early/20260308.tif", rain(1))
    known = dict.fromkeys(MARCH, "late V03")
    assert list(fetch(products(tmp_path), context(tmp_path, known_days=lambda: known))[0]) == [MARCH[7]]


def test_a_product_that_comes_late_is_not_asked_for_early(tmp_path: Path) -> None:
    with serving({}) as server:
        listed = [
            {"name": "final", "url": server.url + "/f{day:%d}", "min_age_days": 2},
            {"name": "early", "url": server.url + "/e{day:%d}"},
        ]
        with pytest.raises(FeedFault):
            fetch(raster_feed(products=listed, lookback_days=3), context(tmp_path))
        assert server.paths() == ["/e09", "/e08", "/f07", "/e07"]


# --- what goes wrong ---


def test_a_broken_file_costs_its_day_only_and_gives_way_to_a_worse_product(tmp_path: Path) -> None:
    whole = tiff(rain(1))
    put(tmp_path, "early/20260309.tif", rain(1))
    (tmp_path / "final").mkdir()
    (tmp_path / "final/20260309.tif").write_bytes(
        b"<html><body>Service temporarily unavailable</body></html>"
    )
    (tmp_path / "final/20260308.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "final/20260307.tif").write_bytes(whole)
    found, batch = fetch(products(tmp_path), context(tmp_path))
    assert {day.day: grid.version for day, grid in found.items()} == {9: "early", 7: "final"}
    assert [problem.reason for problem in batch.problems] == ["format", "format"]
    assert all("feed sat" in problem.message and "final" in problem.message for problem in batch.problems)


def test_a_page_in_place_of_a_raster_is_named_by_its_first_words(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><body>Scheduled maintenance</body></html>"
    with serving({day_path(9): page, day_path(8): tiff(rain(8))}) as server:
        found, batch = fetch(raster_feed(url=server.url + DAILY), context(tmp_path))
        assert list(found) == [MARCH[7]]
        (problem,) = batch.problems
        assert (problem.reason, problem.is_error) == ("wrong_type", True)
        assert "maintenance" in problem.message


def test_a_server_that_is_down_fails_the_feed_at_once(tmp_path: Path) -> None:
    with serving() as server:
        url = server.url
    feed = raster_feed(url=url + DAILY, http={"retries": 0})
    with pytest.raises(FeedFault, match="feed sat") as caught:
        fetch(feed, context(tmp_path))
    assert caught.value.reason == "unreachable"


def test_a_product_whose_server_is_down_gives_way_to_the_next_and_is_asked_once(tmp_path: Path) -> None:
    with serving() as server:
        url = server.url
    for day in (8, 9):
        put(tmp_path, f"early/202603{day:02d}.tif", rain(day))
    listed = [
        {"name": "final", "url": url + DAILY},
        {**PRODUCTS[2], "path": str(tmp_path / PRODUCTS[2]["path"])},
    ]
    found, batch = fetch(raster_feed(products=listed, http={"retries": 0}), context(tmp_path))
    assert {day.day: grid.version for day, grid in found.items()} == {8: "early", 9: "early"}
    assert [problem.reason for problem in batch.problems] == ["unreachable"]


def test_a_login_that_is_refused_fails_the_feed_and_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAIN_PASSWORD", "s3cret-word")
    with serving({day_path(9): tiff(rain(9))}) as server:
        server.authorization = "Basic bobody"
        feed = raster_feed(
            url=server.url + DAILY, http={"user": "ann", "password": {"env": "RAIN_PASSWORD"}, "retries": 0}
        )
        with pytest.raises(FeedFault) as caught:
            fetch(feed, context(tmp_path))
        assert caught.value.reason == "login"
        assert "s3cret-word" not in str(caught.value)
        assert len(server.asked) == 1


def test_nothing_anywhere_is_a_fault_that_names_the_address(tmp_path: Path) -> None:
    with serving() as server, pytest.raises(FeedFault, match=r"2026-03-06 to 2026-03-10 .*rain\.") as caught:
        fetch(raster_feed(url=server.url + DAILY), context(tmp_path))
    assert caught.value.reason == "absent"


def test_a_product_that_has_gone_silent_is_named_though_its_last_days_are_known(tmp_path: Path) -> None:
    put(tmp_path, "late/20260306.B.tif", rain(1))
    feed = products(tmp_path, lookback_days=9, settle_days=9)
    for day, expected in ((7, []), (6, ["late"])):
        told = context(tmp_path, known_days=lambda day=day: {MARCH[day - 1]: "late B"})
        found, batch = fetch(feed, told)
        assert (list(found), [problem.reason for problem in batch.problems]) == (
            [MARCH[5]] if day == 7 else [],
            expected,
        )
    assert "nothing after 2026-03-06, and 2026-03-09 was expected" in batch.problems[0].message
    assert "'versions' have changed" in batch.problems[0].message


def test_a_fetch_is_bounded_and_the_next_goes_on(tmp_path: Path) -> None:
    known: dict[date, str] = {}
    told = context(tmp_path, known_days=lambda: known)
    with serving({day_path(day): tiff(rain(day)) for day in range(1, 10)}) as server:
        feed = raster_feed(url=server.url + DAILY, max_requests=3, lookback_days=9)
        for expected in ([7, 8, 9], [4, 5, 6], [1, 2, 3]):
            found, batch = fetch(feed, told)
            assert [day.day for day in found] == expected
            known.update(dict.fromkeys(found, ""))
            assert not any(problem.is_error for problem in batch.problems)
        assert fetch(feed, told)[0] == {}


def test_what_is_there_is_handed_over_before_the_deadline(tmp_path: Path) -> None:
    left = iter([100.0] * 2 + [1.0] * 100)
    for day in range(1, 10):
        put(tmp_path, f"final/202603{day:02d}.tif", rain(day))
    found, batch = fetch(products(tmp_path), context(tmp_path, seconds_left=lambda: next(left)))
    assert [problem.reason for problem in batch.problems] == ["more"]
    assert list(found) == [MARCH[8]]


# --- values ---


def test_no_data_is_missing_whether_tagged_or_not_and_never_zero(tmp_path: Path) -> None:
    values = rain(1)
    values[8, 8], values[8, 9], values[9, 9] = -9999, -99.9, np.nan
    (tmp_path / "20260309.tif").write_bytes(tiff(values, nodata=-9999.0))
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.tif"), nodata=[-99.9])
    grid = fetch(feed, context(tmp_path))[0][MARCH[8]]
    assert np.isnan(grid.values).sum() == 3
    assert np.isnan(grid.values[2:4, 2:4]).tolist() == [[True, True], [False, True]]


def test_scale_offset_and_unit_give_millimetres(tmp_path: Path) -> None:
    values = np.full(SHAPE, 123, dtype=np.uint16)
    values[8, 8] = 29999
    (tmp_path / "20260309.tif").write_bytes(tiff(values))
    path = str(tmp_path / "{day:%Y%m%d}.tif")
    for unit, expected in (("mm", 14.3), ("cm", 143.0), ("mm/h", 24 * 14.3)):
        feed = raster_feed(path=path, scale=0.1, offset=2.0, nodata=[29999], unit=unit)
        grid = fetch(feed, context(tmp_path))[0][MARCH[8]]
        assert np.isnan(grid.values[2, 2])
        assert np.nanmax(grid.values) == np.nanmin(grid.values) == pytest.approx(expected)


def test_values_that_no_rain_can_be_are_left_out_and_named(tmp_path: Path) -> None:
    values = rain(1)
    values[8, 8], values[9, 9] = -99, 5000
    (tmp_path / "20260309.tif").write_bytes(tiff(values))
    found, batch = fetch(raster_feed(path=str(tmp_path / "{day:%Y%m%d}.tif")), context(tmp_path))
    assert np.isnan(found[MARCH[8]].values).sum() == 2
    (problem,) = batch.problems
    assert problem.reason == "range"
    assert "2 of 64 pixels" in problem.message
    assert "-99 to 5000" in problem.message


def test_a_raster_without_one_value_over_the_region_is_no_day(tmp_path: Path) -> None:
    values = rain(1)
    values[6:14, 6:14] = -9999
    (tmp_path / "20260309.tif").write_bytes(tiff(values))
    (tmp_path / "20260308.tif").write_bytes(tiff(rain(2)))
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.tif"), nodata=[-9999])
    found, batch = fetch(feed, context(tmp_path))
    assert list(found) == [MARCH[7]]
    assert [problem.reason for problem in batch.problems] == ["no_data"]


def test_a_product_that_does_not_reach_the_region_says_so(tmp_path: Path) -> None:
    (tmp_path / "20260309.tif").write_bytes(tiff(rain(1), west=20))
    with pytest.raises(FeedFault, match=r"does not reach the region \(11.00 to 12.00 E") as caught:
        fetch(raster_feed(path=str(tmp_path / "{day:%Y%m%d}.tif")), context(tmp_path))
    assert caught.value.reason == "outside"


# --- settings ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "'url' or 'path'"),
        ({"url": "http://h/{dya:%Y}"}, r"nothing to fill \{dya\} with"),
        ({"url": "http://h/{day}"}, r"\{day:%Y-%m-%d\}"),
        ({"url": "http://h/{day.year}"}, "nothing to fill"),
        ({"url": "http://h/rain.tif"}, "names no day"),
        ({"url": "http://h/{day:%j}/{version}"}, "belong together"),
        ({"url": "http://h/{day:%j}", "versions": ["A"]}, "belong together"),
        ({"url": "http://h/{day:%j}", "path": "a{day:%j}"}, "'url' or 'path'"),
        ({"url": "http://h/{day:%j}", "products": PRODUCTS}, "either 'products'"),
        ({"products": [PRODUCTS[0], PRODUCTS[0]]}, "same name"),
        ({"url": "http://h/{day:%j}", "step_hours": 5}, "divide 24"),
        ({"url": "http://h/{day:%j}", "forecast": True}, "no forecasts"),
        ({"url": "http://h/{day:%j}", "variable": "level"}, "rain"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        raster_feed(**changes)


def test_a_path_starts_at_the_settings_file(tmp_path: Path) -> None:
    settings = parse_settings(
        """
        [region]
        id = "toy"
        name = "Toy"
        timezone = "UTC"
        data_dir = "data"
        [grid]
        crs = "EPSG:32632"
        extent = [0, 0, 960, 960]
        [bundle]
        path = "bundle"
        [[feeds]]
        name = "sat"
        kind = "raster"
        variable = "rain"
        unit = "mm"
        path = "drop/{day:%Y}/{day:%j}.tif"
        """,
        base=tmp_path,
        origin="toy.toml",
    )
    (feed,) = settings.feeds
    assert isinstance(feed, RasterFeed)
    assert feed.chain[0].place == str(tmp_path / "drop/{day:%Y}/{day:%j}.tif")
