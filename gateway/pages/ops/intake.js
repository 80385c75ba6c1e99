// The intake of the processors: whether they take ECGs, and the button that pauses them or lets them go on.

import { announce } from "../parts/announcer.js";
import { confirmAction } from "../parts/dialogs.js";
import { element, setShown, setText } from "../parts/elements.js";
import { timeText } from "../parts/times.js";

const PAUSE = {
  state: "paused",
  title: "Pause the intake of all processors?",
  explanation:
    "They settle what they hold and take nothing new. The gateways go on accepting ECGs, which wait.",
  label: "Pause intake",
  isDangerous: true,
};
const RESUME = {
  state: "running",
  title: "Resume the intake of all processors?",
  explanation: "They take what waits, the oldest first.",
  label: "Resume intake",
};

/** The part; update(overview) says how it is. */
export function intakePart({ api }) {
  const text = element("p");
  const button = element("button", { type: "button", class: "small acting" });
  let change = PAUSE;
  const show = ({ state, who, why, since }) => {
    change = state === "paused" ? RESUME : PAUSE;
    setText(text, sentence(state, who, why, since));
    setText(button, `${change.label}…`);
    setShown(button, true);
  };
  button.addEventListener("click", async () => {
    const state = await changeIntake(api, change);
    if (state) show(state);
  });
  setShown(button, false);
  const heading = element("h3", {}, "Intake");
  const node = element("section", { class: "intake" }, heading, text, button);
  return { node, update: ({ intake }) => show(intake) };
}

async function changeIntake(api, { state, title, explanation, label, isDangerous }) {
  const details = [element("p", {}, explanation)];
  const act = (reason) => api.send("PUT", "intake", { state, reason });
  const changed = await confirmAction({ title, details, label, isDangerous, act });
  if (changed) announce(`Intake is ${changed.state}.`);
  return changed;
}

function sentence(state, who, why, since) {
  if (!since) return "Processors take ECGs.";
  const time = timeText(since);
  if (state === "paused") return `Paused by ${who} since ${time}: ${why}`;
  return `Processors take ECGs. Resumed by ${who} at ${time}: ${why}`;
}
