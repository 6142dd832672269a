/** A part of the page that is filled by asking the server: waits in words, and fails in words. */

import { getJson, sayProblem, wasAborted } from "./api.js";
import { fill, h } from "./dom.js";
import { t } from "./texts.js";

export class Asking {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {AbortController | null} */
    this.controller = null;
    this.asked = "";
  }

  /**
   * Ask, unless the same was asked last; an answer that comes late for an earlier question is dropped.
   * @param {string} path
   * @param {Record<string, string | number | null>} query
   * @param {string} version asks again when it changes
   * @param {(answer: any) => (Node | string | null)[]} build
   */
  async ask(path, query, version, build) {
    const asked = JSON.stringify([path, query, version]);
    if (asked === this.asked) return;
    this.asked = asked;
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.element.setAttribute("aria-busy", "true");
    if (!this.element.firstChild) fill(this.element, h("p", { class: "note", text: t("asking.wait") }));
    try {
      const answer = await getJson(path, query, controller.signal);
      if (this.controller === controller) fill(this.element, ...build(answer));
    } catch (error) {
      if (wasAborted(error) || this.controller !== controller) return;
      const again = () => {
        this.asked = "";
        void this.ask(path, query, version, build);
      };
      fill(
        this.element,
        h("p", { class: "problem", role: "alert", text: sayProblem(error) }),
        h("button", { class: "quiet", text: t("asking.again"), onclick: again }),
      );
    } finally {
      if (this.controller === controller) this.element.removeAttribute("aria-busy");
    }
  }

  /**
   * Show something that needs no asking.
   * @param {...(Node | string | null)} children
   */
  show(...children) {
    this.controller?.abort();
    this.controller = null;
    this.asked = "";
    this.element.removeAttribute("aria-busy");
    fill(this.element, ...children);
  }
}
