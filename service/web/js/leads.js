/** The way from the newest map to the forecasts: one choice for each day ahead, with its date in words. */

import { fill, h } from "./dom.js";
import { highest, levelMark } from "./levels.js";
import { addDays, moment, shortDay, t, weekDay } from "./texts.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./watch.js").LayerInfo} LayerInfo
 */

export class Leads {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.said = "";
    this.element = h("fieldset", { class: "leads", hidden: true });
  }

  /** For how many days ahead there is a choice. */
  get most() {
    const { site, watch, store } = this.app;
    // Who comes by a link to a forecast that is no longer made needs the way back.
    return Math.max(site.leads, store.view.lead, ...watch.forecasts.map(({ lead }) => lead));
  }

  update() {
    const { watch, store } = this.app;
    const { most } = this;
    this.element.hidden = most === 0 || watch.newest === null;
    const ids = watch.forecasts.map(({ id }) => id);
    const levels = watch.warnings.layers.map((layer) => [layer.lead, highest(layer)]);
    const saying = JSON.stringify([most, watch.newest, watch.status?.today, ids, levels]);
    if (saying !== this.said) {
      this.said = saying;
      const held = document.activeElement;
      const focused = held instanceof HTMLInputElement && this.element.contains(held) ? held.id : "";
      fill(
        this.element,
        h("legend", { class: "hidden", text: t("lead.choose") }),
        Array.from({ length: most + 1 }, (_, lead) => this.choice(lead)).flat(),
      );
      // The choices were made anew: who stood on one of them stays there.
      if (focused) document.getElementById(focused)?.focus();
    }
    for (const radio of this.element.querySelectorAll("input"))
      radio.checked = Number(radio.value) === store.view.lead;
  }

  /** @param {number} lead */
  choice(lead) {
    const { watch, store } = this.app;
    const there = lead === 0 || watch.forecasts.some((layer) => layer.lead === lead);
    const day = dayOf(watch, lead);
    const id = `lead-${lead}`;
    const radio = h("input", {
      type: "radio",
      name: "lead",
      id,
      value: lead,
      disabled: !there && lead !== store.view.lead,
      onchange: () => store.set({ lead, day: null }),
    });
    const isToday = watch.newest === watch.status?.today;
    const key =
      lead > 0 ? (lead === 1 ? "lead.one" : "lead.more") : isToday ? "lead.today" : "lead.newest";
    const level = there ? highest(watch.warnings.layers.find((layer) => layer.lead === lead)) : null;
    const name = t(key, { n: lead });
    const date = day === null ? "" : t("lead.date", { week: weekDay(day), date: shortDay(day) });
    return [
      radio,
      h(
        "label",
        { for: id, class: lead === 0 ? "" : "ahead" },
        h("span", { class: "lead-name", text: name }),
        h("span", { class: "lead-date", text: there ? date : t("lead.none") }),
        level ? h("span", { class: "lead-level" }, levelMark(level)) : null,
      ),
    ];
  }
}

/**
 * The day that a lead stands for: the forecast's own, or the day that there is none of.
 * @param {import("./watch.js").Watch} watch
 * @param {number} lead
 * @returns {string | null}
 */
export function dayOf(watch, lead) {
  const forecast = watch.forecasts.find((layer) => layer.lead === lead);
  if (forecast) return forecast.day;
  return watch.newest === null ? null : addDays(watch.newest, lead);
}

/**
 * "1 day ahead, issued 11 Mar 2026, 06:02".
 * @param {LayerInfo} layer
 * @param {string} zone the region's time zone
 */
export function sayIssue(layer, zone) {
  const values = { n: layer.lead, time: moment(layer.issued_at, zone) };
  return t(layer.lead === 1 ? "lead.issue.one" : "lead.issue.more", values);
}

/**
 * What the forecast rests on, and whether its members tell how sure it is.
 * @param {LayerInfo} layer
 * @param {string} zone
 * @returns {string}
 */
export function sayBasis({ forecast }, zone) {
  if (forecast === null) return t("lead.basis.none");
  const values = { feed: forecast.feed, time: moment(forecast.issued_at, zone), n: forecast.members };
  return t(forecast.members === 1 ? "lead.basis.one" : "lead.basis.more", values);
}
