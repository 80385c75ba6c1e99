// Tables, which become lists of cards on a narrow screen: each cell knows the title of its column.
// A column without a title is for selecting, which is for those who may act.

import { element } from "./elements.js";

/** A table with a caption for screen readers: {node, body}. */
export function dataTable(caption, columns) {
  const titles = columns.map((title) =>
    element("th", { scope: "col", class: title ? null : "acting" }, title || selectTitle()),
  );
  const head = element("tr", {}, ...titles);
  const body = element("tbody");
  const node = element(
    "table",
    {},
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, head),
    body,
  );
  return { node, body };
}

/** A row with these cells, nodes or texts. On a narrow screen the first stands alone, as do `leads`. */
export function rowOf(columns, cells, leads = []) {
  const first = columns.findIndex(Boolean);
  const nodes = cells.map((cell, index) => {
    const title = columns[index];
    const isLead = index === first || leads.includes(title);
    return element(
      "td",
      { "data-title": title || null, class: title ? isLead && "lead" : "acting" },
      cell || null,
    );
  });
  return element("tr", {}, ...nodes);
}

/** A text for a cell that may be wider than its column, and be broken anywhere. */
export function longText(text = "") {
  return element("span", { class: "long" }, text || null);
}

function selectTitle() {
  return element("span", { class: "unseen" }, "Select");
}
