/** What a verification found, as tables and as a curve. */

import { h, svg } from "./dom.js";
import { className, number, percent, short, t } from "./texts.js";

/** @typedef {Record<string, any>} Said a verification, or a part of it */

export const LEVELS = ["green", "yellow", "orange", "red"];
const FEW_ZONES = 10; // above, those without a landslide are left out
const [WIDTH, HEIGHT, EDGE] = [300, 180, 38]; // of the curve

/** @param {Said} found */
export function levelsTable({ levels }) {
  if (!levels.length) return h("p", { class: "note", text: t("verify.levels.none") });
  return table(
    "verify.levels",
    ["verify.levels.level", "verify.hits", "verify.misses", "verify.false_alarms", "verify.not_looked"],
    levels.map((/** @type {Said} */ row) => [
      t("verify.levels.from", { level: t(`level.${LEVELS.indexOf(row.level)}`) }),
      number(row.hits),
      number(row.misses),
      number(row.false_alarms),
      number(row.not_looked),
    ]),
  );
}

/** @param {Said} found */
export function classesTable({ classes }) {
  if (!classes.length) return null;
  const share = (/** @type {number | null} */ value) =>
    value === null ? t("value.not_known") : percent(value);
  return table(
    "verify.classes",
    ["day.class", "verify.landslides", "verify.ground", "verify.ratio"],
    [...classes]
      .reverse()
      .map((/** @type {Said} */ row) => [
        className(row.label),
        number(row.landslides),
        share(row.ground_share),
        row.frequency_ratio === null ? t("value.not_known") : `× ${number(row.frequency_ratio, 1)}`,
      ]),
  );
}

/**
 * The success rate curve as a picture, in words, and as a table.
 * @param {Said} found
 */
export function rateCurve({ curves }) {
  const whole = curves.find((/** @type {Said} */ one) => one.period === "all");
  if (!whole || whole.auc === null) return h("p", { class: "note", text: t("verify.curve.none") });
  const x = (/** @type {number} */ share) => EDGE + share * (WIDTH - EDGE - 8);
  const y = (/** @type {number} */ share) => 8 + (1 - share) * (HEIGHT - EDGE - 8);
  const points = whole.area_share
    .map((/** @type {number} */ share, /** @type {number} */ n) => `${x(share)},${y(whole.landslide_share[n])}`)
    .join(" ");
  const said = t(whole.auc_low === null ? "verify.auc.alone" : "verify.auc", {
    auc: number(whole.auc, 2),
    low: whole.auc_low === null ? "" : number(whole.auc_low, 2),
    high: whole.auc_high === null ? "" : number(whole.auc_high, 2),
  });
  const text = (/** @type {number} */ at, /** @type {number} */ down, /** @type {string} */ words, anchor = "middle") => {
    const label = svg("text", { x: at, y: down, "text-anchor": anchor });
    label.textContent = words;
    return label;
  };
  return h(
    "section",
    {},
    h("h3", { text: t("verify.curve") }),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "rate-curve", role: "img", "aria-label": `${t("verify.curve.label")} ${said}` },
      svg("path", { d: `M${x(0)} ${y(1)}V${y(0)}H${x(1)}`, class: "axis" }),
      svg("path", { d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}`, class: "chance" }),
      svg("polyline", { points, class: "rate" }),
      text(x(0) - 4, y(1) + 8, "100 %", "end"),
      text(x(0) - 4, y(0), "0", "end"),
      text(x(1), y(0) + 14, "100 %", "end"),
      text(x(0.5), HEIGHT - 4, t("verify.curve.x")),
    ),
    h("p", { class: "note", text: `${said} ${t("verify.curve.how")}` }),
    h(
      "details",
      { class: "as-table" },
      h("summary", { text: t("verify.curve.table") }),
      h(
        "ul",
        { class: "rows", tabindex: 0, "aria-label": t("verify.curve.label") },
        atTenths(whole).map(([ground, slides]) =>
          h("li", { text: t("verify.curve.row", { ground: percent(ground), slides: percent(slides) }) }),
        ),
      ),
    ),
  );
}

/**
 * Zones, the duration matrix, the curve's area by month, and how often ground of similar index slid.
 * @param {Said} found
 */
export function moreTables({ zones, duration, curves, reliability }) {
  const months = curves.filter((/** @type {Said} */ one) => one.period !== "all" && one.auc !== null);
  const known = reliability.filter((/** @type {Said} */ one) => one.cell_days > 0);
  const slid = zones.filter((/** @type {Said} */ one) => one.landslides > 0 || zones.length <= FEW_ZONES);
  const tables = [
    slid.length
      ? table(
          "verify.zones",
          ["zones.name", "verify.hits", "verify.misses", "verify.open"],
          slid.map((/** @type {Said} */ one) => [
            one.name,
            number(one.hits),
            number(one.misses),
            number(one.unknown),
          ]),
        )
      : null,
    duration === null ? null : durationTable(duration),
    months.length
      ? table(
          "verify.months",
          ["verify.month", "verify.landslides", "verify.months.auc"],
          months.map((/** @type {Said} */ one) => [one.period, number(one.landslides), number(one.auc, 2)]),
        )
      : null,
    known.length
      ? table(
          "verify.reliability",
          ["verify.index.range", "verify.landslides", "verify.per_year"],
          known.map((/** @type {Said} */ one) => [
            t("legend.range", { from: number(one.low, 2), to: number(one.high, 2) }),
            number(one.landslides),
            one.landslides_per_km2_year.value === null
              ? t("value.not_known")
              : short(one.landslides_per_km2_year.value),
          ]),
        )
      : null,
  ].filter((one) => one !== null);
  if (!tables.length) return null;
  return h("details", { class: "as-table" }, h("summary", { text: t("verify.more") }), ...tables);
}

/** @param {Said} duration */
function durationTable({ event_classes: classes, levels, days, criteria, not_looked_days: unseen }) {
  return h(
    "div",
    {},
    table(
      "verify.duration",
      ["verify.duration.landslides", ...levels.map((/** @type {string} */ one) => `level.${LEVELS.indexOf(one)}`)],
      classes.map((/** @type {string} */ name, /** @type {number} */ row) => [
        t(`verify.duration.${name}`),
        ...days[row].map(
          (/** @type {number} */ value, /** @type {number} */ column) =>
            `${short(value)} ${criteria[row][column]}`,
        ),
      ]),
    ),
    h("p", { class: "note", text: t("verify.duration.how", { days: short(unseen) }) }),
  );
}

/**
 * The curve's last point within each tenth of the ground.
 * @param {Said} whole
 * @returns {[number, number][]}
 */
function atTenths({ area_share: areas, landslide_share: slides }) {
  /** @type {Map<number, [number, number]>} */
  const found = new Map();
  areas.forEach((/** @type {number} */ share, /** @type {number} */ n) => {
    found.set(Math.ceil(share * 10), [share, slides[n]]);
  });
  return [...found.values()];
}

/**
 * @param {string} caption
 * @param {string[]} heads
 * @param {string[][]} rows
 */
function table(caption, heads, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": t(caption) },
    h(
      "table",
      { class: "narrow-table" },
      h("caption", { text: t(caption) }),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((key) => h("th", { scope: "col", text: t(key) })),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(([first, ...others]) =>
          h("tr", {}, h("th", { scope: "row", text: first }), others.map((text) => h("td", { text }))),
        ),
      ),
    ),
  );
}
