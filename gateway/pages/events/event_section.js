// What an event says: its fields in a table, and an example.

import { element } from "../parts/elements.js";
import { root } from "../parts/root.js";
import { dataTable, rowOf } from "../parts/tables.js";
import { phrases } from "./prose.js";
import { fieldsOf, resolved } from "./schema_fields.js";

const COLUMNS = ["Field", "Type", "In each event", "Meaning"];
const COLUMNS_OF_DATA = ["Field of data", "Type", "In each event", "Meaning"];
const OF_ONE_EVENT = ["type", "data"];

/** The attributes of all events, by the schema of one. */
export function attributesSection(contract, channel) {
  const fields = fieldsOf(schemaOf(contract, channel), contract).filter(
    ({ path }) => !OF_ONE_EVENT.includes(path) && !path.startsWith("data."),
  );
  return element(
    "section",
    { id: "attributes", "aria-labelledby": "attributes-title" },
    element("h2", { id: "attributes-title" }, "Every event"),
    element("p", { class: "prose" }, "A CloudEvents 1.0 document, beside the event's own type and data:"),
    fieldTable("Attributes of every event", COLUMNS, fields),
  );
}

/** One event: when it is published, the fields of its data, and an example. */
export function eventSection(contract, channel) {
  const type = channel.address;
  const fields = fieldsOf(resolved(schemaOf(contract, channel), contract).properties.data, contract);
  const [example] = messageOf(contract, channel).examples;
  const title = `${type}-title`;
  const fieldsAndLinks = element(
    "div",
    {},
    fieldTable(`Data of ${type}`, COLUMNS_OF_DATA, fields),
    element("p", { class: "schemas" }, ...schemaLinks(example.payload)),
  );
  return element(
    "section",
    { id: type, "aria-labelledby": title },
    element("h2", { id: title }, element("code", {}, type)),
    element("p", { class: "prose" }, ...phrases(channel.description)),
    element("div", { class: "fields-and-example" }, fieldsAndLinks, exampleOf(type, example.payload)),
  );
}

function messageOf(contract, channel) {
  return resolved(channel.messages[channel.address], contract);
}

function schemaOf(contract, channel) {
  return messageOf(contract, channel).payload;
}

function fieldTable(caption, columns, fields) {
  const table = dataTable(caption, columns);
  const rows = fields.map(({ path, type, isAlways, description }) => {
    const meaning = element("span", {}, ...phrases(description));
    return rowOf(columns, [pathOf(path), type, isAlways ? "yes" : "no", meaning], ["Meaning"]);
  });
  table.body.append(...rows);
  return table.node;
}

/** A path that is broken between names if it is broken at all. */
function pathOf(path) {
  const names = path.split(/(?<=\.)/);
  return element("code", {}, ...names.flatMap((name) => [name, element("wbr")]));
}

/** Links to the schemas of the data and of the whole event, by the name that the event gives. */
function schemaLinks(event) {
  const [type, version] = event.dataschema.split(":").slice(-2);
  const path = `schemas/${type}/${version}`;
  const data = element("a", { href: new URL(path, root) }, "of its data");
  const whole = element("a", { href: new URL(`${path}/event`, root) }, "of the whole event");
  return ["JSON Schema ", data, " (", element("code", { class: "long" }, event.dataschema), ") and ", whole];
}

function exampleOf(type, event) {
  return element("pre", { "aria-label": `Example of ${type}` }, element("code", {}, JSON.stringify(event, null, 2)));
}
