// The view "Now": what waits, how fast it goes, the intake, processes, and the parts of this gateway.

import { element, setText } from "../parts/elements.js";
import { countText, durationText, rateText } from "../parts/numbers.js";
import { healthParts } from "./health_parts.js";
import { intakePart } from "./intake.js";
import { processesPart } from "./processes.js";
import { throughputChart } from "./throughput_chart.js";

const TILES = [
  {
    title: "Waiting",
    value: ({ backlog }) => countText(backlog.queued_ecgs),
    detail: ({ backlog }) =>
      backlog.queued_ecgs ? `oldest ${durationText(backlog.oldest_ecg_s)}` : "no ECG waits",
  },
  {
    title: "Throughput",
    value: ({ throughput }) => rateText(throughput.now.per_second),
    detail: ({ throughput }) => `${rateText(throughput.hour.per_second)} over the last hour`,
  },
  {
    title: "From 202 to result",
    value: ({ throughput }) => latency(throughput.now.p50_s),
    detail: ({ throughput: { now, hour } }) =>
      hour.p50_s === null
        ? "no ECG in the last hour"
        : `p95 ${latency(now.p95_s)}\nover the last hour ${latency(hour.p50_s)}, p95 ${latency(hour.p95_s)}`,
  },
  {
    title: "Failed",
    value: ({ throughput }) => countText(throughput.hour.failed),
    detail: ({ failed_ecgs: failed }) => `in the last hour\n${countText(failed)} still failed, of any age`,
  },
];

/** The view; it needs no document besides the overview but the list of processes. */
export function overviewView(context) {
  const tiles = TILES.map(tile);
  const chart = throughputChart();
  const intake = intakePart(context);
  const processes = processesPart(context);
  const parts = healthParts();
  const rows = element("dl", { class: "tiles" }, ...tiles.map(({ node }) => node));
  const heading = element("h2", { tabindex: -1, class: "unseen" }, "Now");
  const node = element(
    "section",
    { hidden: true },
    heading,
    rows,
    chart.node,
    intake.node,
    processes.node,
    parts.node,
  );
  const update = (overview) => {
    for (const part of [...tiles, chart, intake, processes, parts]) part.update(overview);
  };
  const open = () => {
    processes.reload();
    if (context.latest) update(context.latest);
  };
  return { node, open, update };
}

function tile({ title, value, detail }) {
  const number = element("dd", { class: "value" }, "–");
  const more = element("dd", { class: "detail" }, " ");
  return {
    node: element("div", {}, element("dt", {}, title), number, more),
    update: (overview) => {
      setText(number, value(overview));
      setText(more, detail(overview));
    },
  };
}

function latency(seconds) {
  return seconds === null ? "–" : durationText(seconds);
}
