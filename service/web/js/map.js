/** The map: base, zones, hotspots, gauges, what is drawn and picked. No text layers: fonts would be fetched. */

import { Map as LibreMap, NavigationControl, ScaleControl } from "../vendor/maplibre-gl.mjs";
import { drawEventSign, SIGNS } from "./event_signs.js";
import { drawLabel, LABEL_RATIO } from "./levels.js";
import { unknownHatch } from "./patterns.js";
import { mapLayers, NONE, paintOfTheme } from "./map_style.js";
import { t } from "./texts.js";

/**
 * @typedef {import("maplibre-gl").GeoJSONSource} GeoJSONSource
 * @typedef {import("maplibre-gl").MapGeoJSONFeature} Feature
 * @typedef {import("./state.js").Position} Position
 * @typedef {import("./state.js").View} View
 * @typedef {object} Site
 * @property {string} region
 * @property {string} name
 * @property {string} timezone
 * @property {[number, number, number, number]} bounds
 * @property {Position[]} footprint
 * @property {number} cell_size_m
 * @property {boolean} synthetic
 * @property {string} attribution
 * @property {string} licence
 * @property {{name: string, url: string | null} | null} official
 * @property {boolean} openstreetmap
 * @property {boolean} hillshade whether there is one
 * @property {number} leads for how many days ahead forecasts are made; 0: none
 * @property {number} hotspot_min_area_m2
 * @property {string} version
 */

export const BELOW = "zones-fill"; // the overlay lies right below this layer
const PADDING = 20; // pixels around the region
const CARD = 330; // what lies over the map on the left, where there is room for it
const CARD_HEIGHT = 185; // and on a phone above it
const BESIDE = "(min-width: 60rem)"; // as in the style: below it the card stands above the map
const LEAST_BESIDE = 160;
const NARROW = 700; // a map below which labels with names would cover it

export class RegionMap {
  /**
   * @param {HTMLElement} container
   * @param {Site} site
   * @param {View} view
   * @param {"light" | "dark"} theme
   */
  constructor(container, site, view, theme) {
    this.site = site;
    this.theme = theme;
    const placed = view.lon !== null && view.lat !== null && view.z !== null;
    this.map = new LibreMap({
      container,
      style: { version: 8, sources: this.sources(), layers: mapLayers(theme) },
      ...(placed
        ? { center: [view.lon ?? 0, view.lat ?? 0], zoom: view.z ?? 0 }
        : { bounds: site.bounds, fitBoundsOptions: { padding: paddingOf(container) } }),
      maxZoom: 17,
      minZoom: 3,
      maxBounds: wider(site.bounds),
      attributionControl: false, // the page says it itself, as text
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      renderWorldCopies: false,
      fadeDuration: 0,
      locale: {
        "Map.Title": t("map.label"),
        "NavigationControl.ZoomIn": t("map.zoom_in"),
        "NavigationControl.ZoomOut": t("map.zoom_out"),
        "ScaleControl.Meters": "m",
        "ScaleControl.Kilometers": "km",
      },
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.addControl(new NavigationControl({ showCompass: false }), "top-right");
    this.map.addControl(new ScaleControl({ maxWidth: 120 }), "bottom-right");
    /** Resolves once layers can be added. @type {Promise<void>} */
    this.ready = new Promise((resolve) => {
      this.map.once("load", () => resolve());
    });
    this.addImages();
  }

  /** @returns {Record<string, any>} */
  sources() {
    const { bounds, footprint, hillshade, openstreetmap } = this.site;
    const here = new URL(".", document.baseURI).href;
    /** @type {Record<string, any>} */
    const sources = {
      // Without a hillshade no tile of it is asked for; the ground stays plain.
      hillshade: {
        type: "raster",
        tiles: hillshade ? [`${here}basemap/{z}/{x}/{y}.png`] : [],
        tileSize: 256,
        maxzoom: 15,
        bounds,
      },
      footprint: geojson([
        { type: "Feature", properties: {}, geometry: { type: "LineString", coordinates: footprint } },
      ]),
    };
    if (openstreetmap) {
      sources.osm = {
        type: "raster",
        tiles: ["https://tile.openstreetmap.org/{z}/{x}/{y}.png"],
        tileSize: 256,
        maxzoom: 19,
      };
    }
    for (const name of ["zones", "levels", "hotspots", "area", "series", "events", "place", "position"])
      sources[name] = geojson([]);
    return sources;
  }

  addImages() {
    const pixels = (/** @type {HTMLCanvasElement} */ canvas) =>
      /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).getImageData(
        0,
        0,
        canvas.width,
        canvas.height,
      );
    this.map.once("styledata", () => {
      this.map.addImage("unknown", pixels(unknownHatch()));
      this.map.addImage("gauge-rain", pixels(gaugeSign("rain")), { pixelRatio: 2 });
      this.map.addImage("gauge-level", pixels(gaugeSign("level")), { pixelRatio: 2 });
      for (const sign of SIGNS)
        this.map.addImage(`event-${sign}`, pixels(drawEventSign(sign)), { pixelRatio: 2 });
    });
  }

  /** @param {"light" | "dark"} theme */
  setTheme(theme) {
    this.theme = theme;
    for (const [layer, property, value] of paintOfTheme(theme)) {
      if (this.map.getLayer(layer)) this.map.setPaintProperty(layer, /** @type {any} */ (property), value);
    }
  }

  /** @param {"hillshade" | "osm"} base */
  setBase(base) {
    const osm = base === "osm" && this.site.openstreetmap;
    if (osm && !this.map.getLayer("osm")) {
      this.map.addLayer({ id: "osm", type: "raster", source: "osm" }, "hillshade");
    }
    this.map.setLayoutProperty("hillshade", "visibility", osm ? "none" : "visible");
    if (this.map.getLayer("osm")) this.map.setLayoutProperty("osm", "visibility", osm ? "visible" : "none");
  }

  /**
   * @param {"zones" | "levels" | "hotspots" | "area" | "series" | "events" | "place" | "position"} name
   * @param {any[]} features GeoJSON
   */
  setFeatures(name, features) {
    const source = /** @type {GeoJSONSource | undefined} */ (this.map.getSource(name));
    void source?.setData({ type: "FeatureCollection", features });
  }

  /** @param {any[]} labels of zones, see labelFeatures */
  setLabels(labels) {
    for (const { properties } of labels) {
      const { image } = properties;
      if (!this.map.hasImage(image))
        this.map.addImage(image, drawLabel(JSON.parse(image)), { pixelRatio: LABEL_RATIO });
    }
    this.setFeatures("levels", labels);
  }

  /**
   * @param {"zones" | "levels" | "hotspots" | "series" | "events"} name
   * @param {boolean} visible
   */
  setVisible(name, visible) {
    for (const { id, source } of /** @type {any[]} */ (this.map.getStyle().layers)) {
      if (source === name && id !== "zones-fill" && id !== "zones-unknown") {
        this.map.setLayoutProperty(id, "visibility", visible ? "visible" : "none");
      }
    }
  }

  /** @param {boolean} filled whether zones are coloured by their share of high classes */
  setZonesFilled(filled) {
    for (const id of ["zones-fill", "zones-unknown"]) {
      this.map.setLayoutProperty(id, "visibility", filled ? "visible" : "none");
    }
  }

  /** @param {number} opacity */
  setZonesOpacity(opacity) {
    for (const id of ["zones-fill", "zones-unknown"]) this.map.setPaintProperty(id, "fill-opacity", opacity);
  }

  /** @param {string | null} id */
  selectZone(id) {
    this.map.setFilter("zones-selected", id === null ? NONE : ["==", ["get", "id"], id]);
  }

  /** @param {number | null} id */
  selectHotspot(id) {
    this.map.setFilter("hotspots-selected", id === null ? NONE : ["==", ["get", "id"], id]);
  }

  /** @param {string | null} id */
  selectEvent(id) {
    this.map.setFilter("events-selected", id === null ? NONE : ["==", ["get", "id"], id]);
  }

  /** @returns {Position} */
  get centre() {
    const { lng, lat } = this.map.getCenter();
    return [lng, lat];
  }

  /**
   * @param {Position} position
   * @param {number} [zoom] at least so near
   */
  goTo(position, zoom = 13) {
    this.map.easeTo({ center: position, zoom: Math.max(this.map.getZoom(), zoom) });
  }

  /**
   * Move the map where a position does not lie on it any more.
   * @param {Position} position
   */
  keepInSight(position) {
    this.map.resize();
    if (!this.map.getBounds().contains(position)) this.map.panTo(position);
  }

  /** @param {any} geometry GeoJSON */
  goToShape(geometry) {
    const [west, south, east, north] = boundsOf(geometry);
    this.map.fitBounds([west, south, east, north], { padding: 60, maxZoom: 15 });
  }

  /** Show the whole region. */
  goHome() {
    this.map.resize();
    this.map.fitBounds(this.site.bounds, { padding: paddingOf(this.map.getContainer()), animate: false });
  }

  /**
   * What lies at a place on the screen, the topmost first.
   * @param {import("maplibre-gl").PointLike} point
   * @param {string[]} layers
   * @returns {Feature[]}
   */
  featuresAt(point, layers) {
    return this.map.queryRenderedFeatures(point, { layers: layers.filter((id) => this.map.getLayer(id)) });
  }
}

/**
 * Tell whether a map has no room for labels with names.
 * @param {HTMLElement} container
 */
export const isNarrow = (container) => container.clientWidth < NARROW;

/** @param {HTMLElement} container */
function paddingOf(container) {
  const { clientWidth: width, clientHeight: height } = container;
  const beside = window.matchMedia(BESIDE).matches && width > CARD + LEAST_BESIDE;
  const top = !beside && height > 2 * CARD_HEIGHT ? CARD_HEIGHT : PADDING;
  return {
    left: beside ? CARD : PADDING,
    right: beside ? 3 * PADDING : PADDING,
    top,
    bottom: beside ? PADDING : PADDING + 40,
  };
}

/** @param {any[]} features */
const geojson = (features) => ({ type: "geojson", data: { type: "FeatureCollection", features } });

/**
 * @param {[number, number, number, number]} bounds
 * @returns {[number, number, number, number]}
 */
function wider([west, south, east, north]) {
  const [dx, dy] = [Math.max(east - west, 0.05) * 3, Math.max(north - south, 0.05) * 3];
  return [
    Math.max(west - dx, -180),
    Math.max(south - dy, -85),
    Math.min(east + dx, 180),
    Math.min(north + dy, 85),
  ];
}

/**
 * @param {any} geometry
 * @returns {[number, number, number, number]}
 */
export function boundsOf(geometry) {
  const numbers = /** @type {number[]} */ (geometry.coordinates.flat(Infinity));
  const lons = numbers.filter((_, n) => n % 2 === 0);
  const lats = numbers.filter((_, n) => n % 2 === 1);
  const least = (/** @type {number[]} */ all) => all.reduce((a, b) => Math.min(a, b));
  const most = (/** @type {number[]} */ all) => all.reduce((a, b) => Math.max(a, b));
  return [least(lons), least(lats), most(lons), most(lats)];
}

/** @param {Position} position */
export const pointFeature = (position) => ({
  type: "Feature",
  properties: {},
  geometry: { type: "Point", coordinates: position },
});

/** @param {Position[]} vertices */
export function areaFeatures(vertices) {
  const [first] = vertices;
  if (!first) return [];
  const closed = [...vertices, first];
  const shape =
    vertices.length > 2
      ? { type: "Polygon", coordinates: [closed] }
      : { type: "LineString", coordinates: closed };
  return [{ type: "Feature", properties: {}, geometry: shape }, ...vertices.map(pointFeature)];
}

/**
 * A disc for rain, a diamond for a reservoir: told apart without colour.
 * @param {"rain" | "level"} variable
 */
function gaugeSign(variable) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 36;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.translate(18, 18);
  context.beginPath();
  if (variable === "rain") context.arc(0, 0, 11, 0, 2 * Math.PI);
  else
    for (const [x, y] of [
      [0, -14],
      [14, 0],
      [0, 14],
      [-14, 0],
    ])
      context.lineTo(x ?? 0, y ?? 0);
  context.closePath();
  context.fillStyle = variable === "rain" ? "#1f6fb5" : "#12494f";
  context.fill();
  context.lineWidth = 4;
  context.strokeStyle = "#ffffff";
  context.stroke();
  return canvas;
}
