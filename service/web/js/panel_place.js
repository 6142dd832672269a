/** One place: what the map says of it, why, and how that compares with its own past. */

import { Asking } from "./asking.js";
import { sayPosition } from "./coordinates.js";
import { fill, h, setStyle } from "./dom.js";
import { windowCharts, yearChart } from "./place_charts.js";
import { className, longDay, nameOf, number, percent, short, signed, t, told } from "./texts.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {{code: string, says: string}} Told
 * @typedef {{terrain: number | null, rain: number | null, reservoir: number | null}} Parts
 */

const LEAST_SCALE = 0.1; // of the index: a bar for less is short, however little the others are
const NOTHING = 0.0005; // what three digits show as 0
const PARTS = /** @type {const} */ (["terrain", "rain", "reservoir"]);

export class PlacePanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.answer = h("div", { class: "answer" });
    this.asking = new Asking(this.answer);
    this.head = h("div", {});
    this.clear = h("button", {
      class: "quiet",
      text: t("place.clear"),
      onclick: () => app.store.set({ place: null }),
    });
    const centre = h("button", {
      class: "quiet",
      text: t("place.centre"),
      onclick: () => app.pick(app.map.centre),
    });
    this.element = h("div", {}, this.head, h("p", { class: "button-row" }, centre, this.clear), this.answer);
  }

  update() {
    const { place } = this.app.store.view;
    const { day, layer } = this.app;
    this.clear.hidden = place === null;
    fill(
      this.head,
      h("h2", { text: place ? t("place.title") : t("place.none.title") }),
      place ? h("p", { class: "position", text: sayPosition(place) }) : null,
    );
    if (place === null) return this.asking.show(h("p", { text: t("place.none") }));
    if (layer === null || layer.status === "withdrawn") {
      return this.asking.show(
        h("p", { class: "problem", text: t(layer === null ? "place.no_map" : "place.withdrawn") }),
      );
    }
    const query = { lon: place[0].toFixed(6), lat: place[1].toFixed(6), day, lead: layer.lead, days: 365 };
    return this.asking.ask("point", query, layer.id, (answer) => this.build(answer));
  }

  /** @param {any} answer */
  build(answer) {
    const { value } = answer;
    const known = value.unknown === null;
    return [
      this.verdict(answer),
      known ? this.rank(answer) : null,
      known || answer.reasons_missing ? this.reasons(answer) : null,
      answer.past ? yearChart(answer, this.app) : null,
      ...this.window(answer),
      this.factors(answer),
      h("p", { class: "note", text: t("about.index") }),
    ];
  }

  /** @param {any} answer */
  verdict({ value, uncertainty, probability, forecast_spread: spread, where, layer }) {
    const zone = where?.zone ? t("place.zone", { zone: where.zone.name }) : t("place.no_zone");
    const lake = where?.reservoir ? t("place.reservoir", { name: where.reservoir.name }) : null;
    const lines = [
      zone,
      lake,
      t(layer.lead > 0 ? "place.forecast" : "place.layer", {
        day: longDay(layer.day),
        n: layer.lead,
        status: t(`status.${layer.status}`),
      }),
      layer.unconfirmed ? t("place.unconfirmed") : null,
    ];
    const details = h("p", { class: "detail", text: lines.filter((line) => line !== null).join(" · ") });
    if (value.unknown) {
      const swatch = h("span", { class: "swatch big hatched" });
      return h(
        "div",
        { class: "verdict" },
        swatch,
        h(
          "div",
          {},
          h("p", { class: "big", text: t("class.unknown") }),
          h("p", { text: `${told("unknown", value.unknown)} ${t("place.unknown")}` }),
          details,
        ),
      );
    }
    const swatch = h("span", { class: "swatch big" });
    setStyle(swatch, { background: this.app.colourOf(value.class) });
    return h(
      "div",
      { class: "verdict" },
      swatch,
      h(
        "div",
        {},
        h("p", { class: "big", text: className(value.class) }),
        h("p", { text: t("place.index", { value: number(value.susceptibility, 3) }) }),
        spread ? h("p", { text: saySpread(spread) }) : null,
        probability ? h("p", { text: sayProbability(probability) }) : null,
        uncertainty ? h("p", { class: "detail", text: sayUncertainty(uncertainty) }) : null,
        details,
      ),
    );
  }

  /** @param {any} answer */
  rank({ rank }) {
    if (!rank) return h("p", { text: t("place.rank.none") });
    const values = {
      days: rank.days,
      since: longDay(rank.since),
      below: percent(rank.share_below),
      equal: percent(rank.share_equal),
    };
    const others = rank.other_model_days ? ` ${t("place.rank.others", { days: rank.other_model_days })}` : "";
    const key =
      rank.share_equal === 1 ? "place.rank.same" : rank.share_equal > 0 ? "place.rank.equal" : "place.rank";
    return h("p", { class: "rank", text: t(key, values) + others });
  }

  /** @param {any} answer */
  reasons({ reasons, reasons_missing: missing }) {
    const heading = h("h3", { text: t("reasons.title") });
    if (!reasons)
      return h(
        "section",
        {},
        heading,
        h("p", { class: "note", text: t("reasons.missing", { why: told("missing", missing) }) }),
      );
    const change = reasons.change;
    return h(
      "section",
      {},
      heading,
      bars(reasons.parts, t("reasons.label"), false),
      h("p", {
        class: "note",
        text: t("reasons.sum", { sum: number(reasons.explained, 3), reference: reasons.reference }),
      }),
      reasons.agrees ? null : h("p", { class: "note-box", text: reasons.says ?? t("reasons.differ") }),
      h("h3", { text: t("change.title") }),
      ...(change
        ? sayChange(change)
        : [h("p", { class: "note", text: told("missing", reasons.change_missing) })]),
    );
  }

  /** @param {any} answer */
  window({ window, window_missing: missing }) {
    const heading = h("h3", { text: t("window.title") });
    if (!window)
      return [h("section", {}, heading, h("p", { class: "note", text: told("missing", missing) }))];
    return [h("section", {}, heading, ...windowCharts(window))];
  }

  /** @param {any} answer */
  factors({ factors }) {
    const heading = h("h3", { text: t("factors.title") });
    if (!factors.length) return h("section", {}, heading, h("p", { class: "note", text: t("factors.none") }));
    const heads = ["factors.name", "factors.value", "factors.range"];
    const rows = factors.map((/** @type {any} */ factor) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", text: nameOf("factor", factor.name) }),
        h("td", { text: sayFactor(factor) }),
        h(
          "td",
          {},
          factor.minimum === null ? "" : `${short(factor.minimum)} – ${short(factor.maximum)}`,
          factor.outside_range ? h("strong", { class: "outside", text: ` ${t("factors.outside")}` }) : null,
        ),
      ),
    );
    return h(
      "section",
      {},
      heading,
      h(
        "div",
        { class: "scroll", tabindex: 0, role: "group", "aria-label": t("factors.title") },
        h(
          "table",
          {},
          h("caption", { class: "hidden", text: t("factors.title") }),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              heads.map((key) => h("th", { scope: "col", text: t(key) })),
            ),
          ),
          h("tbody", {}, rows),
        ),
      ),
    );
  }
}

/** @param {any} uncertainty */
function sayUncertainty({ spread, factors_outside: factors, window_outside: weather }) {
  const outside = [factors ? "place.beyond.factors" : null, weather ? "place.beyond.window" : null];
  const words = outside.flatMap((key) => (key === null ? [] : [t(key)]));
  return [t("place.spread", { spread: number(spread, 3) }), ...words].join(" ");
}

/** @param {any} spread */
function saySpread({ p10, p90, members }) {
  return t("place.members", { n: members, low: number(p10, 3), high: number(p90, 3) });
}

/** @param {any} probability */
function sayProbability({ value, per, event_rate: rate }) {
  return t("place.probability", { value: short(value), per, rate: short(rate) });
}

/** @param {any} factor */
function sayFactor({ value, category, unit }) {
  if (category !== null) return category;
  if (value === null) return t("factors.missing");
  return unit && unit !== "1" ? `${short(value)} ${unit}` : short(value);
}

/**
 * Bars with words: how much each part adds or takes.
 * @param {Parts} parts
 * @param {string} label
 * @param {boolean} isChange
 */
function bars(parts, label, isChange) {
  const most = Math.max(...PARTS.map((name) => Math.abs(parts[name] ?? 0)), LEAST_SCALE);
  const rows = PARTS.map((name) => {
    const part = parts[name];
    const bar = h("span", { class: `bar ${(part ?? 0) < 0 ? "minus" : "plus"}` });
    setStyle(bar, { width: `${((Math.abs(part ?? 0) / most) * 50).toFixed(1)}%` });
    return h(
      "li",
      {},
      h("span", { class: "part", text: t(`part.${name}`) }),
      h(
        "span",
        { class: "bar-track", "aria-hidden": "true" },
        part === null || Math.abs(part) < NOTHING ? null : bar,
      ),
      h("span", { class: "part-says", text: sayPart(name, part, isChange) }),
    );
  });
  return h("ul", { class: "bars", "aria-label": label }, rows);
}

/**
 * @param {string} name
 * @param {number | null} part
 * @param {boolean} isChange
 */
function sayPart(name, part, isChange) {
  if (part === null) return t(`part.none.${name}`);
  const value = signed(part, 3);
  if (Math.abs(part) < NOTHING) return t(isChange ? "part.same" : "part.nothing");
  return t(part > 0 ? "part.up" : "part.down", { value });
}

/** @param {any} change */
function sayChange({ since, before, change, parts, says }) {
  const values = { since: longDay(since), before: number(before, 3), change: number(Math.abs(change), 3) };
  const key = Math.abs(change) < NOTHING ? "change.same" : change > 0 ? "change.up" : "change.down";
  return [
    h("p", { text: t(key, values) }),
    parts ? bars(parts, t("change.label"), true) : null,
    says ? h("p", { class: "note-box", text: says }) : null,
  ];
}
