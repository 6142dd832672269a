"""The places of a feed: those of its series file, those that its settings name, or a grid over the region."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence

from service.feed_log import Problem
from service.feeds.base import FeedFault
from service.feeds.lines import find_separator, is_text, read_header, read_lines, split
from service.reading_values import SeriesPosition
from service.settings_series import FeedWithSeries

Bounds = tuple[float, float, float, float]


def places_of(
    settings: FeedWithSeries,
    bounds: Callable[[], Bounds],
    problems: list[Problem],
    encoding: str = "utf-8",
    separator: str = ",",
) -> tuple[SeriesPosition, ...] | None:
    """Return the places that a feed's settings give, or None where they give none.

    A row of the series file that cannot be used becomes a Problem. Raises FeedFault where none can be used,
    or where there are more places than the settings allow.
    """
    if settings.series_file is not None:
        places = read_series_file(settings, problems, encoding, separator)
    elif settings.series_ids:
        places = tuple(
            SeriesPosition(name, math.nan, math.nan) for name in dict.fromkeys(settings.series_ids)
        )
    elif settings.grid_degrees is not None:
        places = grid_over(bounds(), settings.grid_degrees, settings.places_at_most, settings.name)
    else:
        return None
    if len(places) > settings.places_at_most and settings.url is not None:
        raise _too_many(len(places), settings.places_at_most, settings.name)
    return places


def grid_over(bounds: Bounds, step: float, at_most: int, feed: str) -> tuple[SeriesPosition, ...]:
    """Return points `step` degrees apart that surround west, south, east, north (EPSG:4326).

    They lie on whole multiples of the step, so that a region that grows keeps the series it has. Raises
    FeedFault where there would be more than `at_most`.
    """
    west, south, east, north = bounds
    columns = range(math.floor(west / step), math.ceil(east / step) + 1)
    rows = range(math.floor(south / step), math.ceil(north / step) + 1)
    # A step of 1e-9 is a slip, and a list of that length is never made.
    if len(columns) * len(rows) > at_most:
        raise _too_many(len(columns) * len(rows), at_most, feed)
    places = []
    for row in rows:
        for column in columns:
            lon, lat = round(column * step, 6), round(row * step, 6)
            if -90 <= lat <= 90:
                lon = (lon + 180) % 360 - 180 if not -180 <= lon <= 180 else lon
                places.append(SeriesPosition(f"{lat:+.6g}{lon:+.6g}", lon, lat))
    return tuple(places)


def read_series_file(
    settings: FeedWithSeries, problems: list[Problem], encoding: str = "utf-8", separator: str = ","
) -> tuple[SeriesPosition, ...]:
    """Read the series file. A row that cannot be used becomes a Problem; without any, FeedFault."""
    path, feed = settings.series_file, settings.name
    assert path is not None  # noqa: S101 - for the type checker
    optional = (settings.elevation_column, settings.lowest_column, settings.highest_column)
    wanted = [settings.series_id_column, settings.lon_column, settings.lat_column, *filter(None, optional)]
    try:
        lines = read_lines(path, encoding, feed)
        header = next(lines)
        found_separator = find_separator(header.text, separator, wanted)
        names = read_header(header, found_separator, wanted, str(path), encoding, feed)
    except FeedFault as fault:
        raise FeedFault("series_file", f"{fault} (the feed's series_file)") from fault
    required = [names.index(name) for name in wanted[:3]]
    others = [None if name is None else names.index(name) for name in optional]
    found: dict[str, tuple[SeriesPosition, int]] = {}
    contradicted: set[str] = set()
    for line in lines:
        where = f"feed {feed}: series file {path} row {line.row}"
        try:
            cells = [cell.strip() for cell in split(line.text, found_separator)]
            position = position_of(
                cells[required[0]],
                [cells[place] for place in required[1:]],
                ["" if place is None else cells[place] for place in others],
            )
        except (IndexError, ValueError, csv.Error) as error:
            why = "too few cells" if isinstance(error, IndexError) else str(error)
            problems.append(Problem("series_file", f"{where}: {why}; this series is left out"))
            continue
        before = found.setdefault(position.id, (position, line.row))
        if before[0] != position and position.id not in contradicted:
            contradicted.add(position.id)
            problems.append(
                Problem(
                    "series_file", f"{where}: {position.id!r} stands elsewhere in row {before[1]}; left out"
                )
            )
    series = tuple(position for position, _ in found.values() if position.id not in contradicted)
    if not series:
        raise FeedFault("series_file", f"feed {feed}: the series file {path} names no usable series")
    return series


def position_of(identity: str, lon_lat: Sequence[str], others: Sequence[str]) -> SeriesPosition:
    """Return a position from text: id, lon and lat, then elevation, lowest and highest (blank: not known).

    Raises ValueError that says what cannot be right.
    """
    if not identity or not is_text(identity):
        raise ValueError("names no series that can be read")
    try:
        lon, lat, *rest = (
            float(cell.replace(",", ".")) if cell else math.nan for cell in (*lon_lat, *others)
        )
    except ValueError as error:
        raise ValueError(
            f"{identity!r} has a position that is not in numbers: {', '.join((*lon_lat, *others))}"
        ) from error
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(
            f"{identity!r} has lon {lon:g} and lat {lat:g}; degrees of EPSG:4326 are needed "
            "(are they swapped, missing or projected?)"
        )
    elevation, lowest, highest = (number if math.isfinite(number) else None for number in rest)
    return SeriesPosition(identity, lon, lat, elevation, lowest, highest)


def _too_many(count: int, at_most: int, feed: str) -> FeedFault:
    return FeedFault(
        "settings",
        f"feed {feed}: {count} places to ask for, and the limit is {at_most}; either raise 'grid_degrees' "
        "or 'places_at_most', or use a raster feed",
    )
