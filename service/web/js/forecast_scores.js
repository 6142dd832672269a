/** How forecasts of the past held, as a table by day ahead. */

import { Asking } from "./asking.js";
import { h } from "./dom.js";
import { longDay, number, percent, t } from "./texts.js";

/** @typedef {Record<string, any>} Said an answer of the server */

export class ForecastScores {
  constructor() {
    this.answer = h("div", { class: "answer" });
    this.asking = new Asking(this.answer);
    this.element = h("section", {}, h("h3", { text: t("scores.title") }), this.answer);
  }

  /** @param {string} version asks again when it changes */
  update(version) {
    void this.asking.ask("forecasts/scores", {}, version, ({ scores }) => build(scores));
  }
}

/** @param {Said | null} scores */
function build(scores) {
  if (scores === null || (!scores.rain.length && !scores.areas.length))
    return [h("p", { class: "note", text: t("scores.none") })];
  const values = { since: longDay(scores.since), until: longDay(scores.until), mm: number(scores.wet_mm) };
  return [
    scores.rain.length
      ? table(
          "scores.rain",
          ["scores.ahead", "scores.hit_rate", "scores.false_alarms", "scores.bias", "scores.days"],
          scores.rain.map((/** @type {Said} */ row) => [
            String(row.ahead),
            share(row.hit_rate),
            share(row.false_alarm_ratio),
            times(row.bias),
            number(row.days),
          ]),
        )
      : null,
    scores.areas.length
      ? table(
          "scores.areas",
          ["scores.lead", "scores.forecast", "scores.nowcast", "scores.bias", "scores.days"],
          scores.areas.map((/** @type {Said} */ row) => [
            String(row.lead),
            share(row.forecast_ratio),
            share(row.nowcast_ratio),
            times(row.bias),
            number(row.days),
          ]),
        )
      : null,
    h("p", { class: "note", text: t("scores.note", values) }),
  ];
}

/** @param {number | null} ratio */
const share = (ratio) => (ratio === null ? t("value.not_known") : percent(ratio));

/** @param {number | null} factor */
const times = (factor) => (factor === null ? t("value.not_known") : `× ${number(factor, 2)}`);

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
      {},
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
