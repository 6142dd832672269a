"""Which settings, zones, mask, bundle and factor stack were in force when: what `--as-of` needs.

Small inputs are copied into <data_dir>/history/, the factor stack is hard-linked: our own commands replace
files by renaming, so the link keeps the old bytes at no cost.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from service.bundle import Bundle
from service.errors import InputError
from service.files import replacing, replacing_folder, sha256_file
from service.ledger import Ledger
from service.settings import Settings, parse_settings


@dataclass(frozen=True)
class Recalled:
    """Settings that point at the inputs as they were, and what could not be known."""

    settings: Settings
    notes: tuple[str, ...]


def remember(
    ledger: Ledger, settings: Settings, settings_path: Path, stack_digest: str, bundle: Bundle
) -> None:
    """Keep what is in force now, if it is not kept already. `bundle` is the one in use."""
    folder = settings.data_dir / "history"
    files = {
        "settings": settings_path,
        "zones": settings.zones.path if settings.zones else None,
        "mask": settings.mask.path if settings.mask else None,
        "reservoirs": settings.reservoirs.path if settings.reservoirs else None,
        # Copied, not linked: it is the user's own file, and may be written over in place.
        "dem": settings.grid.dem if settings.grid.extent is None else None,
    }
    for kind, path in files.items():
        if path is not None:
            digest = sha256_file(path)
            kept = folder / f"{kind}-{digest[:16]}{path.suffix}"
            if not kept.exists():
                with replacing(kept) as temporary:
                    shutil.copyfile(path, temporary)
            ledger.inputs.remember(kind, digest, kept)
    kept = folder / f"bundle-{bundle.digest[:16]}"
    if not kept.exists():
        with replacing_folder(kept) as temporary:
            shutil.copytree(bundle.folder, temporary, dirs_exist_ok=True)
    ledger.inputs.remember("bundle", bundle.digest, kept)
    kept = folder / f"stack-{stack_digest[:16]}.tif"
    if not kept.exists():
        _link(settings.stack_path, kept)
    ledger.inputs.remember("stack", stack_digest, kept)


def recall(ledger: Ledger, settings: Settings, settings_path: Path, moment: datetime) -> Recalled:
    """Return the settings that were in force at a moment, pointing at the inputs of that moment.

    Before the first record, the first one is used, and a note says so.
    Raises InputError where a kept input is gone.
    """
    notes = []
    found = ledger.inputs.at("settings", moment)
    if found is not None:
        _, path, recorded = found
        text = _existing(path, "settings").read_text("utf-8")
        then = parse_settings(text, base=settings_path.resolve().parent, origin=str(path))
        # Readings, ledger and state lie where they lie now, even if the data folder has moved since.
        region = then.region.model_copy(update={"data_dir": settings.data_dir})
        settings = then.model_copy(update={"region": region})
        if not recorded:
            notes.append(f"nothing was recorded by {moment.isoformat()}: the oldest known inputs were used")
    bundle = ledger.inputs.at("bundle", moment)
    if bundle is not None:
        section = settings.bundle.model_copy(update={"path": _existing(bundle[1], "bundle")})
        settings = settings.model_copy(update={"bundle": section})
    stack = ledger.inputs.at("stack", moment)
    if stack is not None:
        factors = settings.factors.model_copy(update={"stack": _existing(stack[1], "factor stack")})
        settings = settings.model_copy(update={"factors": factors})
    dem = ledger.inputs.at("dem", moment)
    if dem is not None and settings.grid.dem is not None and settings.grid.extent is None:
        grid = settings.grid.model_copy(update={"dem": _existing(dem[1], "DEM")})
        settings = settings.model_copy(update={"grid": grid})
    for kind in ("zones", "mask", "reservoirs"):
        section_now = getattr(settings, kind)
        kept = ledger.inputs.at(kind, moment)
        if section_now is not None and kept is not None:
            section_then = section_now.model_copy(update={"path": _existing(kept[1], kind)})
            settings = settings.model_copy(update={kind: section_then})
    return Recalled(settings, tuple(notes))


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise InputError(
            f"the {what} of that time was kept as {path}, which is gone; restore it from a backup"
        )
    return path


def _link(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except OSError:  # another file system: a copy does the same, for space
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
