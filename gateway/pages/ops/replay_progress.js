// What becomes of replayed ECGs: how many of them wait, and in the end how many failed again.

import { addressOf } from "../parts/address.js";
import { announce } from "../parts/announcer.js";
import { element, setAttribute, setShown, setText } from "../parts/elements.js";
import { counted, countText } from "../parts/numbers.js";
import { timeText } from "../parts/times.js";
import { apiFilter } from "./filter.js";

/** The part: begin() after a replay, update() with each overview while it goes on. */
export class ReplayProgress {
  #api;
  #replay = null;
  #text = element("span");
  #bar = element("progress", { "aria-label": "Replayed ECGs that are finished" });
  #link = element("a");
  #close = element("button", { type: "button", class: "small", onclick: () => this.#end() }, "Close");
  node = element("div", { class: "progress", role: "group", "aria-label": "Replay", hidden: true });

  constructor(api) {
    this.#api = api;
    this.node.append(element("p", {}, this.#text), this.#bar, element("p", {}, this.#link, " ", this.#close));
  }

  /** So many ECGs of this filter were replayed; all that was finished until `asOf` was finished before. */
  begin(count, { owner, id }, asOf) {
    const filter = { owner, id, since: asOf };
    this.#replay = { count, filter, at: new Date(), isSeen: false, isOver: false };
    setText(this.#link, owner ? "Show what was finished since" : "Show what has failed since");
    setAttribute(this.#link, "href", addressOf("ecgs", { failed: !owner, ...filter }));
    setAttribute(this.#bar, "max", count);
    this.#show(count);
    setShown(this.node, true);
    announce(this.#text.textContent);
  }

  /**
   * Show how many are finished.
   *
   * That is the truth where nothing else is queued; where more is, it is behind the truth, never before it.
   */
  async update({ backlog }) {
    const replay = this.#replay;
    if (replay === null || replay.isOver) return;
    const waiting = Math.min(replay.count, backlog.queued_ecgs);
    if (replay.isSeen) this.#show(waiting);
    replay.isOver = replay.isSeen && waiting === 0;
    replay.isSeen = true; // the first overview may have been read before the replay
    if (!replay.isOver) return;
    await this.#tellOutcome(replay).catch(() => {
      replay.isOver = false; // the next update asks again
    });
  }

  async #tellOutcome({ filter, count, at }) {
    const { groups } = await this.#api.get("failures", apiFilter({ ...filter, failed: true }));
    const failed = groups.reduce((sum, { ecgs }) => sum + ecgs, 0);
    const outcome = failed
      ? `${counted(failed, "ECG has", "ECGs have")} failed since`
      : "none has failed since";
    setText(this.#text, `${replayed(count, at)}: all are finished, ${outcome}.`);
    announce(this.#text.textContent);
  }

  #show(waiting) {
    const { count, at } = this.#replay;
    const finished = countText(count - waiting);
    setText(this.#text, `${replayed(count, at)}: ${finished} finished, ${countText(waiting)} wait.`);
    this.#bar.value = count - waiting;
  }

  #end() {
    this.#replay = null;
    setShown(this.node, false);
  }
}

function replayed(count, at) {
  return `${counted(count, "ECG")} replayed at ${timeText(at)}`;
}
