/** The last 30 days: their class areas as columns, a slider over them, and a button that plays them. */

import { mount, themeColour } from "./charts.js";
import { fill, h, icon, setStyle } from "./dom.js";
import { Leads, sayIssue } from "./leads.js";
import { hatch } from "./patterns.js";
import { briefDay, className, fullDay, percent, shortDay, t } from "./texts.js";
import { WINDOW_DAYS } from "./watch.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./watch.js").LayerInfo} LayerInfo
 */

const STEP_MS = 900;
const CALM_STEP_MS = 2000; // where the system asks for less motion
const AHEAD = 2; // days loaded while one is shown
const STACK = /** @type {const} */ (["very_high", "high", "moderate", "low"]); // from the floor upwards
const HEIGHT = 64;

export class Timeline {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.playing = false;
    this.drawn = "";
    /** @type {(Record<string, number> | null)[]} */
    this.stacks = [];
    /** @type {(LayerInfo["status"] | null)[]} */
    this.statuses = [];
    this.leads = new Leads(app);
    this.title = h("h2", { class: "day-title" });
    this.facts = h("p", { class: "day-facts" });
    this.playButton = h("button", { class: "play", onclick: () => this.toggle() });
    this.range = h("input", {
      type: "range",
      min: 0,
      max: WINDOW_DAYS - 1,
      step: 1,
      "aria-label": t("time.slider"),
      oninput: () => this.slide(),
    });
    this.plot = h("div", { class: "columns", "aria-hidden": "true" });
    this.labels = h("div", { class: "column-labels", "aria-hidden": "true" });
    this.newest = h("button", { class: "quiet", text: t("time.newest"), onclick: () => this.go(null) });
    this.date = h("input", { type: "date", "aria-label": t("time.go"), onchange: () => this.jump() });
    this.element = h(
      "section",
      { class: "time", "aria-label": t("time.label") },
      this.leads.element,
      h(
        "div",
        { class: "time-row" },
        h(
          "div",
          { class: "buttons" },
          this.button("back", "time.back", -1),
          this.playButton,
          this.button("forward", "time.forward", 1),
        ),
        h("div", { class: "day" }, this.title, this.facts),
        h(
          "div",
          { class: "time-more" },
          this.newest,
          h("label", { class: "date" }, h("span", { text: t("time.go") }), this.date),
        ),
      ),
      h("div", { class: "track" }, this.plot, this.range),
      this.labels,
    );
    this.sayPlaying();
    new ResizeObserver(() => this.fitThumb()).observe(this.plot);
  }

  /**
   * @param {"back" | "forward"} sign
   * @param {string} text
   * @param {number} step
   */
  button(sign, text, step) {
    return h(
      "button",
      { class: "round", "aria-label": t(text), title: t(text), onclick: () => this.step(step) },
      icon(sign),
    );
  }

  /** Bring everything in line with the layers that are known and the day that is looked at. */
  update() {
    const { watch, day, lead } = this.app;
    const days = watch.days;
    // The columns are nowcasts: while a forecast is in sight, the thumb waits on the newest of them.
    const under = lead > 0 ? watch.newest : day;
    const index = under === null ? -1 : days.indexOf(under);
    const layer = this.app.layer;
    this.leads.update();
    this.element.classList.toggle("is-forecast", lead > 0);
    if (index >= 0) this.range.value = String(index);
    if (day === null) fill(this.title, t("time.no_day"));
    else
      fill(
        this.title,
        ...(lead > 0 ? [h("span", { class: "forecast-mark", text: t("time.forecast") }), " "] : []),
        h("span", { class: "wide", text: fullDay(day) }),
        h("span", { class: "narrow", text: briefDay(day) }),
      );
    fill(this.facts, this.sayLayer(layer));
    this.facts.classList.toggle("is-bad", layer === null || ["withdrawn", "degraded"].includes(layer.status));
    const slid = under === null ? null : (watch.layers.get(under) ?? null);
    this.range.setAttribute(
      "aria-valuetext",
      under === null ? t("time.no_day") : `${fullDay(under)}: ${this.sayLayer(slid)}`,
    );
    this.newest.hidden = this.app.store.view.day === null;
    if (under !== null) this.date.value = under;
    this.date.max = watch.newest ?? "";
    const marks = [0, 7, 14, 21, WINDOW_DAYS - 1].map((n) => days[n]).filter((mark) => mark !== undefined);
    fill(
      this.labels,
      marks.map((mark) => h("span", { text: shortDay(mark) })),
    );
    this.draw(days);
  }

  /**
   * @param {LayerInfo | null} layer
   * @returns {string}
   */
  sayLayer(layer) {
    if (layer === null) return t(this.app.lead > 0 ? "time.no_forecast" : "time.no_map");
    if (layer.status === "withdrawn") return t("status.withdrawn");
    const facts = t("time.facts", { status: t(`status.${layer.status}`), coverage: percent(layer.coverage) });
    const said = layer.unconfirmed ? t("time.unconfirmed", { facts }) : facts;
    return layer.lead > 0 ? `${sayIssue(layer, this.app.site.timezone)}; ${said}` : said;
  }

  /** @param {string[]} days */
  draw(days) {
    const layers = days.map((day) => this.app.watch.layers.get(day) ?? null);
    const stacks = layers.map(sharesOf);
    const colours = this.app.legend.classes;
    const saying = JSON.stringify([days, stacks, layers.map((layer) => layer?.status), colours]);
    if (saying === this.drawn) return;
    this.drawn = saying;
    this.stacks = stacks;
    this.statuses = layers.map((layer) => layer?.status ?? null);
    if (this.chart) this.chart.redraw();
    else {
      this.chart = mount(
        this.plot,
        HEIGHT,
        {
          legend: { show: false },
          cursor: { show: false },
          padding: [0, 0, 0, 0],
          scales: { x: { time: false, range: () => [-0.5, WINDOW_DAYS - 0.5] }, y: { range: () => [0, 1] } },
          axes: [{ show: false }, { show: false }],
          series: [{}, { paths: () => null, points: { show: false } }],
          hooks: { draw: [(chart) => this.paint(chart)] },
        },
        [Array.from({ length: WINDOW_DAYS }, (_, n) => n), Array.from({ length: WINDOW_DAYS }, () => 0)],
      );
    }
    this.fitThumb();
  }

  /** @param {import("uplot")} chart */
  paint(chart) {
    const { ctx: context } = chart;
    const ink = themeColour("--muted");
    const empty = context.createPattern(hatch(ink, themeColour("--surface"), 6), "repeat");
    const width = (chart.valToPos(1, "x", true) - chart.valToPos(0, "x", true)) * 0.84;
    const [floor, ceiling] = [chart.valToPos(0, "y", true), chart.valToPos(1, "y", true)];
    context.save();
    this.stacks.forEach((stack, n) => {
      const left = chart.valToPos(n, "x", true) - width / 2;
      context.globalAlpha = 0.45;
      context.fillStyle = empty ?? ink;
      context.fillRect(left, ceiling, width, floor - ceiling);
      context.globalAlpha = 1;
      let bottom = 0;
      for (const label of stack === null ? [] : STACK) {
        const top = bottom + (stack?.[label] ?? 0);
        const [from, to] = [chart.valToPos(bottom, "y", true), chart.valToPos(top, "y", true)];
        context.fillStyle = this.app.legend.classes.find((item) => item.label === label)?.colour ?? ink;
        context.fillRect(left, to, width, from - to);
        bottom = top;
      }
      const mark = { degraded: "!", withdrawn: "×", provisional: "?", complete: "" }[
        this.statuses[n] ?? "complete"
      ];
      if (mark) this.paintMark(context, mark, left + width / 2, ceiling);
    });
    context.restore();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {string} mark
   * @param {number} x
   * @param {number} top
   */
  paintMark(context, mark, x, top) {
    const size = 13 * devicePixelRatio;
    context.fillStyle = themeColour("--bad");
    context.fillRect(x - size / 2, top, size, size * 1.2);
    context.fillStyle = "#fff";
    context.font = `700 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillText(mark, x, top + 1);
  }

  /** The thumb is as wide as a column and lies over it. */
  fitThumb() {
    const width = this.plot.clientWidth;
    if (width) setStyle(this.range, { "--thumb": `${width / WINDOW_DAYS}px` });
  }

  slide() {
    this.stop();
    const day = this.app.watch.days[Number(this.range.value)];
    if (day) this.go(day);
  }

  jump() {
    this.stop();
    if (this.date.value) this.go(this.date.value);
  }

  /** @param {string | null} day */
  go(day) {
    if (day === null) this.stop();
    this.app.store.set({ day: day === this.app.watch.newest ? null : day, lead: 0 });
  }

  /** @param {number} step */
  step(step) {
    this.stop();
    const next = this.neighbour(step, () => true);
    if (next) this.go(next);
  }

  /**
   * @param {number} step
   * @param {(day: string) => boolean} fits
   * @returns {string | null}
   */
  neighbour(step, fits) {
    const { watch, day, lead } = this.app;
    const days = watch.days;
    // A forecast lies after all of them.
    let at = day === null || lead > 0 ? days.length : days.indexOf(day);
    for (at += step; at >= 0 && at < days.length; at += step) {
      const found = days[at];
      if (found !== undefined && fits(found)) return found;
    }
    return null;
  }

  toggle() {
    if (this.playing) this.stop();
    else void this.play();
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.sayPlaying();
  }

  sayPlaying() {
    const text = t(this.playing ? "time.pause" : "time.play");
    this.playButton.setAttribute("aria-label", text);
    this.playButton.title = text;
    fill(this.playButton, icon(this.playing ? "pause" : "play"));
  }

  /** Show one day after the other, each once it has loaded; from the start where the newest is in sight. */
  async play() {
    const usable = (/** @type {string} */ day) => this.app.usable(day);
    this.playing = true;
    this.sayPlaying();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.neighbour(1, usable) === null) {
      const first = this.app.watch.days.find(usable);
      if (first) this.go(first);
    }
    while (this.playing) {
      const began = performance.now();
      await this.app.settled();
      this.preload(usable);
      await new Promise((resolve) =>
        setTimeout(resolve, Math.max(0, (calm ? CALM_STEP_MS : STEP_MS) - (performance.now() - began))),
      );
      if (!this.playing) return;
      const next = this.neighbour(1, usable);
      if (next === null) break;
      this.go(next);
    }
    this.stop();
  }

  /** @param {(day: string) => boolean} usable */
  preload(usable) {
    const { watch, day, lead } = this.app;
    const from = day === null || lead > 0 ? watch.days.length : watch.days.indexOf(day) + 1;
    for (const next of watch.days.slice(from).filter(usable).slice(0, AHEAD)) this.app.preload(next);
  }
}

/**
 * Shares of the whole region, the unknown part left open; null where nothing may be shown.
 * @param {LayerInfo | null} layer
 * @returns {Record<string, number> | null}
 */
function sharesOf(layer) {
  if (layer === null || layer.status === "withdrawn") return null;
  const known = STACK.map((label) => layer.areas[label]?.area_m2 ?? 0);
  const all = known.reduce((sum, part) => sum + part, layer.unknown_m2);
  return all > 0 ? Object.fromEntries(STACK.map((label, n) => [label, (known[n] ?? 0) / all])) : null;
}

/**
 * "low 45 %, moderate 24 %, high 17 %, very high 15 %".
 * @param {LayerInfo} layer
 */
export function sayShares(layer) {
  return [...STACK]
    .reverse()
    .map((label) => `${className(label)} ${percent(layer.areas[label]?.ratio)}`)
    .join(", ");
}
