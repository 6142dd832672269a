"""Fixtures for tests with real clients."""

from tests.fix_qgis import gdal, pictures, qgis, serve

__all__ = ["gdal", "pictures", "qgis", "serve"]
