/** The panels beside the map (below it on a phone), one at a time. */

import { fill, h } from "./dom.js";
import { PANELS } from "./state.js";
import { t } from "./texts.js";

/**
 * @typedef {import("./state.js").Panel} PanelName
 * @typedef {{element: HTMLElement, update: () => void}} Panel
 */

export class Tabs {
  /**
   * @param {import("./main.js").App} app
   * @param {Record<PanelName, Panel>} panels
   */
  constructor(app, panels) {
    this.app = app;
    this.panels = panels;
    this.tabs = PANELS.map((name) =>
      h("button", {
        role: "tab",
        id: `tab-${name}`,
        "aria-controls": `panel-${name}`,
        text: t(`tab.${name}`),
        onclick: () => this.open(name),
      }),
    );
    this.bodies = PANELS.map((name) =>
      h(
        "div",
        {
          role: "tabpanel",
          id: `panel-${name}`,
          "aria-labelledby": `tab-${name}`,
          tabindex: 0,
          class: "panel",
        },
        panels[name].element,
      ),
    );
    this.sheet = h("button", {
      class: "sheet",
      "aria-controls": "panels",
      onclick: () => this.setOpen(!this.isOpen),
    });
    this.isOpen = false;
    /** @type {PanelName | null} */
    this.shown = null;
    const list = h(
      "div",
      {
        role: "tablist",
        class: "tabs",
        "aria-label": t("tab.label"),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.move(event),
      },
      this.tabs,
    );
    this.element = h(
      "section",
      { class: "side", "aria-label": t("tab.label") },
      h("div", { class: "tab-row" }, list, this.sheet),
      h("div", { id: "panels", class: "panels" }, this.bodies),
    );
    this.setOpen(false);
  }

  /** @param {PanelName} name */
  open(name) {
    this.setOpen(true);
    this.app.store.set({ panel: name });
  }

  /** @param {boolean} open whether the sheet is up; on a wide screen it always is */
  setOpen(open) {
    this.isOpen = open;
    document.documentElement.classList.toggle("sheet-open", open);
    this.sheet.setAttribute("aria-expanded", String(open));
    fill(this.sheet, t(open ? "tab.close" : "tab.open"));
  }

  /** Show the panel that the view names, and let it bring itself up to date. */
  update() {
    const chosen = this.app.store.view.panel;
    PANELS.forEach((name, n) => {
      const [tab, body] = [this.tabs[n], this.bodies[n]];
      if (!tab || !body) return;
      tab.setAttribute("aria-selected", String(name === chosen));
      tab.tabIndex = name === chosen ? 0 : -1;
      body.hidden = name !== chosen;
      if (name === chosen && name !== this.shown) tab.scrollIntoView({ block: "nearest", inline: "center" });
    });
    this.shown = chosen;
    this.panels[chosen].update();
  }

  /** @param {KeyboardEvent} event */
  move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const now = PANELS.indexOf(this.app.store.view.panel);
    const next =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? PANELS.length - 1
          : step
            ? (now + step + PANELS.length) % PANELS.length
            : -1;
    const name = PANELS[next];
    if (name === undefined) return;
    event.preventDefault();
    this.open(name);
    this.tabs[next]?.focus();
  }
}
