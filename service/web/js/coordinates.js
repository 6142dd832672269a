/** Reading what people type as a position. */

/** @typedef {import("./state.js").Position} Position */

const ANGLE =
  /([NSEW])?\s*([+-]?\d{1,3}(?:[.,]\d+)?)\s*(?:[°d]\s*|\s(?=\d)|:)?(?:(\d{1,2}(?:[.,]\d+)?)\s*(?:['′m:]\s*|\s(?=\d))?)?(?:(\d{1,2}(?:[.,]\d+)?)\s*(?:["″s]|'')?)?\s*([NSEW])?/iy;

/**
 * Read "29.53, 56.97", "29°31'48"N 56°58'12"E" or "N 29 31.8 E 56 58.2". Without letters the first is the
 * latitude, as people and other maps write it. Null where it is no position.
 * @param {string} text
 * @returns {Position | null}
 */
export function parsePosition(text) {
  const decimals = /^\s*([+-]?\d{1,2}(?:\.\d+)?)°?\s*[,;\s]\s*([+-]?\d{1,3}(?:\.\d+)?)°?\s*$/.exec(text);
  if (decimals) return checked(Number(decimals[2]), Number(decimals[1]));
  const first = readAngle(text, 0);
  if (first === null) return null;
  const gap = /[\s,;]*/y;
  gap.lastIndex = first.end;
  gap.exec(text);
  const second = readAngle(text, Math.max(gap.lastIndex, first.end));
  if (second === null || text.slice(second.end).trim() !== "") return null;
  if (first.axis === null || second.axis === null || first.axis === second.axis) return null;
  return first.axis === "lat"
    ? checked(second.degrees, first.degrees)
    : checked(first.degrees, second.degrees);
}

/**
 * @param {string} text
 * @param {number} from
 * @returns {{degrees: number, axis: "lat" | "lon" | null, end: number} | null}
 */
function readAngle(text, from) {
  ANGLE.lastIndex = from + (/^\s*/.exec(text.slice(from))?.[0].length ?? 0);
  const found = ANGLE.exec(text);
  if (!found) return null;
  const before = (found[1] ?? "").toUpperCase();
  // "N 29 31.8 E 56 58.2": the letter that ends this match belongs to the next angle.
  const after = before ? "" : (found[5] ?? "").toUpperCase();
  const end = ANGLE.lastIndex - (before && found[5] ? found[5].length : 0);
  const [degrees, minutes, seconds] = [found[2], found[3], found[4]].map((part) =>
    Number((part ?? "0").replace(",", ".")),
  );
  const letter = before || after;
  if (degrees === undefined || minutes === undefined || seconds === undefined) return null;
  if (minutes >= 60 || seconds >= 60) return null;
  const size = Math.abs(degrees) + minutes / 60 + seconds / 3600;
  const negative = (found[2] ?? "").startsWith("-") || ["S", "W"].includes(letter);
  const axis = letter === "" ? null : letter === "N" || letter === "S" ? "lat" : "lon";
  return { degrees: negative ? -size : size, axis, end };
}

/**
 * @param {number} lon
 * @param {number} lat
 * @returns {Position | null}
 */
const checked = (lon, lat) => (Math.abs(lon) <= 180 && Math.abs(lat) <= 90 ? [lon, lat] : null);

/**
 * "29.53000° N, 56.97000° E".
 * @param {Position} position
 */
export function sayPosition([lon, lat]) {
  const side = (/** @type {number} */ value, /** @type {string} */ plus, /** @type {string} */ minus) =>
    `${Math.abs(value).toFixed(5)}° ${value < 0 ? minus : plus}`;
  return `${side(lat, "N", "S")}, ${side(lon, "E", "W")}`;
}
