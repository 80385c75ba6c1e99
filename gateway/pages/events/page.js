// The contract of events: what to declare, what each event says, and an example of each.

import { element } from "../parts/elements.js";
import { root } from "../parts/root.js";
import { attributesSection, eventSection } from "./event_section.js";
import { paragraphs } from "./prose.js";
import { subscribeSection } from "./subscribe_section.js";

const CONTRACT = new URL("asyncapi.json", root);

const main = element("main", { id: "main", tabindex: -1 });

function pageHeader() {
  const skip = element("a", { class: "skip", href: "#main" }, "Skip to the content");
  const source = new URL("../parts/icon.svg", import.meta.url);
  const icon = element("img", { src: source, alt: "", width: 24, height: 24 });
  const home = element("a", { class: "brand", href: new URL("docs/events", root) }, icon, "Isoline events");
  const links = element(
    "nav",
    { "aria-label": "Contracts", class: "contracts" },
    element("a", { href: CONTRACT }, "asyncapi.json"),
    element("a", { href: new URL("docs", root) }, "HTTP contract"),
  );
  return element("header", { class: "page-header" }, skip, element("h1", {}, home), links);
}

/** The events for subscribers, and after them those for the processors. */
function channelsOfEvents(contract) {
  const channelsFor = (reader) =>
    Object.values(contract.channels).filter((channel) => channel["x-isoline-for"] === reader);
  return [...channelsFor("subscribers"), ...channelsFor("processors")];
}

function contents(sections) {
  const items = sections.map((section) =>
    element("li", {}, element("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)),
  );
  return element("nav", { "aria-label": "Contents", class: "contents" }, element("ul", {}, ...items));
}

function show(contract) {
  const channels = channelsOfEvents(contract);
  const sections = [
    subscribeSection(contract),
    attributesSection(contract, channels[0]),
    ...channels.map((channel) => eventSection(contract, channel)),
  ];
  const release = element("p", { class: "note" }, `Release ${contract.info.version}`);
  main.replaceChildren(...paragraphs(contract.info.description), release, contents(sections), ...sections);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function showFailure() {
  const retry = element("button", { type: "button", onclick: load }, "Try again");
  const message = element("p", { class: "status error" }, "The contract could not be loaded.");
  main.replaceChildren(element("div", { class: "failure", role: "alert" }, message, retry));
}

async function load() {
  main.replaceChildren(element("p", { class: "status", role: "status" }, "Loading…"));
  try {
    const response = await fetch(CONTRACT);
    if (!response.ok) throw new Error(`The gateway answered with ${response.status}.`);
    show(await response.json());
  } catch {
    showFailure();
  }
}

document.body.prepend(pageHeader(), main);
load();
