"""Toy detectors and scenes: graphs of a few nodes, rasters of a few cells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from onnx import TensorProto, helper, numpy_helper

from service.detection.bands import BY_NAME, Radiometry
from service.detection.manifest import MANIFEST, MODEL, BandStatistics, DetectorManifest

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
CRS, LEFT, TOP = "EPSG:32632", 700_000.0, 4_900_000.0

Values = npt.NDArray[Any]


def bright_graph(channels: int, patch: int, *, position: bool = False, nodes: Sequence[Any] = ()) -> bytes:
    """A graph: the first plane times 4, held between 0 and 1, 0 where it is unknown.

    With `position`, a pattern of the place within the patch is added first: what it gives to a cell depends
    on which patch the cell lies in, as at the borders of a network with padding.
    """
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(4, np.float32), "four"),
        numpy_helper.from_array(np.array(0, np.float32), "low"),
        numpy_helper.from_array(np.array(1, np.float32), "high"),
        numpy_helper.from_array(
            pattern(patch) if position else np.zeros((patch, patch), np.float32), "pattern"
        ),
    ]
    plain = [
        helper.make_node("Gather", ["patches", "first"], ["plane"], axis=1),
        helper.make_node("IsNaN", ["plane"], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", "plane"], ["known"]),
        helper.make_node("Mul", ["known", "four"], ["bright"]),
        helper.make_node("Add", ["bright", "pattern"], ["placed"]),
        helper.make_node("Clip", ["placed", "low", "high"], ["probability"]),
    ]
    shape: list[Any] = ["n", channels, patch, patch]
    graph = helper.make_graph(
        list(nodes) or plain,
        "toy",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1, patch, patch])],
        constants,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def pattern(patch: int) -> npt.NDArray[np.float32]:
    """What `bright_graph` adds: nothing in the middle of a patch, 0.4 and -0.4 at its edges."""
    line = np.linspace(-1, 1, patch, dtype=np.float32)
    return np.asarray(0.4 * (line[:, None] ** 3 + line[None, :] ** 5) / 2, np.float32)


def make_detector(
    folder: Path,
    *,
    bands: Sequence[str] = ("B04", "B08"),
    patch: int = 32,
    graph: bytes | None = None,
    radiometry: Radiometry = "reflectance",
    **said: Any,
) -> Path:
    """Write a toy detector whose probability is four times the first band."""
    folder.mkdir(parents=True, exist_ok=True)
    content = bright_graph(len(bands), patch) if graph is None else graph
    (folder / MODEL).write_bytes(content)
    manifest = DetectorManifest(
        **{
            "name": "toy",
            "version": "1",
            "created": NOW,
            "architecture": "four times the first band",
            "radiometry": radiometry,
            "bands": tuple(BandStatistics(name=name, mean=_mean(name), std=0.02) for name in bands),
            "patch": patch,
            "threshold": 0.6,
            "threshold_chosen_on": "nothing",
            "trained_on": "nothing",
            "pretrained": "from scratch",
            "data_digest": "0" * 64,
            "files": {MODEL: sha256(content).hexdigest()},
            **said,
        }
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2), "utf-8")
    return folder


def _mean(name: str) -> float:
    return {"reflectance": 0.08, "degrees": 12.0, "m": 300.0}[BY_NAME[name].unit]


def write_raster(
    path: Path,
    values: Values,
    *,
    size: float = 10.0,
    left: float = LEFT,
    top: float = TOP,
    crs: str | None = CRS,
    scale: float | None = None,
    offset: float | None = None,
    **profile: Any,
) -> Path:
    """Write one band; a JPEG 2000 by its suffix, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {"driver": "GTiff"}
    if path.suffix == ".jp2":
        given = {"driver": "JP2OpenJPEG", "quality": 100, "reversible": "YES"}
    with rasterio.open(
        path, "w", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype, crs=crs,
        transform=Affine(size, 0, left, 0, -size, top), **{**given, **profile},
    ) as out:  # fmt: skip
        out.write(values, 1)
        if scale is not None:
            out.scales = (scale,)
        if offset is not None:
            out.offsets = (offset,)
    return path


def write_scene(
    folder: Path,
    bands: Mapping[str, Values],
    *,
    classes: Values | None = None,
    said: Mapping[str, Any] | None = None,
) -> Path:
    """Write a folder of float bands with a clear classification, unless another is given."""
    for name, values in bands.items():
        write_raster(folder / f"{name}.tif", values.astype(np.float32))
    shape = next(iter(bands.values())).shape
    scl = np.full(shape, 4, np.uint8) if classes is None else classes
    write_raster(folder / "SCL.tif", scl)
    record = {"id": "toy-scene", "sensed_on": "2026-03-04", **(said or {})}
    (folder / "scene.json").write_text(json.dumps(record), "utf-8")
    return folder


def scarred(shape: tuple[int, int] = (96, 112)) -> dict[str, Values]:
    """Return dim ground with two bright scars: 12 x 9 cells from (20, 30), 4 x 20 from (70, 60)."""
    ground = np.full(shape, 0.05, np.float32)
    ground[20:32, 30:39] = 0.2
    ground[70:74, 60:80] = 0.225
    return {"B04": ground, "B08": np.full(shape, 0.3, np.float32), "B03": ground, "B02": ground}


_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_METRES = {"B01": 60, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20}


def write_safe(
    root: Path,
    level: str = "2A",
    *,
    cells: int = 36,
    stored: Callable[[str, int], Values] | None = None,
    baseline: str = "05.09",
    offset: int | None = -1000,
    moment: str = "2023-05-23T10:16:01.024Z",
    classes: Values | None = None,
    xml: Callable[[str], str] = lambda text: text,
) -> Path:
    """Write a SAFE folder of lossless JPEG 2000 bands; `stored`(band, cells) fills one of `cells` of 10 m.

    Of Level 2A, bands lie in R10m, R20m and R60m, each also in what is coarser, and there is no B10.
    """
    name = f"S2A_MSIL{level}_20230523T101601_N{baseline.replace('.', '')}_R065_T32TPP_20230523T135000"
    path = root / f"{name}.SAFE"
    images = path / "GRANULE" / f"L{level}_T32TPP_A041346_20230523T101605" / "IMG_DATA"
    fill = stored or (lambda _band, count: np.full((count, count), 2000, np.uint16))
    for band in _BANDS:
        if level == "1C":
            metres = _METRES.get(band, 10)
            write_raster(
                images / f"T32TPP_20230523T101601_{band}.jp2", fill(band, cells * 10 // metres), size=metres
            )
        elif band != "B10":
            for metres in (10, 20, 60):
                if metres >= _METRES.get(band, 10):
                    place = images / f"R{metres}m" / f"T32TPP_20230523T101601_{band}_{metres}m.jp2"
                    write_raster(place, fill(band, cells * 10 // metres), size=metres)
    if level == "2A":
        scl = np.full((cells // 2, cells // 2), 4, np.uint8) if classes is None else classes
        write_raster(images / "R20m" / "T32TPP_20230523T101601_SCL_20m.jp2", scl, size=20)
    quantity = "BOA" if level == "2A" else ""
    element = "BOA_QUANTIFICATION_VALUE" if level == "2A" else "QUANTIFICATION_VALUE"
    added = f"{quantity}_ADD_OFFSET" if quantity else "RADIO_ADD_OFFSET"
    offsets = (
        ""
        if offset is None
        else "".join(f'<{added} band_id="{number}">{offset}</{added}>' for number in range(13))
    )
    text = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
 <n1:General_Info><Product_Info>
  <PRODUCT_START_TIME>{moment}</PRODUCT_START_TIME><PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
  <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
  <Datatake datatakeIdentifier="x"><DATATAKE_SENSING_START>{moment}</DATATAKE_SENSING_START></Datatake>
 </Product_Info><Product_Image_Characteristics>
  <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
  <{element} unit="none">10000</{element}>
  {offsets}
 </Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>
"""
    (path / f"MTD_MSIL{level}.xml").write_text(xml(text), "utf-8")
    return path
