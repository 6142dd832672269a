"""Files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.files import remove_leftovers, replacing, replacing_folder, write_json


def test_a_file_keeps_its_old_content_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    write_json(path, {"a": 1})

    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError

    assert '"a": 1' in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_only_when_it_is_finished(tmp_path: Path) -> None:
    target = tmp_path / "layer"
    with pytest.raises(RuntimeError), replacing_folder(target) as temporary:
        (temporary / "a").write_text("half")
        assert not target.exists()
        raise RuntimeError
    assert not list(tmp_path.iterdir())

    with replacing_folder(target) as temporary:
        (temporary / "a").write_text("whole")
    assert (target / "a").read_text() == "whole"


def test_a_finished_folder_is_never_rewritten(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "layer") as temporary:
        (temporary / "a").write_text("first")

    with pytest.raises(OSError), replacing_folder(tmp_path / "layer") as temporary:
        (temporary / "a").write_text("second")

    assert (tmp_path / "layer" / "a").read_text() == "first"


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".0123456789ab.part").mkdir()
    (tmp_path / ".0123456789ab.part" / "x").write_text("half")
    (tmp_path / ".abc.part.tif").write_text("half")
    (tmp_path / "part.tif").write_text("whole")

    assert remove_leftovers(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["part.tif"]


def test_a_sweep_does_not_fail_for_what_another_program_removes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = tmp_path / "challenger" / "0123" / "layers", tmp_path / "surfaces" / "rain_24h"
    for folder in (theirs, ours):
        folder.mkdir(parents=True)
    (tmp_path / ".abc.part.tif").write_text("half")
    (theirs / ".abc.part").write_text("in work")
    looked_into: list[Path] = []
    list_folder = os.scandir

    def vanishing(place: Any = ".") -> Iterator[os.DirEntry[str]]:
        looked_into.append(Path(place))
        if Path(place) in (theirs, ours):
            raise FileNotFoundError(2, "no such folder", str(place))
        return list_folder(place)

    monkeypatch.setattr(os, "scandir", vanishing)

    assert remove_leftovers(tmp_path) == 1
    assert ours in looked_into
    assert theirs not in looked_into
    monkeypatch.undo()
    assert (theirs / ".abc.part").exists()


def test_a_sweep_removes_a_half_made_link_and_nothing_that_links_lead_to(tmp_path: Path) -> None:
    real, own = tmp_path / "rasters", tmp_path / "own"
    for folder in (real, own):
        folder.mkdir()
    (real / ".abc.part.tif").write_text("another program writes this")
    (own / "rasters").symlink_to("../rasters")
    (own / ".0123456789ab.part").symlink_to("../rasters")

    assert remove_leftovers(own) == 1
    assert [path.name for path in own.iterdir()] == ["rasters"]
    assert (real / ".abc.part.tif").exists()
