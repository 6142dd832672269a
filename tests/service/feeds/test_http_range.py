"""Promises of reading a file on a server in parts: the same bytes, few requests, no mixture of two files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.windows import Window

from service.feeds.base import FeedFault
from service.feeds.http_range import Piece, RangeFile
from service.feeds.raster_open import Ranges
from tests.fix_http import Answer, Asked, Server, Time, http_to, serving

BLOCK = 1 << 17


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def parts_of(content: Callable[[], bytes], **headers: str) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        body = content()
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if not found:
            return Answer(body, headers=headers)
        first, last = int(found[1]), min(int(found[2]), len(body) - 1)
        said = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        return Answer(body[first : last + 1], 206, headers | said)

    return answer


@pytest.fixture(scope="module")
def geotiff(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("cog") / "rain.tif"
    values = np.random.default_rng(7).random((1, 1024, 1024), np.float32)
    profile = {"driver": "GTiff", "width": 1024, "height": 1024, "count": 1, "dtype": "float32"}
    place = {"crs": "EPSG:4326", "transform": from_origin(10, 45, 0.05, 0.05)}
    with rasterio.open(path, "w", **profile, **place, tiled=True, blockxsize=256, blockysize=256) as file:
        file.write(values)
    return path.read_bytes()


def test_a_window_of_a_large_raster_costs_a_fraction_of_it(
    server: Server, tmp_path: Path, geotiff: bytes
) -> None:
    server.say("/rain.tif", parts_of(lambda: geotiff, ETag='"1"'))
    window = Window(300, 300, 40, 40)  # type: ignore[no-untyped-call]

    file = http_to(tmp_path, Time()).open_range(server.url("/rain.tif"), "tiff")
    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
        rasterio.open("remote.tif", driver="GTiff", opener=Ranges(file).open) as opened,
    ):
        read = opened.read(1, window=window)

    with rasterio.open(io.BytesIO(geotiff)) as opened:
        np.testing.assert_array_equal(read, opened.read(1, window=window))
    assert isinstance(file, RangeFile)
    assert file.fetched_bytes < len(geotiff) / 4
    assert len(server.asked) <= 5


def test_a_server_that_knows_no_ranges_gives_the_whole_file(server: Server, tmp_path: Path) -> None:
    body = b"II*\0" + bytes(range(256)) * 20
    server.say("/rain.tif", body)

    with http_to(tmp_path, Time()).open_range(server.url("/rain.tif"), "tiff") as file:
        assert (file.seekable(), file.read()) == (True, body)


def test_a_file_that_is_exchanged_while_it_is_read_is_an_error(server: Server, tmp_path: Path) -> None:
    content, tag = b"II*\0" + b"a" * BLOCK * 3, ['"old"']
    server.say("/rain.tif", lambda asked: parts_of(lambda: content, ETag=tag[0])(asked))
    file = http_to(tmp_path, Time()).open_range(server.url("/rain.tif"), "tiff")
    tag[0] = '"new"'
    file.seek(BLOCK * 2)

    with pytest.raises(FeedFault, match="changed while it was read") as caught:
        file.read(10)

    assert caught.value.reason == "truncated"


def test_a_part_that_comes_short_or_fails_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    body = b"II*\0" + b"a" * BLOCK * 2
    whole = parts_of(lambda: body)
    wrong = Answer(b"abc", 206, {"Content-Range": f"bytes 0-2/{len(body)}"})
    server.say("/rain.tif", whole, Answer(status=503), wrong, whole)
    file = http_to(tmp_path, Time()).open_range(server.url("/rain.tif"), "tiff")

    assert file.read() == body
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Answer(b"gone", 404), "absent"),
        (Answer(b"<html>Please log in</html>", 403), "login"),
        (parts_of(lambda: b"<html>Please log in</html>"), "wrong_type"),
        (Answer(b"<html>Please log in</html>"), "wrong_type"),
    ],
)
def test_what_is_no_raster_is_named(server: Server, tmp_path: Path, said: Answer, reason: str) -> None:
    server.say("/rain.tif", said)

    with pytest.raises(FeedFault, match="feed api") as caught:
        http_to(tmp_path, Time(), retries=0).open_range(server.url("/rain.tif"), "tiff")

    assert caught.value.reason == reason


@given(
    size=st.integers(1, 5 * BLOCK),
    moves=st.lists(st.tuples(st.integers(0, 5 * BLOCK), st.integers(0, 2 * BLOCK)), max_size=6),
)
def test_it_reads_what_a_file_on_disk_would_give(size: int, moves: list[tuple[int, int]]) -> None:
    content = np.arange(size, dtype=np.uint32).astype(np.uint8).tobytes()

    def fetch(first: int, last: int) -> Piece:
        assert 0 <= first <= last < size
        return Piece(content[first : last + 1], size, "v")

    file = RangeFile(fetch, fetch(0, min(BLOCK, size) - 1), FeedFault)
    plain = io.BytesIO(content)
    for at, count in moves:
        assert file.seek(at) == plain.seek(at)
        assert file.read(count) == plain.read(count)
        assert file.tell() == plain.tell()
    assert file.seek(-size, io.SEEK_END) == 0
    with pytest.raises(ValueError, match="no position"):
        file.seek(-1)
