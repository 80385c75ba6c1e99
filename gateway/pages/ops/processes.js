// Gateways and processors: which run, of which release, since when, and what they hold.

import { element, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { Loader } from "../parts/loader.js";
import { countText, durationText } from "../parts/numbers.js";
import { dataTable, rowOf } from "../parts/tables.js";
import { setTime, timeElement } from "../parts/times.js";

const COLUMNS = ["Process", "State", "Holds", "Version", "Since", "Heard of"];
// They speak every 5 s; each viewer that asks more often learns nothing.
const RELOAD_MS = 5000;

/** The part; update() loads the list again when it is due. */
export function processesPart({ api }) {
  const table = dataTable("Gateways and processors", COLUMNS);
  const loader = new Loader(
    () => api.get("processes"),
    ({ processes }) => {
      showItems(table.body, processes, { key: keyOf, create: createRow, update: updateRow });
      return processes.length ? "" : "None was seen in the last hour.";
    },
  );
  const heading = element("h3", {}, "Gateways and processors");
  return {
    node: element("section", {}, heading, loader.status, table.node),
    update: () => loader.reloadAfter(RELOAD_MS),
    reload: () => loader.reload(),
  };
}

function keyOf({ service, host, worker, pid, since }) {
  return [service, host, worker, pid, since].join("\n");
}

function createRow({ service, host, worker, pid }) {
  const process = pid === null ? "" : `, pid ${pid}`;
  const name = element("span", {}, `${service} ${worker} at ${host}${process}`);
  const cells = [name, element("span", { class: "state" }), "", "", timeElement(), ""];
  return rowOf(COLUMNS, cells);
}

function updateRow(row, { state, held_ecgs: held, version, since, seen_s: seen }) {
  const [, stateCell, holds, release, started, heard] = row.cells;
  stateCell.firstElementChild.dataset.state = state;
  setText(stateCell.firstElementChild, state);
  setText(holds, held === null ? "–" : `${countText(held)} ECG${held === 1 ? "" : "s"}`);
  setText(release, version);
  setTime(started.firstElementChild, since);
  setText(heard, `${durationText(seen)} ago`);
}
