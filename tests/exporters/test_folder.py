from __future__ import annotations

import errno
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from exporters.base import Exporter, ExportRefused, ExportUnavailable
from exporters.folder import FolderExporter
from tests.exporters.fix_layer import finished_layer, make_layer

DAYS = tuple(date(2026, 3, number) for number in (1, 2, 3))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and time of change."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def listed(target: Path) -> list[str]:
    links = read_json(target / "layers" / "collection.json")["links"]
    return [link["title"] for link in links if link["rel"] == "item"]


def test_a_delivered_layer_lies_there_whole_and_latest_leads_to_it(tmp_path: Path, target: Path) -> None:
    layer = finished_layer(tmp_path)
    exporter: Exporter = FolderExporter("share", target)
    exporter.deliver(layer)
    latest = read_json(target / "latest.json")
    assert latest["layer"] == layer.id
    there = target / latest["path"]
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in layer.folder.iterdir()
    }
    assert listed(target) == [layer.id]


def test_delivering_twice_changes_nothing(tmp_path: Path, target: Path) -> None:
    layer = finished_layer(tmp_path)
    exporter = FolderExporter("share", target)
    exporter.deliver(layer)
    before = contents(target)
    exporter.deliver(layer)
    assert contents(target) == before


def test_latest_is_the_newest_day_in_whatever_order_layers_arrive(tmp_path: Path, target: Path) -> None:
    layers = [finished_layer(tmp_path, day) for day in DAYS]
    exporter = FolderExporter("share", target)
    for index in (1, 2, 0):
        exporter.deliver(layers[index])
    assert read_json(target / "latest.json")["layer"] == layers[2].id
    assert listed(target) == [layer.id for layer in layers]


def test_a_forecast_is_listed_but_is_never_the_latest(tmp_path: Path, target: Path) -> None:
    nowcast = finished_layer(tmp_path, DAYS[0])
    forecast = finished_layer(tmp_path, DAYS[1], lead=1)
    exporter = FolderExporter("share", target)
    exporter.deliver(nowcast)
    exporter.deliver(forecast)
    assert read_json(target / "latest.json")["layer"] == nowcast.id
    assert len(listed(target)) == 2


def test_a_withdrawn_layer_is_marked_and_leaves_latest_and_the_collection(
    tmp_path: Path, target: Path
) -> None:
    layers = [finished_layer(tmp_path, day) for day in DAYS]
    exporter = FolderExporter("share", target)
    for layer in layers:
        exporter.deliver(layer)
    exporter.withdraw(layers[2])
    assert read_json(target / "latest.json")["layer"] == layers[1].id
    assert listed(target) == [layers[0].id, layers[1].id]
    item = read_json(target / layers[2].folder.relative_to(tmp_path) / "item.json")
    assert item["properties"]["colluvium:status"] == "withdrawn"
    before = contents(target)
    exporter.withdraw(layers[2])
    assert contents(target) == before


def test_when_the_only_layer_is_withdrawn_nothing_is_shown(tmp_path: Path, target: Path) -> None:
    layer = finished_layer(tmp_path)
    exporter = FolderExporter("share", target)
    exporter.deliver(layer)
    exporter.withdraw(layer)
    assert not (target / "latest.json").exists()
    assert not (target / "layers" / "collection.json").exists()


def test_withdrawing_what_never_came_is_no_error(tmp_path: Path, target: Path) -> None:
    FolderExporter("share", target).withdraw(finished_layer(tmp_path))
    assert list(target.iterdir()) == []


def test_a_new_revision_takes_the_place_of_the_old_one(tmp_path: Path, target: Path) -> None:
    exporter = FolderExporter("share", target)
    for revision in (1, 2):
        exporter.deliver(finished_layer(tmp_path, DAYS[0], revision))
    assert listed(target) == ["demo-2026-03-01-l0-r2"]
    exporter.withdraw(make_layer(tmp_path / "layers" / "2026-03-01-l0" / f"{2:016d}", revision=2))
    assert not (target / "latest.json").exists()  # withdrawing the day does not bring revision 1 back


def test_a_file_cut_short_at_the_target_is_copied_again(tmp_path: Path, target: Path) -> None:
    layer = finished_layer(tmp_path)
    exporter = FolderExporter("share", target)
    exporter.deliver(layer)
    there = target / layer.folder.relative_to(tmp_path)
    (there / "class.tif").write_bytes(b"short")
    (there / "areas.gpkg").unlink()
    exporter.deliver(layer)
    for name in ("class.tif", "areas.gpkg"):
        assert (there / name).read_bytes() == (layer.folder / name).read_bytes()


def test_a_folder_that_is_away_is_not_made_and_may_come_back(tmp_path: Path) -> None:
    layer = finished_layer(tmp_path)
    target = tmp_path / "mount"
    exporter = FolderExporter("share", target)
    for act in (exporter.deliver, exporter.withdraw):
        with pytest.raises(ExportUnavailable, match=r"share: .*mount does not exist; mount it"):
            act(layer)
    assert not target.exists()
    target.mkdir()
    exporter.deliver(layer)
    assert (target / "latest.json").exists()


def test_a_target_that_is_a_file_is_refused_for_good(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("")
    with pytest.raises(ExportRefused, match="is not a folder"):
        FolderExporter("share", target).deliver(finished_layer(tmp_path))


def test_a_layer_whose_files_are_gone_is_refused_for_good(tmp_path: Path, target: Path) -> None:
    with pytest.raises(ExportRefused, match=r"has no item\.json"):
        FolderExporter("share", target).deliver(make_layer(tmp_path / "layers" / "x" / "y"))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ExportUnavailable),
        (errno.EACCES, ExportUnavailable),
        (errno.ESTALE, ExportUnavailable),
        (errno.ENAMETOOLONG, ExportRefused),
    ],
)
def test_a_copy_that_fails_half_way_leaves_the_last_good_layer_on_display(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    first, second = finished_layer(tmp_path, DAYS[0]), finished_layer(tmp_path, DAYS[1])
    exporter = FolderExporter("share", target)
    exporter.deliver(first)
    before = contents(target)
    copied: list[object] = []
    whole = shutil.copyfile

    def fail_on_third(source: Path, destination: Path) -> object:
        if len(copied) == 2:
            raise OSError(number, "the words of the system")
        copied.append(source)
        return whole(source, destination)

    monkeypatch.setattr(shutil, "copyfile", fail_on_third)
    with pytest.raises(kind, match=f"cannot deliver {second.id} to .*: the words of the system"):
        exporter.deliver(second)
    assert contents(target) == before
    monkeypatch.setattr(shutil, "copyfile", whole)
    exporter.deliver(second)
    assert read_json(target / "latest.json")["layer"] == second.id


def test_a_broken_item_at_the_target_is_named(tmp_path: Path, target: Path) -> None:
    first, second = finished_layer(tmp_path, DAYS[0]), finished_layer(tmp_path, DAYS[1])
    exporter = FolderExporter("share", target)
    exporter.deliver(first)
    (target / first.folder.relative_to(tmp_path) / "item.json").write_text("<html>", "utf-8")
    with pytest.raises(ExportRefused, match=r"item\.json is not a layer's item"):
        exporter.deliver(second)


def test_the_port_is_what_the_exporter_fills(target: Path) -> None:
    exporter = FolderExporter("share", target)
    assert isinstance(exporter, Exporter)
    assert exporter.name == "share"
