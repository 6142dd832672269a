/** Light, dark, or as the system has it. */

const THEMES = /** @type {const} */ (["system", "light", "dark"]);
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** @returns {"system" | "light" | "dark"} what was chosen */
export function sayTheme() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : "system";
}

/** @returns {"light" | "dark"} */
export function themeInUse() {
  const chosen = sayTheme();
  return chosen === "system" ? (DARK.matches ? "dark" : "light") : chosen;
}

export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(sayTheme()) + 1) % THEMES.length] ?? "system";
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Storage may be switched off; the choice then holds until the page is left.
  }
}

/** @param {() => void} tell */
export function whenThemeChanges(tell) {
  DARK.addEventListener("change", tell);
}
