// The page of operators: who is signed in, how it does, and one view at a time.

import { addressOf, readAddress } from "../parts/address.js";
import { Api } from "../parts/api.js";
import { element, setAttribute, setShown, setText } from "../parts/elements.js";
import { LiveUpdates } from "../parts/live_updates.js";
import { Session } from "../parts/session.js";
import { signInForm } from "../parts/sign_in.js";
import { timeText } from "../parts/times.js";
import { auditView } from "./audit.js";
import { connectionState } from "./connection_state.js";
import { deadLettersView } from "./dead_letters.js";
import { ecgsView } from "./ecgs.js";
import { healthSentence } from "./health_sentence.js";
import { navigation } from "./navigation.js";
import { outboxView } from "./outbox.js";
import { overviewView } from "./overview.js";
import { timelineView } from "./timeline.js";

const PURPOSE = "For operators and observers of this installation.";
const FIRST_VIEW = "now";

const session = new Session();
const api = new Api(session, "ops/api/");
const live = new LiveUpdates(api, "stream");
const context = { api, session, latest: null };
const views = {
  now: overviewView(context),
  ecgs: ecgsView(context),
  ecg: timelineView(context),
  "dead-letters": deadLettersView(context),
  outbox: outboxView(context),
  audit: auditView(context),
};
const health = healthSentence();
const links = navigation();
const account = accountMenu();
const main = element("main", { id: "main", tabindex: -1 }, ...Object.values(views).map((view) => view.node));
const header = pageHeader();
const content = element("div", { hidden: true }, health.node, links.node, main);
const form = signInForm(session, PURPOSE);
let shown = null;

function pageHeader() {
  const skip = element("a", { class: "skip", href: "#main", onclick: skipToMain }, "Skip to the content");
  const source = new URL("../parts/icon.svg", import.meta.url);
  const icon = element("img", { src: source, alt: "", width: 24, height: 24 });
  const home = element("a", { class: "brand", href: addressOf(FIRST_VIEW) }, icon, "Isoline operations");
  const nodes = [skip, element("h1", {}, home), connectionState(live), account.node];
  return element("header", { class: "page-header" }, ...nodes);
}

function skipToMain(event) {
  event.preventDefault();
  main.focus();
}

function accountMenu() {
  const name = element("span", { class: "account-name" });
  const leave = element(
    "button",
    { type: "button", class: "small", onclick: () => session.signOut() },
    "Sign out",
  );
  const node = element("div", { class: "account", hidden: true }, name, leave);
  const update = () => {
    setText(name, `${session.name} (${session.roles.join(", ") || "no role"})`);
    setShown(node, session.isSignedIn);
  };
  return { node, update };
}

/** Show the view of the address; one that is open already gets its new parameters. */
function showView() {
  const address = readAddress();
  const name = address.view in views ? address.view : FIRST_VIEW;
  for (const [other, view] of Object.entries(views)) setShown(view.node, other === name);
  const heading = views[name].node.querySelector("h2");
  const isOther = shown !== null && shown !== name;
  shown = name;
  links.show(name, address.parameters);
  setAttribute(document.body, "data-may-act", session.roles.includes("operator"));
  views[name].open(address.parameters);
  document.title = `${heading.textContent} – Isoline operations`;
  if (isOther) heading.focus({ preventScroll: true });
}

/** Show what fits who is signed in: the form, or the page as it was left. */
function showSession() {
  account.update();
  setShown(content, session.isSignedIn);
  setShown(form.node, !session.isSignedIn);
  if (session.isSignedIn) {
    showView();
    live.start();
    main.focus({ preventScroll: true });
  } else {
    live.stop();
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    form.say(session.endReason);
    form.focus();
  }
}

/** What was shown last is no news when the gateway can't be reached, or tells this account nothing. */
function showState() {
  if (live.state === "offline") health.unavailable(`offline since ${timeText(live.since)}.`);
  else if (live.state === "late") health.unavailable(`nothing heard since ${timeText(live.since)}.`);
  else if (live.state === "refused") health.unavailable(live.reason);
}

function takeEvent({ name, data }) {
  if (name === "overview") {
    context.latest = data;
    health.update(data);
    links.update(data);
    views[shown].update(data);
  } else if (name === "unavailable") {
    health.unavailable(data.reason);
  }
}

document.body.prepend(header, content, form.node);
session.addEventListener("change", showSession);
live.addEventListener("state", showState);
live.addEventListener("event", (event) => takeEvent(event.detail));
window.addEventListener("hashchange", () => session.isSignedIn && showView());
showSession();
