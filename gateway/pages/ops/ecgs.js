// The view of finished ECGs: grouped by reason, filtered, selected, replayed.

import { announce } from "../parts/announcer.js";
import { addressOf, goTo } from "../parts/address.js";
import { element, setAttribute, setShown, setText } from "../parts/elements.js";
import { Loader } from "../parts/loader.js";
import { counted, countText } from "../parts/numbers.js";
import { ecgList } from "./ecg_list.js";
import { failureGroups } from "./failure_groups.js";
import { apiFilter, commandLine, commandLineToCopy, filterForm, filterOf } from "./filter.js";
import { replayMatching, replaySelected } from "./replay.js";
import { ReplayProgress } from "./replay_progress.js";

const PAGE = 50;
const MOST_SHOWN = 500; // the API's largest page; a filter shows what is beyond
const MOST_REASONS = 100; // that the API counts
const MOST_REPLAYED = 100_000; // that the API replays at a time
const NOT_COUNTED = { count: 0, asOf: null, isCounted: false };
// While nothing tells of a change, so often; at once when the count of failed ECGs changes.
const RELOAD_MS = 10_000;

/** The view. */
export function ecgsView({ api }) {
  const view = new EcgsView(api);
  return {
    node: view.node,
    open: (parameters) => view.open(filterOf(parameters)),
    update: (overview) => view.update(overview),
  };
}

class EcgsView {
  #api;
  #filter = {};
  #isOpen = false;
  #shown = PAGE;
  #matching = NOT_COUNTED;
  #failedBefore = null;
  #heading = element("h2", { tabindex: -1 });
  #form = filterForm((filter) => goTo("ecgs", filter));
  #command = commandLineToCopy();
  #groups = failureGroups();
  #list = ecgList(() => this.#showActions());
  #more = element("button", { type: "button", onclick: () => this.#showMore() }, "Show more");
  #allButton = element("button", {
    type: "button",
    class: "primary acting",
    onclick: () => this.#replayMatching(),
  });
  #selectedButton = element("button", {
    type: "button",
    class: "acting",
    onclick: () => this.#replaySelected(),
  });
  #summary = element("p", { class: "summary" });
  #timeline = element("a", { hidden: true });
  #progress;
  #groupLoader;
  #listLoader;

  constructor(api) {
    this.#api = api;
    this.#progress = new ReplayProgress(api);
    this.#groupLoader = new Loader(
      () => this.#loadGroups(),
      (failures) => this.#showGroups(failures),
    );
    this.#listLoader = new Loader(
      () => this.#loadEcgs(),
      (page) => this.#showEcgs(page),
    );
    const chosen = [this.#heading, this.#form.node, this.#command.node, this.#timeline, this.#progress.node];
    const groups = [this.#groupLoader.status, this.#groups.node];
    const actions = element(
      "div",
      { class: "actions" },
      this.#summary,
      this.#allButton,
      this.#selectedButton,
    );
    const list = [actions, this.#listLoader.status, this.#list.node, this.#more];
    this.node = element("section", { hidden: true }, ...chosen, ...groups, ...list);
  }

  open(filter) {
    if (commandLine(filter) !== commandLine(this.#filter) || !this.#isOpen) this.#begin(filter);
    this.#reload();
  }

  /** Show another filter; what was counted and selected by the one before can't be replayed any more. */
  #begin(filter) {
    this.#isOpen = true;
    this.#filter = filter;
    this.#shown = PAGE;
    setText(this.#heading, filter.failed ? "Failed ECGs" : "Finished ECGs");
    this.#form.show(filter);
    this.#command.show(filter);
    setText(this.#timeline, `Timeline of ${filter.owner}/${filter.id}, finished or not`);
    setAttribute(this.#timeline, "href", addressOf("ecg", { owner: filter.owner, id: filter.id }));
    setShown(this.#timeline, Boolean(filter.owner && filter.id));
    this.#matching = NOT_COUNTED;
    this.#list.clear();
    this.#groupLoader.reset();
    this.#listLoader.reset();
  }

  update(overview) {
    this.#progress.update(overview);
    const isChanged = overview.failed_ecgs !== this.#failedBefore;
    this.#failedBefore = overview.failed_ecgs;
    if (isChanged) this.#reload();
    this.#groupLoader.reloadAfter(RELOAD_MS);
    this.#listLoader.reloadAfter(RELOAD_MS);
  }

  #reload() {
    this.#groupLoader.reload();
    this.#listLoader.reload();
  }

  /** All reasons, with one chosen too: so that another can be. */
  #loadGroups() {
    const { reason: _, ...others } = apiFilter({ ...this.#filter, failed: true });
    return this.#api.get("failures", others);
  }

  #loadEcgs() {
    if (!isReadByIndex(this.#filter)) return { ecgs: [] };
    return this.#api.get("ecgs", { ...apiFilter(this.#filter), limit: this.#shown });
  }

  #showGroups({ groups, as_of: asOf }) {
    const chosen = groups.filter(({ reason }) => !this.#filter.reason || reason === this.#filter.reason);
    const count = chosen.reduce((sum, { ecgs }) => sum + ecgs, 0);
    this.#matching = { count, asOf, isCounted: groups.length < MOST_REASONS || Boolean(this.#filter.reason) };
    this.#groups.show(groups, this.#filter);
    setShown(this.#groups.node, groups.length > 0);
    this.#showActions();
  }

  #showEcgs({ ecgs, next_cursor: next }) {
    this.#list.show(ecgs);
    setShown(this.#list.node, ecgs.length > 0);
    setShown(this.#more, Boolean(next) && this.#shown < MOST_SHOWN);
    if (ecgs.length) return "";
    if (!isReadByIndex(this.#filter)) return "Name an owner: all finished ECGs are too many to look through.";
    return this.#filter.failed
      ? "No failed ECG matches this filter."
      : "No finished ECG matches this filter.";
  }

  #showActions() {
    const { count, isCounted } = this.#matching;
    const selected = this.#list.selected().length;
    const isReplayable = this.#filter.failed === true && isCounted && count <= MOST_REPLAYED;
    setText(this.#summary, this.#filter.failed ? summaryOf(this.#matching) : "");
    setText(this.#allButton, `Replay all ${countText(count)} that match…`);
    setText(this.#selectedButton, `Replay ${countText(selected)} selected…`);
    setShown(this.#allButton, isReplayable && count > 0);
    setShown(this.#selectedButton, selected > 0);
  }

  #showMore() {
    this.#shown = Math.min(this.#shown * 3, MOST_SHOWN);
    this.#listLoader.reload();
  }

  async #replayMatching() {
    const matching = this.#matching;
    this.#follow(await replayMatching(this.#api, this.#filter, matching), matching.asOf);
  }

  async #replaySelected() {
    const replayed = await replaySelected(this.#api, this.#list.selected());
    this.#list.clear();
    this.#follow(replayed, this.#matching.asOf);
  }

  #follow(replayed, asOf) {
    if (replayed === null) return;
    if (replayed === 0) announce("None of these ECGs is failed any more.");
    else this.#progress.begin(replayed, this.#filter, asOf);
    this.#reload();
  }
}

function summaryOf({ count, isCounted, asOf }) {
  if (asOf === null) return "";
  const matches = counted(count, "failed ECG matches", "failed ECGs match");
  if (!isCounted)
    return `${matches} for the ${MOST_REASONS} most frequent reasons: choose one to replay all of it`;
  const isTooMany = count > MOST_REPLAYED;
  return isTooMany
    ? `${matches}, too many to replay here: narrow the filter, or use isoline replay`
    : matches;
}

/** Whether the gateway finds what a filter selects without reading all ECGs. */
function isReadByIndex({ failed, reason, owner }) {
  return Boolean(failed || reason || owner);
}
