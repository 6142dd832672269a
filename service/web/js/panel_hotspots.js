/** Hotspots: contiguous high and very high cells, the largest first. */

import { Asking } from "./asking.js";
import { fill, h } from "./dom.js";
import { sayDay } from "./panel_zones.js";
import { MOST_HOTSPOTS } from "./places.js";
import { area, number, t } from "./texts.js";

/** @typedef {import("./main.js").App} App */

const SIZES = /** @type {const} */ ([0, 50_000, 200_000, 1_000_000]); // m2

export class HotspotsPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.zone = h("select", { id: "hotspot-zone", onchange: () => app.chooseZone(this.zone.value || null) });
    this.size = h(
      "select",
      { id: "hotspot-size", onchange: () => this.update() },
      SIZES.map((size) =>
        h("option", {
          value: size,
          text: size ? t("hotspots.from", { area: area(size) }) : t("hotspots.all"),
        }),
      ),
    );
    this.list = h("div", { class: "answer" });
    this.asking = new Asking(this.list);
    this.element = h(
      "div",
      {},
      h("h2", { text: t("hotspots.title") }),
      h("p", { class: "note", text: t("hotspots.what", { area: area(app.site.hotspot_min_area_m2) }) }),
      h(
        "div",
        { class: "filters" },
        h("p", { class: "field" }, h("label", { for: "hotspot-zone", text: t("hotspots.zone") }), this.zone),
        h("p", { class: "field" }, h("label", { for: "hotspot-size", text: t("hotspots.size") }), this.size),
      ),
      this.list,
    );
  }

  update() {
    const { zone } = this.app.store.view;
    const { layer, day } = this.app;
    const names = this.names;
    // Options that are made anew would close a list that is open.
    if (this.zone.options.length !== names.size + 1) {
      fill(
        this.zone,
        h("option", { value: "", text: t("hotspots.every") }),
        ...[...names].map(([id, name]) => h("option", { value: id, text: name })),
      );
    }
    this.zone.value = zone ?? "";
    if (day === null || layer === null || layer.status === "withdrawn")
      return this.asking.show(h("p", { text: t("hotspots.no_map") }));
    const query = { day, lead: layer.lead, zone, min_area_m2: Number(this.size.value) || null, limit: MOST_HOTSPOTS };
    void this.asking
      .ask("hotspots", query, `${layer.id} ${names.size}`, (answer) => this.build(answer))
      .then(() => this.mark());
    return this.mark();
  }

  /** @returns {Map<string, string>} */
  get names() {
    return new Map(
      (this.app.places.zones?.features ?? []).map(({ properties }) => [properties.id, properties.name]),
    );
  }

  /** @param {any} answer */
  build({ features, matched }) {
    if (!features.length) return [h("p", { text: t("hotspots.none") })];
    const names = this.names;
    return [
      h("p", { class: "note", text: t("hotspots.count", { shown: features.length, all: matched }) }),
      h(
        "ol",
        { class: "cards" },
        features.map((/** @type {any} */ feature) => this.card(feature, names)),
      ),
    ];
  }

  /** Mark the card of the hotspot that was chosen. */
  mark() {
    const { hotspot } = this.app.places;
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.hotspot === String(hotspot)));
    }
  }

  /**
   * @param {any} feature
   * @param {Map<string, string>} names
   */
  card({ properties: spot, geometry }, names) {
    const open = () => {
      this.app.places.chooseHotspot(spot.id);
      this.app.map.goToShape(geometry);
    };
    const growth =
      spot.growth_m2 === null
        ? t("hotspots.growth.none")
        : spot.growth_m2 > 0
          ? t("hotspots.growth", { area: area(spot.growth_m2) })
          : t("hotspots.growth.zero");
    const place = spot.zone === null ? t("place.no_zone") : (names.get(spot.zone) ?? spot.zone);
    return h(
      "li",
      {},
      h(
        "button",
        {
          class: "card-button",
          dataset: { hotspot: String(spot.id) },
          "aria-pressed": "false",
          onclick: open,
        },
        h("span", { class: "card-title" }, h("strong", { text: area(spot.area_m2) }), ` ${place}`),
        h("span", { class: "detail", text: growth }),
        h("span", {
          class: "detail",
          text: t("hotspots.values", {
            mean: number(spot.mean, 2),
            maximum: number(spot.maximum, 2),
            since: sayDay(spot.first_seen),
          }),
        }),
      ),
    );
  }
}
