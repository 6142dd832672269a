"""What messages say, in the languages that the settings name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from service.errors import SettingsError
from service.settings_warnings import CapSettings

_OWN = "en"  # complete by definition: what its texts are named, and what they may be filled with


@dataclass(frozen=True)
class Texts:
    """The texts of one language."""

    language: str
    texts: dict[str, str]

    def say(self, key: str, **values: str) -> str:
        """Return a text with its places filled."""
        return Template(self.texts[key]).substitute(values)

    def number(self, value: float, digits: int = 1, *, signed: bool = False) -> str:
        """Return a number as this language writes it."""
        text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
        return text.replace(".", self.texts["decimal"])


def read_texts(cap: CapSettings) -> tuple[Texts, ...]:
    """Return the texts of each language, in the order of the settings.

    Raises SettingsError for a language without texts, a text that lacks, or one that asks for what is not
    there: half a message in another language would be worse than none in it.
    """
    shipped = _shipped()
    given = _given(cap.texts) if cap.texts is not None else {}
    found = []
    for language in cap.languages:
        texts = given.get(language) or shipped.get(language) or shipped.get(language.split("-")[0])
        if texts is None:
            raise SettingsError(
                f"cap.languages: there are no texts in {language!r}, only in {', '.join(sorted(shipped))}; "
                "name a file with them in cap.texts"
            )
        _check(language, texts, cap.texts)
        found.append(Texts(language, texts))
    return tuple(found)


@cache
def _shipped() -> dict[str, dict[str, str]]:
    return dict(json.loads(files("exporters").joinpath("cap_texts.json").read_text("utf-8")))


def _given(path: Path) -> dict[str, dict[str, str]]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the texts in {path} (cap.texts): {error}") from error
    told = isinstance(read, dict) and all(
        isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())
        for texts in read.values()
    )
    if not told:
        raise SettingsError(f'{path} (cap.texts) must hold {{"language": {{"key": "text"}}}}')
    return dict(read)


def _check(language: str, texts: dict[str, str], path: Path | None) -> None:
    where = f"the texts in {language!r}" + (f" of {path} (cap.texts)" if path else "")
    own = _shipped()[_OWN]
    if lacking := sorted(set(own) - set(texts)):
        raise SettingsError(f"{where} lack {', '.join(lacking)}; exporters/cap_texts.json has them all")
    for key, text in own.items():
        template = Template(texts[key])
        allowed = set(Template(text).get_identifiers())
        if not template.is_valid() or (unknown := set(template.get_identifiers()) - allowed):
            told = ", ".join(f"${name}" for name in sorted(unknown)) if template.is_valid() else "a lone $"
            raise SettingsError(f"{where}: {key} holds {told}, and may hold {sorted(allowed) or 'no place'}")
