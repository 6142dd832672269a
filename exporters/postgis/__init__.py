"""Publishes layers to PostGIS: one schema for a region, one transaction for a layer."""

from exporters.postgis.connect import ConnectionSettings
from exporters.postgis.exporter import PostgisExporter
from exporters.postgis.grid import GridOfRegion
from exporters.postgis.migrate import migrate
from exporters.postgis.reports import EventReport
from exporters.postgis.roles import setup_statements

__all__ = [
    "ConnectionSettings",
    "EventReport",
    "GridOfRegion",
    "PostgisExporter",
    "migrate",
    "setup_statements",
]
