"""A scene as a folder of rasters, one for each band, told apart by their names.

    B02.tif  B03.tif ... B8A.tif ...   or  T32TQP_20230523T101601_B02_10m.jp2 and the like
    SCL.tif  DEM.tif  slope.tif        optional: classification, elevation in metres, slope in degrees
    scene.json                         optional: id, sensed_on, after, scale, offset, synthetic

Whole numbers need a scale, from GDAL's tags in the files or from scene.json: value = stored * scale + offset.
Files of floating-point numbers are taken as reflectance where neither says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import rasterio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.detection.bands import BY_NAME, TERRAIN
from service.detection.scene import Scene, Source, driver_of, grid_of
from service.errors import InputError

SCENE_FILE = "scene.json"
_RASTER = re.compile(r"(?:^|_)(B\d\d|B8A|SCL|DEM|elevation|slope)(?:_\d\dm)?\.(?:tiff?|jp2)$", re.IGNORECASE)
_MOMENT = re.compile(r"(?:^|_)(\d{8}T\d{6})(?=_)")  # UTC
_NAMES = {"dem": "elevation", "elevation": "elevation", "slope": "slope"}


class SceneFile(BaseModel):
    """scene.json: what the rasters do not say themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    sensed_on: date | None = None
    after: date | None = None  # landslides found happened after this day
    scale: Annotated[float | None, Field(gt=0)] = None  # of every band; terrain and classes have none
    offset: float = 0.0  # in reflectance
    synthetic: bool = False  # made up: never to be taken for more


@dataclass(frozen=True)
class _Raster:
    """What a file says of itself."""

    path: Path
    whole: bool  # holds whole numbers
    scale: float
    offset: float
    said: bool  # whether the file has a scale or an offset of its own
    resolution: float


def open_folder(path: Path, *, day: date | None, after: date | None, zone: ZoneInfo | None) -> Scene:
    """Return a folder of rasters as a scene. Raises InputError where it cannot be used."""
    said = _read_scene_file(path / SCENE_FILE)
    rasters = _rasters(path)
    spectral = [name for name in rasters if name in BY_NAME and name not in TERRAIN]
    if not spectral:
        raise InputError(f"{path} holds no band; names such as B02.tif or *_B02_10m.jp2 are expected")
    if day is not None and said.sensed_on is not None and day != said.sensed_on:
        raise InputError(f"{path / SCENE_FILE} says {said.sensed_on}, and --date {day}; which is it?")
    finest = min(spectral, key=lambda name: (rasters[name].resolution, name))
    crs, transform, shape = grid_of(rasters[finest].path, str(path))
    sensed_on = day or said.sensed_on or _day_in_names(path, rasters, zone)
    bands = {name: _source(rasters[name], said) for name in spectral}
    if "slope" in rasters:
        bands["slope"] = _terrain(rasters["slope"])
    return Scene(
        id=said.id or f"{path.name}-{sensed_on}",
        path=path,
        product="band rasters",
        sensed_on=sensed_on,
        after=after or said.after,
        crs=crs,
        transform=transform,
        shape=shape,
        bands=bands,
        classes=Source(str(rasters["SCL"].path)) if "SCL" in rasters else None,
        dem=_terrain(rasters["elevation"]) if "elevation" in rasters else None,
        synthetic=said.synthetic,
        files=(path / SCENE_FILE,) if (path / SCENE_FILE).exists() else (),
    )


def _read_scene_file(path: Path) -> SceneFile:
    try:
        return SceneFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return SceneFile()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc'])) or '(file)'}: {item['msg']}" for item in error.errors()]
        raise InputError(f"{path} cannot be used:\n" + "\n".join(lines)) from error


def _rasters(path: Path) -> dict[str, _Raster]:
    """Return the rasters by band; of several of one band the finest."""
    found: dict[str, _Raster] = {}
    for file in sorted(path.iterdir()):
        match = _RASTER.search(file.name)
        if match is None or not file.is_file():
            continue
        name = _NAMES.get(match[1].lower(), match[1].upper())
        raster = _looked_at(file)
        if name not in found or raster.resolution < found[name].resolution:
            found[name] = raster
        elif raster.resolution == found[name].resolution:
            raise InputError(f"{path} holds {name} twice: {found[name].path.name} and {file.name}; keep one")
    return found


def _looked_at(file: Path) -> _Raster:
    try:
        with rasterio.open(file, driver=driver_of(file)) as dataset:
            scale, offset = dataset.scales[0], dataset.offsets[0]
            whole = not dataset.dtypes[0].startswith("float")
            said = scale != 1 or offset != 0
            return _Raster(file, whole, scale, offset, said, abs(dataset.transform.a))
    except rasterio.errors.RasterioError as error:
        raise InputError(f"{file} cannot be read: {error}; copy or fetch it again") from error


def _source(raster: _Raster, said: SceneFile) -> Source:
    if said.scale is not None:
        if raster.said and (raster.scale, raster.offset) != (said.scale, said.offset):
            raise InputError(
                f"{raster.path} says scale {raster.scale:g} and offset {raster.offset:g}, {SCENE_FILE} "
                f"{said.scale:g} and {said.offset:g}; take one of them out"
            )
        scale, offset = said.scale, said.offset
    elif raster.said:
        scale, offset = raster.scale, raster.offset
    elif raster.whole:
        raise InputError(
            f"{raster.path} holds whole numbers and nothing says what they mean. Put {SCENE_FILE} beside it, "
            'such as {"scale": 0.0001, "offset": -0.1} for Sentinel-2 since January 2022, or "offset": 0 '
            "where the offset is already taken off"
        )
    else:
        scale, offset = 1.0, said.offset
    # No data is 0 in Sentinel-2's whole numbers, whether or not the file says so.
    unknown = (0.0, 65535.0) if raster.whole else ()
    return Source(str(raster.path), 1, scale, offset / scale, unknown)


def _terrain(raster: _Raster) -> Source:
    """Return degrees or metres, by the scale that the file itself says; scene.json's is the bands'."""
    scale = raster.scale or 1.0
    return Source(str(raster.path), 1, scale, raster.offset / scale)


def _day_in_names(path: Path, rasters: dict[str, _Raster], zone: ZoneInfo | None) -> date:
    """Return the day that all names state, as Sentinel-2's do in UTC: ..._20230523T101601_..."""
    moments = {match[1] for raster in rasters.values() if (match := _MOMENT.search(raster.path.name))}
    try:
        days = {
            datetime.strptime(moment, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).astimezone(zone or UTC).date()
            for moment in moments
        }
    except ValueError:
        days = set()
    if len(days) == 1:
        return days.pop()
    raise InputError(
        f"{path} does not say on which day it was sensed: either give --date, or put {SCENE_FILE} beside the "
        'bands: {"sensed_on": "2023-05-23"}'
    )
