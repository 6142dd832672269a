/** Gauges and reservoirs: the newest reading of each, and its last 30 days. */

import { sparkline } from "./charts.js";
import { fill, h } from "./dom.js";
import { longDay, number, t } from "./texts.js";

/** @typedef {import("./main.js").App} App */

const VARIABLES = /** @type {const} */ (["rain", "level"]);

export class GaugesPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {string | null} */
    this.scrolledTo = null;
    this.list = h("div", {});
    this.element = h("div", {}, h("h2", { text: t("gauges.title") }), this.list);
  }

  update() {
    const { series, seriesProblem, gauge } = this.app.places;
    if (seriesProblem) return fill(this.list, h("p", { class: "problem", text: seriesProblem }));
    if (series === null) return fill(this.list, h("p", { class: "note", text: t("asking.wait") }));
    const focused =
      document.activeElement instanceof HTMLElement ? document.activeElement.dataset.gauge : undefined;
    const groups = VARIABLES.map((variable) => {
      const found = series.features.filter(({ properties }) => properties.variable === variable);
      if (!found.length) return null;
      return h(
        "section",
        {},
        h("h3", {}, h("span", { class: `sign ${variable}` }), t(`gauges.${variable}`)),
        h(
          "ul",
          { class: "cards" },
          found.map((feature) => this.card(feature, gauge)),
        ),
      );
    });
    const withheld = series.withheld.map((/** @type {string} */ feed) =>
      h("p", { class: "note-box", text: t("gauges.withheld", { feed }) }),
    );
    const none = series.features.length || series.withheld.length ? null : h("p", { text: t("gauges.none") });
    fill(this.list, none, ...groups, ...withheld);
    if (focused !== undefined)
      /** @type {HTMLElement | null} */ (
        this.list.querySelector(`[data-gauge="${CSS.escape(focused)}"]`)
      )?.focus();
    if (gauge !== null && gauge !== this.scrolledTo) {
      this.list.querySelector(`[data-gauge="${CSS.escape(gauge)}"]`)?.scrollIntoView({ block: "nearest" });
    }
    this.scrolledTo = gauge;
  }

  /**
   * @param {any} feature
   * @param {string | null} chosen
   */
  card({ properties: gauge, geometry }, chosen) {
    const id = gaugeId(gauge);
    const open = () => {
      this.app.places.chooseGauge(id);
      if (geometry) this.app.map.goTo(geometry.coordinates, 12);
    };
    const digits = gauge.variable === "rain" ? 1 : 2;
    const latest = gauge.latest;
    const values = this.values(gauge);
    const known = values.filter((value) => value !== null);
    const spark = known.length
      ? sparkline(
          values,
          gauge.variable === "rain" ? "bars" : "line",
          t("gauges.spark", {
            low: number(Math.min(...known), digits),
            high: number(Math.max(...known), digits),
            unit: gauge.unit,
            days: known.length,
          }),
        )
      : null;
    return h(
      "li",
      {},
      h(
        "button",
        {
          class: "card-button gauge",
          dataset: { gauge: id },
          "aria-pressed": String(id === chosen),
          onclick: open,
        },
        h("span", { class: "card-title" }, h("strong", { text: gauge.series }), ` ${gauge.feed}`),
        spark ?? h("span", { class: "detail", text: t("gauges.no_readings") }),
        h(
          "span",
          { class: "detail" },
          latest
            ? t("gauges.latest", {
                value:
                  latest.value === null
                    ? t("value.not_known")
                    : `${number(latest.value, digits)} ${gauge.unit}`,
                day: longDay(latest.day),
                quality: sayQuality(latest.quality),
              })
            : t("gauges.nothing"),
          geometry ? null : ` · ${t("gauges.nowhere")}`,
        ),
      ),
    );
  }

  /**
   * The last 30 days, one value each; null where there is no reading.
   * @param {any} gauge
   * @returns {(number | null)[]}
   */
  values(gauge) {
    const byDay = new Map(gauge.days.map((/** @type {any} */ { day, value }) => [day, value]));
    const days = this.app.readingDays;
    return days.map((day) => byDay.get(day) ?? null);
  }
}

/** @param {any} gauge */
export const gaugeId = ({ feed, series, variable }) => `${feed}/${series}/${variable}`;

/** @param {string} quality */
function sayQuality(quality) {
  const text = t(`quality.${quality}`);
  return text === `quality.${quality}` ? quality : text;
}
