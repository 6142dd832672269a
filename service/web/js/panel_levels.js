/** Warning levels: which zone stands where, by lead, and why. */

import { fill, h } from "./dom.js";
import { levelMark, levelName } from "./levels.js";
import { area, longDay, moment, percent, short, shortDay, signed, t, told } from "./texts.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./levels.js").Level} Level
 * @typedef {import("./levels.js").LayerLevels} LayerLevels
 */

const INTERNAL = new Set(["growth", "reference_unknown", "calm_level"]); // told in other words already

export class LevelsPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.said = "";
    this.element = h("div", {});
  }

  update() {
    const { app } = this;
    const inSight = app.levels;
    const outlines = app.places.zones?.features.map(({ id }) => id); // without one there is nothing to go to
    const { zone } = app.store.view;
    const saying = JSON.stringify([inSight, app.watch.warnings, app.day, app.lead, zone, outlines]);
    if (saying === this.said) return;
    this.said = saying;
    const held = document.activeElement;
    const focused = held instanceof HTMLElement && this.element.contains(held) ? held.dataset.key : undefined;
    fill(
      this.element,
      h("h2", { text: t("levels.title") }),
      ...this.exercises(),
      h("p", { class: "note", text: t("levels.what") }),
      ...this.body(inSight),
    );
    // Everything was made anew: who stood on a button stays there.
    if (focused)
      [...this.element.querySelectorAll("button, summary")]
        .find((one) => one instanceof HTMLElement && one.dataset.key === focused)
        // @ts-ignore what was found can be focused
        ?.focus();
  }

  exercises() {
    const zone = this.app.site.timezone;
    return this.app.watch.warnings.exercises.map((drill) =>
      h(
        "p",
        { class: "exercise-box" },
        h("strong", { text: t("banner.exercise.title") }),
        " ",
        t("banner.exercise", {
          name: drill.name,
          level: levelName(drill.level),
          time: moment(drill.ends_at, zone),
          reason: drill.reason,
        }),
      ),
    );
  }

  /** @param {LayerLevels | null} inSight */
  body(inSight) {
    if (inSight === null) return [h("p", { class: "problem", text: t("levels.no_map") })];
    const day = longDay(inSight.day);
    const heading = h("h3", {
      text: inSight.lead > 0 ? t("levels.forecast", { day, n: inSight.lead }) : t("levels.day", { day }),
    });
    const missing = inSight.levels_missing;
    return [
      this.byLead(),
      heading,
      inSight.lead > 0 ? h("p", { class: "note-box", text: t("day.forecast.is") }) : null,
      missing === null ? null : h("p", { class: "note-box", text: told("no_levels", missing) }),
      ...inSight.levels.map((level) => this.one(level)),
    ];
  }

  /** The standing levels by zone and lead; none where only the nowcast has some. */
  byLead() {
    const { warnings } = this.app.watch;
    const layers = warnings.layers;
    if (layers.length < 2 || !layers.some(({ levels }) => levels.length)) return null;
    /** @type {Map<string, Level>} */
    const zones = new Map();
    for (const { levels } of layers)
      for (const level of levels) if (!zones.has(level.zone)) zones.set(level.zone, level);
    const heads = layers.map(({ day, lead }) => {
      const text = lead > 0 ? t("levels.ahead", { day: shortDay(day), n: lead }) : shortDay(day);
      return h(
        "th",
        { scope: "col" },
        h("button", {
          class: "row-button",
          dataset: { key: `lead-${lead}` },
          "aria-pressed": String(lead === this.app.lead && (lead > 0 || this.app.day === day)),
          "aria-label": t("levels.show", { day: text }),
          text,
          onclick: () => this.app.store.set({ lead, day: null }),
        }),
      );
    });
    const rows = [...zones.values()].map((zone) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", text: zone.name }),
        layers.map(({ levels }) =>
          h("td", {}, levelMark(levels.find((one) => one.zone === zone.zone)?.level)),
        ),
      ),
    );
    return h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": t("levels.table") },
      h(
        "table",
        { class: "levels-table" },
        h("caption", { class: "hidden", text: t("levels.table") }),
        h("thead", {}, h("tr", {}, h("th", { scope: "col", text: t("zones.name") }), heads)),
        h("tbody", {}, rows),
      ),
    );
  }

  /** @param {Level} level */
  one(level) {
    const zone = this.app.site.timezone;
    const numbers = Object.entries(level.numbers)
      .filter(([name]) => !INTERNAL.has(name))
      .flatMap(([name, value]) => [
        h("dt", { text: sayName(name) }),
        h("dd", { text: sayNumber(name, value) }),
      ]);
    const chosen = this.app.store.view.zone === level.zone;
    return h(
      "details",
      { class: "level-card", open: level.level !== 0 || chosen },
      h(
        "summary",
        { dataset: { key: `zone-${level.zone}` } },
        h("strong", { text: level.name }),
        levelMark(level.level),
      ),
      level.unconfirmed ? h("p", { class: "note-box", text: t("levels.unconfirmed") }) : null,
      level.level === null ? h("p", { class: "note", text: t("levels.unknown") }) : null,
      h("p", { text: level.rule }),
      h(
        "dl",
        { class: "facts" },
        numbers,
        level.reference_share === null
          ? null
          : [
              h("dt", { text: t("number.reference_share") }),
              h("dd", { text: percent(level.reference_share) }),
            ],
        h("dt", { text: t("levels.previous") }),
        h("dd", { text: levelName(level.previous) }),
        level.calm_days
          ? [h("dt", { text: t("levels.calm") }), h("dd", { text: String(level.calm_days) })]
          : null,
        h("dt", { text: t("levels.decided") }),
        h("dd", { text: moment(level.decided_at, zone) }),
      ),
      level.zone === "" ? null : this.buttons(level.zone),
    );
  }

  /** @param {string} zone */
  buttons(zone) {
    const { app } = this;
    const feature = app.places.zones?.features.find(({ id }) => id === zone);
    return h(
      "p",
      { class: "button-row" },
      feature
        ? h("button", {
            class: "quiet",
            text: t("zones.show"),
            onclick: () => app.map.goToShape(feature.geometry),
          })
        : null,
      h("button", {
        class: "quiet",
        text: t("levels.zone"),
        onclick: () => {
          app.chooseZone(zone);
          app.open("zones");
        },
      }),
    );
  }
}

/** @param {string} name */
function sayName(name) {
  const text = t(`number.${name}`);
  return text === `number.${name}` ? name.replaceAll("_", " ") : text;
}

/**
 * @param {string} name
 * @param {number | null} value
 */
function sayNumber(name, value) {
  if (value === null) return t("value.not_known");
  if (name.endsWith("_m2")) return area(value);
  if (name.startsWith("growth") || name === "above_reference")
    return t("unit.points", { n: signed(value * 100, 1) });
  return name.includes("share") ? percent(value) : short(value);
}
