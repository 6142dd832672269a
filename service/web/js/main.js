/** The page: reads what it needs, builds its parts, and keeps them in line with the view and the server. */

import { getJson, sayProblem } from "./api.js";
import { Banner, bannerLines } from "./banner.js";
import { redrawCharts } from "./charts.js";
import { Controls, dayBefore } from "./controls.js";
import { fill, h } from "./dom.js";
import { Drawn } from "./drawn.js";
import { credits, pageHead } from "./head.js";
import { dayOf } from "./leads.js";
import { BELOW, RegionMap } from "./map.js";
import { Overlay } from "./overlay.js";
import { AboutPanel } from "./panel_about.js";
import { AreaPanel } from "./panel_area.js";
import { DayPanel } from "./panel_day.js";
import { GaugesPanel } from "./panel_gauges.js";
import { HotspotsPanel } from "./panel_hotspots.js";
import { LevelsPanel } from "./panel_levels.js";
import { PlacePanel } from "./panel_place.js";
import { VerifyPanel } from "./panel_verify.js";
import { ZonesPanel } from "./panel_zones.js";
import { Places } from "./places.js";
import { Search } from "./search.js";
import { readView, Store, writeView } from "./state.js";
import { Tabs } from "./tabs.js";
import { fullDay, longDay, t, useTexts } from "./texts.js";
import { themeInUse, whenThemeChanges } from "./themes.js";
import { Timeline } from "./timeline.js";
import { Watch } from "./watch.js";

/**
 * @typedef {import("./state.js").Position} Position
 * @typedef {import("./map.js").Site} Site
 * @typedef {import("./controls.js").Legend} Legend
 */

const ADDRESS_MS = 250; // browsers refuse an address that changes too often

export class App {
  /**
   * @param {Site} site
   * @param {HTMLElement} root
   */
  constructor(site, root) {
    this.site = site;
    this.store = new Store(readView(location.search));
    /** @type {Legend} */
    this.legend = { classes: [], susceptibility: [], difference: [] };
    this.watch = new Watch(() => void this.onNews());
    this.places = new Places(() => this.render());
    /** Resolves when what was asked for last is in sight. @type {Promise<unknown>} */
    this.shown = Promise.resolve();
    /** @type {string | null} */
    this.pictureKey = null;
    /** The layer whose legend is known. */
    this.legendOf = "";
    this.writing = 0;
    this.isReady = false;
    this.frame = 0;
    const canvas = h("div", { id: "map", class: "map", tabindex: -1 });
    this.chip = h("p", { class: "chip", role: "status", hidden: true });
    this.message = h("p", { class: "told message", role: "status" });
    this.banner = new Banner();
    this.search = new Search(this);
    this.controls = new Controls(this);
    this.timeline = new Timeline(this);
    this.stage = h(
      "section",
      { class: "stage", "aria-label": t("map.section") },
      canvas,
      h("div", { class: "left" }, this.search.element, this.controls.element),
      this.chip,
      this.message,
      credits(site),
    );
    fill(
      root,
      h("a", { class: "skip", href: "#map", text: t("page.skip") }),
      pageHead(this),
      this.banner.element,
      h("main", { class: "main" }, this.stage, this.timeline.element, h("div", { class: "side-place" })),
    );
    this.map = new RegionMap(canvas, site, this.store.view, themeInUse());
    this.overlay = new Overlay(this.map.map, site, BELOW, (problem) =>
      this.controls.tell(problem ? t("map.problem", { detail: problem.message }) : ""),
    );
    this.drawn = new Drawn(this);
    this.areaPanel = new AreaPanel(this);
    this.tabs = new Tabs(this, {
      day: new DayPanel(this),
      levels: new LevelsPanel(this),
      place: new PlacePanel(this),
      zones: new ZonesPanel(this),
      hotspots: new HotspotsPanel(this),
      gauges: new GaugesPanel(this),
      verify: new VerifyPanel(this),
      area: this.areaPanel,
      about: new AboutPanel(this),
    });
    root.querySelector(".side-place")?.replaceWith(this.tabs.element);
  }

  /** Days ahead of the map in sight: 0 for nowcasts. */
  get lead() {
    return this.store.view.lead;
  }

  /** The day in sight. */
  get day() {
    if (this.lead > 0) return dayOf(this.watch, this.lead);
    return this.store.view.day ?? this.watch.newest;
  }

  /** The layer in sight; null where there is none: no forecast stands in for a nowcast, nor the other way. */
  get layer() {
    if (this.lead > 0) return this.watch.forecasts.find(({ lead }) => lead === this.lead) ?? null;
    return this.day === null ? null : (this.watch.layers.get(this.day) ?? null);
  }

  /**
   * The warning levels of the layer in sight; null where there is none, or they are not read yet.
   * @returns {import("./levels.js").LayerLevels | null}
   */
  get levels() {
    const { layer } = this;
    if (layer === null || layer.status === "withdrawn") return null;
    return this.watch.warnings.layers.find((one) => one.layer === layer.id) ?? this.places.levelsOf(layer);
  }

  /** The day that a change is counted from; null where there is none to compare with. */
  get compared() {
    const { compare } = this.store.view;
    if (compare !== null && compare !== this.day) return this.usable(compare) ? compare : null;
    return this.day === null ? null : dayBefore(this.day, (day) => this.usable(day));
  }

  /** The days that sparklines show. */
  get readingDays() {
    return this.places.readingDays;
  }

  /**
   * Tell whether a day has a map that may be shown.
   * @param {string} day
   */
  usable(day) {
    const layer = this.watch.layers.get(day);
    return layer !== undefined && layer.status !== "withdrawn";
  }

  /** @param {string} label a class */
  colourOf(label) {
    return this.legend.classes.find((item) => item.label === label)?.colour ?? "transparent";
  }

  /** Read the first status, follow the view, and from then on keep up. */
  async start() {
    const placed = this.store.view.z !== null;
    this.follow();
    await Promise.all([this.map.ready, this.watch.look(this.store.view.day)]);
    this.renderNow(); // how fresh the map is waits for nothing
    // Classes without their colours would be drawn once and stay so.
    await this.readLegend();
    this.map.setBase(this.store.view.base);
    this.isReady = true;
    this.renderNow();
    // Only now is the map as large as it stays.
    if (!placed) this.map.goHome();
    void this.places.readSeries();
    void this.places.readEvents();
  }

  follow() {
    this.store.on(["day"], ({ day }) => {
      if (day !== null && this.watch.last !== null && !this.watch.days.includes(day))
        void this.watch.look(day);
    });
    this.store.on(
      [
        "day",
        "lead",
        "shows",
        "compare",
        "opacity",
        "zones",
        "hotspots",
        "gauges",
        "events",
        "panel",
        "place",
        "zone",
        "area",
      ],
      () => this.render(),
    );
    this.store.on(["base"], ({ base }) => this.map.setBase(base));
    for (const key of /** @type {(keyof import("./state.js").View)[]} */ (Object.keys(this.store.view))) {
      this.store.on([key], () => this.writeAddress());
    }
    const { map } = this.map;
    map.on("moveend", () => {
      const [lon, lat] = this.map.centre;
      this.store.set({ lon, lat, z: map.getZoom() });
    });
    map.on("resize", () => this.render()); // a turned phone has room for other labels
    map.on("click", (event) => this.onClick(event));
    // Without a listener MapLibre would write to the console what is said in words here.
    map.on("error", () => {});
    whenThemeChanges(() => this.onTheme());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.onEscape();
    });
    window.addEventListener("popstate", () => this.store.set(readView(location.search)));
  }

  /** After each look at the server, also one that failed. */
  async onNews() {
    this.render();
    await this.readLegend();
    if (this.isReady && this.watch.problem === null) {
      void this.places.readSeries();
      void this.places.readEvents();
    }
    this.render();
  }

  /** Read what the colours mean, where the newest layer is another one than before. */
  async readLegend() {
    const newest = this.watch.status?.latest ?? null;
    if (newest === null || newest === this.legendOf) return;
    try {
      this.legend = await getJson("legend.json");
      this.legendOf = newest;
    } catch (error) {
      this.controls.tell(sayProblem(error));
    }
  }

  /** Bring every part in line, once a frame. */
  render() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.renderNow());
  }

  /** Bring every part in line at once, and answer when the day's picture is in sight. */
  settled() {
    cancelAnimationFrame(this.frame);
    this.renderNow();
    return this.shown;
  }

  renderNow() {
    const synthetic = this.site.synthetic || (this.layer?.synthetic ?? false);
    this.banner.show(bannerLines(this.watch, this, this.site.timezone), synthetic);
    if (!this.isReady) return;
    this.timeline.update();
    this.controls.update();
    this.showPicture();
    this.places.follow(this.layer !== null && this.layer.status !== "withdrawn" ? this.layer : null);
    this.drawn.update();
    this.tabs.update();
  }

  /** Show the day's picture, and say so where there is none. */
  showPicture() {
    this.overlay.setOpacity(this.store.view.opacity);
    const picture = this.pictureOf(this.layer);
    this.stage.classList.toggle("is-forecast", this.lead > 0);
    this.sayChip();
    const key = picture?.key ?? "";
    if (key === this.pictureKey) return;
    this.pictureKey = key;
    this.stage.setAttribute("aria-busy", "true");
    this.shown = this.overlay.show(picture).then((inSight) => {
      if (!inSight) return;
      this.stage.removeAttribute("aria-busy");
      this.stage.dataset.picture = key;
    });
  }

  sayChip() {
    const { day, layer } = this;
    const { newest } = this.watch;
    const none = this.lead > 0 ? "map.forecast.none" : "map.none";
    const bad =
      day === null || layer === null ? t(none) : layer.status === "withdrawn" ? t("map.withdrawn") : "";
    // Over the map and not in the banner: sliding through the days must not move the page.
    const other =
      day === null || layer === null
        ? ""
        : this.lead > 0
          ? t("map.forecast", { day: fullDay(day) })
          : newest !== null && day < newest
            ? t("map.earlier", { day: longDay(day), newest: longDay(newest) })
            : "";
    this.chip.hidden = bad === "" && other === "";
    this.chip.classList.toggle("is-bad", bad !== "");
    this.chip.classList.toggle("is-forecast", bad === "" && this.lead > 0);
    fill(this.chip, bad || other);
  }

  /**
   * @param {import("./watch.js").LayerInfo | null} layer
   * @returns {import("./overlay.js").Picture | null}
   */
  pictureOf(layer) {
    const { shows } = this.store.view;
    if (!layer || layer.status === "withdrawn" || shows === "zones") return null;
    const tiles = "tiles/{z}/{x}/{y}.png";
    if (shows !== "change")
      return { key: `${layer.id}/${shows}`, path: `layers/${layer.id}/${tiles}?shows=${shows}` };
    const then = this.compared === null ? undefined : this.watch.layers.get(this.compared);
    return then
      ? { key: `${layer.id}-${then.id}`, path: `layers/${layer.id}/difference/${then.id}/${tiles}` }
      : null;
  }

  /** @param {string} day */
  preload(day) {
    const picture =
      this.store.view.shows === "change" ? null : this.pictureOf(this.watch.layers.get(day) ?? null);
    if (picture) this.overlay.preload(picture);
  }

  /**
   * Ask about a place.
   * @param {Position} position
   */
  pick(position) {
    this.store.set({ place: position });
    this.open("place");
    this.map.keepInSight(position); // on a phone the panel takes half of the map
  }

  /** @param {import("./state.js").Panel} panel */
  open(panel) {
    this.tabs.open(panel);
  }

  /** @param {string | null} zone */
  chooseZone(zone) {
    this.store.set({ zone });
  }

  /**
   * Say something over the map.
   * @param {string} text
   */
  tell(text) {
    fill(this.message, text);
  }

  /** @param {import("maplibre-gl").MapMouseEvent} event */
  onClick({ point: at, lngLat }) {
    if (this.areaPanel.drawing) return this.areaPanel.add([lngLat.lng, lngLat.lat]);
    const [event] = this.map.featuresAt(at, ["events-signs", "events-area"]);
    if (event) {
      this.places.chooseEvent(event.properties.id);
      return this.open("verify");
    }
    const [gauge] = this.map.featuresAt(at, ["series-signs"]);
    if (gauge) {
      this.places.chooseGauge(gauge.properties.id);
      return this.open("gauges");
    }
    const [label] = this.map.featuresAt(at, ["levels-raised", "levels-calm"]);
    if (label) {
      this.chooseZone(label.properties.id);
      return this.open("levels");
    }
    if (this.store.view.shows === "zones") {
      const [zone] = this.map.featuresAt(at, ["zones-fill", "zones-unknown"]);
      if (zone) {
        this.chooseZone(zone.properties.id);
        return this.open("zones");
      }
    }
    return this.pick([lngLat.lng, lngLat.lat]);
  }

  onEscape() {
    if (this.timeline.playing) this.timeline.stop();
    else if (this.areaPanel.drawing) this.areaPanel.setDrawing(false);
    else if (this.store.view.place !== null) this.store.set({ place: null, panel: "day" });
    else this.tabs.setOpen(false);
  }

  onTheme() {
    this.map.setTheme(themeInUse());
    this.timeline.chart?.redraw();
    redrawCharts();
  }

  writeAddress() {
    clearTimeout(this.writing);
    this.writing = window.setTimeout(() => {
      const query = writeView(this.store.view);
      history.replaceState(null, "", query ? `?${query}` : location.pathname);
    }, ADDRESS_MS);
  }
}

/** @param {HTMLElement} root */
async function begin(root) {
  try {
    useTexts(await getJson("texts.json"));
    const app = new App(await getJson("site.json"), root);
    await app.start();
  } catch (error) {
    // Also a browser without WebGL ends here: the plain page needs neither.
    fill(
      root,
      h(
        "main",
        { class: "loading" },
        h("p", { class: "problem", role: "alert", text: t("page.failed", { detail: sayProblem(error) }) }),
        h("p", {}, h("a", { href: "plain", text: t("page.plain") })),
      ),
    );
  }
}

const root = document.getElementById("app");
if (root) void begin(root);
