// Says to screen readers what came about, in one place of the page.

import { setText } from "./elements.js";

/** Say it, once the voice is free. */
export function announce(text) {
  setText(document.getElementById("announcer"), text);
}
