/** Zones, hotspots and gauges of the day in sight: asked for once a layer, shown on the map and in panels. */

import { getJson, sayProblem, wasAborted } from "./api.js";
import { addDays } from "./texts.js";

/**
 * @typedef {{features: any[]}} Collection GeoJSON
 * @typedef {Collection & {withheld: string[]}} Series
 * @typedef {Collection & {matched: number, verified_at: string | null}} Events
 */

const KEEP = 40; // layers whose zones and hotspots are remembered
export const MOST_HOTSPOTS = 200; // on the map and in the list, the largest first
const MOST_EVENTS = 2000; // on the map, the newest
const READING_DAYS = 30;

export class Places {
  /** @param {() => void} onNews */
  constructor(onNews) {
    this.onNews = onNews;
    /** @type {Collection | null} */
    this.zones = null;
    /** @type {Collection | null} */
    this.hotspots = null;
    /** @type {Series | null} */
    this.series = null;
    this.zonesProblem = "";
    this.seriesProblem = "";
    /** @type {Events | null} */
    this.events = null;
    this.eventsProblem = "";
    /** The event that was chosen, by its uid. @type {string | null} */
    this.event = null;
    /** @type {number | null} */
    this.hotspot = null;
    /** @type {string | null} */
    this.gauge = null;
    /** @type {string[]} the days that sparklines show */
    this.readingDays = [];
    /** @type {Map<string, any>} answers by what was asked */
    this.kept = new Map();
    /** The layer that zones and hotspots are of; null before the first. @type {string | null} */
    this.wanted = null;
    /** @type {AbortController | null} */
    this.controller = null;
  }

  /**
   * Bring zones and hotspots in line with a layer; none: there is nothing to show.
   * @param {{id: string, day: string, lead: number} | null} layer
   */
  async follow(layer) {
    const wanted = layer?.id ?? "";
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.hotspot = null;
    if (layer === null) {
      this.zones = { features: this.zones?.features.map(withoutValues) ?? [] };
      this.hotspots = { features: [] };
      this.onNews();
      return;
    }
    const zones = this.read("zones", { day: layer.day, lead: layer.lead }, layer.id, controller.signal);
    const hotspots = this.read(
      "hotspots",
      { day: layer.day, lead: layer.lead, limit: MOST_HOTSPOTS },
      layer.id,
      controller.signal,
    );
    const [gotZones, gotHotspots] = await Promise.allSettled([zones, hotspots]);
    if (this.controller !== controller) return;
    if (gotZones.status === "fulfilled") [this.zones, this.zonesProblem] = [gotZones.value, ""];
    else if (!wasAborted(gotZones.reason))
      [this.zones, this.zonesProblem] = [{ features: [] }, sayProblem(gotZones.reason)];
    if (gotHotspots.status === "fulfilled") this.hotspots = gotHotspots.value;
    else if (!wasAborted(gotHotspots.reason)) this.hotspots = { features: [] }; // its panel says why
    this.onNews();
  }

  /**
   * @param {string} path
   * @param {Record<string, string | number | null>} query
   * @param {string} layer
   * @param {AbortSignal} signal
   */
  async read(path, query, layer, signal) {
    const asked = JSON.stringify([path, query, layer]);
    const there = this.kept.get(asked);
    if (there) return there;
    const answer = await getJson(path, query, signal);
    this.kept.set(asked, answer);
    const oldest = this.kept.keys().next().value;
    if (this.kept.size > KEEP && oldest !== undefined) this.kept.delete(oldest);
    return answer;
  }

  /**
   * Tell whether the zones that were read are a layer's.
   * @param {string | null} layer its id
   */
  areOf(layer) {
    return layer !== null && /** @type {any} */ (this.zones)?.layer === layer;
  }

  /**
   * What the zones of a layer say of its warning levels; null while they are read.
   * @param {{id: string, day: string, lead: number}} layer
   * @returns {import("./levels.js").LayerLevels | null}
   */
  levelsOf({ id, day, lead }) {
    if (!this.areOf(id)) return null;
    const zones = /** @type {any} */ (this.zones);
    const levels = zones.features
      .map((/** @type {any} */ { properties }) => properties.warning)
      .filter((/** @type {any} */ warning) => warning !== null);
    levels.sort((/** @type {any} */ a, /** @type {any} */ b) => (b.level ?? 0.5) - (a.level ?? 0.5));
    return { layer: id, day, lead, levels, levels_missing: zones.levels_missing };
  }

  /** Read the gauges: they follow the present, whatever day the map shows. */
  async readSeries() {
    try {
      this.series = /** @type {Series} */ (await getJson("series"));
      this.seriesProblem = "";
      const days = this.series.features.flatMap(({ properties }) =>
        properties.days.map((/** @type {any} */ { day }) => day),
      );
      const last = days.length ? days.reduce((a, b) => (a > b ? a : b)) : null;
      this.readingDays =
        last === null
          ? []
          : Array.from({ length: READING_DAYS }, (_, n) => addDays(last, n + 1 - READING_DAYS));
    } catch (error) {
      this.seriesProblem = sayProblem(error);
    }
    this.onNews();
  }

  /** Read the events: they are of all days, whatever day the map shows. */
  async readEvents() {
    try {
      this.events = /** @type {Events} */ (await getJson("events", { limit: MOST_EVENTS }));
      this.eventsProblem = "";
    } catch (error) {
      this.eventsProblem = sayProblem(error);
    }
    this.onNews();
  }

  /** @param {string} id */
  chooseEvent(id) {
    this.event = id;
    this.onNews();
  }

  /** @param {number} id */
  chooseHotspot(id) {
    this.hotspot = id === this.hotspot ? null : id;
    this.onNews();
  }

  /** @param {string} id */
  chooseGauge(id) {
    this.gauge = id;
    this.onNews();
  }
}

/** @param {any} feature a zone on a day that has no map */
const withoutValues = (feature) => ({
  ...feature,
  properties: { ...feature.properties, high_ratio: null, areas: {}, warning_level: null, warning: null },
});
