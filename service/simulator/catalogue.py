"""All services that the simulator knows, and the settings that read them."""

from __future__ import annotations

from service.simulator.documents import Publisher
from service.simulator.hourly import HOURLY_FEEDS
from service.simulator.open_meteo import PERTURBED, OpenMeteo
from service.simulator.rasters import TIFF_FEEDS
from service.simulator.stations import ArpaeCsv, GhcnDaily, KeralaDams
from service.simulator.water import Cdec, UsgsNwis, UsgsWaterData

PUBLISHERS: tuple[Publisher, ...] = (
    OpenMeteo("open_meteo"),
    OpenMeteo("open_meteo_forecast"),
    OpenMeteo("open_meteo_ensemble", members=PERTURBED),
    *TIFF_FEEDS,
    *HOURLY_FEEDS,
    UsgsWaterData(),
    UsgsNwis(),
    Cdec("cdec_storage", 15),
    Cdec("cdec_elevation", 6),
    KeralaDams("kerala_dams_rain"),
    KeralaDams("kerala_dams_level"),
    GhcnDaily(),
    ArpaeCsv(),
)
