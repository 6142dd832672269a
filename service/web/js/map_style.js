/** How the map is drawn. */

import { EVENT_COLOURS } from "./event_signs.js";
import { LEVEL_COLOURS } from "./levels.js";

/** @typedef {import("maplibre-gl").LayerSpecification} LayerSpecification */

export const SHARE_STEPS = /** @type {const} */ ([0.01, 0.05, 0.15, 0.3]);
export const SHARE_COLOURS = /** @type {const} */ (["#f2f0f7", "#cbc9e2", "#9e9ac8", "#756bb1", "#54278f"]); // ColorBrewer Purples
export const HOTSPOT_COLOUR = "#0a4fa3";
const SELECTED = "#00c2e8";
const GROUND = { light: "#e9edf0", dark: "#1b232a" };
const LINE = { light: "#26343f", dark: "#10171c" };
/** Never true: nothing is selected. @type {any} */
export const NONE = ["==", ["get", "id"], ""];

const IS_POINT = /** @type {any} */ (["==", ["geometry-type"], "Point"]);
const IS_AREA = /** @type {any} */ (["==", ["geometry-type"], "Polygon"]); // one of several parts too
/** @type {any} */
const eventColour = ["match", ["get", "sign"], ...Object.entries(EVENT_COLOURS).flat(), EVENT_COLOURS.open];

/**
 * @param {"light" | "dark"} theme
 * @returns {LayerSpecification[]}
 */
export function mapLayers(theme) {
  const shares = SHARE_STEPS.flatMap((step, n) => [step, SHARE_COLOURS[n + 1]]);
  const known = /** @type {any} */ (["!=", ["get", "high_ratio"], null]);
  const hidden = /** @type {const} */ ({ visibility: "none" });
  const line = (
    /** @type {string} */ id,
    /** @type {string} */ source,
    /** @type {any} */ paint,
    /** @type {any} */ filter,
  ) =>
    /** @type {LayerSpecification} */ ({
      id,
      type: "line",
      source,
      layout: { "line-join": "round", "line-cap": "round" },
      paint,
      ...(filter ? { filter } : {}),
    });
  const dots = (/** @type {string} */ source, /** @type {string} */ colour, /** @type {number} */ radius) =>
    /** @type {LayerSpecification} */ ({
      id: `${source}-points`,
      type: "circle",
      source,
      filter: ["==", ["geometry-type"], "Point"],
      paint: {
        "circle-radius": radius,
        "circle-color": colour,
        "circle-stroke-width": 2.5,
        "circle-stroke-color": "#fff",
      },
    });
  return [
    { id: "ground", type: "background", paint: { "background-color": GROUND[theme] } },
    {
      id: "hillshade",
      type: "raster",
      source: "hillshade",
      paint: { "raster-fade-duration": 0, "raster-brightness-max": theme === "dark" ? 0.6 : 1 },
    },
    {
      id: "zones-fill",
      type: "fill",
      source: "zones",
      layout: hidden,
      filter: known,
      paint: {
        "fill-color": ["step", ["get", "high_ratio"], SHARE_COLOURS[0], ...shares],
        "fill-opacity": 0.75,
      },
    },
    {
      id: "zones-unknown",
      type: "fill",
      source: "zones",
      layout: hidden,
      filter: ["!", known],
      paint: { "fill-pattern": "unknown", "fill-opacity": 0.75 },
    },
    line("footprint", "footprint", { "line-color": LINE[theme], "line-width": 1, "line-opacity": 0.6 }, null),
    line(
      "zones-casing",
      "zones",
      { "line-color": byLevel("#15202a", "#fff"), "line-width": byLevel(8, 3.5), "line-opacity": 0.8 },
      null,
    ),
    line("zones-line", "zones", { "line-color": levelColour(theme), "line-width": byLevel(4.5, 1.5) }, null),
    // Around the outline, whose colour says the level.
    line("zones-selected", "zones", { "line-color": SELECTED, "line-width": 3, "line-gap-width": 6 }, NONE),
    {
      id: "hotspots-fill",
      type: "fill",
      source: "hotspots",
      paint: { "fill-color": HOTSPOT_COLOUR, "fill-opacity": 0.06 },
    },
    line(
      "hotspots-casing",
      "hotspots",
      { "line-color": "#fff", "line-width": ["interpolate", ["linear"], ["zoom"], 9, 1.6, 14, 4] },
      null,
    ),
    line(
      "hotspots-line",
      "hotspots",
      { "line-color": HOTSPOT_COLOUR, "line-width": ["interpolate", ["linear"], ["zoom"], 9, 0.8, 14, 2] },
      null,
    ),
    line("hotspots-selected", "hotspots", { "line-color": SELECTED, "line-width": 4 }, NONE),
    {
      id: "events-area",
      type: "fill",
      source: "events",
      filter: IS_AREA,
      paint: { "fill-color": eventColour, "fill-opacity": 0.15 },
    },
    line("events-casing", "events", { "line-color": "#fff", "line-width": 4.5 }, IS_AREA),
    line("events-line", "events", { "line-color": eventColour, "line-width": 2.2 }, IS_AREA),
    {
      id: "area-fill",
      type: "fill",
      source: "area",
      paint: { "fill-color": "#0b5c8a", "fill-opacity": 0.15 },
    },
    line("area-casing", "area", { "line-color": "#fff", "line-width": 4 }, null),
    line("area-line", "area", { "line-color": "#0b5c8a", "line-width": 2, "line-dasharray": [2, 1.5] }, null),
    dots("area", "#0b5c8a", 5),
    {
      id: "series-signs",
      type: "symbol",
      source: "series",
      layout: {
        "icon-image": ["match", ["get", "variable"], "rain", "gauge-rain", "gauge-level"],
        "icon-allow-overlap": true,
      },
    },
    {
      id: "events-signs",
      type: "symbol",
      source: "events",
      filter: IS_POINT,
      layout: { "icon-image": ["concat", "event-", ["get", "sign"]], "icon-allow-overlap": true },
    },
    {
      id: "events-selected",
      type: "circle",
      source: "events",
      filter: NONE,
      paint: {
        "circle-radius": 15,
        "circle-opacity": 0,
        "circle-stroke-width": 3,
        "circle-stroke-color": SELECTED,
      },
    },
    levelLabels("levels-calm", false),
    levelLabels("levels-raised", true),
    dots("position", "#7a3fb0", 8),
    {
      // A ring: what it is asked about stays in sight.
      id: "place-points",
      type: "circle",
      source: "place",
      paint: {
        "circle-radius": 9,
        "circle-color": "#fff",
        "circle-opacity": 0.3,
        "circle-stroke-width": 3,
        "circle-stroke-color": "#111820",
      },
    },
  ];
}

/**
 * One value for raised levels, another for all others: green, unknown and not decided.
 * @param {string | number} raised
 * @param {string | number} other
 * @returns {any}
 */
const byLevel = (raised, other) => ["match", ["get", "warning_level"], [1, 2, 3], raised, other];

/**
 * The colour of a zone's outline; where its level is not known, or was not decided, that of any line.
 * @param {"light" | "dark"} theme
 * @returns {any}
 */
const levelColour = (theme) => [
  "match",
  ["get", "warning_level"],
  ...LEVEL_COLOURS.flatMap((colour, level) => [level, colour]),
  LINE[theme],
];

/**
 * Labels of zones with their levels. A raised one is never left out for want of room: where they meet, the
 * gravest is drawn last, above the others. Of those that need room, the unknown ones take it before the green.
 * @param {string} id
 * @param {boolean} raised
 * @returns {LayerSpecification}
 */
const levelLabels = (id, raised) => ({
  id,
  type: "symbol",
  source: "levels",
  filter: ["==", ["get", "raised"], raised],
  layout: {
    "icon-image": ["get", "image"],
    "icon-allow-overlap": raised,
    "symbol-sort-key": raised ? ["get", "order"] : ["-", ["get", "order"]],
    "symbol-z-order": "source",
  },
});

/**
 * What differs between the themes: layer, property, value.
 * @param {"light" | "dark"} theme
 * @returns {[string, string, any][]}
 */
export function paintOfTheme(theme) {
  return [
    ["ground", "background-color", GROUND[theme]],
    ["hillshade", "raster-brightness-max", theme === "dark" ? 0.6 : 1],
    ["footprint", "line-color", LINE[theme]],
    ["zones-line", "line-color", levelColour(theme)],
  ];
}
