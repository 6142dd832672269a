"""The toy region's layers in a database, for clients to read."""

from __future__ import annotations

from datetime import date

from exporters.layer import Layer
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter, migrate
from tests.fix_postgis import Database
from tests.fix_region import ToyRegion


def published_days(toy: ToyRegion, database: Database, *days: date) -> list[Layer]:
    """Refresh days, publish them to schema `toy` and return their layers."""
    layers = [one.layer for one in toy.refresh(*days) if one.layer is not None]
    assert len(layers) == len(days)
    migrate(ConnectionSettings(database.owner_dsn), "toy", GridOfRegion.of_layer(layers[0]))
    exporter = PostgisExporter("desk", "toy", "toy", ConnectionSettings(database.writer_dsn))
    for layer in layers:
        exporter.deliver(layer)
    return layers
