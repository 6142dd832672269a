/** Charts of one place: its last year, and the window of days behind today's value. */

import { dayChart, onDay, themeColour } from "./charts.js";
import { h } from "./dom.js";
import { KINDS, kindFill } from "./patterns.js";
import { className, nameOf, number, short, t } from "./texts.js";

/**
 * @typedef {{name: string, unit: string, values: (number | null)[], kinds: string[],
 *   nearest_gauge_km?: number | null, nearest_gauge?: string | null, withheld: string | null}} Variable
 */

/**
 * The index by day, over the bands of the classes.
 * @param {any} answer
 * @param {import("./main.js").App} app
 */
export function yearChart({ past, layer }, app) {
  const { days, susceptibility, class: classes, model_changes: changes } = past;
  const breaks = [0, ...layer.breaks, 1];
  const labels = ["low", "moderate", "high", "very_high"];
  const known = susceptibility.filter((/** @type {number | null} */ value) => value !== null).length;
  /** @param {import("uplot")} chart */
  const under = (chart) => {
    const { ctx: context, bbox } = chart;
    context.save();
    labels.forEach((label, n) => {
      const [top, bottom] = [chart.valToPos(breaks[n + 1], "y", true), chart.valToPos(breaks[n], "y", true)];
      context.fillStyle = app.colourOf(label);
      context.globalAlpha = 0.45;
      context.fillRect(bbox.left, top, bbox.width, bottom - top);
    });
    context.globalAlpha = 1;
    context.strokeStyle = themeColour("--ink");
    context.setLineDash([4, 4]);
    for (const day of changes) {
      const x = chart.valToPos(days.indexOf(day) - 0.5, "x", true);
      context.beginPath();
      context.moveTo(x, bbox.top);
      context.lineTo(x, bbox.top + bbox.height);
      context.stroke();
    }
    context.restore();
  };
  return h(
    "section",
    {},
    h("h3", { text: t("year.title") }),
    dayChart({
      label: t("year.label", { known, days: days.length }),
      days,
      height: 150,
      range: [0, 1],
      tick: (value) => number(value, 1),
      lines: [
        {
          label: t("year.title"),
          values: susceptibility,
          stroke: () => themeColour("--chart-line"),
          width: 2,
        },
      ],
      under,
      say: (n) =>
        onDay(
          days[n],
          susceptibility[n] === null
            ? t("year.gap")
            : t("year.value", { value: number(susceptibility[n], 3), class: className(classes[n]) }),
        ),
    }),
    h("p", { class: "note", text: t("year.note", { known, days: days.length }) }),
    changes.length ? h("p", { class: "note", text: t("year.models") }) : null,
  );
}

/**
 * One chart for each variable; how each day came about is told by pattern and in words.
 * @param {{days: string[], variables: Variable[]}} window
 * @returns {HTMLElement[]}
 */
export function windowCharts({ days, variables }) {
  return [legendOfKinds(variables), ...variables.map((variable) => variableChart(days, variable))];
}

/** @param {Variable[]} variables */
function legendOfKinds(variables) {
  const used = KINDS.filter((kind) => variables.some(({ kinds }) => kinds.includes(kind)));
  return h(
    "ul",
    { class: "kinds" },
    used.map((kind) => h("li", {}, h("span", { class: `swatch kind ${kind}` }), t(`kind.${kind}`))),
  );
}

/**
 * @param {string[]} days
 * @param {Variable} variable
 */
function variableChart(days, variable) {
  const { name, unit, values, kinds, withheld } = variable;
  const counts = KINDS.map((kind) => [kind, kinds.filter((item) => item === kind).length]);
  const said = counts
    .filter(([, count]) => count)
    .map(([kind, count]) => t("kind.count", { kind: t(`kind.${kind}`), days: count ?? 0 }))
    .join(", ");
  const title = h("h4", {}, `${nameOf("variable", name)} (${unit})`);
  const near = name === "rain" ? h("p", { class: "note", text: sayNearest(variable) }) : null;
  if (withheld)
    return h(
      "div",
      {},
      title,
      h("p", { class: "note-box", text: withheld }),
      h("p", { class: "note", text: said }),
    );
  const rain = name === "rain";
  const colour = () => themeColour(rain ? "--rain" : "--level");
  return h(
    "div",
    {},
    title,
    dayChart({
      label: t("window.label", { name: nameOf("variable", name), kinds: said }),
      days,
      height: rain ? 130 : 90,
      fromZero: rain,
      tick: short,
      lines: [
        { label: name, values, stroke: () => (rain ? "transparent" : colour()), width: rain ? 0 : 1.5 },
      ],
      over: (chart) => (rain ? drawBars(chart, variable, colour()) : drawMarks(chart, variable, colour())),
      say: (n) => onDay(days[n] ?? "", sayDay(values[n] ?? null, unit, kinds[n] ?? "missing")),
    }),
    h("p", { class: "note", text: said }),
    near,
  );
}

/**
 * @param {number | null} value
 * @param {string} unit
 * @param {string} kind
 */
function sayDay(value, unit, kind) {
  return value === null ? t(`kind.${kind}`) : `${number(value, 1)} ${unit}, ${t(`kind.${kind}`)}`;
}

/** @param {Variable} variable */
function sayNearest({ nearest_gauge_km: distance, nearest_gauge: gauge }) {
  if (distance === null || distance === undefined) return t("window.nearest.none");
  return t("window.nearest", { gauge: gauge ?? t("value.not_told"), km: number(distance, 1) });
}

/**
 * @param {import("uplot")} chart
 * @param {Variable} variable
 * @param {string} colour
 */
function drawBars(chart, { values, kinds }, colour) {
  const { ctx: context, bbox } = chart;
  const width = (chart.valToPos(1, "x", true) - chart.valToPos(0, "x", true)) * 0.8;
  const floor = chart.valToPos(0, "y", true);
  const ground = themeColour("--surface");
  context.save();
  kinds.forEach((kind, n) => {
    const value = values[n] ?? null;
    const left = chart.valToPos(n, "x", true) - width / 2;
    // A day without a value is a hatched column of full height: nothing like a day without rain.
    const top = value === null ? bbox.top : chart.valToPos(value, "y", true);
    if (floor - top < 0.5) return;
    context.fillStyle = kindFill(context, value === null ? "missing" : kind, colour, ground);
    context.globalAlpha = value === null ? 0.5 : 1;
    context.fillRect(left, top, width, floor - top);
    context.globalAlpha = 1;
    if (value === null || kind === "observed") return;
    context.strokeStyle = colour;
    context.lineWidth = devicePixelRatio;
    context.setLineDash(kind === "forecast" ? [3, 2] : []);
    context.strokeRect(left, top, width, floor - top);
  });
  context.restore();
}

/**
 * A sign on each day: full for observed, empty for filled, square for carried, cross for forecast.
 * @param {import("uplot")} chart
 * @param {Variable} variable
 * @param {string} colour
 */
function drawMarks(chart, { values, kinds }, colour) {
  const { ctx: context } = chart;
  const size = 2.5 * devicePixelRatio;
  context.save();
  context.strokeStyle = colour;
  context.lineWidth = 1.5 * devicePixelRatio;
  kinds.forEach((kind, n) => {
    const value = values[n] ?? null;
    if (value === null) return;
    const [x, y] = [chart.valToPos(n, "x", true), chart.valToPos(value, "y", true)];
    context.beginPath();
    if (kind === "carried") context.rect(x - size, y - size, 2 * size, 2 * size);
    else if (kind === "forecast") {
      context.moveTo(x - size, y - size);
      context.lineTo(x + size, y + size);
      context.moveTo(x + size, y - size);
      context.lineTo(x - size, y + size);
    } else context.arc(x, y, size, 0, 2 * Math.PI);
    context.fillStyle = kind === "observed" ? colour : themeColour("--surface");
    context.fill();
    context.stroke();
  });
  context.restore();
}
