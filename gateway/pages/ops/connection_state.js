// Says whether what is shown is of this moment.

import { element, setText } from "../parts/elements.js";
import { timeText } from "../parts/times.js";

/** A line that follows the state of live updates. */
export function connectionState(live) {
  const node = element("p", { class: "connection" });
  const update = () => {
    node.dataset.state = live.state;
    setText(node, sentence(live));
  };
  live.addEventListener("state", update);
  update();
  return node;
}

function sentence({ state, since, reason, retryAt }) {
  if (state === "live") return "Live";
  if (state === "connecting") return "Connecting…";
  if (state === "late") return `Nothing heard since ${timeText(since)}`;
  if (state === "paused") return "Paused while hidden";
  if (state === "offline") return `Offline since ${timeText(since)}: ${reason} Next try ${timeText(retryAt)}`;
  return "";
}
