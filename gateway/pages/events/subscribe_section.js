// What a subscriber declares, and what is there already.

import { element } from "../parts/elements.js";
import { dataTable, longText, rowOf } from "../parts/tables.js";
import { phrases } from "./prose.js";

const COLUMNS = ["What", "Name", "Properties", "Declared by"];

/** The exchange, the subscriber's queue and the binding between them. */
export function subscribeSection(contract) {
  const event = Object.values(contract.channels).find((channel) => channel["x-isoline-for"] === "subscribers");
  const { exchange } = event.bindings.amqp;
  const queue = contract.channels.subscriber.bindings.amqp;
  const table = dataTable("What to declare", COLUMNS);
  table.body.append(
    row("Exchange", exchange.name, `${exchange.type}, durable`, "Isoline"),
    row("Queue", queue.queue.name, queueProperties(queue), "you"),
    row("Routing keys", Object.keys(contract.channels.subscriber.messages).join(", "), "bind those that you want", "you"),
    row("Messages", contract.defaultContentType, "persistent; the body is the event", ""),
  );
  return element(
    "section",
    { id: "subscribe", "aria-labelledby": "subscribe-title" },
    element("h2", { id: "subscribe-title" }, "Subscribe over AMQP"),
    element("p", { class: "prose" }, ...phrases(contract.channels.subscriber.description)),
    table.node,
  );
}

function queueProperties(binding) {
  const queueArguments = Object.entries(binding["x-isoline-queue-arguments"]);
  return ["durable", ...queueArguments.map(([name, value]) => `${name}: ${value}`)].join(", ");
}

function row(what, name, properties, by) {
  return rowOf(COLUMNS, [what, element("code", { class: "long" }, name), longText(properties), by]);
}
