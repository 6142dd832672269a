"""Settings: one file, the environment above it, and errors that name file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import load_settings, parse_settings

MINIMAL = """
[region]
id = "valley"
name = "Valley"
data_dir = "data"
[grid]
crs = "EPSG:32632"
dem = "../dem.tif"
[bundle]
path = "bundle"
"""
FEED = '[[feeds]]\nname = "gauges"\nvariable = "rain"\npath = "rain/*.csv"\nunit = "mm"\n'


def parse(text: str) -> object:
    return parse_settings(text, base=Path("/etc/colluvium"), origin="region.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = tmp_path / "conf" / "region.toml"
    config.parent.mkdir()
    config.write_text(MINIMAL + FEED)

    settings = load_settings(config)

    assert settings.data_dir == tmp_path / "conf" / "data"
    assert settings.grid.dem == tmp_path / "dem.tif"
    assert settings.feeds[0].path == str(tmp_path / "conf" / "rain" / "*.csv")
    assert settings.stack_path == tmp_path / "conf" / "data" / "factors.tif"


def test_the_environment_stands_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLUVIUM_HTTP__PORT", "9001")

    settings = parse_settings(
        MINIMAL + '[http]\nhost = "0.0.0.0"\nport = 80\n', base=Path("/x"), origin="region.toml"
    )

    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 9001)


def test_a_secret_file_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "colluvium_http").write_text('{"port": 9002}')
    monkeypatch.setenv("COLLUVIUM_SECRETS_DIR", str(tmp_path))

    assert parse_settings(MINIMAL, base=Path("/x"), origin="region.toml").http.port == 9002


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "[grid2]\n", ["grid2", "unknown key"]),
        (MINIMAL.replace('id = "valley"', 'id = "Val ley"'), ["region.id"]),
        (MINIMAL.replace('name = "Valley"', ""), ["region.name", "missing"]),
        (MINIMAL.replace('id = "valley"', 'id = "valley"\ntimezone = "Rome"'), ["region.timezone", "Rome"]),
        (MINIMAL + FEED.replace('"mm"', '"furlong"'), ["feeds.0.unit", "furlong"]),
        (MINIMAL + FEED + FEED, ["gauges", "twice"]),
        (MINIMAL + "[classes]\nbreaks = [0.2, 0.5, 0.801]\n", ["classes", "0.801", "0.8"]),
        (MINIMAL + "[classes]\nbreaks = [0.6, 0.4, 0.8]\n", ["classes", "rise"]),
        (MINIMAL + "[factors]\nreservoir = true\n", ["reservoirs"]),
        (MINIMAL.replace('dem = "../dem.tif"', ""), ["extent", "dem"]),
        ("[region\n", ["not valid TOML"]),
    ],
)
def test_a_wrong_key_is_named_with_the_file(text: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    for word in ["region.toml", *words]:
        assert word in str(caught.value)


def test_every_shipped_example_can_be_read() -> None:
    examples = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))
    assert examples
    for path in examples:
        load_settings(path)
