// The list of finished ECGs, of which some can be selected.

import { addressOf } from "../parts/address.js";
import { element } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { dataTable, rowOf } from "../parts/tables.js";
import { timeElement } from "../parts/times.js";

const TITLES = ["ECG", "Status", "Generation", "Attempts", "Submitted", "Finished"];

/** The list: show(ecgs), selected() and clear(); `onSelect` is called when the selection changes. */
export function ecgList(onSelect) {
  const all = element("input", { type: "checkbox", "aria-label": "Select all that are shown" });
  const table = dataTable("ECGs", ["", ...TITLES]);
  const boxes = () => [...table.body.querySelectorAll("input")];
  const selected = () =>
    boxes()
      .filter((box) => box.checked)
      .map((box) => box.ecg);
  const tell = () => {
    const count = selected().length;
    all.checked = count > 0 && count === boxes().length;
    all.indeterminate = count > 0 && !all.checked;
    onSelect(selected());
  };
  const check = (isChecked) => {
    for (const box of boxes()) box.checked = isChecked;
    tell();
  };
  all.addEventListener("change", () => check(all.checked));
  table.body.addEventListener("change", tell);
  const show = (ecgs) => {
    showItems(table.body, ecgs, { key: keyOf, create: createRow });
    tell();
  };
  table.node.querySelector("th").append(all);
  table.node.classList.add("ecgs");
  return { node: table.node, show, selected, clear: () => check(false) };
}

/** A generation of an ECG never changes once it is finished. */
function keyOf({ owner, id, generation }) {
  return [owner, id, generation].join("\n");
}

function createRow(ecg) {
  const { owner, id, status, reason, generation, attempts } = ecg;
  const box = element("input", { type: "checkbox", "aria-label": `Select ${owner}/${id}` });
  box.ecg = ecg;
  const link = element("a", { href: addressOf("ecg", { owner, id }) }, `${owner}/${id}`);
  const became = element("span", { class: "state", "data-state": reason ? null : status }, reason || status);
  const cells = [
    box,
    link,
    became,
    `${generation}`,
    `${attempts}`,
    timeElement(ecg.submitted_at),
    timeElement(ecg.finished_at),
  ];
  return rowOf(["", ...TITLES], cells, ["Status"]);
}
