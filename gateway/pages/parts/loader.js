// Loads what a part of a page shows, and says so while there is nothing to show, and why if it can't be had.

import { element, setShown, setText } from "./elements.js";

/**
 * Loads again on demand, one request at a time; what is shown stays until the next is there.
 *
 * load() gets a document, show(document) shows it, or returns what to say where there is nothing to show.
 * `status` is the node to put into the part.
 */
export class Loader {
  #load;
  #show;
  #text = element("span");
  #again = element("button", { type: "button", class: "small", onclick: () => this.reload() }, "Try again");
  #running = null;
  #isStale = false;
  #subject = 0;
  #begunAt = 0;
  status = element("p", { class: "status" }, this.#text, " ", this.#again);

  constructor(load, show) {
    this.#load = load;
    this.#show = show;
    this.#say("Loading…");
  }

  /** Load; while that runs already, once more after it. */
  reload() {
    this.#isStale = true;
    this.#begunAt = Date.now();
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** Load, unless that was done within so many milliseconds. */
  reloadAfter(milliseconds) {
    if (Date.now() - this.#begunAt >= milliseconds) this.reload();
  }

  /** Forget what is shown: the next load is of something else. */
  reset() {
    this.#subject += 1;
    this.#say("Loading…");
  }

  async #run() {
    while (this.#isStale) {
      this.#isStale = false;
      const subject = this.#subject;
      try {
        const document = await this.#load();
        if (subject === this.#subject) this.#say(this.#show(document) ?? "");
      } catch (error) {
        this.#say(`This can't be shown now. ${error.message}`, { isError: true });
      }
    }
  }

  #say(text, { isError = false } = {}) {
    setText(this.#text, text);
    this.status.classList.toggle("error", isError);
    setShown(this.#again, isError);
    setShown(this.status, text !== "");
  }
}
