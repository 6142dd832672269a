"""A picture of a scene for whoever reviews it: true colour, outlines, and hatched what nobody could see.

A scene larger than the picture gets its largest outlines once more below, cell by cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from scipy.ndimage import binary_dilation

from exporters.lettering import HEIGHT, text_width, wrap, write_text
from exporters.picture import encode_png
from service.detection.findings import SceneFindings
from service.detection.outlines import UNSEEN, Outline, Stored
from service.detection.reading import SceneReader
from service.detection.scene import FloatArray, Scene, Source, driver_of

_WIDTH = 1200  # pixels across, about
_ACROSS, _CLOSE_UPS, _CLOSE_CELLS = 4, 8, 98  # close-ups in a row, in all, and cells along a side of one
_GAP = 8
_PAPER, _INK, _RED = (250, 250, 248), (30, 30, 30), (190, 20, 20)
_OUTLINE, _OPEN = (255, 0, 190), (40, 110, 255)
_MARK = 6  # an outline smaller than this many pixels gets a square around it
_GAMMA = 1 / 1.6

Rgba = npt.NDArray[np.uint8]


def scene_picture(
    scene: Scene, reader: SceneReader, stored: Stored, outlines: Sequence[Outline], findings: SceneFindings
) -> bytes:
    """Return the picture as PNG. `stored` are the probabilities as they are kept, 255 where unseen."""
    height, width = scene.shape
    times = max(1, _WIDTH // max(height, width))  # pixels for each cell of a small scene
    rows, columns = (height * times, width * times) if max(height, width) <= _WIDTH else _shrunk(scene.shape)
    names = _colour_bands(scene)
    colour = np.stack([_overview(scene, scene.bands[name], (rows, columns)) for name in names], axis=2)
    down = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    across = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    unseen = stored[np.ix_(down, across)] == UNSEEN
    limits = _limits(colour, unseen)
    whole = _drawn(colour, limits, unseen)
    cells = Affine.scale(columns / width, rows / height) * ~scene.transform
    _draw_outlines(whole, outlines, cells, marks=True)
    parts = [whole]
    if rows < height:
        _number(whole, outlines, cells)
        parts += _close_ups(scene, reader, stored, outlines, names, limits)
    return encode_png(_framed(parts, _words(findings), findings.synthetic))


def _shrunk(shape: tuple[int, int]) -> tuple[int, int]:
    longest = max(shape)
    rows, columns = (max(1, round(size * _WIDTH / longest)) for size in shape)
    return rows, columns


def _colour_bands(scene: Scene) -> tuple[str, str, str]:
    true = ("B04", "B03", "B02")
    if all(name in scene.bands for name in true):
        return true
    one = next(iter(sorted(scene.bands)))
    return one, one, one


def _overview(scene: Scene, source: Source, shape: tuple[int, int]) -> FloatArray:
    if source.values is not None:
        rows, columns = source.values.shape
        down = ((np.arange(shape[0]) + 0.5) * rows / shape[0]).astype(int)
        across = ((np.arange(shape[1]) + 0.5) * columns / shape[1]).astype(int)
        stored = source.values[np.ix_(down, across)]
        return np.asarray((stored + source.offset) * source.scale, np.float32)
    with ExitStack() as stack:
        dataset = stack.enter_context(rasterio.open(source.name, driver=driver_of(source.name)))
        coarser = shape[0] < dataset.height
        resampling = Resampling.average if coarser else Resampling.nearest
        if not _same_ground(dataset, scene):
            cells = Affine.scale(scene.shape[1] / shape[1], scene.shape[0] / shape[0])
            dataset = stack.enter_context(
                WarpedVRT(
                    dataset, crs=scene.crs, transform=scene.transform * cells, height=shape[0],
                    width=shape[1], resampling=resampling, add_alpha=dataset.nodata is None,
                )
            )  # fmt: skip
        found = dataset.read(source.index, out_shape=shape, resampling=resampling, masked=True)
    stored = found.astype(np.float32).filled(np.nan)
    for number in source.unknown:
        stored[stored == number] = np.nan
    return np.asarray((stored + np.float32(source.offset)) * np.float32(source.scale), np.float32)


def _same_ground(dataset: Any, scene: Scene) -> bool:
    """Tell whether a raster ends where the scene does, to half a cell: read whole, it then is the scene."""
    own = rasterio.transform.array_bounds(*scene.shape, scene.transform)
    apart = max(abs(one - other) for one, other in zip(dataset.bounds, own, strict=True))
    return bool(dataset.crs == scene.crs and apart <= scene.pixel_size_m / 2)


def _limits(colour: FloatArray, unseen: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return which reflectance becomes black, and which white; of all colours together, of what was seen."""
    known = colour[~unseen]
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    dark, light = np.percentile(known, (0.5, 99.5))
    return float(dark), float(max(light, dark + 0.02))


def _drawn(colour: FloatArray, limits: tuple[float, float], unseen: npt.NDArray[np.bool_]) -> Rgba:
    lit = np.clip((np.nan_to_num(colour) - limits[0]) / (limits[1] - limits[0]), 0, 1) ** _GAMMA
    out = np.full((*colour.shape[:2], 4), 255, np.uint8)
    out[..., :3] = np.rint(lit * 255)
    diagonal = np.add.outer(np.arange(unseen.shape[0]), np.arange(unseen.shape[1]))
    hatch = unseen & (diagonal % 8 < 2)
    out[hatch, :3] = (120, 120, 130)
    return out


def _draw_outlines(picture: Rgba, outlines: Sequence[Outline], cells: Affine, *, marks: bool) -> None:
    """Draw outlines; `cells` brings the scene's CRS to (column, row) of the picture."""
    for is_open, colour in ((False, _OUTLINE), (True, _OPEN)):
        lines: list[Any] = []
        for one in outlines:
            if one.detection.touches_unseen != is_open:
                continue
            lines.append((one.polygon.boundary, 1))
            if marks:
                left, top, right, bottom = _box(one, cells)
                if max(right - left, bottom - top) < _MARK:
                    _square(picture, (left + right) / 2, (top + bottom) / 2, colour)
        if lines:
            drawn = rasterize(lines, picture.shape[:2], transform=~cells, dtype="uint8") > 0
            # With a pale rim, because scars are bright and their surroundings are not.
            picture[binary_dilation(drawn), :3] = _PAPER
            picture[drawn, :3] = colour


def _box(one: Outline, cells: Affine) -> tuple[float, float, float, float]:
    west, south, east, north = one.polygon.bounds
    left, top = cells * (west, north)
    right, bottom = cells * (east, south)
    return left, top, right, bottom


def _square(picture: Rgba, column: float, row: float, colour: tuple[int, int, int]) -> None:
    top, left = max(0, int(row) - _MARK), max(0, int(column) - _MARK)
    part = picture[top : int(row) + _MARK + 1, left : int(column) + _MARK + 1]
    for edge in (part[:1], part[-1:], part[:, :1], part[:, -1:]):
        edge[..., :3] = colour


def _number(picture: Rgba, outlines: Sequence[Outline], cells: Affine) -> None:
    for number, one in enumerate(outlines[:_CLOSE_UPS], start=1):
        _, top, right, _ = _box(one, cells)
        place = max(0, int(top) - HEIGHT), min(int(right) + _MARK + 3, picture.shape[1] - 12)
        write_text(picture, str(number), place, 2, _OUTLINE)


def _close_ups(
    scene: Scene,
    reader: SceneReader,
    stored: Stored,
    outlines: Sequence[Outline],
    names: tuple[str, str, str],
    limits: tuple[float, float],
) -> list[Rgba]:
    times = ((_WIDTH - (_ACROSS - 1) * _GAP) // _ACROSS) // _CLOSE_CELLS
    height, width = scene.shape
    out = []
    for number, one in enumerate(outlines[:_CLOSE_UPS], start=1):
        left, top, right, bottom = _box(one, ~scene.transform)
        first = int(np.clip((top + bottom - _CLOSE_CELLS) / 2, 0, max(0, height - _CLOSE_CELLS)))
        west = int(np.clip((left + right - _CLOSE_CELLS) / 2, 0, max(0, width - _CLOSE_CELLS)))
        window = Window(west, first, min(_CLOSE_CELLS, width), min(_CLOSE_CELLS, height))
        colour = np.stack([reader.band(name, window) for name in names], axis=2)
        unseen = stored[first : first + colour.shape[0], west : west + colour.shape[1]] == UNSEEN
        large = _drawn(_repeated(colour, times), limits, _repeated(unseen, times))
        cells = Affine.scale(times) * Affine.translation(-west, -first) * ~scene.transform
        _draw_outlines(large, outlines, cells, marks=False)
        found = one.detection
        large[: 2 * (HEIGHT + 3), :, :3] = _PAPER
        write_text(large, f"{number}  {found.area_m2 / 1e4:.2f} ha  {found.confidence:.2f}", (3, 4), 2, _INK)
        out.append(large)
    return out


def _repeated(values: Any, times: int) -> Any:
    return values.repeat(times, axis=0).repeat(times, axis=1)


def _words(findings: SceneFindings) -> list[tuple[str, int, tuple[int, int, int]]]:
    """Return lines of text, each with its size and colour."""
    after = (
        f"after {findings.after}, not after {findings.sensed_on}"
        if findings.after
        else (f"not after {findings.sensed_on}")
    )
    area = sum(one.area_m2 for one in findings.detections) / 1e4
    lines = [(f"{findings.scene}", 2, _INK), (f"sensed {findings.sensed_on}", 3, _INK)]
    if findings.synthetic:
        lines.append(("SYNTHETIC: made-up landslides, in the scene or in what the detector learned", 3, _RED))
    lines.append((f"{len(findings.detections)} outlines, {area:.2f} ha, happened {after}", 2, _INK))
    detector = findings.detector
    lines.append((f"detector {detector.words}, threshold {findings.threshold:.3g}", 2, _INK))
    lines.append(
        (f"{findings.seen_share:.1%} seen; hatched: not seen, which is not free of landslides", 2, _INK)
    )
    for band, rule in findings.substituted.items():
        stands = "the mean of the training part" if rule == "mean" else rule
        lines.append((f"{band} is missing: {stands} stands for it", 2, _RED))
    lines.append(("pink: outline. blue: ends where nothing was seen and may go on there", 2, _INK))
    return lines


def _framed(parts: list[Rgba], words: list[tuple[str, int, tuple[int, int, int]]], synthetic: bool) -> Rgba:
    """Put title, picture and close-ups on paper."""
    whole, close = parts[0], parts[1:]
    wide = max(whole.shape[1], min(len(close), _ACROSS) * ((close[0].shape[1] if close else 0) + _GAP) - _GAP)
    wide = max(wide, 640)
    lines = [
        (line, scale, colour)
        for text, scale, colour in words
        # Letters of five dots know neither of these.
        for line in wrap(text.replace("_", " ").replace(";", ","), wide, scale)
    ]
    head = _GAP + sum((HEIGHT + 4) * scale for _, scale, _ in lines)
    rows = [close[start : start + _ACROSS] for start in range(0, len(close), _ACROSS)]
    tall = head + whole.shape[0] + sum(row[0].shape[0] + _GAP for row in rows) + _GAP
    paper = np.full((tall, wide + 2 * _GAP, 4), 255, np.uint8)
    paper[..., :3] = _PAPER
    at = _GAP
    for line, scale, colour in lines:
        write_text(paper, line, (at, _GAP), scale, colour)
        at += (HEIGHT + 4) * scale
    paper[at : at + whole.shape[0], _GAP : _GAP + whole.shape[1]] = whole
    if synthetic:
        _across(paper[at : at + whole.shape[0], _GAP : _GAP + whole.shape[1]])
    at += whole.shape[0] + _GAP
    for row in rows:
        left = _GAP
        for one in row:
            paper[at : at + one.shape[0], left : left + one.shape[1]] = one
            left += one.shape[1] + _GAP
        at += row[0].shape[0] + _GAP
    return paper


def _across(picture: Rgba) -> None:
    """Mark the picture itself, so that no cut-out of it passes for more."""
    text, scale = "SYNTHETIC", max(2, picture.shape[1] // 400)
    if picture.shape[0] > (HEIGHT + 4) * scale:
        place = (
            picture.shape[0] - (HEIGHT + 3) * scale,
            max(0, picture.shape[1] - text_width(text, scale) - 2 * scale),
        )
        write_text(picture, text, place, scale, _RED)
