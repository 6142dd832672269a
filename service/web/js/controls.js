/** What the map shows: which picture, its legend, its opacity, and what lies on top. */

import { fill, h, setStyle } from "./dom.js";
import { eventSign } from "./event_signs.js";
import { levelMark } from "./levels.js";
import { SHARE_COLOURS, SHARE_STEPS } from "./map_style.js";
import { SHOWS } from "./state.js";
import { addDays, className, longDay, number, percent, t } from "./texts.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {object} Legend
 * @property {{label: string, colour: string, from: number, to: number}[]} classes
 * @property {{value: number, colour: string}[]} susceptibility
 * @property {{value: number, colour: string, label: string}[]} difference
 */

const OVERLAYS = /** @type {const} */ (["zones", "hotspots", "gauges", "events"]);

export class Controls {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.legend = h("div", { class: "legend" });
    this.told = h("p", { class: "told", role: "status" });
    this.compare = h("input", {
      type: "date",
      id: "compare",
      onchange: () => app.store.set({ compare: this.compare.value || null }),
    });
    this.compareRow = h(
      "p",
      { class: "field" },
      h("label", { for: "compare", text: t("show.compare") }),
      this.compare,
    );
    this.opacity = h("input", {
      type: "range",
      id: "opacity",
      min: 0,
      max: 100,
      step: 5,
      oninput: () => app.store.set({ opacity: Number(this.opacity.value) / 100 }),
    });
    this.radios = SHOWS.map((shows) =>
      h("input", {
        type: "radio",
        name: "shows",
        value: shows,
        id: `shows-${shows}`,
        onchange: () => app.store.set({ shows }),
      }),
    );
    this.boxes = OVERLAYS.map((name) =>
      h("input", {
        type: "checkbox",
        id: `with-${name}`,
        onchange: (/** @type {any} */ event) => app.store.set({ [name]: event.target.checked }),
      }),
    );
    this.more = h(
      "details",
      { class: "more", open: matchMedia("(min-width: 60rem)").matches },
      h("summary", { text: t("show.more") }),
      h("p", { class: "field" }, h("label", { for: "opacity", text: t("show.opacity") }), this.opacity),
      h(
        "div",
        { class: "checks" },
        OVERLAYS.map((name, n) => h("label", { class: "check" }, this.boxes[n], t(`show.with_${name}`))),
      ),
      app.site.openstreetmap ? this.baseChoice() : null,
    );
    this.element = h(
      "section",
      { class: "card controls", "aria-label": t("show.label") },
      h(
        "fieldset",
        { class: "segments" },
        h("legend", { class: "hidden", text: t("show.choose") }),
        SHOWS.map((shows, n) => [
          this.radios[n] ?? "",
          h("label", { for: `shows-${shows}`, text: t(`show.${shows}`) }),
        ]).flat(),
      ),
      this.compareRow,
      this.told,
      this.legend,
      this.more,
    );
  }

  baseChoice() {
    const { store } = this.app;
    const choose = (/** @type {any} */ event) =>
      store.set({ base: event.target.checked ? "osm" : "hillshade" });
    const box = h("input", { type: "checkbox", onchange: choose });
    box.checked = store.view.base === "osm";
    return h("label", { class: "check" }, box, t("show.osm"));
  }

  update() {
    const { view } = this.app.store;
    for (const radio of this.radios) radio.checked = radio.value === view.shows;
    OVERLAYS.forEach((name, n) => {
      const box = this.boxes[n];
      if (box) box.checked = view[name];
    });
    this.opacity.value = String(Math.round(view.opacity * 100));
    this.opacity.setAttribute("aria-valuetext", percent(view.opacity));
    this.compareRow.hidden = view.shows !== "change";
    this.compare.max = this.app.watch.newest ?? "";
    this.compare.value = this.app.compared ?? "";
    fill(this.legend, ...this.entries(), this.unknown(), this.levels(), this.events());
  }

  /**
   * Say why the picture is not as wanted; nothing where it is.
   * @param {string} text
   */
  tell(text) {
    fill(this.told, text);
  }

  /** @returns {HTMLElement[]} */
  entries() {
    const { legend, store } = this.app;
    switch (store.view.shows) {
      case "class":
        return [...legend.classes]
          .reverse()
          .map(({ label, colour, from, to }) =>
            entry(colour, className(label), t("legend.range", { from: number(from, 2), to: number(to, 2) })),
          );
      case "susceptibility":
        return [
          ramp(
            legend.susceptibility.map(({ colour }) => colour),
            number(0, 1),
            number(1, 1),
          ),
          note(t("legend.index")),
        ];
      case "change":
        return [
          note(this.sayChange()),
          ...[...legend.difference]
            .reverse()
            .map(({ value, colour }) => entry(colour, sayDifference(value), "")),
        ];
      default:
        return [
          note(t("legend.shares")),
          ...[...SHARE_COLOURS]
            .reverse()
            .map((colour, n) => entry(colour, sayShare(SHARE_COLOURS.length - 1 - n), "")),
        ];
    }
  }

  /** What outlines of zones mean: levels, where they were decided. */
  levels() {
    const { levels, store } = this.app;
    if (!store.view.zones || levels === null) return null;
    if (levels.levels_missing !== null) return note(t("legend.no_level"));
    const marks = [3, 2, 1, 0].map((level) => levelMark(level));
    return h("p", { class: "level-key" }, h("span", { text: t("legend.levels") }), marks);
  }

  /** What signs of events mean, where some are in sight. */
  events() {
    const { places, store } = this.app;
    if (!store.view.events || !places.events?.features.length) return null;
    const marks = /** @type {const} */ (["hit", "miss", "open"]).map((sign) =>
      h("span", { class: "level" }, eventSign(sign), t(`legend.event.${sign}`)),
    );
    return h("p", { class: "level-key" }, h("span", { text: t("legend.events") }), marks);
  }

  sayChange() {
    const { compared, day } = this.app;
    if (compared === null || day === null) return t("legend.change.none");
    return t("legend.change", { day: longDay(day), then: longDay(compared) });
  }

  unknown() {
    const swatch = h("span", { class: "swatch hatched" });
    return h(
      "p",
      { class: "entry" },
      swatch,
      h("span", {
        text: t(this.app.store.view.shows === "zones" ? "legend.unknown.zone" : "legend.unknown"),
      }),
    );
  }
}

/**
 * @param {string} colour
 * @param {string} text
 * @param {string} detail
 */
function entry(colour, text, detail) {
  const swatch = h("span", { class: "swatch" });
  setStyle(swatch, { background: colour });
  return h(
    "p",
    { class: "entry" },
    swatch,
    h("span", { text }),
    detail ? h("span", { class: "detail", text: detail }) : null,
  );
}

/** @param {string} text */
const note = (text) => h("p", { class: "note", text });

/**
 * @param {string[]} colours
 * @param {string} low
 * @param {string} high
 */
function ramp(colours, low, high) {
  const bar = h("span", { class: "ramp" });
  setStyle(bar, { background: `linear-gradient(to right, ${colours.join(", ")})` });
  return h("p", { class: "ramp-row" }, h("span", { text: low }), bar, h("span", { text: high }));
}

/** @param {number} classes */
function sayDifference(classes) {
  if (classes === 0) return t("legend.same");
  const key = Math.abs(classes) === 1 ? "one" : "more";
  return t(`legend.${classes > 0 ? "higher" : "lower"}.${key}`, { n: Math.abs(classes) });
}

/** @param {number} step */
function sayShare(step) {
  const [from, to] = [SHARE_STEPS[step - 1], SHARE_STEPS[step]];
  if (from === undefined) return t("legend.share.below", { to: percent(to) });
  if (to === undefined) return t("legend.share.above", { from: percent(from) });
  return t("legend.share", { from: percent(from), to: percent(to) });
}

/**
 * The day that a change is counted from where none was chosen: the nearest earlier one that may be shown.
 * @param {string} day
 * @param {(day: string) => boolean} usable
 */
export function dayBefore(day, usable) {
  for (let back = 1; back <= 7; back++) {
    const before = addDays(day, -back);
    if (usable(before)) return before;
  }
  return null;
}
