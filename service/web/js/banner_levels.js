/** What the banner says of warning levels and drills. */

import { levelName, loudName } from "./levels.js";
import { longDay, moment, t } from "./texts.js";

/**
 * @typedef {import("./banner.js").Line} Line
 * @typedef {import("./levels.js").Level} Level
 * @typedef {import("./levels.js").LayerLevels} LayerLevels
 * @typedef {import("./levels.js").Exercise} Exercise
 */

const NAMED_AT_MOST = 6; // zones of one level; the panel lists them all
const UNCONFIRMED_MARK = "levels.mark.unconfirmed";

/**
 * The levels of the newest nowcast, then those that forecasts raise above it.
 * @param {LayerLevels[]} layers
 * @returns {Line[]}
 */
export function levelLines(layers) {
  /** @type {Line[]} */
  const lines = [];
  const nowcast = layers.find(({ lead }) => lead === 0);
  if (nowcast) {
    const raised = nowcast.levels.filter(({ level }) => level);
    if (raised.length) {
      const values = { day: longDay(nowcast.day), zones: zonesByLevel(raised) };
      lines.push({ level: gravity(raised), title: t("banner.levels.title"), text: t("banner.levels", values) });
    }
    const unknown = nowcast.levels.filter(({ level }) => level === null);
    if (unknown.length) {
      const values = { day: longDay(nowcast.day), zones: names(unknown) };
      const title = t("banner.levels.unknown.title");
      lines.push({ level: "warn", title, text: t("banner.levels.unknown", values) });
    }
  }
  const now = new Map((nowcast?.levels ?? []).map(({ zone, level }) => [zone, level ?? 0]));
  for (const ahead of layers.filter(({ lead }) => lead > 0)) {
    const rises = ahead.levels.filter(({ zone, level }) => (level ?? 0) > (now.get(zone) ?? 0));
    if (!rises.length) continue;
    const values = { day: longDay(ahead.day), n: ahead.lead, zones: zonesByLevel(rises) };
    const title = t("banner.levels.forecast.title");
    lines.push({ level: "warn", title, text: t("banner.levels.forecast", values) });
  }
  return lines;
}

/**
 * What is played; beside levels that stand, also that those are not.
 * @param {Exercise[]} exercises
 * @param {string} zone the region's time zone
 * @param {LayerLevels[]} layers
 * @returns {Line[]}
 */
export function exerciseLines(exercises, zone, layers) {
  const isReal = layers.some(({ lead, levels }) => lead === 0 && levels.some(({ level }) => level));
  return exercises.map(({ name, level, ends_at: end, reason }, n) => {
    const drill = t("banner.exercise", { name, level: levelName(level), time: moment(end, zone), reason });
    const isLast = n === exercises.length - 1;
    const text = isReal && isLast ? t("banner.exercise.real", { drill }) : drill;
    return { level: "exercise", title: t("banner.exercise.title"), text };
  });
}

/** @param {Level[]} raised */
const gravity = (raised) => (raised.some(({ level }) => (level ?? 0) > 1) ? "bad" : "warn");

/**
 * "RED: Upper valley. YELLOW: Lower valley (unconfirmed readings)".
 * @param {Level[]} raised
 */
function zonesByLevel(raised) {
  return [3, 2, 1]
    .map((level) => [level, raised.filter((one) => one.level === level)])
    .filter(([, found]) => /** @type {Level[]} */ (found).length)
    .map(([level, found]) =>
      t("banner.levels.zones", {
        level: loudName(/** @type {number} */ (level)),
        zones: names(/** @type {Level[]} */ (found)),
      }),
    )
    .join(" ");
}

/** @param {Level[]} zones */
function names(zones) {
  const said = zones
    .slice(0, NAMED_AT_MOST)
    .map(({ name, unconfirmed }) => (unconfirmed ? t(UNCONFIRMED_MARK, { name }) : name))
    .join(", ");
  const more = zones.length - NAMED_AT_MOST;
  return more > 0 ? t("banner.levels.more", { zones: said, n: more }) : said;
}
