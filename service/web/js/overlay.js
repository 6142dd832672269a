/**
 * The day's layer on the map. Each day is a source of its own, so that the next one can load unseen while
 * this one is shown. Cells without a value are hatched inside the region: unknown never looks like low.
 */

import { addProtocol } from "../vendor/maplibre-gl.mjs";
import { Problem, problemOf } from "./api.js";
import { hatchTile } from "./patterns.js";
import { t } from "./texts.js";

/**
 * @typedef {import("maplibre-gl").Map} Map_
 * @typedef {import("./state.js").Position} Position
 * @typedef {{key: string, path: string}} Picture path: with {z}, {x}, {y}
 */

const SCHEME = "colluvium";
const TILE = 256;
const KEEP = 6; // days whose tiles stay loaded
const PATIENCE_MS = 1500; // for so long the day before may still be seen
const ADDRESS = /^colluvium:\/\/(\d+)\/(\d+)\/(\d+)\/(\d+)$/;

export class Overlay {
  /**
   * @param {Map_} map
   * @param {{footprint: Position[], bounds: [number, number, number, number]}} site
   * @param {string} before the layer that the overlay lies below
   * @param {(problem: Problem | null) => void} onProblem told for the picture in sight only
   */
  constructor(map, site, before, onProblem) {
    this.map = map;
    this.site = site;
    this.before = before;
    this.onProblem = onProblem;
    this.opacity = 1;
    /** Pictures by their number, the longest unused first. @type {Map<number, Picture>} */
    this.pictures = new Map();
    /** @type {Map<number, Problem>} */
    this.problems = new Map();
    this.next = 1;
    /** @type {number | null} */
    this.wanted = null;
    /** @type {number | null} */
    this.shown = null;
    addProtocol(SCHEME, ({ url }, controller) => this.readTile(url, controller.signal));
  }

  /**
   * Show a picture as soon as it is there; none hides all. Answers whether it is in sight now: another one
   * may have been asked for meanwhile.
   * @param {Picture | null} picture
   */
  async show(picture) {
    if (picture === null) {
      this.wanted = null;
      this.reveal(null);
      this.onProblem(null);
      return true;
    }
    const number = this.add(picture);
    this.wanted = number;
    await this.loaded(number);
    if (this.wanted !== number) return false;
    this.reveal(number);
    this.onProblem(this.problems.get(number) ?? null);
    this.prune();
    return true;
  }

  /**
   * Load a picture's tiles without showing them.
   * @param {Picture} picture
   */
  preload(picture) {
    this.add(picture);
    this.prune();
  }

  /** Forget what was loaded, and load what is in sight again. */
  reload() {
    const wanted = this.wanted === null ? null : (this.pictures.get(this.wanted) ?? null);
    for (const number of [...this.pictures.keys()]) this.remove(number);
    this.problems.clear();
    return this.show(wanted);
  }

  /** @param {number} opacity */
  setOpacity(opacity) {
    this.opacity = opacity;
    if (this.shown !== null) this.map.setPaintProperty(layerId(this.shown), "raster-opacity", opacity);
  }

  /** @param {Picture} picture */
  add(picture) {
    const there = [...this.pictures].find(([, { key }]) => key === picture.key)?.[0];
    const number = there ?? this.next++;
    this.pictures.delete(number);
    this.pictures.set(number, picture);
    if (there !== undefined) return number;
    const id = layerId(number);
    this.map.addSource(id, {
      type: "raster",
      tiles: [`${SCHEME}://${number}/{z}/{x}/{y}`],
      tileSize: TILE,
      maxzoom: 18,
      bounds: this.site.bounds,
    });
    const paint = /** @type {const} */ ({
      "raster-opacity": 0,
      "raster-fade-duration": 0,
      "raster-resampling": "nearest",
    });
    this.map.addLayer({ id, type: "raster", source: id, paint }, this.before);
    return number;
  }

  /** @param {number | null} number */
  reveal(number) {
    if (this.shown !== null && this.shown !== number && this.pictures.has(this.shown)) {
      this.map.setPaintProperty(layerId(this.shown), "raster-opacity", 0);
    }
    if (number !== null) this.map.setPaintProperty(layerId(number), "raster-opacity", this.opacity);
    this.shown = number;
  }

  prune() {
    for (const number of [...this.pictures.keys()]) {
      if (this.pictures.size <= KEEP) return;
      if (number !== this.shown && number !== this.wanted) this.remove(number);
    }
  }

  /** @param {number} number */
  remove(number) {
    this.map.removeLayer(layerId(number));
    this.map.removeSource(layerId(number));
    this.pictures.delete(number);
    this.problems.delete(number);
    if (this.shown === number) this.shown = null;
  }

  /**
   * Wait until a picture's tiles are there, but not for ever: the day before must not pass for this one.
   * @param {number} number
   * @returns {Promise<void>}
   */
  loaded(number) {
    const id = layerId(number);
    return new Promise((resolve) => {
      let drawn = false;
      const done = () => {
        clearTimeout(timer);
        this.map.off("render", check);
        this.map.off("sourcedata", check);
        resolve();
      };
      const check = (/** @type {{type: string}} */ event) => {
        // Before the first frame the source does not know yet which tiles it needs.
        drawn ||= event.type === "render";
        if (!this.pictures.has(number) || (drawn && this.map.isSourceLoaded(id))) done();
      };
      const timer = setTimeout(done, PATIENCE_MS);
      this.map.on("render", check);
      this.map.on("sourcedata", check);
      this.map.triggerRepaint();
    });
  }

  /**
   * @param {string} url
   * @param {AbortSignal} signal
   * @returns {Promise<{data: ImageBitmap}>}
   */
  async readTile(url, signal) {
    const [number, z, x, y] = (ADDRESS.exec(url) ?? []).slice(1).map(Number);
    const picture = number === undefined ? undefined : this.pictures.get(number);
    if (number === undefined || z === undefined || x === undefined || y === undefined || !picture) {
      throw new Problem(0, `no picture behind ${url}`);
    }
    const path = picture.path.replace("{z}", `${z}`).replace("{x}", `${x}`).replace("{y}", `${y}`);
    /** @type {ImageBitmap | null} */
    let tile = null;
    try {
      const response = await fetch(path, { signal });
      if (!response.ok) throw await problemOf(response);
      if (response.status !== 204) tile = await createImageBitmap(await response.blob());
    } catch (error) {
      if (signal.aborted) throw error;
      this.fail(number, error instanceof Problem ? error : new Problem(0, t("problem.unreachable")));
    }
    return { data: hatchTile(tile, this.site.footprint, { z, x, y }) };
  }

  /**
   * @param {number} number
   * @param {Problem} problem
   */
  fail(number, problem) {
    if (this.problems.has(number)) return;
    this.problems.set(number, problem);
    if (number === this.wanted) this.onProblem(problem);
  }
}

/** @param {number} number */
const layerId = (number) => `overlay-${number}`;
