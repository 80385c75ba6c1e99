// Server-sent events over fetch: EventSource can't send a token.

/** The events of a response as {name, data}, data parsed from JSON. */
export async function* readEvents(response) {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const bytes of chunks(response.body)) {
    pending += decoder.decode(bytes, { stream: true });
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event.data) yield { name: event.event ?? "message", data: JSON.parse(event.data) };
    }
  }
}

/** The pieces of a body; Safari can't iterate over one. */
async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const fields = block.split("\n").filter((line) => line && !line.startsWith(":"));
  return Object.fromEntries(
    fields.map((line) => {
      const [name, ...value] = line.split(":");
      return [name, value.join(":").trimStart()];
    }),
  );
}
