/** What is being looked at: one object, kept in the page's address, so that a link reproduces the view. */

/**
 * @typedef {"class" | "susceptibility" | "change" | "zones"} Shows
 * @typedef {"day" | "levels" | "place" | "zones" | "hotspots" | "gauges" | "verify" | "area" | "about"} Panel
 * @typedef {[number, number]} Position lon, lat
 * @typedef {object} View
 * @property {string | null} day null: the newest
 * @property {number} lead 0: nowcasts; 1 and more: the current forecast for so many days ahead, and no day
 * @property {Shows} shows
 * @property {string | null} compare the day that `change` is counted from; null: the day before
 * @property {number} opacity 0 to 1
 * @property {boolean} zones
 * @property {boolean} hotspots
 * @property {boolean} gauges
 * @property {boolean} events
 * @property {"hillshade" | "osm"} base
 * @property {Panel} panel
 * @property {Position | null} place
 * @property {string | null} zone
 * @property {Position[]} area
 * @property {number | null} lon
 * @property {number | null} lat
 * @property {number | null} z
 */

export const SHOWS = /** @type {const} */ (["class", "susceptibility", "change", "zones"]);
export const PANELS = /** @type {const} */ ([
  "day",
  "levels",
  "place",
  "zones",
  "hotspots",
  "gauges",
  "verify",
  "area",
  "about",
]);
export const MAX_VERTICES = 200;
const HIDEABLE = /** @type {const} */ (["zones", "hotspots", "gauges", "events"]);
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const ZONE = /^[^\s\u0000-\u001f]{1,80}$/;
const DEFAULT_OPACITY = 0.75;

/**
 * Read a view; what cannot be right is left at its default.
 * @param {string} search location.search
 * @returns {View}
 */
export function readView(search) {
  const query = new URLSearchParams(search);
  const hidden = (query.get("hide") ?? "").split(",");
  const opacity = numberIn(query.get("opacity"), 0, 100);
  const lead = readLead(query.get("lead"));
  return {
    day: lead ? null : readDay(query.get("day")),
    lead,
    shows: oneOf(SHOWS, query.get("shows")) ?? "class",
    compare: readDay(query.get("compare")),
    opacity: opacity === null ? DEFAULT_OPACITY : opacity / 100,
    zones: !hidden.includes("zones"),
    hotspots: !hidden.includes("hotspots"),
    gauges: !hidden.includes("gauges"),
    events: !hidden.includes("events"),
    base: query.get("base") === "osm" ? "osm" : "hillshade",
    panel: oneOf(PANELS, query.get("panel")) ?? "day",
    place: readPositions(query.get("place"))[0] ?? null,
    zone: ZONE.test(query.get("zone") ?? "") ? query.get("zone") : null,
    area: readPositions(query.get("area")),
    lon: numberIn(query.get("lon"), -180, 180),
    lat: numberIn(query.get("lat"), -85, 85),
    z: numberIn(query.get("z"), 0, 22),
  };
}

/**
 * Write a view as a query that readView reads; defaults are left out.
 * @param {View} view
 */
export function writeView(view) {
  const query = new URLSearchParams();
  if (view.lon !== null && view.lat !== null && view.z !== null) {
    query.set("lon", view.lon.toFixed(5));
    query.set("lat", view.lat.toFixed(5));
    query.set("z", view.z.toFixed(2));
  }
  if (view.lead) query.set("lead", String(view.lead));
  else if (view.day) query.set("day", view.day);
  if (view.shows !== "class") query.set("shows", view.shows);
  if (view.compare) query.set("compare", view.compare);
  if (view.opacity !== DEFAULT_OPACITY) query.set("opacity", String(Math.round(view.opacity * 100)));
  const hidden = HIDEABLE.filter((name) => !view[name]);
  if (hidden.length) query.set("hide", hidden.join(","));
  if (view.base === "osm") query.set("base", "osm");
  if (view.panel !== "day") query.set("panel", view.panel);
  if (view.place) query.set("place", writePositions([view.place]));
  if (view.zone) query.set("zone", view.zone);
  if (view.area.length) query.set("area", writePositions(view.area));
  return query.toString().replaceAll("%2C", ",");
}

/** The view, and who wants to know when it changes. */
export class Store {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    /** @type {{keys: (keyof View)[], tell: (view: View) => void}[]} */
    this.listeners = [];
  }

  /**
   * Change the view and tell those who follow a key that changed.
   * @param {Partial<View>} change
   */
  set(change) {
    const keys = /** @type {(keyof View)[]} */ (Object.keys(change)).filter(
      (key) => JSON.stringify(change[key]) !== JSON.stringify(this.view[key]),
    );
    if (!keys.length) return;
    this.view = { ...this.view, ...change };
    for (const { keys: followed, tell } of this.listeners) {
      if (followed.some((key) => keys.includes(key))) tell(this.view);
    }
  }

  /**
   * @param {(keyof View)[]} keys
   * @param {(view: View) => void} tell
   */
  on(keys, tell) {
    this.listeners.push({ keys, tell });
  }
}

/** @param {string | null} text */
const readLead = (text) => (text !== null && /^[1-9]$/.test(text) ? Number(text) : 0);

/** @param {string | null} text */
function readDay(text) {
  if (text === null || !DAY.test(text)) return null;
  const time = Date.parse(`${text}T12:00:00Z`);
  return Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== text ? null : text;
}

/**
 * @param {string | null} text
 * @param {number} low
 * @param {number} high
 */
function numberIn(text, low, high) {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return value >= low && value <= high ? value : null;
}

/**
 * @template {string} T
 * @param {readonly T[]} known
 * @param {string | null} text
 * @returns {T | null}
 */
function oneOf(known, text) {
  return known.find((item) => item === text) ?? null;
}

/**
 * @param {string | null} text
 * @returns {Position[]}
 */
function readPositions(text) {
  const parts = (text ?? "").split(",");
  if (parts.length < 2 || parts.length % 2 || parts.length / 2 > MAX_VERTICES) return [];
  /** @type {Position[]} */
  const found = [];
  for (let i = 0; i < parts.length; i += 2) {
    const lon = numberIn(parts[i] ?? null, -180, 180);
    const lat = numberIn(parts[i + 1] ?? null, -90, 90);
    if (lon === null || lat === null) return [];
    found.push([lon, lat]);
  }
  return found;
}

/** @param {Position[]} positions */
export const writePositions = (positions) =>
  positions.map(([lon, lat]) => `${lon.toFixed(5)},${lat.toFixed(5)}`).join(",");
