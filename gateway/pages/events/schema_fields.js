// The fields of a schema, also those of objects in it, as rows of a table.

const PLURALS = { string: "strings", integer: "integers", object: "objects", array: "arrays" };

/** The schema that a reference leads to; what stands beside the reference is kept. */
export function resolved(schema, document) {
  if (!schema.$ref) return schema;
  const names = schema.$ref.slice(2).split("/");
  const target = names.reduce((node, name) => node[name], document);
  const { $ref: _, ...beside } = schema;
  return { ...resolved(target, document), ...beside };
}

/** The fields of an object: [{path, type, isAlways, description}], each before those in it. */
export function fieldsOf(schema, document, prefix = "") {
  const { properties = {}, required = [] } = resolved(schema, document);
  return Object.entries(properties).flatMap(([name, given]) => {
    const field = resolved(given, document);
    const path = `${prefix}${name}`;
    const isAlways = required.includes(name);
    const row = { path, type: typeOf(field, document), isAlways, description: field.description ?? "" };
    return [row, ...fieldsWithin(field, document, path)];
  });
}

function fieldsWithin(field, document, path) {
  if (field.properties) return fieldsOf(field, document, `${path}.`);
  if (field.items) return fieldsWithin(resolved(field.items, document), document, `${path}[]`);
  if (!field.additionalProperties) return [];
  return fieldsWithin(resolved(field.additionalProperties, document), document, `${path}.{name}`);
}

function typeOf(field, document) {
  if ("const" in field) return JSON.stringify(field.const);
  if (field.items) return `array of ${plural(resolved(field.items, document))}`;
  if (field.additionalProperties && !field.properties) {
    return `object of ${plural(resolved(field.additionalProperties, document))}`;
  }
  return field.format ? `${field.type} (${field.format})` : field.type;
}

function plural(schema) {
  return PLURALS[schema.type] ?? "values";
}
