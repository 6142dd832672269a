"""Reservoir levels as the USGS and California's CDEC publish them.

USGS Water Data API: OGC API Features, api.waterdata.usgs.gov/ogcapi/v0; NWIS: WaterML 1.1 as JSON,
waterservices.usgs.gov/nwis/dv; CDEC: cdec.water.ca.gov/dynamicapp/req/JSONDataServlet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from service.simulator.documents import BadRequestError, Document, Request, json_document
from service.simulator.truth import Gauge, Reservoir
from service.simulator.view import FEET, INCHES, View

ELEVATION_CODES = ("62614", "62615", "00062", "72275")  # of a lake's surface, ft above one datum or another
RAIN_CODE = "00045"  # in
ACRE_FEET = 1 / 1233.48184  # of a m3
PAGE = 1_000


@dataclass(frozen=True)
class UsgsWaterData:
    """Daily values as OGC features, newest API."""

    feed: str = "usgs_water_data"
    latency: timedelta = timedelta(hours=8)
    teaches: str = "daily values as OGC features: reservoir elevation (ft), rain (in); paged"

    def document(self, request: Request, view: View) -> Document | None:
        """Answer /ogcapi/v0/collections/daily/items."""
        if request.path != "ogcapi/v0/collections/daily/items":
            return None
        rows = [
            (f"USGS-{place.id}", day, value)
            for place, day, value in _rows(
                view, [item.removeprefix("USGS-") for item in request.list_of("monitoring_location_id")],
                request.query.get("parameter_code", ELEVATION_CODES[0]), *_interval(request, view),
            )
        ]  # fmt: skip
        limit, offset = _whole(request, "limit", 10), _whole(request, "offset", 0)
        code = request.query.get("parameter_code", ELEVATION_CODES[0])
        page = rows[offset : offset + min(limit, 10_000)]
        links = [{"rel": "self", "type": "application/geo+json", "href": _address(request, offset)}]
        if offset + len(page) < len(rows):
            links.append(
                {"rel": "next", "type": "application/geo+json", "href": _address(request, offset + len(page))}
            )
        places = _places(view)
        features: list[dict[str, Any]] = []
        for number, (site, day, value) in enumerate(page):
            place = places[site.removeprefix("USGS-")]
            features.append({
                "type": "Feature",
                "id": f"{site}-{code}-{day}-{number + offset}",
                "geometry": {"type": "Point", "coordinates": [place.lon, place.lat]},
                "properties": {
                    "time_series_id": f"{site}-{code}",
                    "monitoring_location_id": site,
                    "parameter_code": code,
                    "statistic_id": request.query.get("statistic_id", "00003"),
                    "time": day.isoformat(),
                    "value": value,
                    "unit_of_measure": "in" if code == RAIN_CODE else "ft",
                    "approval_status": "Provisional",
                    "qualifier": None,
                    "last_modified": view.published_at.isoformat(),
                },
            })  # fmt: skip
        collection = {
            "type": "FeatureCollection",
            "features": features,
            "numberReturned": len(features),
            "links": links,
            "timeStamp": view.published_at.isoformat().replace("+00:00", "Z"),
        }
        return json_document(collection, "application/geo+json")

    def example(self, view: View) -> str:
        """Return the last days of the first reservoir."""
        site = f"USGS-{view.truth.reservoirs[0].id}"
        return (
            f"ogcapi/v0/collections/daily/items?f=json&monitoring_location_id={site}"
            f"&parameter_code={ELEVATION_CODES[0]}"
            f"&time={view.newest - timedelta(days=6)}/{view.newest}&limit=1000"
        )


@dataclass(frozen=True)
class UsgsNwis:
    """Daily values as WaterML 1.1 in JSON, the API before."""

    feed: str = "usgs_nwis"
    latency: timedelta = timedelta(hours=8)
    teaches: str = "daily values as WaterML in JSON: reservoir elevation (ft), rain (in)"

    def document(self, request: Request, view: View) -> Document | None:
        """Answer /nwis/dv/."""
        if request.path.rstrip("/") != "nwis/dv":
            return None
        sites = request.list_of("sites") or request.list_of("site")
        if not sites:
            raise BadRequestError("at least one site is needed: sites=")
        code = request.query.get("parameterCd", ELEVATION_CODES[0])
        first, last = request.day_of("startDT"), request.day_of("endDT")
        if first is None and request.query.get("period", "").startswith("P"):
            first = view.newest - timedelta(days=int(request.query["period"].strip("PD")) - 1)
        places = _places(view)
        series = []
        for site in sites:
            values = [
                {"value": value, "qualifiers": ["P"], "dateTime": f"{day}T00:00:00.000"}
                for _, day, value in _rows(view, [site], code, first or view.newest, last)
            ]
            if values:
                series.append(_time_series(places[site], code, request.query.get("statCd", "00003"), values))
        reply = {
            "name": "ns1:timeSeriesResponseType",
            "declaredType": "org.cuahsi.waterml.TimeSeriesResponseType",
            "scope": "javax.xml.bind.JAXBElement$GlobalScope",
            "value": {
                "queryInfo": {
                    "queryURL": f"{request.base}/nwis/dv/",
                    "criteria": {
                        "locationParam": f"[ALL:{', '.join(sites)}]",
                        "variableParam": f"[{code}]",
                        "parameter": [],
                    },
                    "note": [{"value": "simulated", "title": "server"}],
                },
                "timeSeries": series,
            },
            "nil": False,
            "globalScope": True,
            "typeSubstituted": False,
        }  # fmt: skip
        return json_document(reply)

    def example(self, view: View) -> str:
        """Return the last days of the first reservoir."""
        return (
            f"nwis/dv/?format=json&sites={view.truth.reservoirs[0].id}&parameterCd={ELEVATION_CODES[0]}"
            f"&startDT={view.newest - timedelta(days=6)}&endDT={view.newest}"
        )


@dataclass(frozen=True)
class Cdec:
    """California's data exchange: sensor 6 is a reservoir's elevation (ft), 15 its storage (acre-feet)."""

    feed: str
    sensor: int
    latency: timedelta = timedelta(hours=10)

    @property
    def teaches(self) -> str:
        """What it serves, in a line."""
        what = "elevation (ft), sensor 6" if self.sensor == 6 else "storage (acre-feet), sensor 15"
        return f"daily reservoir {what}"

    def document(self, request: Request, view: View) -> Document | None:
        """Answer /dynamicapp/req/JSONDataServlet."""
        if request.path != "dynamicapp/req/JSONDataServlet":
            return None
        asked = [item.upper() for item in request.list_of("Stations")]
        stations = {item.id.upper(): item for item in view.truth.reservoirs}
        first, last = request.day_of("Start"), request.day_of("End")
        rows: list[dict[str, Any]] = []
        for name in asked:
            if name not in stations or str(self.sensor) not in request.list_of("SensorNums"):
                continue
            # The service has a row for each day asked, up to today, and -9999 where it has no value.
            for day in _span(first or view.newest, min(last or view.today, view.today)):
                row = self._row(name, day, view.level(day, stations[name]), stations[name])
                rows += [row, row] if view.rows_twice else [row]
        return json_document(rows)

    def example(self, view: View) -> str:
        """Return the last days of the first reservoir."""
        return (
            f"dynamicapp/req/JSONDataServlet?Stations={view.truth.reservoirs[0].id}&SensorNums={self.sensor}"
            f"&dur_code=D&Start={view.newest - timedelta(days=6)}&End={view.newest}"
        )

    def _row(self, name: str, day: date, level: float, reservoir: Reservoir) -> dict[str, Any]:
        moment = f"{day.year}-{day.month}-{day.day} 00:00"
        if math.isnan(level):
            value: float = -9999
        elif self.sensor == 6:
            value = round(level * FEET, 2)
        else:
            value = round(storage_m3(level, reservoir) * ACRE_FEET)
        return {
            "stationId": name,
            "durCode": "D",
            "SENSOR_NUM": self.sensor,
            "sensorType": "RES ELE" if self.sensor == 6 else "STORAGE",
            "date": moment,
            "obsDate": moment,
            "value": value,
            "dataFlag": "m" if value == -9999 else " ",
            "units": "FEET" if self.sensor == 6 else "AF",
        }


def storage_m3(level_m: float, reservoir: Reservoir) -> float:
    """Return the water stored at a level, m3, above the dead level: that of a lake with upright walls."""
    filled = (level_m - reservoir.dead_level_m) / (reservoir.full_level_m - reservoir.dead_level_m)
    return filled * reservoir.capacity_m3


def _places(view: View) -> dict[str, Reservoir | Gauge]:
    places: list[Reservoir | Gauge] = [*view.truth.reservoirs, *view.truth.gauges]
    return {item.id: item for item in places}


def _rows(
    view: View, sites: list[str], code: str, first: date | None, last: date | None
) -> list[tuple[Reservoir | Gauge, date, str]]:
    """Return the published values of sites, in the service's own unit, as the text that it gives."""
    rows: list[tuple[Reservoir | Gauge, date, str]] = []
    for site in sites:
        for day in view.days(first, last):
            place: Reservoir | Gauge | None
            if code == RAIN_CODE:
                place = next((item for item in view.truth.gauges if item.id == site), None)
                value = view.gauge(day, place) * INCHES if place else math.nan
            elif code in ELEVATION_CODES:
                place = next((item for item in view.truth.reservoirs if item.id == site), None)
                value = view.level(day, place) * FEET if place else math.nan
            else:
                raise BadRequestError(f"the simulator knows the parameters {RAIN_CODE}, {ELEVATION_CODES}")
            if place is not None and not math.isnan(value):
                row = (place, day, f"{value:.2f}")
                rows += [row, row] if view.rows_twice else [row]
    return rows


def _time_series(place: Reservoir | Gauge, code: str, statistic: str, values: list[dict[str, Any]]) -> Any:
    unit = "in" if code == RAIN_CODE else "ft"
    return {
        "sourceInfo": {
            "siteName": f"SIMULATED {place.id}",
            "siteCode": [{"value": place.id, "network": "NWIS", "agencyCode": "USGS"}],
            "geoLocation": {
                "geogLocation": {"srs": "EPSG:4326", "latitude": place.lat, "longitude": place.lon},
                "localSiteXY": [],
            },
            "note": [], "siteType": [], "siteProperty": [],
        },
        "variable": {
            "variableCode": [
                {"value": code, "network": "NWIS", "vocabulary": "NWIS:UnitValues", "default": True}
            ],
            "variableName": f"simulated, {unit}",
            "unit": {"unitCode": unit},
            "options": {"option": [{"name": "Statistic", "optionCode": statistic}]},
            "noDataValue": -999999.0,
        },
        "values": [{
            "value": values, "qualifier": [], "qualityControlLevel": [],
            "method": [{"methodDescription": "", "methodID": 1}],
            "source": [], "offset": [], "sample": [], "censorCode": [],
        }],
        "name": f"USGS:{place.id}:{code}:{statistic}",
    }  # fmt: skip


def _interval(request: Request, view: View) -> tuple[date | None, date | None]:
    text = request.query.get("time") or request.query.get("datetime") or ""
    if text.startswith("P"):
        return view.newest - timedelta(days=int(text.strip("PD")) - 1), None
    first, _, last = text.partition("/")
    try:
        if not last:
            return (date.fromisoformat(first[:10]),) * 2 if first else (None, None)
        return (
            None if first == ".." else date.fromisoformat(first[:10]),
            None if last == ".." else date.fromisoformat(last[:10]),
        )
    except ValueError as error:
        raise BadRequestError(f"time={text} is no interval of days") from error


def _address(request: Request, offset: int) -> str:
    query = {**request.query, "offset": str(offset)}
    return f"{request.base}/{request.path}?{urlencode(query)}"


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal():
        raise BadRequestError(f"{name}={text} is not a whole number")
    return int(text)


def _span(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
