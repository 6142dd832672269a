"""Copies finished layers into another folder: a share, or a web server's root.

    <folder>/layers/<day>-l<lead>/<digest>/    as in the region's data folder
    <folder>/layers/collection.json            rebuilt from the items that lie there
    <folder>/forecasts.json                    the current forecasts there, if there are any
    <folder>/latest.json                       the newest nowcast there; renamed last

The folder must exist: making it would fill the local disk where a share is not mounted.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from exporters.base import ExportRefused, ExportUnavailable
from exporters.forecasts import current_forecasts, issue_day
from exporters.layer import Layer, LayerStatus
from exporters.stac import COLLECTION, ITEM, Entry, collection_text, current, entries_on_disk, layer_item_text

LATEST = "latest.json"
FORECASTS = "forecasts.json"

# What waiting does not mend: names that are too long or that something else already has.
_FOR_GOOD = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EFBIG}


class FolderExporter:
    """Delivers layers to a folder."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path

    @property
    def name(self) -> str:
        """What the settings call this exporter."""
        return self._name

    def deliver(self, layer: Layer) -> None:
        """Copy a layer's folder beside its place and rename it, then renew the collection and `latest`.

        What is there already stays as it is; a file that is missing or of another size is copied again.
        Raises ExportUnavailable where the folder is away, full or closed to us, ExportRefused where the
        target is no folder or the layer's own files are gone.
        """
        with self._failures(f"deliver {layer.id} to"):
            self._check_target()
            if not (layer.folder / ITEM).is_file():
                raise ExportRefused(f"{self._name}: {layer.folder} has no {ITEM}; make {layer.id} again")
            place = self._place(layer)
            if place.is_dir():
                self._mend(layer.folder, place)
            else:
                self._copy(layer.folder, place)
            self._renew()

    def withdraw(self, layer: Layer) -> None:
        """Mark a delivered layer as withdrawn, and take it out of `latest` and the collection.

        A layer that never came here needs nothing. Raises as `deliver` does.
        """
        with self._failures(f"withdraw {layer.id} from"):
            self._check_target()
            place = self._place(layer)
            if not place.is_dir():
                return
            withdrawn = layer.model_copy(update={"status": LayerStatus.WITHDRAWN})
            _write_text(place / ITEM, layer_item_text(withdrawn))
            self._renew()

    @property
    def _layers(self) -> Path:
        return self._path / "layers"

    def _place(self, layer: Layer) -> Path:
        return self._layers / layer.folder.parent.name / layer.folder.name

    def _check_target(self) -> None:
        if not self._path.exists():
            raise ExportUnavailable(
                f"{self._name}: {self._path} does not exist; mount it, or make it if it is meant to be local"
            )
        if not self._path.is_dir():
            raise ExportRefused(f"{self._name}: {self._path} is not a folder; name one in [[exporters]]")

    def _copy(self, source: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{uuid4().hex[:12]}.part")
        try:
            for name in _files(source):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, temporary / name)
                _sync(temporary / name)
            temporary.rename(place)
            _sync(place.parent)
        finally:
            if temporary.exists():
                shutil.rmtree(temporary, ignore_errors=True)

    def _mend(self, source: Path, place: Path) -> None:
        """Bring a folder that is already there in line; item.json comes last."""
        for name in sorted(_files(source), key=lambda name: name == Path(ITEM)):
            ours, theirs = source / name, place / name
            if name == Path(ITEM):
                _write_text(theirs, ours.read_text("utf-8"))
            elif not theirs.is_file() or theirs.stat().st_size != ours.stat().st_size:
                theirs.parent.mkdir(parents=True, exist_ok=True)
                with _replacing(theirs) as temporary:
                    shutil.copyfile(ours, temporary)

    def _renew(self) -> None:
        """Rebuild the collection and `latest` from the items that lie here; `latest` moves last.

        When the last layer was withdrawn both go.
        """
        try:
            entries = current(entries_on_disk(self._layers))
        except ValueError as error:
            raise ExportRefused(f"{self._name}: {error}") from error
        nowcasts = [entry for entry in entries if entry.lead == 0]
        if entries:
            _write_text(self._layers / COLLECTION, collection_text(entries))
        else:
            (self._layers / COLLECTION).unlink(missing_ok=True)
        forecasts = forecasts_text(entries)
        if forecasts is not None:
            _write_text(self._path / FORECASTS, forecasts)
        else:
            (self._path / FORECASTS).unlink(missing_ok=True)
        if nowcasts:
            _write_text(self._path / LATEST, latest_text(nowcasts[-1]))
        else:
            (self._path / LATEST).unlink(missing_ok=True)

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self._name}: cannot {what} {self._path}: {error.strerror or error}"
            if error.errno in _FOR_GOOD:
                raise ExportRefused(message) from error
            raise ExportUnavailable(message) from error


def latest_text(entry: Entry) -> str:
    """Return latest.json for a layer whose folder lies below `layers/`."""
    return _document(_shown(entry))


def forecasts_text(entries: Sequence[Entry]) -> str | None:
    """Return forecasts.json for what stands of `entries`; None where no forecast is current.

    What is newest here stands for the present: a folder has no clock, and `valid_to` says the rest.
    """
    nowcasts = [entry.day for entry in entries if entry.lead == 0]
    newest = max((entry.issued_at for entry in entries), default=None)
    if newest is None:
        return None
    found = current_forecasts(entries, max(nowcasts, default=None), newest)
    listed = [
        _shown(entry)
        | {
            "lead": entry.lead,
            "issue_day": issue_day(entry).isoformat(),
            "unconfirmed": entry.unconfirmed,
            "valid_to": entry.valid_to.isoformat(),
        }
        for entry in found
    ]
    return _document({"forecasts": listed}) if listed else None


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "layer": entry.id,
        "day": entry.day.isoformat(),
        "status": entry.status.value,
        "data_until": entry.data_until.isoformat(),
        "issued_at": entry.issued_at.isoformat(),
        "path": f"layers/{entry.path}",
    }


def _document(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _write_text(path: Path, text: str) -> None:
    """Write a text so that a reader sees the old file or the new one; an equal one is left alone."""
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{uuid4().hex[:12]}.part{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
