// The views to choose from, each with how many things wait in it.

import { addressOf } from "../parts/address.js";
import { element, setAttribute, setShown, setText } from "../parts/elements.js";
import { countText } from "../parts/numbers.js";

const VIEWS = [
  { name: "now", title: "Now" },
  {
    name: "ecgs",
    title: "Failed ECGs",
    parameters: { failed: true },
    count: (overview) => overview.failed_ecgs,
  },
  { name: "dead-letters", title: "Dead letters", count: (overview) => overview.dead_letters.waiting },
  { name: "outbox", title: "Outbox", count: (overview) => overview.backlog.unpublished_batches },
  { name: "audit", title: "Audit" },
];

/** Links to the views; show(name) marks the present one, update(overview) the counts. */
export function navigation() {
  const links = VIEWS.map(({ title, name, parameters, ...view }) => {
    const count = element("span", { class: "count", hidden: true });
    const link = element("a", { href: addressOf(name, parameters) }, title, " ", count);
    return { name, link, count, countOf: view.count };
  });
  const items = links.map(({ link }) => element("li", {}, link));
  return {
    node: element("nav", { "aria-label": "Views" }, element("ul", {}, ...items)),
    show: (name) => {
      const present = name === "ecg" ? "ecgs" : name;
      for (const { link, name: own } of links)
        setAttribute(link, "aria-current", own === present ? "page" : null);
    },
    update: (overview) => links.forEach((link) => showCount(link, overview)),
  };
}

function showCount({ count, countOf }, overview) {
  const number = countOf?.(overview) ?? 0;
  setText(count, countText(number));
  setShown(count, number > 0);
}
