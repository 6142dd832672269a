/** What lies on the map's picture: zones with their levels, hotspots, gauges, events, the place and area asked about. */

import { eventFeatures } from "./event_signs.js";
import { labelFeatures } from "./levels.js";
import { areaFeatures, isNarrow, pointFeature } from "./map.js";
import { gaugeId } from "./panel_gauges.js";

/** @typedef {import("./main.js").App} App */

export class Drawn {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** What was handed to the map last, by source. @type {Record<string, string>} */
    this.given = {};
  }

  /** Bring the map in line with the view and what was read. */
  update() {
    const { map, places, store } = this.app;
    const { view } = store;
    const { zones, hotspots, series, hotspot, events, event } = places;
    this.draw("zones", zones?.features ?? []);
    this.drawLevels(zones?.features ?? []);
    this.draw("hotspots", hotspots?.features ?? []);
    this.draw(
      "series",
      (series?.features ?? [])
        .filter(({ geometry }) => geometry !== null)
        .map((feature) => ({
          ...feature,
          properties: { variable: feature.properties.variable, id: gaugeId(feature.properties) },
        })),
    );
    this.draw("events", eventFeatures(events?.features ?? []));
    this.draw("place", view.place ? [pointFeature(view.place)] : []);
    this.draw("area", areaFeatures(view.area));
    map.setVisible("zones", view.zones);
    map.setVisible("levels", view.zones);
    map.setVisible("hotspots", view.hotspots);
    map.setVisible("series", view.gauges);
    map.setVisible("events", view.events);
    map.setZonesFilled(view.shows === "zones");
    map.setZonesOpacity(view.opacity);
    map.selectZone(view.zone);
    map.selectHotspot(hotspot);
    map.selectEvent(event);
  }

  /** @param {any[]} zones */
  drawLevels(zones) {
    const { layer, levels, map, places, stage, watch } = this.app;
    // Those of the layer before are still there while the next one's are read.
    const decided = places.areOf(layer?.id ?? null) && levels !== null && levels.levels_missing === null;
    const labels = labelFeatures(zones, watch.warnings.exercises, decided, isNarrow(map.map.getContainer()));
    this.draw("levels", labels, (features) => map.setLabels(features));
    stage.dataset.levels = labels.map(({ properties }) => properties.says).join("|");
  }

  /**
   * Hand features to the map when they are other ones than before.
   * @param {"zones" | "levels" | "hotspots" | "series" | "events" | "place" | "area"} name
   * @param {any[]} features
   * @param {(features: any[]) => void} [hand]
   */
  draw(name, features, hand = (given) => this.app.map.setFeatures(name, given)) {
    const saying = JSON.stringify(features);
    if (this.given[name] === saying) return;
    this.given[name] = saying;
    hand(features);
  }
}
