/** A polygon of one's own: drawn with clicks, or from the keyboard, and what lies inside it. */

import { Asking } from "./asking.js";
import { fill, h, setStyle } from "./dom.js";
import { MAX_VERTICES, writePositions } from "./state.js";
import { area, className, km2, longDay, number, percent, t } from "./texts.js";

/** @typedef {import("./main.js").App} App */

const DOWNWARDS = /** @type {const} */ (["very_high", "high", "moderate", "low"]);
const FEWEST = 3;

export class AreaPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.drawing = false;
    const button = (/** @type {string} */ key, /** @type {() => void} */ onclick) =>
      h("button", { class: "quiet", text: t(key), onclick });
    this.draw = h("button", { class: "main-button", onclick: () => this.setDrawing(!this.drawing) });
    this.undo = button("area.undo", () => app.store.set({ area: app.store.view.area.slice(0, -1) }));
    this.clear = button("area.clear", () => {
      this.setDrawing(false);
      app.store.set({ area: [] });
    });
    this.count = h("p", { class: "note", role: "status" });
    this.answer = h("div", { class: "answer" });
    this.asking = new Asking(this.answer);
    this.element = h(
      "div",
      {},
      h("h2", { text: t("area.title") }),
      h("p", { text: t("area.how") }),
      h(
        "p",
        { class: "button-row" },
        this.draw,
        button("area.centre", () => this.add(app.map.centre)),
        this.undo,
        this.clear,
      ),
      this.count,
      this.answer,
    );
    this.setDrawing(false);
  }

  /** @param {boolean} drawing whether a click on the map adds a corner */
  setDrawing(drawing) {
    this.drawing = drawing;
    this.draw.setAttribute("aria-pressed", String(drawing));
    fill(this.draw, t(drawing ? "area.finish" : "area.draw"));
    document.documentElement.classList.toggle("drawing", drawing);
    if (drawing && this.app.store.view.panel !== "area") this.app.store.set({ panel: "area" });
    this.update();
  }

  /** @param {import("./state.js").Position} position */
  add(position) {
    const { area: vertices } = this.app.store.view;
    if (vertices.length < MAX_VERTICES) this.app.store.set({ area: [...vertices, position] });
  }

  update() {
    const { area: vertices } = this.app.store.view;
    const { layer } = this.app;
    this.undo.disabled = this.clear.disabled = vertices.length === 0;
    const key =
      vertices.length === 0
        ? "area.count.none"
        : vertices.length < FEWEST
          ? "area.count.few"
          : vertices.length >= MAX_VERTICES
            ? "area.count.full"
            : "area.count";
    fill(this.count, t(key, { n: vertices.length, more: FEWEST - vertices.length }));
    if (vertices.length < FEWEST) return this.asking.show();
    if (this.drawing) return this.asking.show(h("p", { class: "note", text: t("area.drawing") }));
    if (layer === null || layer.status === "withdrawn")
      return this.asking.show(h("p", { class: "problem", text: t("place.no_map") }));
    return this.asking.ask("statistics", { polygon: writePositions(vertices), id: layer.id }, "", (answer) =>
      this.build(answer),
    );
  }

  /** @param {any} answer */
  build(answer) {
    const rows = DOWNWARDS.map((label) => {
      const found = answer.areas[label];
      const swatch = h("span", { class: "swatch" });
      setStyle(swatch, { background: this.app.colourOf(label) });
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, swatch, className(label)),
        h("td", { text: km2(found?.area_m2) }),
        h("td", { text: percent(found?.ratio) }),
      );
    });
    const unknown = h(
      "tr",
      {},
      h("th", { scope: "row" }, h("span", { class: "swatch hatched" }), t("class.unknown")),
      h("td", { text: km2(answer.unknown_m2) }),
      h("td", {}),
    );
    const heads = ["day.class", "day.area", "day.share"];
    const { susceptibility } = answer;
    return [
      h("h3", { text: t(answer.lead > 0 ? "area.forecast" : "area.result", { day: longDay(answer.day) }) }),
      h("p", { text: t("area.size", { area: area(answer.area_m2), cells: number(answer.cells) }) }),
      h(
        "table",
        {},
        h("caption", { class: "hidden", text: t("area.title") }),
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
      susceptibility
        ? h("p", {
            text: t("area.values", {
              mean: number(susceptibility.mean, 3),
              median: number(susceptibility.median, 3),
              max: number(susceptibility.max, 3),
            }),
          })
        : h("p", { class: "note", text: t("area.no_values") }),
      answer.repaired ? h("p", { class: "note-box", text: t("area.repaired") }) : null,
    ];
  }
}
