/** Signs of events: told apart by shape, and by colour only beside it. */

import { h } from "./dom.js";

/**
 * @typedef {"hit" | "miss" | "open" | "visit"} Sign open: undecided, unknown, or not held against a map yet
 */

export const SIGNS = /** @type {const} */ (["hit", "miss", "open", "visit"]);
export const EVENT_COLOURS = /** @type {const} */ ({
  hit: "#0b6b4f",
  miss: "#a3006b",
  open: "#4a5560",
  visit: "#4a5560",
});
const SIZE = 44; // pixels of the picture
const SHOWN = 22; // pixels on the page

/**
 * @param {{kind: string, outcome: string | null}} event
 * @returns {Sign}
 */
export function signOf({ kind, outcome }) {
  if (kind === "nothing_seen") return "visit";
  return outcome === "hit" || outcome === "miss" ? outcome : "open";
}

/**
 * Draw a sign: a square with a tick, a triangle with an exclamation mark, a hollow square with a question mark,
 * or an eye.
 * @param {Sign} sign
 * @returns {HTMLCanvasElement}
 */
export function drawEventSign(sign) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.translate(SIZE / 2, SIZE / 2);
  context.lineJoin = context.lineCap = "round";
  const shape = SHAPES[sign];
  const colour = EVENT_COLOURS[sign];
  const hollow = sign === "open" || sign === "visit";
  outline(context, shape, 9, "#ffffff");
  context.fillStyle = hollow ? "#ffffff" : colour;
  context.fill(new Path2D(shape));
  outline(context, shape, 4, colour);
  outline(context, MARKS[sign], 5, hollow ? colour : "#ffffff");
  return canvas;
}

const SHAPES = {
  hit: "M-12-12h24v24h-24z",
  miss: "M0-15L16 13H-16z",
  open: "M-12-12h24v24h-24z",
  visit: "M-15 0Q0-15 15 0Q0 15-15 0z",
};
const MARKS = {
  hit: "M-6 0l4 5l8-10",
  miss: "M0-5v7M0 8v.5",
  open: "M-4-4a4.5 4.5 0 1 1 5 5q-1 .7-1 2M0 8v.5",
  visit: "M-1 0a1.6 1.6 0 1 0 2 0a1.6 1.6 0 1 0-2 0",
};

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} path
 * @param {number} width
 * @param {string} colour
 */
function outline(context, path, width, colour) {
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke(new Path2D(path));
}

/**
 * A sign beside words: it says nothing to a screen reader.
 * @param {Sign} sign
 */
export function eventSign(sign) {
  const canvas = drawEventSign(sign);
  canvas.className = "event-sign";
  canvas.setAttribute("aria-hidden", "true");
  canvas.style.setProperty("width", `${SHOWN}px`);
  canvas.style.setProperty("height", `${SHOWN}px`);
  return h("span", { class: "event-mark" }, canvas);
}

/**
 * Events as the map draws them: a sign each, and the outlines that are known.
 * @param {any[]} features of /events
 */
export function eventFeatures(features) {
  return features.flatMap(({ id, geometry, properties }) => {
    const said = { id, sign: signOf(properties) };
    const { outline: area } = properties;
    return [
      ...(area === null ? [] : [{ type: "Feature", properties: said, geometry: area }]),
      { type: "Feature", properties: said, geometry },
    ];
  });
}
