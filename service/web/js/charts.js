/** Charts by day, with uPlot. Each has a summary for screen readers and a table that says the same. */

import uPlot from "../vendor/uPlot.esm.js";
import { fill, h } from "./dom.js";
import { fullDay, shortDay, t } from "./texts.js";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {(number | null)[]} values null: a gap, never bridged
 * @property {() => string} stroke read when drawn, because the theme may change
 * @property {number[]} [dash]
 * @property {number} [width]
 *
 * @typedef {object} DayChart
 * @property {string} label what it shows, for screen readers
 * @property {string[]} days ISO days, one for each value
 * @property {Line[]} lines
 * @property {number} height
 * @property {(index: number) => string} say what the chart says of one day
 * @property {[number, number]} [range] of the values; from the data where left out
 * @property {boolean} [fromZero]
 * @property {(value: number) => string} tick how the value axis is written
 * @property {(chart: uPlot) => void} [under] draws below the lines
 * @property {(chart: uPlot) => void} [over] draws above them
 */

/** @type {Set<uPlot>} */
const live = new Set();

/**
 * Read a colour of the theme.
 * @param {string} name
 */
export const themeColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw again what is in the page, in the theme's colours. */
export function redrawCharts() {
  for (const chart of live) {
    if (chart.root.isConnected) chart.redraw(false);
    else forget(chart);
  }
}

/** @param {uPlot} chart */
function forget(chart) {
  chart.destroy();
  live.delete(chart);
}

/**
 * Put a plot into an element that gives it its width.
 * @param {HTMLElement} box
 * @param {number} height
 * @param {Omit<uPlot.Options, "width" | "height">} options
 * @param {uPlot.AlignedData} data
 */
export function mount(box, height, options, data) {
  for (const chart of live) if (!chart.root.isConnected && chart.root.parentElement !== box) forget(chart);
  const width = Math.max(box.clientWidth, 40);
  const chart = new uPlot({ ...options, width, height }, data, box);
  live.add(chart);
  const observer = new ResizeObserver(() => {
    if (box.clientWidth > 0 && box.clientWidth !== chart.width)
      chart.setSize({ width: box.clientWidth, height });
  });
  observer.observe(box);
  return chart;
}

/**
 * Draw lines by day, with a table behind a button.
 * @param {DayChart} wanted
 * @returns {HTMLElement}
 */
export function dayChart(wanted) {
  const { days, lines, label, say } = wanted;
  const box = h("div", {
    class: "chart",
    role: "img",
    "aria-label": label,
    style: { height: `${wanted.height}px` },
  });
  const readout = h("p", { class: "readout", "aria-hidden": "true" });
  const rest = () => fill(readout, days.length ? say(days.length - 1) : "");
  rest();
  const axis = {
    stroke: () => themeColour("--muted"),
    grid: { stroke: () => themeColour("--line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  /** @type {Omit<uPlot.Options, "width" | "height">} */
  const options = {
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: false, range: () => [-0.5, days.length - 0.5] },
      y: { range: (_, low, high) => wanted.range ?? rangeOf(low, high, wanted.fromZero ?? false) },
    },
    axes: [
      {
        ...axis,
        size: 24,
        gap: 4,
        splits: () => ticksOf(days.length),
        values: (_, at) => at.map((n) => shortDay(days[n] ?? "")),
      },
      { ...axis, size: 46, gap: 4, values: (_, at) => at.map(wanted.tick) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        stroke: line.stroke,
        width: line.width ?? 2,
        dash: line.dash ?? [],
        points: {
          show: (/** @type {uPlot} */ _, /** @type {number} */ index) =>
            alone(lines[index - 1]?.values ?? []),
          size: 5,
        },
        spanGaps: false,
      })),
    ],
    hooks: {
      drawAxes: [(chart) => wanted.under?.(chart)],
      draw: [(chart) => wanted.over?.(chart)],
      setCursor: [
        (chart) => (typeof chart.cursor.idx === "number" ? fill(readout, say(chart.cursor.idx)) : rest()),
      ],
    },
  };
  const data = /** @type {uPlot.AlignedData} */ ([
    days.map((_, n) => n),
    ...lines.map(({ values }) => values),
  ]);
  // The box has no width before it is in the page.
  requestAnimationFrame(() => {
    if (box.isConnected) mount(box, wanted.height, options, data);
  });
  return h("div", { class: "chart-with-table" }, box, readout, tableOf(wanted));
}

/** @param {DayChart} wanted */
function tableOf({ days, say, label }) {
  const body = h("div", {});
  const details = h("details", { class: "as-table" }, h("summary", { text: t("chart.table") }), body);
  // A year has many rows: they are made when somebody asks for them.
  details.addEventListener("toggle", () => {
    if (details.open && !body.firstChild) {
      fill(
        body,
        h(
          "ul",
          { "aria-label": label, class: "rows", tabindex: 0 },
          days.map((_, n) => h("li", { text: say(n) })),
        ),
      );
    }
  });
  return details;
}

/**
 * @param {number | null} low
 * @param {number | null} high
 * @param {boolean} fromZero
 * @returns {[number, number]}
 */
function rangeOf(low, high, fromZero) {
  if (low === null || high === null) return [0, 1];
  const bottom = fromZero ? Math.min(0, low) : low;
  const space = (high - bottom || Math.abs(high) || 1) * 0.08;
  return [fromZero && bottom === 0 ? 0 : bottom - space, high + space];
}

/** @param {number} count */
function ticksOf(count) {
  const step = Math.max(1, Math.ceil(count / 5));
  /** @type {number[]} */
  const ticks = [];
  for (let at = count - 1; at >= 0; at -= step) ticks.unshift(at);
  return ticks;
}

/**
 * Tell whether some value has no neighbour: a line alone would not show it.
 * @param {(number | null)[]} values
 */
function alone(values) {
  const bare = (/** @type {number | null | undefined} */ value) => value === null || value === undefined;
  return (
    values.length < 60 &&
    values.some((value, n) => !bare(value) && bare(values[n - 1]) && bare(values[n + 1]))
  );
}

/**
 * "Tuesday, 31 March 2026: " and what follows.
 * @param {string} day
 * @param {string} text
 */
export const onDay = (day, text) => t("chart.on_day", { day: fullDay(day), text });

/**
 * A line as small as a word. Bars for what falls, a line for what stands.
 * @param {(number | null)[]} values
 * @param {"bars" | "line"} form
 * @param {string} label
 * @returns {SVGElement}
 */
export function sparkline(values, form, label) {
  const [width, height] = [108, 26];
  const known = values.filter((value) => value !== null);
  const low = form === "bars" ? 0 : Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const x = (/** @type {number} */ n) => ((n + 0.5) / values.length) * width;
  const y = (/** @type {number} */ value) => height - 2 - ((value - low) / span) * (height - 4);
  let path = "";
  let pen = false;
  values.forEach((value, n) => {
    if (value === null) pen = false;
    else if (form === "bars") path += `M${x(n).toFixed(1)} ${height - 1}V${y(value).toFixed(1)}`;
    else {
      path += `${pen ? "L" : "M"}${x(n).toFixed(1)} ${y(value).toFixed(1)}h.01`;
      pen = true;
    }
  });
  const element = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    class: `spark spark-${form}`,
  })) {
    element.setAttribute(name, String(value));
  }
  element.setAttribute("aria-label", label);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  element.append(line);
  return element;
}
