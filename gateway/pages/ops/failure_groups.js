// Failed ECGs by reason; a click on a reason sets the filter, and another one takes it back.

import { addressOf } from "../parts/address.js";
import { element, setAttribute, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { countText } from "../parts/numbers.js";
import { dataTable, rowOf } from "../parts/tables.js";
import { setTime, timeElement } from "../parts/times.js";

const COLUMNS = ["Reason", "ECGs", "Owners", "First", "Last"];

/** The table; show(groups, filter) marks the group of the filter's reason. */
export function failureGroups() {
  const table = dataTable("Failed ECGs by reason", COLUMNS);
  table.node.classList.add("groups");
  const show = (groups, filter) => {
    const update = (row, group) => updateRow(row, group, filter);
    showItems(table.body, groups, { key: ({ reason }) => reason, create: createRow, update });
  };
  return { node: table.node, show };
}

function createRow({ reason }) {
  return rowOf(COLUMNS, [element("a", {}, reason), "", "", timeElement(), timeElement()]);
}

function updateRow(row, group, filter) {
  const [reason, ecgs, owners, first, last] = row.cells;
  const isChosen = filter.reason === group.reason;
  const { reason: _, ...others } = filter;
  const link = reason.firstElementChild;
  setAttribute(
    link,
    "href",
    addressOf("ecgs", isChosen ? others : { ...others, failed: true, reason: group.reason }),
  );
  setAttribute(link, "aria-current", isChosen ? "true" : null);
  setText(ecgs, countText(group.ecgs));
  setText(owners, countText(group.owners));
  setTime(first.firstElementChild, group.first_at);
  setTime(last.firstElementChild, group.last_at);
}
