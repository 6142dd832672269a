/** The page's head, with the way to the official warnings, and whose data these are. */

import { h, icon } from "./dom.js";
import { official } from "./panel_about.js";
import { writeView } from "./state.js";
import { t } from "./texts.js";
import { nextTheme, sayTheme } from "./themes.js";

/** @typedef {import("./main.js").App} App */

/**
 * @param {App} app
 * @returns {HTMLElement}
 */
export function pageHead(app) {
  const logo = h("img", { src: "web/favicon.svg", alt: "", width: 28, height: 28 });
  const names = h(
    "div",
    { class: "names" },
    h("h1", { text: app.site.name }),
    h("p", { class: "what", text: t("page.what") }),
    official(app.site),
  );
  return h("header", { class: "head" }, logo, names, linkButton(app), themeButton(app));
}

/** @param {App} app */
function linkButton(app) {
  const copy = async () => {
    const address = new URL(`?${writeView(app.store.view)}`, location.href).href;
    try {
      await navigator.clipboard.writeText(address);
      app.tell(t("link.copied"));
    } catch {
      app.tell(t("link.here", { address })); // no clipboard without https or permission
    }
  };
  const label = t("link.label");
  return h(
    "button",
    { class: "round", "aria-label": label, title: label, onclick: () => void copy() },
    icon("link"),
  );
}

/** @param {App} app */
function themeButton(app) {
  const button = h("button", { class: "round" }, icon("theme"));
  const name = () => {
    const label = t("theme.label", { theme: t(`theme.${sayTheme()}`) });
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    nextTheme();
    name();
    app.onTheme();
  });
  name();
  return button;
}

/** @param {import("./map.js").Site} site */
export function credits({ attribution, licence, openstreetmap }) {
  const href = "https://www.openstreetmap.org/copyright";
  const osm = openstreetmap ? h("a", { href, rel: "noopener", text: t("map.osm") }) : null;
  return h("p", { class: "credits" }, [attribution, licence].filter((text) => text).join(" · "), osm);
}
