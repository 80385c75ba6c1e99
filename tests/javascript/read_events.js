// Reads {schemas, events} from standard input; writes what ajv and cloudevents make of each event.

import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { HTTP } from "cloudevents";

const { schemas, events } = JSON.parse(readFileSync(0, "utf8"));
const ajv = new Ajv({ strict: true, allErrors: true });
addFormats(ajv);
for (const schema of schemas) ajv.addSchema(schema);

const isValid = (name, value) => ajv.validate(name, value) || ajv.errorsText();
const read = events.map((body) => {
  const event = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body });
  return {
    id: event.id,
    type: event.type,
    subject: event.subject,
    generation: event.data.generation,
    isEvent: isValid(`${event.dataschema}:event`, JSON.parse(body)),
    isData: isValid(event.dataschema, event.data),
  };
});
process.stdout.write(JSON.stringify(read));
