"""What the page is made of: pinned libraries, checked types, every text in its file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from service.api.web import FOLDER
from tests.browser.conftest import NO_LIBRARIES, missing

SOURCES = FOLDER.parent.parent / "web"
SCRIPTS = sorted((FOLDER / "js").glob("*.js"))
# Texts whose key is put together: "status." + what the server said.
_BUILT = re.compile(r"t(?:old|ext)?\(\s*[`\"]([a-z_.]+)\.\$\{|told\(\"(\w+)\"|nameOf\(\"(\w+)\"")
_KEY = re.compile(r"[\"`']([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)[\"`']")


def texts() -> set[str]:
    return set(json.loads((FOLDER / "texts" / "en.json").read_text("utf-8")))


def test_libraries_are_pinned_and_the_lock_names_no_address() -> None:
    package = json.loads((SOURCES / "package.json").read_text("utf-8"))
    text = (SOURCES / "package-lock.json").read_text("utf-8")
    lock = json.loads(text)["packages"]

    assert "resolved" not in text
    assert "http" not in text
    for name, version in (package["dependencies"] | package["devDependencies"]).items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert lock[f"node_modules/{name}"]["version"] == version
    assert all(entry.get("integrity", "").startswith("sha512-") for path, entry in lock.items() if path)


def test_each_text_that_a_script_names_is_in_the_file_and_none_is_left_over() -> None:
    known = texts()
    code = "\n".join(path.read_text("utf-8") for path in SCRIPTS)
    server = (FOLDER.parent / "api" / "web.py").read_text("utf-8")
    first_parts = {key.split(".")[0] for key in known}
    named = {key for key in _KEY.findall(code + server) if key.split(".")[0] in first_parts}
    files = {
        key
        for key in named
        if key.endswith((".json", ".js", ".css", ".tif", ".gpkg", ".csv", ".xml", ".qgz"))
    }

    built = {f"{next(part for part in found if part)}." for found in _BUILT.findall(code)}
    asked = {key for key in known if key.startswith((*built, "page."))}
    assert named - files - known == set()
    assert known - named - asked == set()


def test_scripts_write_no_html_and_name_no_address_outside() -> None:
    for path in SCRIPTS:
        code = path.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code
        ), path
        outside = set(re.findall(r"https?://[\w.]+", code)) - {"http://www.w3.org"}
        assert outside <= {"https://tile.openstreetmap.org", "https://www.openstreetmap.org"}, path


def test_scripts_pass_the_type_checker() -> None:
    checker = SOURCES / "node_modules" / "typescript" / "bin" / "tsc"
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if node is None or not checker.is_file():
        missing(NO_LIBRARIES)

    done = subprocess.run(
        [str(node), str(checker), "--project", "tsconfig.json"],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout
