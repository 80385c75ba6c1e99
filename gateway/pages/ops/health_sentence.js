// One sentence that says how it is, and what else is amiss below it, the worst first.

import { announce } from "../parts/announcer.js";
import { element, setShown, setText } from "../parts/elements.js";
import { showItems } from "../parts/keyed_children.js";
import { countText, counted, durationText, rateText } from "../parts/numbers.js";
import { timeText } from "../parts/times.js";

// What has waited for longer is late, as it is for the alerts in deploy/observability.
const LATE_ECG_S = 120;
const LATE_EVENT_S = 180;
// Parts of health that have a sentence of their own.
const TOLD_APART = ["intake", "backlog_age"];
// Failures are worth a sentence from this part of the ECGs on.
const MANY_FAILED = 0.05;

/** A part of the page; update(overview) says how it is, unavailable(reason) why that is not known. */
export function healthSentence() {
  const sentence = element("p", { class: "sentence" }, "Loading…");
  const others = element("ul", { class: "others", hidden: true });
  const node = element(
    "section",
    { class: "health", "aria-label": "How it is", "data-level": "unknown" },
    sentence,
    others,
  );
  const show = (findings) => {
    const [first, ...rest] = findings;
    if (node.dataset.level !== first.level) announce(first.text);
    node.dataset.level = first.level;
    setText(sentence, first.text);
    showItems(others, rest, { key: ({ kind }) => kind, create: () => element("li"), update: showFinding });
    setShown(others, rest.length > 0);
  };
  return {
    node,
    update: (overview) => show(findingsOf(overview)),
    unavailable: (reason) => show([{ kind: "unknown", level: "unknown", text: `State unknown: ${reason}` }]),
  };
}

function showFinding(node, { level, text }) {
  node.dataset.level = level;
  setText(node, text);
}

/** What is amiss, as {kind, level, text}, "bad" before "warn"; else one of level "good". */
export function findingsOf(overview) {
  const checks = [gateway, processors, intake, age, silent, failures, outbox, deadLetters, degraded];
  const found = checks.map((check) => check(overview)).filter(Boolean);
  const sorted = ["bad", "warn"].flatMap((level) => found.filter((finding) => finding.level === level));
  return sorted.length ? sorted : [allIsWell(overview)];
}

function allIsWell({ backlog, throughput }) {
  const oldest = backlog.queued_ecgs ? `, the oldest for ${durationText(backlog.oldest_ecg_s)}` : "";
  const rate = throughput.now.per_second ? `, ${rateText(throughput.now.per_second)}` : "";
  return {
    kind: "well",
    level: "good",
    text: `All is well: ${countText(backlog.queued_ecgs)} waiting${oldest}${rate}.`,
  };
}

function gateway({ health }) {
  const [[part, reason] = []] = Object.entries(health.reasons ?? {});
  if (health.status === "ready") return null;
  return {
    kind: "gateway",
    level: "bad",
    text: `This gateway is not ready: ${part ?? "it drains"}${reason ? `: ${reason}` : ""}.`,
  };
}

function processors({ processes, backlog }) {
  const { working = 0, draining = 0, paused = 0 } = processing(processes);
  if (working + draining + paused > 0) return null;
  if (!backlog.queued_ecgs)
    return { kind: "processors", level: "bad", text: "No processor is attached: ECGs will wait." };
  const text = `Oldest ECG waits ${durationText(backlog.oldest_ecg_s)}: no processor is attached.`;
  return { kind: "processors", level: "bad", text };
}

function intake({ intake: { state, who, since }, backlog }) {
  if (state !== "paused") return null;
  const waiting = backlog.queued_ecgs ? `: ${counted(backlog.queued_ecgs, "ECG waits", "ECGs wait")}` : "";
  return {
    kind: "intake",
    level: "warn",
    text: `Intake is paused by ${who} since ${timeText(since)}${waiting}.`,
  };
}

function age({ processes, backlog, intake: { state } }) {
  const { working = 0 } = processing(processes);
  if (backlog.oldest_ecg_s <= LATE_ECG_S || working === 0 || state === "paused") return null;
  const workers = counted(working, "processor works", "processors work");
  const atWork = `${workers} on ${counted(backlog.queued_ecgs, "ECG")}`;
  return {
    kind: "age",
    level: "bad",
    text: `Oldest ECG waits ${durationText(backlog.oldest_ecg_s)}: ${atWork}.`,
  };
}

function silent({ processes }) {
  const count = Object.values(processes).reduce((sum, states) => sum + (states.silent ?? 0), 0);
  if (!count) return null;
  return {
    kind: "silent",
    level: "warn",
    text: `${counted(count, "process has", "processes have")} stopped without leaving within the hour.`,
  };
}

function failures({ throughput: { now } }) {
  const part = now.failed / (now.completed + now.failed || 1);
  if (part < MANY_FAILED) return null;
  const of = `${counted(now.failed, "ECG")} of ${countText(now.completed + now.failed)}`;
  const text = `${of} failed in the last ${durationText(now.seconds)}.`;
  return { kind: "failures", level: "warn", text };
}

function outbox({ backlog: { unpublished_batches: batches, oldest_batch_s: age_s } }) {
  if (age_s <= LATE_EVENT_S) return null;
  const inOutbox = counted(batches, "batch", "batches");
  const text = `Oldest event waits ${durationText(age_s)} to be published: ${inOutbox} in the outbox.`;
  return { kind: "outbox", level: "warn", text };
}

function deadLetters({ dead_letters: { waiting, reason } }) {
  if (waiting === 0) return null;
  const text =
    waiting === null
      ? `Dead letters can't be counted: ${reason}`
      : `${counted(waiting, "dead letter waits", "dead letters wait")} for a decision.`;
  return { kind: "dead letters", level: "warn", text };
}

function degraded({ health }) {
  const parts = Object.entries(health.parts).filter(
    ([name, part]) => part.state === "degraded" && !TOLD_APART.includes(name),
  );
  if (!parts.length) return null;
  const text = parts.map(([name, part]) => `${name} is degraded: ${part.reason}`).join(" ");
  return { kind: "degraded", level: "warn", text };
}

/** Processes that analyse ECGs, by state: an embedded one is gateway and processor. */
function processing({ processor, embedded }) {
  return processor ?? embedded ?? {};
}
