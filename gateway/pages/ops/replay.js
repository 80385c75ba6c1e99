// Replay: have finished ECGs analysed once more, confirmed and with a reason.

import { ProblemError } from "../parts/api.js";
import { confirmAction } from "../parts/dialogs.js";
import { element } from "../parts/elements.js";
import { counted } from "../parts/numbers.js";
import { apiFilter, commandLine } from "./filter.js";

const CONFLICT = 409;

/** Ask, and replay all that match a filter and were counted as of that time; how many were replayed. */
export function replayMatching(api, filter, { count, asOf }) {
  const body = { filter: apiFilter({ ...filter, until: earlier(filter.until, asOf) }), expected: count };
  const act = async (reason) => (await api.send("POST", "replays", { ...body, reason })).replayed;
  const words = element("p", {}, "Those that this lists: ", element("code", {}, commandLine(filter)));
  return confirmReplay(count, [words], act);
}

/** Ask, and replay these ECGs; how many were, without those that were replayed or erased meanwhile. */
export function replaySelected(api, ecgs) {
  const act = async (reason) => {
    let replayed = 0;
    for (const ecg of ecgs) replayed += await replayOne(api, ecg, reason);
    return replayed;
  };
  const names = ecgs.slice(0, 5).map(({ owner, id }) => `${owner}/${id}`);
  const others = ecgs.length > names.length ? ` and ${ecgs.length - names.length} more` : "";
  return confirmReplay(ecgs.length, [element("p", {}, names.join(", ") + others)], act);
}

function confirmReplay(count, details, act) {
  const what = element(
    "p",
    {},
    "Each is analysed again, as its next generation. Its last result stays readable until then.",
  );
  const ecgs = counted(count, "ECG");
  return confirmAction({
    title: `Replay ${ecgs}?`,
    details: [...details, what],
    label: `Replay ${ecgs}`,
    act,
  });
}

async function replayOne(api, { owner, id, status, finished_at: finishedAt }, reason) {
  const state = status === "failed" ? { status } : {};
  const filter = { ...state, owner, id, since: finishedAt };
  try {
    return (await api.send("POST", "replays", { filter, expected: 1, reason })).replayed;
  } catch (error) {
    if (error instanceof ProblemError && error.status === CONFLICT) return 0;
    throw error;
  }
}

function earlier(until, asOf) {
  return until && new Date(until) < new Date(asOf) ? until : asOf;
}
