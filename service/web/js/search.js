/** Finding a zone, a gauge, a reservoir or a position: a combobox as ARIA describes it. */

import { parsePosition, sayPosition } from "./coordinates.js";
import { fill, h, icon } from "./dom.js";
import { gaugeId } from "./panel_gauges.js";
import { boundsOf } from "./map.js";
import { t } from "./texts.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {{text: string, detail: string, go: () => void}} Hit
 */

const MOST = 8;

export class Search {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Hit[]} */
    this.hits = [];
    this.active = -1;
    this.list = h("ul", {
      role: "listbox",
      id: "found",
      class: "found",
      "aria-label": t("search.found"),
      hidden: true,
    });
    this.told = h("p", { class: "hidden", role: "status" });
    this.input = h("input", {
      type: "text",
      inputmode: "search",
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": "found",
      "aria-autocomplete": "list",
      "aria-label": t("search.label"),
      placeholder: t("search.hint"),
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.find(),
      onfocus: () => this.find(),
      onblur: () => this.close(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.press(event),
    });
    const position = h(
      "button",
      {
        class: "round",
        "aria-label": t("search.position"),
        title: t("search.position"),
        onclick: () => this.locate(),
      },
      icon("position"),
    );
    this.element = h(
      "div",
      { class: "search card", role: "search" },
      icon("search"),
      this.input,
      position,
      this.list,
      this.told,
    );
  }

  find() {
    const text = this.input.value.trim();
    this.hits = text === "" ? [] : this.search(text);
    this.active = this.hits.length ? 0 : -1;
    const none = text !== "" && this.hits.length === 0;
    this.list.hidden = text === "";
    this.input.setAttribute("aria-expanded", String(text !== ""));
    fill(
      this.list,
      none
        ? h("li", {
            class: "none",
            role: "option",
            "aria-disabled": "true",
            "aria-selected": "false",
            text: t("search.none"),
          })
        : this.hits.map((hit, n) => this.option(hit, n)),
    );
    fill(this.told, text === "" ? "" : none ? t("search.none") : t("search.count", { n: this.hits.length }));
    this.mark();
  }

  /**
   * @param {string} text
   * @returns {Hit[]}
   */
  search(text) {
    const { app } = this;
    /** @type {Hit[]} */
    const hits = [];
    const position = parsePosition(text);
    if (position)
      hits.push({
        text: sayPosition(position),
        detail: t("search.coordinates"),
        go: () => this.goTo(position),
      });
    const plain = fold(text);
    for (const { properties, geometry } of app.places.zones?.features ?? []) {
      const go = () => {
        app.chooseZone(properties.id);
        app.open("zones");
        app.map.goToShape(geometry);
      };
      if (fold(`${properties.name} ${properties.id}`).includes(plain))
        hits.push({ text: properties.name, detail: t("search.zone"), go });
    }
    for (const { properties, geometry } of app.places.series?.features ?? []) {
      const go = () => {
        app.places.chooseGauge(gaugeId(properties));
        app.open("gauges");
        if (geometry) app.map.goTo(geometry.coordinates, 13);
      };
      const detail = t(properties.variable === "rain" ? "search.gauge" : "search.reservoir");
      if (fold(`${properties.series} ${properties.feed}`).includes(plain))
        hits.push({ text: properties.series, detail, go });
    }
    return hits.slice(0, MOST);
  }

  /**
   * @param {Hit} hit
   * @param {number} n
   */
  option(hit, n) {
    // On mousedown, because the blur that comes before a click closes the list.
    const take = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.take(n);
    };
    return h(
      "li",
      { role: "option", id: `found-${n}`, "aria-selected": "false", onmousedown: take },
      h("span", { text: hit.text }),
      h("span", { class: "detail", text: hit.detail }),
    );
  }

  mark() {
    [...this.list.children].forEach((child, n) =>
      child.setAttribute("aria-selected", String(n === this.active)),
    );
    if (this.active >= 0) this.input.setAttribute("aria-activedescendant", `found-${this.active}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.hits.length) {
      event.preventDefault();
      this.active = (this.active + step + this.hits.length) % this.hits.length;
      this.mark();
    } else if (event.key === "Enter") this.take(this.active);
    else if (event.key === "Escape" && !this.list.hidden) {
      event.stopPropagation();
      this.input.value = "";
      this.find();
    }
  }

  /** @param {number} n */
  take(n) {
    const hit = this.hits[n];
    if (!hit) return;
    this.input.value = hit.text;
    this.close();
    hit.go();
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {import("./state.js").Position} position */
  goTo(position) {
    this.app.pick(position);
    if (this.isNear(position)) this.app.map.goTo(position, 14);
  }

  /** @param {import("./state.js").Position} position */
  isNear([lon, lat]) {
    const [west, south, east, north] = boundsOf({ coordinates: this.app.site.footprint });
    const near = lon >= west && lon <= east && lat >= south && lat <= north;
    this.app.tell(near ? "" : t("search.outside", { name: this.app.site.name }));
    return near;
  }

  /** Ask the browser where we are; it asks the person. The position never leaves the page but for /point. */
  locate() {
    if (!window.isSecureContext || !("geolocation" in navigator)) {
      this.app.tell(t("search.position.insecure"));
      return;
    }
    this.app.tell(t("search.position.wait"));
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        this.app.map.setFeatures("position", [
          {
            type: "Feature",
            properties: {},
            geometry: { type: "Point", coordinates: [coords.longitude, coords.latitude] },
          },
        ]);
        this.app.tell("");
        if (this.isNear([coords.longitude, coords.latitude])) this.goTo([coords.longitude, coords.latitude]);
      },
      (error) =>
        this.app.tell(
          t(error.code === error.PERMISSION_DENIED ? "search.position.denied" : "search.position.failed"),
        ),
      { enableHighAccuracy: true, timeout: 15_000, maximumAge: 60_000 },
    );
  }
}

/**
 * Without case and accents.
 * @param {string} text
 */
const fold = (text) =>
  text
    .normalize("NFD")
    .replace(/\p{Diacritic}/gu, "")
    .toLowerCase();
