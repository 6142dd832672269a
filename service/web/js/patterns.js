/** Patterns: what tells unknown from low, and filled from observed, without colour. */

/** @typedef {import("./state.js").Position} Position */

const TILE = 256;
const STEP = 8; // divides TILE, so that the hatching runs on from tile to tile
export const HATCH_LINE = "rgba(70, 80, 90, 0.85)";
const HATCH_GROUND = "rgba(200, 206, 212, 0.75)";

/**
 * Draw one repeat of diagonal hatching.
 * @param {string} line
 * @param {string} ground
 * @param {number} [step]
 * @returns {HTMLCanvasElement}
 */
export function hatch(line, ground, step = STEP) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = step;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = ground;
  context.fillRect(0, 0, step, step);
  context.strokeStyle = line;
  context.lineWidth = 1.25;
  context.beginPath();
  for (const shift of [-step, 0, step]) {
    context.moveTo(shift, step);
    context.lineTo(shift + step, 0);
  }
  context.stroke();
  return canvas;
}

/** The hatching of unknown cells, on the map and in its legend. */
export const unknownHatch = () => hatch(HATCH_LINE, HATCH_GROUND);

/** @type {HTMLCanvasElement | null} */
let repeat = null;

/**
 * Return a tile with hatching where it is transparent and inside the region; all of it where it is null.
 * @param {ImageBitmap | null} tile
 * @param {Position[]} footprint
 * @param {{z: number, x: number, y: number}} at
 * @returns {ImageBitmap}
 */
export function hatchTile(tile, footprint, at) {
  const canvas = new OffscreenCanvas(TILE, TILE);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  if (tile) context.drawImage(tile, 0, 0, TILE, TILE);
  context.beginPath();
  for (const [lon, lat] of footprint) {
    const [x, y] = worldPixel(lon, lat, at.z);
    context.lineTo(x - at.x * TILE, y - at.y * TILE);
  }
  context.globalCompositeOperation = "destination-over";
  repeat ??= unknownHatch();
  context.fillStyle = /** @type {CanvasPattern} */ (context.createPattern(repeat, "repeat"));
  context.fill();
  return canvas.transferToImageBitmap();
}

/**
 * @param {number} lon
 * @param {number} lat
 * @param {number} z
 * @returns {Position}
 */
function worldPixel(lon, lat, z) {
  const size = TILE * 2 ** z;
  const sine = Math.sin((lat * Math.PI) / 180);
  return [((lon + 180) / 360) * size, (0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * size];
}

/** How the days of a window came about, each with its own pattern. */
export const KINDS = /** @type {const} */ (["observed", "filled", "carried", "forecast", "missing"]);

/**
 * Return what fills a bar of one kind.
 * @param {CanvasRenderingContext2D} context
 * @param {string} kind
 * @param {string} colour
 * @param {string} ground
 * @returns {string | CanvasPattern}
 */
export function kindFill(context, kind, colour, ground) {
  if (kind === "observed") return colour;
  if (kind === "filled") return repeated(context, hatch(colour, ground, 5));
  if (kind === "carried") return repeated(context, dots(colour, ground));
  if (kind === "forecast") return ground;
  return repeated(context, hatch("rgba(128, 128, 128, 0.9)", ground, 4));
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {HTMLCanvasElement} canvas
 */
function repeated(context, canvas) {
  return /** @type {CanvasPattern} */ (context.createPattern(canvas, "repeat"));
}

/**
 * @param {string} colour
 * @param {string} ground
 */
function dots(colour, ground) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 4;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = ground;
  context.fillRect(0, 0, 4, 4);
  context.fillStyle = colour;
  context.fillRect(0, 0, 2, 2);
  context.fillRect(2, 2, 2, 2);
  return canvas;
}
