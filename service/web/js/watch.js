/** Keeping up with the server: its status and the layers in sight, asked for again each minute. */

import { getJson } from "./api.js";
import { addDays } from "./texts.js";

/**
 * @typedef {{area_m2: number, ratio: number | null, change_m2: Record<string, number>}} ClassArea
 * @typedef {object} LayerInfo
 * @property {string} id
 * @property {string} day
 * @property {number} lead
 * @property {string} issue_day
 * @property {number} revision
 * @property {"complete" | "provisional" | "degraded" | "withdrawn"} status
 * @property {boolean} unconfirmed
 * @property {string} issued_at
 * @property {string} data_until
 * @property {Record<string, string>} links
 * @property {number} coverage
 * @property {{name: string, version: string, digest: string, may_warn: boolean}} model
 * @property {string[]} notes
 * @property {boolean} synthetic
 * @property {{feed: string, issued_at: string, first_day: string, members: number} | null} forecast
 * @property {Record<string, ClassArea>} areas
 * @property {number} unknown_m2
 *
 * @typedef {{name: string, newest_day: string | null, late_days: number | null, failing: boolean,
 *   rejected: number}} Feed
 * @typedef {object} Status
 * @property {string} verdict
 * @property {string} today
 * @property {string | null} latest
 * @property {string | null} latest_day
 * @property {number | null} behind_days
 * @property {string | null} status
 * @property {number | null} coverage
 * @property {boolean | null} synthetic
 * @property {string[]} notes
 * @property {string | null} hold
 * @property {{outcome: string, day: string | null, reason: string, started_at: string} | null} last_run
 * @property {Feed[]} feeds
 */

export const WINDOW_DAYS = 30;
const MOST_LAYERS = 400; // as many as the server lists at once
const EVERY_MS = 60_000;
const AT_MOST_MS = 300_000;

export class Watch {
  /** @param {() => void} onNews called after every attempt, also a failed one */
  constructor(onNews) {
    this.onNews = onNews;
    /** @type {Status | null} */
    this.status = null;
    /** Nowcasts alone: a forecast never stands for its day. @type {Map<string, LayerInfo>} by day */
    this.layers = new Map();
    /** Nowcasts after the newest one in use: withdrawn ones. @type {LayerInfo[]} */
    this.later = [];
    /** The current forecasts, by lead. @type {LayerInfo[]} */
    this.forecasts = [];
    /** What stands now by lead, and drills that run. @type {import("./levels.js").Warnings} */
    this.warnings = { exercises: [], layers: [] };
    /** The last day that any layer is known of. @type {string | null} */
    this.end = null;
    /** The last day of the window; null until the status is known. @type {string | null} */
    this.last = null;
    /** @type {number | null} when the server last answered */
    this.answeredAt = null;
    /** @type {unknown} */
    this.problem = null;
    this.wait = EVERY_MS;
    /** @type {number | undefined} */
    this.timer = undefined;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.status) void this.look();
    });
    window.addEventListener("online", () => void this.look());
  }

  /** The newest day with a layer in use. */
  get newest() {
    return this.status?.latest_day ?? null;
  }

  /** The window's days, oldest first. @returns {string[]} */
  get days() {
    const last = this.last;
    return last === null
      ? []
      : Array.from({ length: WINDOW_DAYS }, (_, n) => addDays(last, n + 1 - WINDOW_DAYS));
  }

  /**
   * Ask now, then again each minute; less often while the server does not answer.
   * @param {string | null} [wanted] a day that the window has to hold
   */
  async look(wanted = null) {
    clearTimeout(this.timer);
    try {
      const status = /** @type {Status} */ (await getJson("status"));
      const newest = status.latest_day ?? status.today;
      const [{ layers, later }, { forecasts }, warnings] = await Promise.all([
        this.readLayers(newest, wanted),
        getJson("forecasts"),
        getJson("warnings"),
      ]);
      // All at once: a status of now beside layers of a minute ago would contradict itself.
      this.status = status;
      this.layers = layers;
      this.later = later;
      this.forecasts = forecasts;
      this.warnings = warnings;
      this.answeredAt = Date.now();
      this.problem = null;
      this.wait = EVERY_MS;
    } catch (error) {
      this.problem = error;
      this.wait = Math.min(this.wait * 2, AT_MOST_MS);
    }
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.look(), this.wait);
    this.onNews();
  }

  /**
   * Read the window's nowcasts, and those after the newest one in use: withdrawn days.
   * @param {string} newest
   * @param {string | null} wanted
   */
  async readLayers(newest, wanted) {
    const followed = this.last === null || this.last === this.end;
    const recent = await listLayers(addDays(newest, 1 - WINDOW_DAYS), null);
    const later = recent.filter(({ day }) => day > newest);
    const furthest = addDays(newest, WINDOW_DAYS / 2);
    this.end = later.reduce((last, { day }) => (day > last && day <= furthest ? day : last), newest);
    if (followed) this.last = this.end;
    if (wanted !== null && !this.days.includes(wanted)) this.last = endFor(wanted, this.end);
    const days = this.days;
    const listed = this.last === this.end ? recent : await listLayers(days[0] ?? newest, this.last);
    return { layers: new Map(listed.map((layer) => [layer.day, layer])), later };
  }
}

/**
 * @param {string} since
 * @param {string | null} until
 * @returns {Promise<LayerInfo[]>}
 */
async function listLayers(since, until) {
  return (await getJson("layers", { since, until, lead: 0, limit: MOST_LAYERS })).layers;
}

/**
 * @param {string} wanted
 * @param {string} newest
 */
function endFor(wanted, newest) {
  const later = addDays(wanted, WINDOW_DAYS / 2);
  return later < newest ? later : wanted > newest ? wanted : newest;
}
