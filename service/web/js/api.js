/** Asking the server. Every answer that is not one says in words what is wrong. */

import { t } from "./texts.js";

const TIMEOUT_MS = 20_000;

/** What went wrong, for a person. status is 0 where the server could not be reached. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/**
 * Read JSON from the server.
 * @param {string} path relative to the page
 * @param {Record<string, string | number | null | undefined>} [query] nulls are left out
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} Rejects with Problem, or AbortError where the signal said so.
 */
export async function getJson(path, query = {}, signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const asked = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  let response;
  try {
    response = await fetch(asked ? `${path}?${asked}` : path, {
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      headers: { Accept: "application/json" },
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, timeout.aborted ? t("problem.timeout") : t("problem.unreachable"));
  }
  if (!response.ok) throw await problemOf(response);
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(response.status, t("problem.not_json", { path }));
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Problem>}
 */
export async function problemOf(response) {
  let detail = "";
  try {
    detail = (await response.json()).detail ?? "";
  } catch {
    // Not a problem document: a proxy's page, say. The status has to do.
  }
  return new Problem(response.status, detail || t("problem.status", { status: response.status }));
}

/**
 * Return what to show for an error that a request ended with.
 * @param {unknown} error
 */
export function sayProblem(error) {
  if (error instanceof Problem && error.status === 503) return t("problem.busy", { detail: error.message });
  if (error instanceof Problem) return error.message;
  return t("problem.unexpected", { detail: error instanceof Error ? error.message : String(error) });
}

/**
 * Tell whether a request was called off, which is nobody's problem.
 * @param {unknown} error
 */
export const wasAborted = (error) => error instanceof DOMException && error.name === "AbortError";
