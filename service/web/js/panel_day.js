/** The day in sight: class areas, how they changed, what the layer says of itself. */

import { dayChart, onDay, themeColour } from "./charts.js";
import { fill, h, setStyle } from "./dom.js";
import { ForecastScores } from "./forecast_scores.js";
import { sayBasis } from "./leads.js";
import { sayShares } from "./timeline.js";
import { area, className, fullDay, km2, km2Change, longDay, moment, number, percent, t } from "./texts.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./watch.js").LayerInfo} LayerInfo
 */

const DOWNWARDS = /** @type {const} */ (["very_high", "high", "moderate", "low"]);

export class DayPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.said = "";
    this.scores = new ForecastScores();
    this.element = h("div", {});
  }

  update() {
    const { layer, day, lead, watch } = this.app;
    if (lead > 0) this.scores.update(layer?.id ?? "");
    const saying = JSON.stringify([
      day,
      lead,
      layer,
      [...watch.layers.values()].map(({ id, status }) => [id, status]),
      this.app.legend.classes,
    ]);
    if (saying === this.said) return;
    this.said = saying;
    if (day === null || layer === null) {
      fill(
        this.element,
        h("h2", { text: day === null ? t("time.no_day") : fullDay(day) }),
        h("p", { text: t(lead > 0 ? "day.forecast.none" : "day.none") }),
        lead > 0 ? this.scores.element : null,
        this.chart(),
      );
      return;
    }
    const heading = h("h2", { text: lead > 0 ? t("day.forecast", { day: fullDay(day) }) : fullDay(day) });
    if (layer.status === "withdrawn") {
      fill(
        this.element,
        heading,
        h("p", { class: "problem", text: t("day.withdrawn") }),
        ...notes(layer),
        this.chart(),
      );
      return;
    }
    fill(
      this.element,
      heading,
      lead > 0 ? h("p", { class: "note-box", text: t("day.forecast.is") }) : null,
      h("p", { class: "lead", text: t("day.lead", { shares: sayShares(layer) }) }),
      this.table(layer),
      lead > 0 ? this.scores.element : null,
      this.chart(),
      h("h3", { text: t("day.about") }),
      this.facts(layer),
      ...notes(layer),
    );
  }

  /** @param {LayerInfo} layer */
  table(layer) {
    const heads = ["day.class", "day.area", "day.share", "day.change1", "day.change7"];
    const rows = DOWNWARDS.map((label) => {
      const found = layer.areas[label];
      const swatch = h("span", { class: "swatch" });
      setStyle(swatch, { background: this.app.colourOf(label) });
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, swatch, className(label)),
        ...[
          km2(found?.area_m2),
          percent(found?.ratio),
          km2Change(found?.change_m2["1"]),
          km2Change(found?.change_m2["7"]),
        ].map((text) => h("td", { text })),
      );
    });
    const unknown = h(
      "tr",
      {},
      h("th", { scope: "row" }, h("span", { class: "swatch hatched" }), t("class.unknown")),
      h("td", { text: km2(layer.unknown_m2) }),
      h("td", { colspan: 3, text: t("day.unknown") }),
    );
    return h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": t("day.table") },
      h(
        "table",
        {},
        h("caption", { text: t("day.table") }),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((key) => h("th", { scope: "col", text: t(key) })),
          ),
        ),
        h("tbody", {}, rows, unknown),
      ),
    );
  }

  chart() {
    const { watch } = this.app;
    const days = watch.days;
    const layers = days.map((day) => watch.layers.get(day) ?? null);
    const values = (/** @type {string} */ label) =>
      layers.map((layer) =>
        layer && layer.status !== "withdrawn" ? (layer.areas[label]?.area_m2 ?? 0) / 1e6 : null,
      );
    return h(
      "section",
      {},
      h("h3", { text: t("day.chart") }),
      h(
        "p",
        { class: "key" },
        key("--high", "", className("high")),
        key("--very-high", "thick", className("very_high")),
      ),
      dayChart({
        label: t("day.chart.label"),
        days,
        height: 150,
        fromZero: true,
        tick: (value) => number(value, value !== 0 && value < 10 ? 1 : 0),
        lines: [
          {
            label: className("high"),
            values: values("high"),
            stroke: () => themeColour("--high"),
            dash: [6, 4],
          },
          {
            label: className("very_high"),
            values: values("very_high"),
            stroke: () => themeColour("--very-high"),
            width: 3,
          },
        ],
        say: (n) => onDay(days[n] ?? "", sayLayerShort(layers[n] ?? null)),
      }),
    );
  }

  /** @param {LayerInfo} layer */
  facts(layer) {
    const zone = this.app.site.timezone;
    const model = t("day.model.value", { name: layer.model.name, version: layer.model.version });
    const rows = [
      ["day.status", t(`status.${layer.status}`) + (layer.unconfirmed ? `, ${t("day.unconfirmed")}` : "")],
      ["day.coverage", percent(layer.coverage)],
      ["day.until", longDay(layer.data_until)],
      ["day.issued", t("day.issued.value", { time: moment(layer.issued_at, zone), zone })],
      ...(layer.lead > 0
        ? [
            ["day.lead.days", String(layer.lead)],
            ["day.basis", sayBasis(layer, zone)],
          ]
        : []),
      ["day.model", model + (layer.model.may_warn ? "" : `; ${t("day.model.no_warn")}`)],
      ["day.layer", layer.id],
    ];
    return h(
      "dl",
      { class: "facts" },
      rows.flatMap(([name, value]) => [h("dt", { text: t(name ?? "") }), h("dd", { text: value })]),
    );
  }
}

/** @param {LayerInfo} layer */
function notes(layer) {
  return layer.notes.map((text) => h("p", { class: "note-box", text: t("day.note", { text }) }));
}

/** @param {LayerInfo | null} layer */
function sayLayerShort(layer) {
  if (layer === null) return t("time.no_map");
  if (layer.status === "withdrawn") return t("status.withdrawn");
  const values = {
    high: area(layer.areas.high?.area_m2 ?? 0),
    very_high: area(layer.areas.very_high?.area_m2 ?? 0),
  };
  return t("day.chart.say", values);
}

/**
 * @param {string} colour
 * @param {string} form
 * @param {string} text
 */
export function key(colour, form, text) {
  const line = h("span", { class: `key-line ${form}` });
  setStyle(line, { "--key": `var(${colour})` });
  return h("span", { class: "key-entry" }, line, text);
}
