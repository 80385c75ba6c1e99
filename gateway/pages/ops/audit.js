// The view of the audit: what operators did, who, when and why.

import { element, setShown } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { Loader } from "../parts/loader.js";
import { counted } from "../parts/numbers.js";
import { dataTable, longText, rowOf } from "../parts/tables.js";
import { timeElement } from "../parts/times.js";
import { filterOf, optionsOf } from "./filter.js";

const COLUMNS = ["Time", "Who", "What", "Why", "On"];
const PAGE = 50;
const MOST_SHOWN = 500; // the API's largest page
const RELOAD_MS = 10_000;

/** The view. */
export function auditView({ api }) {
  const table = dataTable("Audit", COLUMNS);
  const more = element("button", { type: "button", hidden: true }, "Show more");
  let shown = PAGE;
  const loader = new Loader(
    () => api.get("audit", { limit: shown }),
    ({ records, next_cursor: next }) => {
      showItems(table.body, records, { key: ({ number }) => number, create: createRow });
      setShown(table.node, records.length > 0);
      setShown(more, Boolean(next) && shown < MOST_SHOWN);
      return records.length ? "" : "No operator has done anything yet.";
    },
  );
  more.addEventListener("click", () => {
    shown = Math.min(shown * 3, MOST_SHOWN);
    loader.reload();
  });
  const heading = element("h2", { tabindex: -1 }, "Audit");
  const node = element("section", { hidden: true }, heading, loader.status, table.node, more);
  return { node, open: () => loader.reload(), update: () => loader.reloadAfter(RELOAD_MS) };
}

function createRow({ at, who, what, why, subject }) {
  return rowOf(COLUMNS, [
    timeElement(at),
    longText(who),
    what,
    longText(why),
    longText(subjectText(subject)),
  ]);
}

/** What an operation was done on, in words: a filter as the command line has it, and not as JSON. */
function subjectText(subject) {
  if (subject === null || typeof subject !== "object") return String(subject ?? "");
  if (Array.isArray(subject)) return subject.map(subjectText).join(", ");
  const { selection, ecgs, ...others } = subject;
  const replayed = selection ? [`${counted(ecgs, "ECG")}: ${optionsOf(filterOf(given(selection)))}`] : [];
  const rest = Object.entries(selection ? others : subject);
  return [...replayed, ...rest.map(([name, value]) => `${name}: ${subjectText(value)}`)].join(", ");
}

function given(selection) {
  return Object.fromEntries(Object.entries(selection).filter(([, value]) => value));
}
