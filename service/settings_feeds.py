"""The feeds of a region: any kind, from a preset or not, and how all of them are read together."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from service.settings_base import Positive, Section, resolve
from service.settings_csv import CsvFeed
from service.settings_json import JsonFeed
from service.settings_raster import RasterFeed

PRESETS = Path(__file__).parent / "feeds" / "presets"


class IngestSettings(Section):
    """How feeds are read together."""

    deadline_minutes: Positive = 10.0  # a feed that is not done by then has failed; the others count
    parallel: Annotated[int, Field(ge=1, le=64)] = 8  # feeds fetched at a time


def _kind(value: Any) -> str:
    kind = value.get("kind", "csv") if isinstance(value, dict) else getattr(value, "kind", "csv")
    return str(kind)


FeedSettings = Annotated[
    Annotated[CsvFeed, Tag("csv")] | Annotated[JsonFeed, Tag("json")] | Annotated[RasterFeed, Tag("raster")],
    Discriminator(_kind),
]


def preset_names() -> list[str]:
    """Name the presets that come with the service."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def with_preset(section: Any) -> Any:
    """Complete a `[[feeds]]` section from the preset that it names; what the section says itself counts.

    A preset is one of those that come with the service, by name, or a TOML file of one's own, by path.
    Raises ValueError where there is no such preset.
    """
    if not isinstance(section, dict) or not isinstance(section.get("preset"), str):
        return section
    name = section["preset"]
    own = "/" in name or name.endswith(".toml")
    path = resolve(Path(name)) if own else PRESETS / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(
            f"there is no preset {name!r}; either name one of {', '.join(preset_names())} or give the path "
            "of a TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the preset {path} is not valid TOML: {error}") from error
    return _merged(values, section)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
