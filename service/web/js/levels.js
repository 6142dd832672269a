/** Warning levels in words and colours, and their labels on the map. What is not known is never green. */

import { h, setStyle } from "./dom.js";
import { t } from "./texts.js";

/**
 * @typedef {object} Level
 * @property {string} zone "" is the whole region
 * @property {string} name
 * @property {number | null} level 0 to 3; null: not known
 * @property {number | null} previous
 * @property {string} rule
 * @property {Record<string, number | null>} numbers
 * @property {number | null} reference_share
 * @property {number} calm_days
 * @property {boolean} unconfirmed
 * @property {string} decided_at
 *
 * @typedef {{code: string, says: string}} Told
 * @typedef {{layer: string, day: string, lead: number, levels: Level[], levels_missing: Told | null}} LayerLevels
 * @typedef {{zone: string, name: string, level: number, ends_at: string, reason: string}} Exercise
 * @typedef {{exercises: Exercise[], layers: LayerLevels[]}} Warnings
 */

// As weather services colour them. A word always stands beside.
export const LEVEL_COLOURS = /** @type {const} */ (["#2e8b57", "#f5d000", "#f28500", "#c8102e"]);
export const EXERCISE_COLOUR = "#4b2a86";
const UNKNOWN_COLOUR = "#6b7680";
const LEVEL_INK = /** @type {const} */ (["#ffffff", "#15202a", "#15202a", "#ffffff"]);

/** @param {number | null | undefined} level */
export const levelName = (level) => t(`level.${level ?? "unknown"}`);

/** @param {number | null | undefined} level */
export const loudName = (level) => levelName(level).toLocaleUpperCase();

/**
 * The level as a coloured mark with its name.
 * @param {number | null | undefined} level
 * @param {string} [text] instead of the name
 */
export function levelMark(level, text = levelName(level)) {
  const known = level !== null && level !== undefined;
  const swatch = h("span", { class: known ? "swatch" : "swatch hatched" });
  if (known) setStyle(swatch, { background: LEVEL_COLOURS[level] ?? UNKNOWN_COLOUR });
  return h("span", { class: `level${level ? " is-raised" : ""}` }, swatch, text);
}

/**
 * The highest known level of a layer; null where none is known.
 * @param {LayerLevels | undefined} layer
 * @returns {number | null}
 */
export function highest(layer) {
  const known = (layer?.levels ?? []).map(({ level }) => level).filter((level) => level !== null);
  return known.length ? Math.max(...known) : null;
}

/**
 * What stands on a map over a zone: its name with its level, and a drill that plays there.
 * @param {any[]} zones features
 * @param {Exercise[]} exercises
 * @param {boolean} decided whether levels were decided with the layer in sight
 * @param {boolean} [isNarrow] where names would cover each other and the map; they stand in the panels
 */
export function labelFeatures(zones, exercises, decided, isNarrow = false) {
  return zones.flatMap(({ properties: zone }) => {
    const drill = exercises.find((one) => one.zone === zone.id);
    if (zone.label_at === null || zone.label_at === undefined || (!decided && !drill)) return [];
    const { warning_level: level } = zone;
    /** @type {[string, string, string][]} text, ink, ground */
    const lines = [];
    /** @type {string[]} */
    const says = [];
    if (decided) {
      const said = level ? loudName(level) : levelName(level);
      says.push(t("level.label", { name: zone.name, level: said }));
      lines.push([
        isNarrow ? said : (says[0] ?? ""),
        level === null ? "#ffffff" : (LEVEL_INK[level] ?? "#ffffff"),
        level === null ? UNKNOWN_COLOUR : (LEVEL_COLOURS[level] ?? UNKNOWN_COLOUR),
      ]);
    }
    if (drill) {
      const said = t("level.label.exercise", { name: zone.name, level: loudName(drill.level) });
      says.push(said);
      const text = isNarrow ? t("level.label.exercise.short") : said;
      lines.push([text, "#ffffff", EXERCISE_COLOUR]);
    }
    const raised = drill !== undefined || (level ?? 0) > 0;
    return [
      {
        type: "Feature",
        properties: {
          id: zone.id,
          image: JSON.stringify(lines),
          says: says.join(" + "),
          raised,
          order: level ?? 0.5,
        },
        geometry: { type: "Point", coordinates: zone.label_at },
      },
    ];
  });
}

const SCALE = 2; // pixels of the picture for one of the page
const HEIGHT = 22;
const FONT = `600 ${13 * SCALE}px system-ui, sans-serif`;

/**
 * Draw a label: text in a picture, because letters of the map would be fetched from somewhere.
 * @param {[string, string, string][]} lines text, ink, ground
 * @returns {ImageData}
 */
export function drawLabel(lines) {
  const canvas = document.createElement("canvas");
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.font = FONT;
  const widths = lines.map(([text]) => context.measureText(text).width);
  canvas.width = Math.ceil(Math.max(...widths)) + 16 * SCALE;
  canvas.height = lines.length * HEIGHT * SCALE + 4;
  lines.forEach(([text, ink, ground], n) => {
    const top = 2 + n * HEIGHT * SCALE;
    context.beginPath();
    context.roundRect(2, top, canvas.width - 4, HEIGHT * SCALE - 2, 5 * SCALE);
    context.fillStyle = ground;
    context.fill();
    context.lineWidth = 3;
    context.strokeStyle = "#ffffff";
    context.stroke();
    context.font = FONT;
    context.fillStyle = ink;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, canvas.width / 2, top + (HEIGHT * SCALE) / 2);
  });
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

export const LABEL_RATIO = SCALE;
