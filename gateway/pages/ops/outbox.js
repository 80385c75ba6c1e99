// The view of the outbox: events that are committed and not published yet.

import { element, setShown, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { Loader } from "../parts/loader.js";
import { counted, countText, durationText } from "../parts/numbers.js";
import { dataTable, rowOf } from "../parts/tables.js";
import { setTime, timeElement } from "../parts/times.js";

const COLUMNS = ["Committed", "Events", "Published again", "Next due"];
const RELOAD_MS = 4000;

/** The view. */
export function outboxView({ api }) {
  const table = dataTable("Outbox", COLUMNS);
  const summary = element("p", { class: "summary" });
  const loader = new Loader(
    () => api.get("outbox"),
    (outbox) => showOutbox(outbox, table, summary),
  );
  const heading = element("h2", { tabindex: -1 }, "Outbox");
  const node = element("section", { hidden: true }, heading, summary, loader.status, table.node);
  return { node, open: () => loader.reload(), update: () => loader.reloadAfter(RELOAD_MS) };
}

function showOutbox({ unpublished_batches: count, oldest_batch_s: age, batches }, table, summary) {
  const numbered = batches.map((batch, number) => ({ number, ...batch }));
  showItems(table.body, numbered, { key: keyOf, create: createRow, update: updateRow });
  setShown(table.node, count > 0);
  setText(summary, `${counted(count, "batch waits", "batches wait")}, the oldest for ${durationText(age)}`);
  setShown(summary, count > 0);
  return count ? "" : "Every event is published.";
}

function keyOf({ number, created_at: createdAt }) {
  return `${createdAt} ${number}`;
}

function createRow({ created_at: createdAt, events }) {
  return rowOf(COLUMNS, [timeElement(createdAt), countText(events), "", timeElement()]);
}

function updateRow(row, { republished, due_at: dueAt }) {
  setText(row.cells[2], republished ? counted(republished, "time") : "not yet");
  setTime(row.cells[3].firstElementChild, dueAt);
}
