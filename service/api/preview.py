"""The picture of a view, for the preview of a link: relief, map, its day and how far to trust it in words."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from exporters.layer import CLASS_COLOURS, CLASS_LABELS, Layer, LayerStatus
from exporters.lettering import HEIGHT, text_width, wrap, write_text
from exporters.palette import SUSCEPTIBILITY_TABLE
from exporters.picture import encode_png
from service.api.answers import ASK_AGAIN, cached
from service.api.drawing import COLOURS, LOOKS, SHADE, Shows, view_values
from service.api.mercator import MOST_LATITUDE, Bounds, bounds_of, to_metres
from service.api.saying import day_in_words, trust_in_words
from service.api.site import Lead, Site
from service.files import digest_of
from service.hillshade import find_hillshade
from service.status import read_status

_PAPER = (225, 225, 225)  # where nothing is known: no class has this colour
_INK, _CALM, _ALARM = (255, 255, 255), (38, 50, 56), (176, 0, 32)
_LEAST_DEGREES = 1e-4
_FLAT = 180  # the light on level ground, of 255

Picture = npt.NDArray[np.uint8]


class Words(NamedTuple):
    """What stands on the picture, and whether it is a warning about the map itself."""

    text: str
    alarm: bool


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["tiles"])

    def draw(
        request: Request,
        bbox: Bounds | None,
        day: date | None,
        lead: int,
        shows: Shows,
        size: tuple[int, int],
    ) -> Response:
        layer = site.shown_on(day, lead)
        words = words_of(site, layer)
        relief = find_hillshade(site.settings)
        key = (layer.id, layer.digest, shows, bbox, size, relief, words, COLOURS)

        def make() -> bytes:
            view = fit(bbox or bounds_of(layer), size)
            values = view_values(site.file(layer, LOOKS[shows].file), LOOKS[shows], view, size)
            light = None if relief is None else view_values(relief, SHADE, view, size)
            picture = _shaded(LOOKS[shows].table[values], light)
            _letter(picture, words, shows)
            return encode_png(picture)

        return cached(
            request,
            f'"{digest_of(*map(str, key))[:32]}"',
            ASK_AGAIN,
            lambda: Response(site.drawing.once(key, make), media_type="image/png"),
        )

    @router.api_route(
        "/preview.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={200: {"description": "a picture", "content": {"image/png": {}}}},
        summary="A picture of a view, with words",
    )
    async def preview(
        request: Request,
        bbox: Annotated[
            str | None,
            Query(
                max_length=120,
                description="west,south,east,north in degrees; default: the whole region",
                examples=["56.9,29.4,57.1,29.6"],
            ),
        ] = None,
        day: Annotated[date | None, Query(description="default: the newest")] = None,
        lead: Lead = 0,
        shows: Shows = "class",
        width: Annotated[int, Query(ge=200, le=1200)] = 1200,
        height: Annotated[int, Query(ge=200, le=1200)] = 630,
    ) -> Response:
        """What a messenger or a chat shows of a link to the map."""
        bounds = None if bbox is None else parse_bbox(bbox)
        return await site.drawing.do(lambda: draw(request, bounds, day, lead, shows, (height, width)))

    return router


def parse_bbox(text: str) -> Bounds:
    """Return west, south, east, north. Raises HTTPException (422)."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise HTTPException(422, "bbox: four numbers with commas between, west,south,east,north") from None
    # Written so that a NaN is refused too.
    inside = -180 <= west < east <= 180 and -MOST_LATITUDE <= south < north <= MOST_LATITUDE
    if not inside or east - west < _LEAST_DEGREES or north - south < _LEAST_DEGREES:
        raise HTTPException(
            422,
            f"bbox: west must be less than east within 180 degrees, south less than north within "
            f"{MOST_LATITUDE:.2f}, and each at least {_LEAST_DEGREES} apart",
        )
    return west, south, east, north


def fit(bounds: Bounds, size: tuple[int, int]) -> Bounds:
    """Return bounds in EPSG:3857 around `bounds` (EPSG:4326), in the shape of size (rows, columns)."""
    left, bottom = to_metres(bounds[0], bounds[1])
    right, top = to_metres(bounds[2], bounds[3])
    rows, columns = size
    pixel_m = max((right - left) / columns, (top - bottom) / rows)
    x, y = (left + right) / 2, (bottom + top) / 2
    reach_x, reach_y = pixel_m * columns / 2, pixel_m * rows / 2
    return x - reach_x, y - reach_y, x + reach_x, y + reach_y


def words_of(site: Site, layer: Layer) -> Words:
    """Return a layer's day and how far to trust it, in words."""
    said = [f"{day_in_words(layer)}: {trust_in_words(layer)}, coverage {math.floor(layer.coverage * 100)} %"]
    alarm = layer.status == LayerStatus.DEGRADED or layer.synthetic
    status = read_status(site.settings, site.clock())
    if status.latest is not None and status.latest.id == layer.id:
        if status.hold is not None:
            said.append("held: no newer map is published")
        if status.behind_days:
            said.append(f"stale: {status.behind_days} days old")
        alarm = alarm or status.hold is not None or bool(status.behind_days)
    if layer.synthetic:
        said.append("synthetic: no real place")
    return Words(". ".join(said), alarm)


def _shaded(rgba: Picture, light: npt.NDArray[np.uint8] | None) -> Picture:
    """Return colours over relief, opaque; where nothing is known the paper shows."""
    picture = np.where(rgba[..., 3:] > 0, rgba, np.array([*_PAPER, 255], np.uint8))
    if light is not None:
        shade = np.where(light > 0, 0.45 + 0.55 * light / _FLAT, 1.0)
        picture[..., :3] = np.clip(np.rint(picture[..., :3] * shade[..., None]), 0, 255)
    return picture.astype(np.uint8)


def _letter(picture: Picture, words: Words, shows: Shows) -> None:
    """Write the words at the top and the key at the bottom, on bands as high as they need."""
    rows, columns = picture.shape[:2]
    scale = max(1, min(rows, columns) // 200)
    margin, line = 4 * scale, (HEIGHT + 3) * scale
    top = wrap(words.text, columns - 2 * margin, scale)
    picture[: margin + line * len(top) + scale] = (*(_ALARM if words.alarm else _CALM), 255)
    for number, text in enumerate(top):
        write_text(picture, text, (margin + number * line, margin), scale, _INK)
    bottom = rows - line - margin
    picture[bottom:] = (*_CALM, 255)
    at, column = bottom + (line + margin - HEIGHT * scale) // 2, margin
    side = HEIGHT * scale
    if shows == "class":
        key = [
            (label.replace("_", " "), [colour])
            for label, colour in zip(CLASS_LABELS, CLASS_COLOURS, strict=True)
        ]
    else:
        key = [("0 to 1", [tuple(colour) for colour in SUSCEPTIBILITY_TABLE[:251:25, :3].tolist()])]
    for label, colours in [*key, ("unknown", [_PAPER])]:
        for colour in colours:
            picture[at : at + side, column : column + side] = (*colour, 255)
            column += side
        column += 3 * scale
        write_text(picture, label, (at, column), scale, _INK)
        column += text_width(label, scale) + 6 * scale
