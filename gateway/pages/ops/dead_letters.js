// The view of dead letters: messages that could not be read, or that ended processes.

import { announce } from "../parts/announcer.js";
import { confirmAction } from "../parts/dialogs.js";
import { element, setShown, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { Loader } from "../parts/loader.js";
import { counted, countText } from "../parts/numbers.js";
import { dataTable, longText, rowOf } from "../parts/tables.js";

const COLUMNS = ["Name", "Reason", "Size"];
const REPLAY = { path: "dead-letters/replay", verb: "Replay", explanation: "The processors get them again." };
const DROP = {
  path: "dead-letters/drop",
  verb: "Drop",
  explanation: "They are deleted for good. The audit keeps their names.",
  isDangerous: true,
};

/**
 * The view.
 *
 * The list is loaded when the number of letters changes: to list them takes each out of its queue and back.
 */
export function deadLettersView({ api }) {
  const table = dataTable("Dead letters", ["", ...COLUMNS]);
  const loader = new Loader(
    () => api.get("dead-letters"),
    (document) => showLetters(document, table, showButtons),
  );
  const chosen = () => [...table.body.querySelectorAll("input:checked")].map((box) => box.value);
  const buttons = [REPLAY, DROP].map((action) => actionButton(api, action, chosen, () => loader.reload()));
  const showButtons = () => buttons.forEach((button) => button.show(chosen().length));
  let waiting = null;
  const update = ({ dead_letters: { waiting: now } }) => {
    if (now !== waiting) loader.reload();
    waiting = now;
  };
  table.body.addEventListener("change", showButtons);
  const note = element(
    "p",
    { class: "note" },
    "What one says: ",
    element("code", {}, "isoline dlq show NAME"),
  );
  const heading = element("h2", { tabindex: -1 }, "Dead letters");
  const actions = element("div", { class: "actions" }, ...buttons.map(({ node }) => node));
  const node = element("section", { hidden: true }, heading, note, loader.status, actions, table.node);
  return { node, open: () => loader.reload(), update };
}

function showLetters({ dead_letters: letters }, table, showButtons) {
  showItems(table.body, letters, { key: ({ name }) => name, create: createRow });
  setShown(table.node, letters.length > 0);
  showButtons();
  return letters.length ? "" : "There is no dead letter.";
}

function actionButton(api, { path, verb, explanation, isDangerous }, chosen, onDone) {
  const button = element("button", { type: "button", class: "acting", hidden: true });
  button.addEventListener("click", async () => {
    const names = chosen();
    const letters = counted(names.length, "dead letter");
    const details = [element("p", {}, explanation), element("p", {}, element("code", {}, names.join(" ")))];
    const act = async (reason) => (await api.send("POST", path, { names, reason })).settled;
    const title = `${verb} ${letters}?`;
    const settled = await confirmAction({ title, details, label: `${verb} ${letters}`, isDangerous, act });
    if (settled !== null) announce(`${verb}: ${counted(settled, "dead letter")}.`);
    onDone();
  });
  const show = (count) => {
    setText(button, `${verb} ${countText(count)} selected…`);
    setShown(button, count > 0);
  };
  return { node: button, show };
}

function createRow({ name, reason, bytes }) {
  const box = element("input", { type: "checkbox", value: name, "aria-label": `Select ${name}` });
  return rowOf(["", ...COLUMNS], [box, element("code", {}, name), longText(reason), counted(bytes, "byte")]);
}
