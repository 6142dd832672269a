"""A region's QGIS project and styles, written as XML: QGIS is not needed here, only where they are opened.

The XML is what QGIS 3.22 itself writes, cut down to what it reads: it fills in the rest with its defaults.
"""

from exporters.qgis.project import project_file
from exporters.qgis.sources import DatabasePlace, ProjectContents, ShownDay
from exporters.qgis.styles import STYLES, style_file

__all__ = ["STYLES", "DatabasePlace", "ProjectContents", "ShownDay", "project_file", "style_file"]
