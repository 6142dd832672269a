"""Jobs inside QGIS: run by the distribution's Python, which knows nothing of this project.

    /usr/bin/python3 in_qgis.py JOB '{"argument": ...}'

The last line of the output is what was found, as JSON.
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsDateTimeRange,
    QgsFeature,
    QgsGeometry,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRaster,
    QgsRasterLayer,
    QgsRasterLayerTemporalProperties,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate, QDateTime, QEventLoop, QSize, Qt, QTime, QTimer
from qgis.PyQt.QtGui import QColor

RENDER_MS = 120_000


def open_project(path, renders=()):
    """Open a project; say what each layer is, and render views of it."""
    project = QgsProject.instance()
    if not project.read(path):
        raise SystemExit(f"QGIS cannot read {path}: {project.error()}")
    tree = {node.layerId(): node for node in project.layerTreeRoot().findLayers()}
    layers = {}
    for layer in tree:
        found = project.mapLayer(layer)
        if found is None:
            layers[layer] = {"valid": False, "name": tree[layer].name()}
            continue
        layers[layer] = {
            "name": found.name(),
            "valid": found.isValid(),
            "provider": found.providerType(),
            "visible": tree[layer].isVisible(),
            "group": tree[layer].parent().name(),
            "features": found.featureCount() if isinstance(found, QgsVectorLayer) else None,
            "temporal": found.temporalProperties().isActive(),
            "legend": [item.label() for item in _legend(found)],
            "error": found.error().message() if not found.isValid() else "",
        }
    for render in renders:
        chosen = render.pop("layers", None) or [key for key in tree if layers[key].get("visible")]
        _render(
            [project.mapLayer(layer) for layer in chosen],
            render.get("extent") or project.viewSettings().defaultViewExtent(),
            project.crs(),
            **{key: value for key, value in render.items() if key != "extent"},
        )
    extent = project.viewSettings().defaultViewExtent()
    settings = project.timeSettings()
    return {
        "title": project.metadata().title(),
        "abstract": project.metadata().abstract(),
        "crs": project.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "time_step": [settings.timeStep(), int(settings.timeStepUnit())],
        "time_range": [_iso(settings.temporalRange().begin()), _iso(settings.temporalRange().end())],
        "layers": layers,
    }


def render(source, provider, out, size, extent, crs, style=None, day=None):
    """Render one layer, styled by a QML file, for a day of the temporal controller."""
    layer = _layer(source, provider)
    said = _styled(layer, style)
    if provider == "postgresraster" and day:
        properties = layer.temporalProperties()
        properties.setIsActive(True)
        properties.setMode(QgsRasterLayerTemporalProperties.ModeTemporalRangeFromDataProvider)
    _render([layer], extent, QgsCoordinateReferenceSystem(crs), out=out, size=size, day=day)
    return {"style": said, "metadata": layer.dataProvider().htmlMetadata()}


def describe(source, provider):
    """Say what a source is."""
    layer = _layer(source, provider)
    extent = layer.extent()
    found = {
        "crs": layer.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
    }
    if isinstance(layer, QgsVectorLayer):
        rows = [
            {field.name(): _plain(row[field.name()]) for field in layer.fields()}
            for row in layer.getFeatures()
        ]
        return {
            **found,
            "features": rows,
            "empty": sum(row.geometry().isNull() for row in layer.getFeatures()),
        }
    capabilities = layer.dataProvider().temporalCapabilities()
    return {
        **found,
        "size": [layer.width(), layer.height()],
        "bands": layer.bandCount(),
        "metadata": layer.dataProvider().htmlMetadata(),
        "days": [_iso(one.begin()) for one in capabilities.allAvailableTemporalRanges()]
        if capabilities
        else [],
    }


def block(source, provider, band, out, extent, width, height):
    """Read a block of a raster's stored values through QGIS's provider, row by row, as bytes."""
    layer = _layer(source, provider)
    data = layer.dataProvider()
    read = data.block(band, QgsRectangle(*extent), width, height)
    if not read.isValid():
        raise SystemExit(f"no block of {source}: {data.error().message()}")
    unknown = data.sourceNoDataValue(band)
    values = bytearray()
    for row in range(height):
        values += bytes(int(unknown if read.isNoData(row, c) else read.value(row, c)) for c in range(width))
    Path(out).write_bytes(values)
    return {"type": int(data.dataType(band)), "unknown": unknown, "error": data.error().message()}


def identify(source, provider, points):
    """Return what the identify tool says of each point, by band."""
    layer = _layer(source, provider)  # owns its provider
    data = layer.dataProvider()
    answers = []
    for x, y in points:
        found = data.identify(QgsPointXY(x, y), QgsRaster.IdentifyFormatValue)
        answers.append({str(band): _plain(value) for band, value in found.results().items()})
    return {"values": answers}


def add_feature(source, provider="postgres", point=(), values=None):
    """Add a point with attributes, as a form does."""
    layer = _layer(source, provider)
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(*point)))
    for name, value in values.items():
        feature[name] = value
    uid = layer.fields().indexFromName("uid")
    feature["uid"] = layer.dataProvider().defaultValueClause(uid)
    if not (layer.startEditing() and layer.addFeature(feature) and layer.commitChanges()):
        raise SystemExit(f"QGIS cannot add to {source}: {layer.commitErrors()}")
    return {}


def _layer(source, provider):
    kind = QgsVectorLayer if provider in ("ogr", "postgres") else QgsRasterLayer
    options = kind.LayerOptions()
    options.loadDefaultStyle = False  # which reads the whole raster for its statistics
    layer = kind(source, "layer", provider, options)
    if not layer.isValid():
        raise SystemExit(f"QGIS refuses {provider} {source}: {layer.error().message()}")
    return layer


def _styled(layer, style):
    if style is None:
        return ""
    said, good = layer.loadNamedStyle(style)
    if not good:
        raise SystemExit(f"QGIS refuses the style {style}: {said}")
    return said


def _legend(layer):
    renderer = getattr(layer, "renderer", lambda: None)()
    if renderer is None:
        return []
    if isinstance(layer, QgsVectorLayer):
        return renderer.legendSymbolItems()
    return [_Named(label) for label, _ in renderer.legendSymbologyItems()]


class _Named:
    def __init__(self, name):
        self._name = name

    def label(self):
        return self._name


def _render(layers, extent, crs, out, size, day=None):
    settings = QgsMapSettings()
    settings.setLayers([layer for layer in layers if layer is not None and layer.isValid()])
    settings.setDestinationCrs(crs)
    settings.setExtent(extent if isinstance(extent, QgsRectangle) else QgsRectangle(*extent))
    settings.setOutputSize(QSize(*size))
    settings.setOutputDpi(96)
    settings.setBackgroundColor(QColor(255, 255, 255))
    settings.setFlag(QgsMapSettings.Antialiasing, True)
    settings.setTransformContext(QgsProject.instance().transformContext())
    if day:
        settings.setIsTemporal(True)
        settings.setTemporalRange(_frame(day))
    # Tiles come by network requests that need an event loop, so the job must not be waited for.
    job = QgsMapRendererSequentialJob(settings)
    loop = QEventLoop()
    job.finished.connect(loop.quit)
    QTimer.singleShot(RENDER_MS, lambda: loop.exit(1))
    job.start()
    if loop.exec_():
        raise SystemExit("rendering took too long")
    errors = [f"{error.layerID}: {error.message}" for error in job.errors()]
    if errors:
        raise SystemExit(f"rendering failed: {errors}")
    if not job.renderedImage().save(out):
        raise SystemExit(f"cannot write {out}")


def _frame(day):
    """One frame of the temporal controller at a step of a day: its end is not part of it."""
    start = QDateTime(QDate.fromString(day, Qt.ISODate), QTime(0, 0), Qt.UTC)
    return QgsDateTimeRange(start, start.addDays(1), True, False)


def _iso(moment):
    return moment.toString(Qt.ISODate)


def _plain(value):
    if value is None or (hasattr(value, "isNull") and value.isNull()):
        return None
    if hasattr(value, "toString") and not isinstance(value, str):
        return value.toString(Qt.ISODate)
    return value


def main():
    job, arguments = sys.argv[1], json.loads(sys.argv[2])
    app = QgsApplication([], False)
    app.initQgis()
    QgsApplication.messageLog().messageReceived.connect(
        lambda text, tag, level: print(f"[{tag}] {text}", file=sys.stderr) if level != Qgis.Info else None
    )
    jobs = {each.__name__: each for each in (open_project, render, describe, block, identify, add_feature)}
    print(json.dumps(jobs[job](**arguments)))
    sys.stdout.flush()
    # QGIS tears down its threads in an order of its own; what was asked for is done.
    QgsProject.instance().clear()
    app.exitQgis()


if __name__ == "__main__":
    main()
