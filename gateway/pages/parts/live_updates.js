// Keeps a stream of events open: paused while the page is hidden, opened again with backoff when it breaks.

import { ProblemError } from "./api.js";
import { readEvents } from "./event_stream.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
// An event comes every 2 s, or 5 s later with a reason. Without any for so long what is shown is old, and then the
// connection is taken for dead.
const LATE_MS = 8000;
const SILENT_MS = 15_000;

/**
 * Tells by events "event" (detail: {name, data}) and "state" how it goes.
 *
 * state is "connecting", "live", "late" (none came lately: `since`), "paused" (the page is hidden), "offline"
 * (`since`, `reason`, next try at `retryAt`), "refused" (`reason`: the account may not) or "stopped".
 */
export class LiveUpdates extends EventTarget {
  #api;
  #path;
  #abort = null;
  #pause = FIRST_PAUSE_MS;
  #timer = null;
  #isWanted = false;
  state = "stopped";
  since = null;
  reason = "";
  retryAt = null;

  constructor(api, path) {
    super();
    this.#api = api;
    this.#path = path;
    document.addEventListener("visibilitychange", () => this.#resume());
    window.addEventListener("online", () => this.#resume());
  }

  /** Open the stream, and keep it open. */
  start() {
    this.#isWanted = true;
    this.#resume();
  }

  /** Close it. */
  stop() {
    this.#isWanted = false;
    this.#close();
    this.#tell("stopped");
  }

  /** Try again now, or pause if the page is hidden. */
  #resume() {
    if (!this.#isWanted) return;
    this.#close();
    this.#pause = FIRST_PAUSE_MS;
    if (document.hidden) this.#tell("paused");
    else this.#connect();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
  }

  async #connect() {
    const abort = new AbortController();
    this.#abort = abort;
    if (this.state !== "offline") this.#tell("connecting");
    try {
      await this.#read(abort);
      this.#retry(abort, "The gateway ended the connection.", { isEnd: true });
    } catch (error) {
      if (error instanceof ProblemError && error.status === 403) this.#refuse(abort, error.message);
      else this.#retry(abort, abort.signal.aborted ? "The gateway fell silent." : error.message);
    }
  }

  async #read(abort) {
    const watchdog = new Watchdog({
      [LATE_MS]: () => this.#tell("late"),
      [SILENT_MS]: () => abort.abort(),
    });
    try {
      watchdog.feed();
      const response = await this.#api.open(this.#path, { signal: abort.signal });
      for await (const event of readEvents(response)) {
        watchdog.feed();
        this.#pause = FIRST_PAUSE_MS;
        this.#tell("live");
        this.dispatchEvent(new CustomEvent("event", { detail: event }));
      }
    } finally {
      watchdog.stop();
    }
  }

  #refuse(abort, reason) {
    if (this.#abort !== abort) return;
    this.#isWanted = false;
    this.reason = reason;
    this.#tell("refused");
  }

  /** A stream that came to its end is no failure: it is opened again, at a gateway that goes on. */
  #retry(abort, reason, { isEnd = false } = {}) {
    if (this.#abort !== abort || !this.#isWanted) return; // closed on purpose
    this.reason = reason;
    const pause = this.#pause * (0.75 + Math.random() / 2);
    this.retryAt = new Date(Date.now() + pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    this.#tell(isEnd ? "connecting" : "offline");
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #tell(state) {
    if (state === "offline") this.since ??= new Date();
    else if (state === "late") this.since ??= new Date(Date.now() - LATE_MS);
    else if (state === "live") this.since = null;
    else if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

/** Calls back each time that it was not fed for so many milliseconds. */
class Watchdog {
  #timers = [];

  constructor(callbacks) {
    this.callbacks = Object.entries(callbacks);
  }

  feed() {
    this.stop();
    this.#timers = this.callbacks.map(([limitMs, callback]) => setTimeout(callback, Number(limitMs)));
  }

  stop() {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
