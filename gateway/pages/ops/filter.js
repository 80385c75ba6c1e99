// The filter of finished ECGs: the same words in the form, the address, the API and on the command line.

import { element, setShown, setText } from "../parts/elements.js";
import { inputOfTime, timeOfInput } from "../parts/times.js";

const TEXTS = { owner: "Owner", id: "ECG id", reason: "Reason" };
const TIMES = { since: "Finished since", until: "Finished before" };
const WORDS = ["failed", ...Object.keys(TEXTS), ...Object.keys(TIMES)];
const COPIED_MS = 2000;

/** The filter of an address' parameters, without other words; a reason is one of failed ECGs. */
export function filterOf(parameters) {
  const filter = {};
  for (const word of WORDS) {
    if (word === "failed" ? word in parameters : parameters[word]) {
      filter[word] = word === "failed" ? true : parameters[word];
    }
  }
  return filter.reason ? { failed: true, ...filter } : filter;
}

/** The filter as the API takes it. */
export function apiFilter({ failed, ...words }) {
  return failed ? { status: "failed", ...words } : words;
}

/** The command that lists the same, or, where there is none, the one that counts what it would replay. */
export function commandLine({ failed, ...words }) {
  if (failed) return `isoline ops failed ${optionsOf(words)}`.trimEnd();
  return `isoline replay ${optionsOf(words)} --dry-run --why ...`;
}

/** A filter as options of the command line. */
export function optionsOf(filter) {
  const options = Object.entries(filter).map(([word, value]) =>
    value === true ? `--${word}` : `--${word} ${quoted(value)}`,
  );
  return options.join(" ");
}

/** A form that shows a filter and calls `onChange(filter)` when another is entered. */
export function filterForm(onChange) {
  const failed = element("input", { type: "checkbox", name: "failed" });
  const inputs = Object.fromEntries([
    ...Object.keys(TEXTS).map((word) => [word, textInput(word)]),
    ...Object.keys(TIMES).map((word) => [word, timeInput(word)]),
  ]);
  const labels = Object.entries({ ...TEXTS, ...TIMES }).map(([word, title]) =>
    element("label", {}, title, inputs[word]),
  );
  const clear = element(
    "button",
    { type: "button", class: "small", onclick: () => onChange({ failed: true }) },
    "Clear",
  );
  const apply = element("button", { class: "small" }, "Filter");
  const only = element("label", { class: "check" }, failed, "Failed only");
  const buttons = element("div", { class: "buttons" }, clear, apply);
  const form = element("form", { class: "filter", "aria-label": "Filter" }, ...labels, only, buttons);
  const isWide = matchMedia("(min-width: 40rem)").matches;
  const folded = element(
    "details",
    { class: "folded-filter", open: isWide },
    element("summary", {}, "Filter"),
    form,
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => onChange(entered(failed, inputs)));
  form.addEventListener("submit", () => onChange(entered(failed, inputs)));
  return { node: folded, show: (filter) => showFilter(filter, failed, inputs) };
}

/** A line with the equal command, and a button that copies it. */
export function commandLineToCopy() {
  const code = element("code");
  const copy = element("button", { type: "button", class: "small" }, "Copy");
  copy.addEventListener("click", async () => {
    const isCopied = await navigator.clipboard.writeText(code.textContent).then(
      () => true,
      () => false,
    );
    setText(copy, isCopied ? "Copied" : "Not copied");
    setTimeout(() => setText(copy, "Copy"), COPIED_MS);
  });
  setShown(copy, Boolean(navigator.clipboard)); // which browsers have on secure addresses alone
  return {
    node: element("p", { class: "command" }, code, " ", copy),
    show: (filter) => setText(code, commandLine(filter)),
  };
}

function textInput(name) {
  return element("input", { type: "text", name, autocomplete: "off", spellcheck: "false" });
}

function timeInput(name) {
  return element("input", { type: "datetime-local", name, step: 1 });
}

function showFilter(filter, failed, inputs) {
  failed.checked = filter.failed === true;
  for (const [word, input] of Object.entries(inputs)) {
    const value = word in TIMES ? inputOfTime(filter[word]) : (filter[word] ?? "");
    if (input.value !== value && input !== document.activeElement) input.value = value;
  }
}

function entered(failed, inputs) {
  const filter = failed.checked ? { failed: true } : {};
  for (const [word, input] of Object.entries(inputs)) {
    const value = word in TIMES ? timeOfInput(input.value) : input.value.trim();
    if (value) filter[word] = value;
  }
  return filter;
}

function quoted(value) {
  return /^[\w.:@%+=,/-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}
