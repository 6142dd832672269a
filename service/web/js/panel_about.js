/** What susceptibility is and is not, downloads, services, licence. */

import { fill, h } from "./dom.js";
import { fullDay, t } from "./texts.js";
import { sayFeed } from "./banner.js";

/** @typedef {import("./main.js").App} App */

const FILES = /** @type {const} */ ([
  "susceptibility.tif",
  "class.tif",
  "provenance.tif",
  "areas.gpkg",
  "areas.csv",
  "item.json",
]);

// What some layers have and others have not.
const COMPANIONS = /** @type {const} */ (["uncertainty", "probability", "quantiles"]);

export class AboutPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.downloads = h("div", {});
    this.feeds = h("ul", { class: "plain-list" });
    const { site } = app;
    const services = [
      ["qgis/project.qgz", "about.qgis"],
      ["wmts/1.0.0/WMTSCapabilities.xml", "about.wmts"],
      ["layers", "about.layers"],
      ["openapi.json", "about.api"],
      ["plain", "about.plain"],
    ];
    this.element = h(
      "div",
      {},
      h("h2", { text: t("about.title") }),
      h("p", { text: t("about.is") }),
      h("p", {}, h("strong", { text: t("about.is_not") })),
      h("p", { text: t("about.unknown") }),
      h("p", { text: t("about.rank") }),
      official(site),
      h("h3", { text: t("about.downloads") }),
      this.downloads,
      h("h3", { text: t("about.services") }),
      h(
        "ul",
        { class: "plain-list" },
        services.map(([path, key]) => h("li", {}, h("a", { href: path, text: t(key ?? "") }))),
      ),
      h("h3", { text: t("about.feeds") }),
      this.feeds,
      h("h3", { text: t("about.keys") }),
      h("p", { text: t("about.keys.text") }),
      h("h3", { text: t("about.licence") }),
      h("p", { text: site.licence || t("about.no_licence") }),
      site.attribution ? h("p", { text: site.attribution }) : null,
      h("p", { class: "note", text: t("about.software", { version: site.version }) }),
    );
  }

  update() {
    const { layer, day } = this.app;
    const usable = layer !== null && layer.status !== "withdrawn";
    fill(
      this.downloads,
      h("p", {
        text:
          usable && day !== null
            ? t(layer.lead > 0 ? "about.downloads.forecast" : "about.downloads.day", { day: fullDay(day) })
            : t("about.downloads.none"),
      }),
      usable
        ? h(
            "ul",
            { class: "plain-list" },
            filesOf(layer).map((name) =>
              h(
                "li",
                {},
                h("a", { href: `layers/${layer.id}/${name}`, download: "", text: name }),
                ` ${t(`file.${name}`)}`,
              ),
            ),
          )
        : null,
    );
    fill(
      this.feeds,
      (this.app.watch.status?.feeds ?? []).map((feed) => h("li", { text: sayFeed(feed) })),
    );
  }
}

/** @param {import("./watch.js").LayerInfo} layer */
function filesOf(layer) {
  const more = COMPANIONS.filter((name) => name in layer.links).map((name) => `${name}.tif`);
  return [...FILES.slice(0, 3), ...more, ...FILES.slice(3)];
}

/** @param {import("./map.js").Site} site */
export function official(site) {
  if (site.official === null) return h("p", { class: "official", text: t("official.none") });
  const { name, url } = site.official;
  return h(
    "p",
    { class: "official" },
    t("official.see"),
    " ",
    url ? h("a", { href: url, rel: "noopener", text: name }) : h("strong", { text: name }),
  );
}
