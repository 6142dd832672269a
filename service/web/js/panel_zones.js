/** Zones: how much of each is high, and why. */

import { Asking } from "./asking.js";
import { dayChart, onDay, themeColour } from "./charts.js";
import { fill, h, setStyle } from "./dom.js";
import { levelMark } from "./levels.js";
import {
  area,
  areaChange,
  className,
  km2,
  km2Change,
  longDay,
  number,
  percent,
  short,
  t,
  told,
} from "./texts.js";

/** @typedef {import("./main.js").App} App */

const DOWNWARDS = /** @type {const} */ (["very_high", "high", "moderate", "low"]);

export class ZonesPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.list = h("div", {});
    this.one = h("div", { class: "answer" });
    this.note = h("p", { class: "note" });
    this.asking = new Asking(this.one);
    this.element = h(
      "div",
      {},
      h("h2", { text: t("zones.title") }),
      this.note,
      this.list,
      this.one,
    );
  }

  update() {
    const { zones, zonesProblem } = this.app.places;
    const chosen = this.app.store.view.zone;
    const { levels } = this.app;
    fill(this.note, t(levels !== null && levels.levels_missing === null ? "zones.levels" : "zones.level"));
    if (zonesProblem) fill(this.list, h("p", { class: "problem", text: zonesProblem }));
    else if (zones === null) fill(this.list, h("p", { class: "note", text: t("asking.wait") }));
    else if (!zones.features.length) fill(this.list, h("p", { text: t("zones.none") }));
    else this.keepFocus(() => fill(this.list, this.table(zones.features, chosen)));
    const day = this.app.day;
    if (chosen === null || day === null || zones === null) return this.asking.show();
    return this.asking.ask(
      `zones/${encodeURIComponent(chosen)}`,
      { day, lead: this.app.lead, days: 30 },
      this.app.layer?.id ?? "",
      (zone) => this.build(zone),
    );
  }

  /**
   * The table is made anew; who stood on one of its buttons stays there.
   * @param {() => void} change
   */
  keepFocus(change) {
    const held =
      document.activeElement instanceof HTMLElement && this.list.contains(document.activeElement)
        ? document.activeElement.dataset.zone
        : null;
    change();
    const again = [...this.list.querySelectorAll("button")].find(
      (button) => held !== null && button.dataset.zone === held,
    );
    again?.focus();
  }

  /**
   * @param {any[]} zones
   * @param {string | null} chosen
   */
  table(zones, chosen) {
    const decided = zones.some(({ properties }) => properties.warning !== null);
    const rank = (/** @type {any} */ { properties }) =>
      (decided ? (properties.warning_level ?? 0.5) * 2 : 0) + (properties.high_ratio ?? -1);
    const rows = [...zones]
      .sort((a, b) => rank(b) - rank(a))
      .map(({ properties: zone }) => {
        const change = growth(zone.areas, "1");
        const open = () => this.app.chooseZone(zone.id === chosen ? null : zone.id);
        const name = h("button", {
          class: "row-button",
          dataset: { zone: zone.id },
          "aria-pressed": String(zone.id === chosen),
          onclick: open,
          text: zone.name,
        });
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          decided ? h("td", {}, levelMark(zone.warning_level)) : null,
          h("td", { text: percent(zone.high_ratio) }),
          h("td", { text: km2Change(change) }),
          h("td", { text: km2(zone.unknown_m2) }),
        );
      });
    const heads = ["zones.name", ...(decided ? ["zones.warning"] : []), "zones.share", "zones.change", "zones.unknown"];
    return h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": t("zones.title") },
      h(
        "table",
        {},
        h("caption", { class: "hidden", text: t("zones.title") }),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((key) => h("th", { scope: "col", text: t(key) })),
          ),
        ),
        h("tbody", {}, rows),
      ),
    );
  }

  /** @param {any} feature */
  build({ properties: zone, geometry }) {
    const swatch = (/** @type {string} */ label) => {
      const element = h("span", { class: "swatch" });
      setStyle(element, { background: this.app.colourOf(label) });
      return element;
    };
    const areas = DOWNWARDS.map((label) => {
      const found = zone.areas[label];
      return h(
        "li",
        {},
        swatch(label),
        `${className(label)}: ${found ? `${area(found.area_m2)}, ${percent(found.ratio)}` : t("value.not_known")}`,
      );
    });
    return [
      h("h3", { text: zone.name }),
      h(
        "p",
        { class: "button-row" },
        h("button", {
          class: "quiet",
          text: t("zones.show"),
          onclick: () => this.app.map.goToShape(geometry),
        }),
        h("button", {
          class: "quiet",
          text: t("zones.hotspots"),
          onclick: () => this.app.store.set({ panel: "hotspots" }),
        }),
        zone.warning === null
          ? null
          : h("button", {
              class: "quiet",
              text: t("zones.why_level"),
              onclick: () => this.app.store.set({ panel: "levels" }),
            }),
      ),
      h(
        "dl",
        { class: "facts" },
        h("dt", { text: t("zones.warning") }),
        h(
          "dd",
          {},
          zone.warning === null ? t("zones.warning.none") : levelMark(zone.warning_level),
          zone.levels_missing === null ? null : h("p", { text: told("no_levels", zone.levels_missing) }),
        ),
        h("dt", { text: t("zones.share") }),
        h("dd", { text: percent(zone.high_ratio) }),
        h("dt", { text: t("zones.change7") }),
        h("dd", { text: areaChange(growth(zone.areas, "7")) }),
      ),
      h("ul", { class: "plain-list" }, areas),
      this.chart(zone),
      ...why(zone),
      ...leads(zone),
      zone.track_record === null ? h("p", { class: "note", text: t("zones.record.none") }) : null,
    ];
  }

  /** @param {any} zone */
  chart(zone) {
    /** @type {Map<string, any>} */
    const byDay = new Map(zone.history.map((/** @type {any} */ item) => [item.day, item]));
    const days = this.app.watch.days;
    const values = days.map((day) => {
      const ratio = byDay.get(day)?.high_ratio ?? null;
      return ratio === null ? null : ratio * 100;
    });
    return h(
      "section",
      {},
      h("h3", { text: t("zones.chart") }),
      dayChart({
        label: t("zones.chart.label", { name: zone.name }),
        days,
        height: 120,
        fromZero: true,
        tick: (value) => `${short(value)} %`,
        lines: [{ label: t("zones.share"), values, stroke: () => themeColour("--chart-line") }],
        say: (n) =>
          onDay(days[n] ?? "", values[n] === null ? t("value.unknown") : percent((values[n] ?? 0) / 100)),
      }),
    );
  }
}

/** @param {any} zone */
function leads({ leads: found }) {
  const heading = h("h3", { text: t("zones.leads") });
  if (!found.length) return [heading, h("p", { class: "note", text: t("zones.leads.none") })];
  const rows = found.map((/** @type {any} */ { day, lead, high_ratio: ratio, warning_level: level, unconfirmed }) =>
    h(
      "li",
      {},
      t("zones.lead", { day: longDay(day), n: lead, share: percent(ratio) }),
      level ? [" ", levelMark(level)] : null,
      unconfirmed ? h("strong", { text: ` ${t("zones.lead.unconfirmed")}` }) : null,
    ),
  );
  return [heading, h("ul", { class: "plain-list" }, rows)];
}

/** @param {any} zone */
function why({ why: found, why_missing: missing }) {
  const heading = h("h3", { text: t("why.title") });
  if (!found) return [heading, h("p", { class: "note", text: told("missing", missing) })];
  const mm = (/** @type {number | null | undefined} */ value) =>
    value === null || value === undefined ? t("value.not_known") : `${number(value, 0)} mm`;
  return [
    heading,
    h("p", {
      text: t("why.rain", {
        days: found.window_days,
        window: mm(found.rain_window_mm),
        three: mm(found.rain_3d_mm),
        window_before: mm(found.week_before?.rain_window_mm),
        three_before: mm(found.week_before?.rain_3d_mm),
      }),
    }),
  ];
}

/**
 * Growth of high and very high together; unknown where one of them is.
 * @param {Record<string, {change_m2: Record<string, number>}>} areas
 * @param {string} days
 */
export function growth(areas, days) {
  const changes = ["high", "very_high"].map((label) => areas[label]?.change_m2[days]);
  return changes.some((change) => change === undefined || change === null)
    ? null
    : changes.reduce((sum, change) => (sum ?? 0) + (change ?? 0), 0);
}

/** @param {string | null} day */
export const sayDay = (day) => (day === null ? t("value.not_known") : longDay(day));
