// The parts of the gateway that answers, each with its state, since when, and why.

import { element, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { dataTable, longText, rowOf } from "../parts/tables.js";
import { setTime, timeElement } from "../parts/times.js";

const COLUMNS = ["Part", "State", "Since", "Reason"];

/** The part; update(overview) shows what the gateway says of itself. */
export function healthParts() {
  const table = dataTable("Health of this gateway", COLUMNS);
  const update = ({ health }) => {
    const parts = Object.entries(health.parts).map(([name, part]) => ({ name, ...part }));
    showItems(table.body, parts, { key: ({ name }) => name, create: createRow, update: updateRow });
  };
  const heading = element("h3", {}, "Health of this gateway");
  return { node: element("section", {}, heading, table.node), update };
}

function createRow({ name }) {
  return rowOf(COLUMNS, [name, element("span", { class: "state" }), timeElement(), longText()]);
}

function updateRow(row, { state, since, reason = "", means = "" }) {
  const [, stateCell, sinceCell, reasonCell] = row.cells;
  stateCell.firstElementChild.dataset.state = state;
  setText(stateCell.firstElementChild, state);
  setTime(sinceCell.firstElementChild, since);
  setText(reasonCell.firstElementChild, [reason, means].filter(Boolean).join(" "));
}
