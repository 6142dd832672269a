/** Was the map right? What it showed before each landslide, and how often it was right where it could be told. */

import { Asking } from "./asking.js";
import { fill, h } from "./dom.js";
import { eventSign, signOf } from "./event_signs.js";
import { levelMark } from "./levels.js";
import { area, className, longDay, moment, number, percent, t } from "./texts.js";
import { classesTable, LEVELS, levelsTable, moreTables, rateCurve } from "./verify_tables.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {Record<string, any>} Said an answer of the server
 */

const FEW = 30; // decided landslides below which a share says little, as on the plain page
const LISTED = 50; // events, the newest first

export class VerifyPanel {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {string | null} */
    this.told = null;
    /** @type {string | null} */
    this.scrolledTo = null;
    this.said = h("p", { class: "hidden", role: "status" });
    this.answer = h("div", { class: "answer" });
    this.asking = new Asking(this.answer);
    this.list = h("div", { class: "answer" });
    this.element = h(
      "div",
      {},
      h("h2", { text: t("verify.title") }),
      h("p", { class: "note", text: t("verify.what") }),
      this.answer,
      h("h3", { text: t("verify.events") }),
      this.said,
      this.list,
    );
  }

  update() {
    const { events, eventsProblem, event } = this.app.places;
    void this.asking.ask("verification", {}, events?.verified_at ?? "", (answer) => this.build(answer));
    const saying = JSON.stringify([event, events?.verified_at, events?.features.length, eventsProblem]);
    if (saying === this.told) return;
    this.told = saying;
    this.showList(events, eventsProblem);
    if (event !== null && event !== this.scrolledTo) {
      const chosen = this.list.querySelector(`[data-event="${CSS.escape(event)}"]`)?.parentElement;
      chosen?.scrollIntoView({ block: "nearest" });
      fill(this.said, chosen?.querySelector("h4")?.textContent ?? "");
      this.scrolledTo = event;
    }
  }

  /**
   * @param {Said | null} events
   * @param {string} problem
   */
  showList(events, problem) {
    if (problem) return fill(this.list, h("p", { class: "problem", text: problem }));
    if (events === null) return fill(this.list, h("p", { class: "note", text: t("asking.wait") }));
    if (!events.features.length) return fill(this.list, h("p", { text: t("verify.events.none") }));
    const focused =
      document.activeElement instanceof HTMLElement ? document.activeElement.dataset.event : undefined;
    // One that was chosen on the map is in the list, however old it is.
    const shown = events.features.filter(
      (/** @type {Said} */ { id }, /** @type {number} */ n) => n < LISTED || id === this.app.places.event,
    );
    fill(
      this.list,
      h("p", {
        class: "note",
        text: t("verify.events.count", { shown: shown.length, all: events.matched }),
      }),
      h(
        "ul",
        { class: "cards" },
        shown.map((/** @type {Said} */ feature) => this.row(feature)),
      ),
    );
    if (focused !== undefined)
      /** @type {HTMLElement | null} */ (
        this.list.querySelector(`[data-event="${CSS.escape(focused)}"]`)
      )?.focus();
  }

  /** @param {Said} feature */
  row({ id, properties: event, geometry }) {
    const open = () => {
      this.app.places.chooseEvent(id);
      this.app.map.goTo(geometry.coordinates, 12);
    };
    const chosen = id === this.app.places.event;
    return h(
      "li",
      {},
      h(
        "button",
        {
          class: "card-button event",
          dataset: { event: id },
          "aria-pressed": String(chosen),
          onclick: open,
        },
        h(
          "span",
          { class: "card-title" },
          eventSign(signOf(event)),
          h("strong", { text: sayDays(event) }),
          ` ${sayOutcome(event)}`,
        ),
        h("span", { class: "detail", text: t(`verify.source.${event.source}`) }),
      ),
      chosen ? this.card(event) : null,
    );
  }

  /**
   * What the map showed before one event.
   * @param {Said} event
   */
  card(event) {
    const { before } = event;
    /** @type {[string, Node | string][]} */
    const facts = [
      [t("verify.accuracy"), t("verify.accuracy.value", { m: number(event.accuracy_m) })],
    ];
    if (event.scene) facts.push([t("verify.scene"), event.scene]);
    if (event.area_m2 !== null) facts.push([t("verify.area"), area(event.area_m2)]);
    if (before) {
      facts.push(
        [t("verify.class"), before.class === null ? t("value.unknown") : className(before.class)],
        [
          t("verify.index"),
          before.susceptibility === null
            ? t("value.unknown")
            : t("verify.index.value", {
                value: number(before.susceptibility, 2),
                rank: before.rank === null ? t("value.not_known") : percent(before.rank),
              }),
        ],
        [
          t("verify.level"),
          before.level === null ? t("levels.unknown") : levelMark(LEVELS.indexOf(before.level)),
        ],
      );
      if (before.issued_at)
        facts.push([t("day.issued"), moment(before.issued_at, this.app.site.timezone)]);
    }
    return h(
      "section",
      { class: "level-card event-card", "aria-label": t("verify.one") },
      h("h4", {
        text: before ? t("verify.before", { outcome: sayOutcome(event) }) : sayOutcome(event),
      }),
      h(
        "dl",
        { class: "facts" },
        facts.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]),
      ),
      before?.hindsight ? h("p", { class: "note-box", text: t("verify.hindsight") }) : null,
      before?.withdrawn ? h("p", { class: "note-box", text: t("verify.withdrawn") }) : null,
      before?.why ? h("p", { class: "note", text: before.why }) : null,
    );
  }

  /** @param {Said} answer */
  build({ verification: found, missing }) {
    if (found === null) return [h("p", { text: t(`verify.missing.${missing.code}`) })];
    const decided = found.hits + found.misses;
    return [
      found.synthetic ? h("p", { class: "problem", text: t("verify.synthetic") }) : null,
      h("p", {
        class: "lead",
        text: t("verify.lead", {
          hits: number(found.hits),
          misses: number(found.misses),
          undecided: number(found.undecided),
          unknown: number(found.unknown),
        }),
      }),
      h("p", { text: sayRate(found) }),
      decided < FEW ? h("p", { class: "note-box", text: t("verify.few", { n: number(decided) }) }) : null,
      levelsTable(found),
      classesTable(found),
      rateCurve(found),
      moreTables(found),
      this.basis(found),
    ];
  }

  /** @param {Said} found */
  basis(found) {
    /** @type {[string, string][]} */
    const facts = [
      [t("verify.made"), moment(found.made_at, this.app.site.timezone)],
      [t("verify.span"), saySpan(found)],
      [t("verify.looks"), number(found.looks)],
      [t("verify.late"), number(found.hindsight)],
      [t("day.model"), found.model],
    ];
    return h(
      "section",
      {},
      h("h3", { text: t("verify.rests") }),
      h(
        "dl",
        { class: "facts" },
        facts.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]),
      ),
      h("p", { class: "note", text: t("verify.not_said") }),
      ...found.notes.map((/** @type {string} */ text) => h("p", { class: "note", text })),
      h("p", {}, h("a", { href: "verification", text: t("verify.record") })),
    );
  }
}

/** @param {Said} event */
export const sayDays = ({ day_from: from, day }) =>
  from === day ? longDay(day) : t("verify.days", { from: longDay(from), until: longDay(day) });

/** @param {Said} event */
function sayOutcome(event) {
  return event.outcome === null ? t(`verify.missing.${event.missing.code}.one`) : t(`verify.${event.outcome}`);
}

/** @param {Said} found */
function sayRate({ hit_rate: rate, chance_hit_rate: chance }) {
  if (rate.value === null) return t("verify.rate.none");
  const said = t("verify.rate", {
    rate: percent(rate.value),
    low: percent(rate.low),
    high: percent(rate.high),
  });
  return chance === null || chance === undefined
    ? said
    : `${said} ${t("verify.chance", { rate: percent(chance) })}`;
}

/** @param {Said} found */
function saySpan({ since, until }) {
  if (since === null && until === null) return t("verify.span.all");
  return t("verify.span.value", {
    since: since === null ? t("verify.span.first") : longDay(since),
    until: until === null ? t("verify.span.last") : longDay(until),
  });
}
