// The view of one ECG: what became of it, by whom, when.

import { addressOf } from "../parts/address.js";
import { element, setAttribute, setShown, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { Loader } from "../parts/loader.js";
import { dataTable, longText, rowOf } from "../parts/tables.js";
import { timeElement } from "../parts/times.js";

const COLUMNS = ["Time", "What", "Generation", "Detail"];
const RELOAD_MS = 4000;

/** The view; its parameters are the ECG's owner and id. */
export function timelineView({ api }) {
  const heading = element("h2", { tabindex: -1 });
  const command = element("code");
  const trace = element("p", {});
  const back = element("a", {}, "All of this owner's failed ECGs");
  const table = dataTable("Timeline", COLUMNS);
  let ecg = {};
  const loader = new Loader(
    () => api.get(`ecgs/${encodeURIComponent(ecg.owner)}/${encodeURIComponent(ecg.id)}/timeline`),
    (timeline) => showTimeline(timeline, table, trace),
  );
  const open = ({ owner = "", id = "" }) => {
    ecg = { owner, id };
    setText(heading, `ECG ${owner}/${id}`);
    setText(command, `isoline trace ${owner} ${id}`);
    setAttribute(back, "href", addressOf("ecgs", { failed: true, owner }));
    showItems(table.body, [], { key: String });
    loader.reset();
    loader.reload();
  };
  const update = () => loader.reloadAfter(RELOAD_MS);
  const lines = [
    element("p", { class: "command" }, command),
    loader.status,
    table.node,
    trace,
    element("p", {}, back),
  ];
  return { node: element("section", { hidden: true }, heading, ...lines), open, update };
}

function showTimeline({ moments, trace_id: traceId }, table, trace) {
  const numbered = moments.map((moment, number) => ({
    number,
    isLast: number === moments.length - 1,
    ...moment,
  }));
  showItems(table.body, numbered, { key: keyOf, create: createRow });
  setText(trace, `Trace ${traceId}, for logs and traces`);
  setShown(trace, Boolean(traceId));
  return moments.length ? "" : "Nothing is known of this ECG.";
}

function keyOf({ number, what, at, detail, isLast }) {
  return [number, what, at, detail, isLast].join("\n");
}

function createRow({ at, what, generation, detail, isLast }) {
  const time = isLast && !at ? "now" : timeElement(at);
  const state = element("span", { class: "state", "data-state": what }, what);
  return rowOf(COLUMNS, [time, state, `${generation}`, longText(detail)]);
}
