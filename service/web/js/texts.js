/** The page's words and how numbers, areas and days are written in its language. */

/** @type {Record<string, string>} */
let texts = {};
let language = "en-GB";

/** @param {Record<string, string>} all */
export function useTexts(all) {
  texts = all;
  language = all["page.language"] ?? "en-GB";
}

/**
 * Return a text; {name} is replaced by values.name. A missing key shows itself, so that it is found.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * Return the text of a code that the server sent, or what the server says in English.
 * @param {string} prefix
 * @param {{code: string, says: string} | null} reason
 */
export function told(prefix, reason) {
  if (reason === null) return "";
  return texts[`${prefix}.${reason.code}`] ?? reason.says;
}

/**
 * Return what a thing of the settings is called; one that the texts do not know keeps its name.
 * @param {string} prefix
 * @param {string} name
 */
export const nameOf = (prefix, name) => texts[`${prefix}.${name}`] ?? name.replaceAll("_", " ");

/**
 * @param {number} value
 * @param {number} [digits]
 */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

/**
 * With three significant digits at most, for values whose size is not known beforehand.
 * @param {number} value
 */
export function short(value) {
  return new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value);
}

/**
 * With its sign, also when it grows.
 * @param {number} value
 * @param {number} [digits]
 */
export function signed(value, digits = 2) {
  const text = new Intl.NumberFormat(language, {
    signDisplay: "exceptZero",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
  return text.replace("-", "\u2212"); // a minus, as wide as the plus above it
}

/**
 * A share as percent. What is not whole is never rounded up to 100 %, nor what is not nothing down to 0 %.
 * @param {number | null | undefined} ratio
 */
export function percent(ratio) {
  if (ratio === null || ratio === undefined) return t("value.unknown");
  const value = ratio * 100;
  const say = (/** @type {number} */ shown, /** @type {number} */ digits) =>
    `${number(shown, digits)}\u00a0%`;
  if (value > 99.9 && value < 100) return `> ${say(99.9, 1)}`;
  if (value > 0 && value < 0.1) return `< ${say(0.1, 1)}`;
  return say(value, value === 0 || value === 100 ? 0 : value < 10 || value > 99 ? 1 : 0);
}

/**
 * An area in km², or in hectares when it is small.
 * @param {number} squareMetres
 */
export function area(squareMetres) {
  if (squareMetres !== 0 && Math.abs(squareMetres) < 1e5)
    return t("unit.ha", { n: number(squareMetres / 1e4, 1) });
  return t("unit.km2", { n: number(squareMetres / 1e6, 2) });
}

/**
 * A change of area, with its sign.
 * @param {number | null | undefined} squareMetres
 */
export function areaChange(squareMetres) {
  if (squareMetres === null || squareMetres === undefined) return t("value.not_known");
  if (squareMetres === 0) return t("value.no_change");
  if (Math.abs(squareMetres) < 1e5) return t("unit.ha", { n: signed(squareMetres / 1e4, 1) });
  return t("unit.km2", { n: signed(squareMetres / 1e6, 2) });
}

/**
 * An area in km² without the unit, for a column whose head names it.
 * @param {number | null | undefined} squareMetres
 */
export function km2(squareMetres) {
  if (squareMetres === null || squareMetres === undefined) return t("value.not_known");
  const value = squareMetres / 1e6;
  return value > 0 && value < 0.005 ? `< ${number(0.01, 2)}` : number(value, 2);
}

/**
 * A change of area in km² without the unit.
 * @param {number | null | undefined} squareMetres
 */
export function km2Change(squareMetres) {
  if (squareMetres === null || squareMetres === undefined) return t("value.not_known");
  return squareMetres === 0 ? "0" : signed(squareMetres / 1e6, Math.abs(squareMetres) < 5e3 ? 4 : 2);
}

/** @param {string} day an ISO day */
const noon = (day) => new Date(`${day}T12:00:00Z`);

/**
 * "31 March 2026".
 * @param {string} day
 */
export function longDay(day) {
  return new Intl.DateTimeFormat(language, { dateStyle: "long", timeZone: "UTC" }).format(noon(day));
}

/**
 * "Tuesday, 31 March 2026".
 * @param {string} day
 */
export function fullDay(day) {
  return new Intl.DateTimeFormat(language, { dateStyle: "full", timeZone: "UTC" }).format(noon(day));
}

/**
 * "Tue, 31 Mar 2026", where there is little room.
 * @param {string} day
 */
export function briefDay(day) {
  const options = /** @type {const} */ ({
    weekday: "short",
    day: "numeric",
    month: "short",
    year: "numeric",
  });
  return new Intl.DateTimeFormat(language, { ...options, timeZone: "UTC" }).format(noon(day));
}

/**
 * "31 Mar".
 * @param {string} day
 */
export function shortDay(day) {
  return new Intl.DateTimeFormat(language, { day: "numeric", month: "short", timeZone: "UTC" }).format(
    noon(day),
  );
}

/**
 * "Tue", which stands before a short day.
 * @param {string} day
 */
export function weekDay(day) {
  return new Intl.DateTimeFormat(language, { weekday: "short", timeZone: "UTC" }).format(noon(day));
}

/**
 * A moment as date and time in the region's time zone.
 * @param {string} moment
 * @param {string} zone
 */
export function moment(moment, zone) {
  return new Intl.DateTimeFormat(language, {
    dateStyle: "medium",
    timeStyle: "short",
    timeZone: zone,
  }).format(new Date(moment));
}

/**
 * Hours and minutes in the region's time zone.
 * @param {number} milliseconds
 * @param {string} zone
 */
export function clock(milliseconds, zone) {
  return new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", timeZone: zone }).format(
    milliseconds,
  );
}

/** @param {string} label a class, such as very_high */
export const className = (label) => t(`class.${label}`);

/**
 * @param {string} day
 * @param {number} days
 */
export function addDays(day, days) {
  return new Date(noon(day).getTime() + days * 86_400_000).toISOString().slice(0, 10);
}

/**
 * Days from one to the other.
 * @param {string} from
 * @param {string} to
 */
export function daysBetween(from, to) {
  return Math.round((noon(to).getTime() - noon(from).getTime()) / 86_400_000);
}
