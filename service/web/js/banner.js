/** How fresh and how complete the map is, in words, always in sight. */

import { sayProblem } from "./api.js";
import { exerciseLines, levelLines } from "./banner_levels.js";
import { fill, h, icon } from "./dom.js";
import { sayIssue } from "./leads.js";
import { clock, daysBetween, fullDay, longDay, moment, percent, t } from "./texts.js";

/**
 * @typedef {import("./watch.js").LayerInfo} LayerInfo
 * @typedef {import("./watch.js").Watch} Watch
 * @typedef {"exercise" | "bad" | "warn" | "good"} Level
 * @typedef {{level: Level, title: string, text: string, offline?: boolean}} Line
 * @typedef {{day: string | null, lead: number, layer: LayerInfo | null}} Seen what is being looked at
 */

const UNCONFIRMED = "UNCONFIRMED:"; // how the service begins a note on readings that wait for a person
const FAILED = new Set(["held", "failed", "abandoned"]);

/**
 * What has to be said about the map as it stands, the gravest first.
 * @param {Watch} watch
 * @param {Seen} seen
 * @param {string} zone the region's time zone
 * @returns {Line[]}
 */
export function bannerLines(watch, seen, zone) {
  const status = watch.status;
  /** @type {Line[]} */
  const lines = [];
  if (watch.problem !== null) {
    const since = watch.answeredAt === null ? "" : clock(watch.answeredAt, zone);
    const text = since ? t("banner.offline", { time: since }) : sayProblem(watch.problem);
    lines.push({ level: "bad", title: t("banner.offline.title"), text, offline: true });
  }
  if (status === null) return lines;
  const inSight = [...aboutForecast(watch, seen, zone), ...aboutShown(watch, seen)];
  const { exercises, layers } = watch.warnings;
  const first = [...exerciseLines(exercises, zone, layers), ...inSight, ...levelLines(layers)];
  for (const line of [...first, ...aboutNewest(watch), ...aboutRuns(watch, zone)]) {
    // Twice would be a withdrawn newest day in sight; that another map is good says nothing of a forecast.
    const idle = lines.some(({ text }) => text === line.text) || (seen.lead > 0 && line.level === "good");
    if (!idle) lines.push(line);
  }
  return lines;
}

/**
 * A forecast says before all else that it is one.
 * @param {Watch} watch
 * @param {Seen} seen
 * @param {string} zone
 * @returns {Line[]}
 */
function aboutForecast(watch, { day, lead, layer }, zone) {
  if (lead === 0 || day === null) return [];
  const newest = watch.newest ? longDay(watch.newest) : t("value.none");
  const values = { day: fullDay(day), n: lead, newest };
  if (layer === null) {
    const title = t("banner.forecast.none.title");
    return [{ level: "bad", title, text: t("banner.forecast.none", values) }];
  }
  const text = t("banner.forecast", { ...values, issue: sayIssue(layer, zone) });
  /** @type {Line[]} */
  const lines = [{ level: "warn", title: t("banner.forecast.title"), text }];
  if (layer.status === "degraded") {
    const told = { day: longDay(day), coverage: percent(layer.coverage) };
    lines.push({ level: "bad", title: t("banner.degraded.title"), text: t("banner.degraded", told) });
  }
  return [...lines, ...aboutUnconfirmed(layer)];
}

/**
 * @param {LayerInfo} layer
 * @returns {Line[]}
 */
function aboutUnconfirmed(layer) {
  if (!layer.unconfirmed) return [];
  const title = t("banner.unconfirmed.title");
  // Readings that wait for a person are named in the layer's notes; levels carried on need none.
  const taken = layer.notes.filter((note) => note.startsWith(UNCONFIRMED));
  if (!taken.length)
    return [{ level: "warn", title, text: t("banner.unconfirmed", { day: longDay(layer.day) }) }];
  return taken.map((note) => ({
    level: "bad",
    title: t("banner.unconfirmed.readings.title"),
    text: t("banner.unconfirmed.readings", {
      day: longDay(layer.day),
      note: note.slice(UNCONFIRMED.length).trim(),
    }),
  }));
}

/**
 * @param {Watch} watch
 * @param {Seen} seen
 * @returns {Line[]}
 */
function aboutShown(watch, { day, lead }) {
  if (lead > 0 || day === null || day === watch.newest) return [];
  const layer = watch.layers.get(day);
  const values = { day: longDay(day), newest: watch.newest ? longDay(watch.newest) : t("value.none") };
  if (!layer) return [{ level: "bad", title: t("banner.none.title"), text: t("banner.none", values) }];
  if (layer.status === "withdrawn") {
    return [{ level: "bad", title: t("banner.withdrawn.title"), text: t("banner.withdrawn", values) }];
  }
  if (layer.status !== "degraded") return aboutUnconfirmed(layer);
  const text = t("banner.degraded", { ...values, coverage: percent(layer.coverage) });
  return [{ level: "bad", title: t("banner.degraded.title"), text }, ...aboutUnconfirmed(layer)];
}

/**
 * @param {Watch} watch
 * @returns {Line[]}
 */
function aboutNewest(watch) {
  const status = watch.status;
  if (!status) return [];
  if (status.latest_day === null || status.coverage === null) {
    return [{ level: "bad", title: t("banner.no_map.title"), text: t("banner.no_map") }];
  }
  const layer = watch.layers.get(status.latest_day);
  const values = {
    day: longDay(status.latest_day),
    today: longDay(status.today),
    coverage: percent(status.coverage),
    until: layer ? longDay(layer.data_until) : t("value.not_known"),
    behind: daysBetween(status.latest_day, status.today),
  };
  /** @type {Line[]} */
  const lines = [];
  const withdrawn = watch.later.findLast((layer) => layer.status === "withdrawn");
  if (withdrawn) {
    const told = { day: longDay(withdrawn.day), newest: values.day };
    lines.push({ level: "bad", title: t("banner.withdrawn.title"), text: t("banner.withdrawn", told) });
  }
  if (status.hold !== null) {
    lines.push({
      level: "bad",
      title: t("banner.held.title"),
      text: t("banner.held", { reason: status.hold }),
    });
  }
  if (values.behind > 0) {
    const key = values.behind === 1 ? "banner.stale.one" : "banner.stale";
    lines.push({ level: "bad", title: t("banner.stale.title"), text: t(key, values) });
  }
  if (status.status === "degraded") {
    lines.push({ level: "bad", title: t("banner.degraded.title"), text: t("banner.degraded", values) });
  } else if (status.status === "provisional") {
    lines.push({
      level: "warn",
      title: t("banner.provisional.title"),
      text: t("banner.provisional", values),
    });
  }
  if (layer) lines.push(...aboutUnconfirmed(layer));
  if (!lines.length)
    lines.push({ level: "good", title: t("banner.fresh.title"), text: t("banner.fresh", values) });
  return lines;
}

/**
 * @param {Watch} watch
 * @param {string} zone
 * @returns {Line[]}
 */
function aboutRuns(watch, zone) {
  const status = watch.status;
  if (!status) return [];
  /** @type {Line[]} */
  const lines = [];
  const run = status.last_run;
  if (run && FAILED.has(run.outcome)) {
    const values = {
      outcome: t(`outcome.${run.outcome}`),
      time: moment(run.started_at, zone),
      reason: run.reason || t("value.no_reason"),
    };
    lines.push({ level: "bad", title: t("banner.run.title"), text: t("banner.run", values) });
  }
  const late = status.feeds.filter((feed) => feed.failing || feed.late_days === null || feed.late_days > 0);
  if (late.length) {
    const feeds = late.map((feed) => sayFeed(feed)).join("; ");
    lines.push({ level: "warn", title: t("banner.feeds.title"), text: t("banner.feeds", { feeds }) });
  }
  return lines;
}

/** @param {import("./watch.js").Feed} feed */
export function sayFeed(feed) {
  const values = {
    name: feed.name,
    days: feed.late_days ?? 0,
    newest: feed.newest_day ? longDay(feed.newest_day) : "",
  };
  const late =
    feed.late_days === null
      ? t("feed.nothing", values)
      : feed.late_days === 0
        ? t("feed.on_time", values)
        : t("feed.late", values);
  return feed.failing ? `${late}, ${t("feed.failing")}` : late;
}

/** The strip below the page's head. It takes a part of the screen at most: the map must have room. */
export class Banner {
  constructor() {
    // A drill, and inputs that are made up, change what all else means, so they stand first.
    this.exercise = h("div", { role: "status", class: "banner-lines" });
    this.synthetic = h("div", { class: "banner-lines" });
    // Two places: what is grave interrupts a screen reader, the rest waits for a pause.
    this.alert = h("div", { role: "alert", class: "banner-lines" });
    this.calm = h("div", { role: "status", class: "banner-lines" });
    this.body = h("div", { class: "banner-body" }, this.exercise, this.synthetic, this.alert, this.calm);
    this.more = h("button", { class: "banner-more", hidden: true, onclick: () => this.turn() });
    this.element = h("section", { class: "banner", "aria-label": t("banner.label") }, this.body, this.more);
    this.said = "";
    this.isOpen = false;
    new ResizeObserver(() => this.measure()).observe(this.body);
  }

  /**
   * @param {Line[]} lines
   * @param {boolean} synthetic
   */
  show(lines, synthetic) {
    const saying = JSON.stringify([lines, synthetic]);
    if (saying === this.said) return; // saying it again would make a screen reader read it again
    this.said = saying;
    const of = (/** @type {Level[]} */ ...levels) =>
      lines.filter(({ level }) => levels.includes(level)).map(lineElement);
    fill(this.exercise, ...of("exercise"));
    fill(this.alert, ...of("bad"));
    fill(this.calm, ...of("warn", "good"));
    const made = {
      level: /** @type {Level} */ ("warn"),
      title: t("banner.synthetic.title"),
      text: t("banner.synthetic"),
    };
    fill(this.synthetic, synthetic ? lineElement(made) : null);
    this.measure();
  }

  turn() {
    this.isOpen = !this.isOpen;
    this.measure();
    if (!this.isOpen) this.body.scrollTop = 0;
  }

  /** Name what does not fit, so that nobody takes the first lines for all. */
  measure() {
    this.element.classList.toggle("is-open", this.isOpen);
    const room = this.body.getBoundingClientRect();
    const below = [...this.body.querySelectorAll(".line")].filter(
      (line) => line.getBoundingClientRect().bottom + this.body.scrollTop > room.bottom + 2,
    );
    const isLong = below.length > 0 || this.isOpen;
    this.more.hidden = !isLong;
    if (isLong) this.body.tabIndex = 0; // who has no mouse scrolls it with the keyboard
    else this.body.removeAttribute("tabindex");
    this.more.setAttribute("aria-expanded", String(this.isOpen));
    const titles = below.map((line) => (line.querySelector("strong")?.textContent ?? "").replace(/\.$/, ""));
    const said = this.isOpen ? "" : t("banner.more", { n: below.length, titles: titles.join(", ") });
    if (this.more.dataset.said === said) return; // filling it anew would call this again
    this.more.dataset.said = said;
    const what = h("span", { class: "what-more", text: said });
    fill(this.more, what, " ", h("span", { class: "turn", text: t(this.isOpen ? "banner.less" : "banner.all") }));
  }
}

/** @param {Line} line */
function lineElement({ level, title, text, offline }) {
  const mark = offline ? "offline" : level === "good" ? "good" : "warning";
  return h(
    "p",
    { class: `line ${level}` },
    icon(mark),
    h("span", {}, h("strong", { text: title }), " ", text),
  );
}
