"""A folder of broken inputs: each gives a clear error or a named outcome, and the last good layer stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from service.errors import Outcome
from service.ingest import IngestReport, ingest
from service.readings import Archive
from service.workshop import archive_path
from tests.fix_region import LAST_DAY, ToyRegion

NEXT = LAST_DAY + timedelta(days=1)


def take_in(toy: ToyRegion) -> IngestReport:
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        return ingest(toy.settings, archive, toy.clock())


def truncate(text: str) -> str:
    return text[:-7]


def rename_columns(text: str) -> str:
    return text.replace("series,day,value", "gauge,date,mm")


def commas_for_points(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


def text_in_numbers(text: str) -> str:
    return text + "north,2026-03-09,heavy\n"


def future_dates(text: str) -> str:
    return text + "north,2031-01-01,12.0\n"


def web_page(_: str) -> str:
    return "<!DOCTYPE html><html><body>503 Service Unavailable</body></html>"


def empty(_: str) -> str:
    return ""


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (rename_columns, ["rain.csv", "series"]),
        (commas_for_points, ["rain.csv"]),
        (web_page, ["rain.csv", "web page"]),
        (empty, ["rain.csv", "empty"]),
    ],
)
def test_a_spoilt_file_fails_its_feed_by_name_and_loses_nothing(
    toy: ToyRegion, spoil: Callable[[str], str], words: list[str]
) -> None:
    toy.refresh()
    before = toy.latest()
    rain = toy.folder / "rain.csv"
    rain.write_text(spoil(rain.read_text()))

    report = take_in(toy)

    assert report.failed == ("gauges",)
    told = " ".join([str(report.feeds[0].error), *map(str, report.feeds[0].problems)])
    for word in words:
        assert word in told
    assert toy.refresh()[0].outcome == Outcome.UNCHANGED
    assert toy.latest() == before


@pytest.mark.parametrize("spoil", [truncate, text_in_numbers, future_dates])
def test_a_spoilt_row_is_kept_with_its_reason_and_the_others_count(
    toy: ToyRegion, spoil: Callable[[str], str]
) -> None:
    (toy.data / "readings.sqlite").unlink()
    rain = toy.folder / "rain.csv"
    rain.write_text(spoil(rain.read_text()))

    report = take_in(toy)

    assert report.feeds[0].rejected == 1
    assert report.feeds[0].new >= 137
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        (rejection,) = archive.log.rejections()
        values = archive.values("rain", [LAST_DAY, date(2031, 1, 1)])
    assert rejection.file.endswith("rain.csv")
    assert rejection.row >= 138
    assert rejection.raw
    assert not (values.value == 0).any() or spoil is not text_in_numbers


def test_a_missing_gauge_file_is_named(toy: ToyRegion) -> None:
    (toy.folder / "rain.csv").unlink()

    report = take_in(toy)

    assert report.failed == ("gauges",)
    assert "rain.csv" in str(report.feeds[0].error)


def test_a_corrupt_factor_stack_fails_the_run_and_the_last_good_layer_stays(toy: ToyRegion) -> None:
    toy.refresh()
    before = toy.latest()
    stack = toy.folder / "factors.tif"
    content = stack.read_bytes()
    stack.unlink()  # a new file, as a copy that broke off would be; the history holds a link to the old one
    stack.write_bytes(content[: len(content) // 3])

    (result,) = toy.refresh(NEXT - timedelta(days=1))

    assert result.outcome == Outcome.FAILED
    assert "factors.tif" in str(result.reason)
    assert toy.latest() == before


def test_a_bundle_with_one_byte_changed_is_refused_and_the_one_in_use_stays(toy: ToyRegion) -> None:
    (good,) = toy.refresh()
    graph = toy.folder / "bundle" / "head_u8.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(bytes(content))

    (result,) = toy.refresh(NEXT - timedelta(days=1))

    assert good.layer is not None
    assert result.outcome == Outcome.PUBLISHED
    assert result.layer is not None
    assert result.layer.model == good.layer.model
    assert any("head_u8.onnx" in note and "stays in use" in note for note in result.layer.notes)


def test_a_first_bundle_that_is_broken_fails_the_run(toy: ToyRegion) -> None:
    (toy.folder / "bundle" / "whole.onnx").write_bytes(b"not a graph")

    (result,) = toy.refresh()

    assert result.outcome == Outcome.FAILED
    assert "whole.onnx" in str(result.reason)
    assert toy.latest() is None


def test_a_bundle_of_another_region_is_refused_unless_transfer_is_allowed(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text().replace('id = "toy"', 'id = "elsewhere"'))
    (refused,) = toy.refresh()
    assert refused.outcome == Outcome.FAILED
    assert "toy" in str(refused.reason)
    assert "elsewhere" in str(refused.reason)

    text = toy.config.read_text().replace('path = "bundle"', 'path = "bundle"\nallow_transfer = true')
    toy.config.write_text(text)
    (allowed,) = toy.refresh()

    assert allowed.outcome == Outcome.PUBLISHED
    assert allowed.layer is not None
    assert not allowed.layer.model.may_warn


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_the_run_in_words_and_the_last_good_layer_stays(
    toy: ToyRegion, small_disk: Path
) -> None:
    toy.config.write_text(toy.config.read_text().replace('data_dir = "data"', f'data_dir = "{small_disk}"'))
    toy.ingest()
    (good,) = toy.refresh()
    assert good.outcome == Outcome.PUBLISHED
    latest = (small_disk / "latest.json").read_text()
    filler = small_disk / "filler"
    # Enough room for a row in the ledger, too little for a layer.
    filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 100 * 1024))

    (result,) = toy.refresh(NEXT - timedelta(days=1))

    assert result.outcome == Outcome.FAILED
    assert "space" in str(result.reason)
    assert (small_disk / "latest.json").read_text() == latest
    filler.unlink()
    (again,) = toy.refresh(NEXT - timedelta(days=1))
    assert again.outcome == Outcome.PUBLISHED
    assert not list(small_disk.rglob(".*.part*"))
