"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

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
