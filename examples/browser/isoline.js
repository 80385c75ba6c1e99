// A client of Isoline for pages of any origin. It needs nothing but fetch, and keeps its tokens in memory alone.

const ATTEMPTS = 5;
const PAUSE_S = 1;
// Sending the same again mends these: nothing happens twice.
const PASSING = new Set([429, 502, 503, 504]);

/** The gateway refused a request; the message is its own sentence, with the id under which its log has the request. */
export class ProblemError extends Error {
  constructor(response, problem) {
    const errors = (problem.errors ?? []).map((error) => `${error.pointer}: ${error.detail}`);
    const sentence = [problem.detail ?? `The gateway answered with ${response.status}.`, ...errors].join(" ");
    super(`${sentence} (request ${response.headers.get("X-Request-Id")})`);
    this.status = response.status;
    this.retryAfter_s = response.headers.get("Retry-After");
  }
}

export class Isoline {
  #address;
  #tokens = null;
  #renewal = null;

  /** For the gateway of this address, which may be below a path: https://example.org/isoline */
  constructor(address) {
    this.#address = address.replace(/\/$/, "");
  }

  /** Trade a name and a password for tokens. */
  async signIn(user, password) {
    this.#tokens = await this.#sendJson("/token", { user, password });
  }

  /** Submit an ECG; its receipt. Once this returns the ECG is never lost. */
  async submit(ecg) {
    const response = await this.#authorized("/ecg/process", json(ecg));
    return response.json();
  }

  /** The result of an ECG, as soon as it is completed or failed. */
  async result(id) {
    for (;;) {
      const response = await this.#authorized(`/ecg/${encodeURIComponent(id)}?wait=20`, {});
      const ecg = await response.json();
      if (ecg.status !== "queued") return ecg;
    }
  }

  /** Where the log of events ends now. */
  async eventCursor() {
    const response = await this.#authorized("/events?after=latest", {});
    const { cursor } = await response.json();
    return cursor;
  }

  /** The events of one's ECGs after a cursor, until the signal aborts; it goes on by itself after a lost connection. */
  async *events(cursor, signal) {
    const position = { cursor };
    for (;;) {
      try {
        yield* this.#eventStream(position, signal);
      } catch (error) {
        if (!isPassing(error)) throw error;
      }
      await pause(PAUSE_S);
    }
  }

  /** The events of one stream of server-sent events, over fetch: EventSource can't send a token. */
  async *#eventStream(position, signal) {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": position.cursor };
    const response = await this.#authorized("/events", { headers, signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let pending = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (pending + value).split("\n\n");
      pending = blocks.pop();
      for (const { type, id, data } of blocks.map(parseEvent)) {
        position.cursor = id ?? position.cursor;
        if (type?.startsWith("ecg.")) yield JSON.parse(data);
      }
    }
  }

  /** The response to a request with a token, sent again for what passes; a token that has ended is renewed. */
  async #authorized(path, options) {
    for (let attempt = 1; ; attempt += 1) {
      const token = this.#tokens.access_token;
      const headers = { ...options.headers, Authorization: `Bearer ${token}` };
      try {
        return await this.#send(path, { ...options, headers });
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
        await this.#mend(error, token, PAUSE_S * 2 ** (attempt - 1));
      }
    }
  }

  /** Do what makes sending again worth it, or throw the error. */
  async #mend(error, token, pause_s) {
    if (error.status === 401) await this.#renew(token);
    else if (isPassing(error)) await pause(error.retryAfter_s ?? pause_s);
    else throw error;
  }

  /** Trade the refresh token for the next tokens, once for all requests that wait: its second use ends the login. */
  async #renew(ended) {
    if (this.#tokens.access_token !== ended) return;
    const { refresh_token } = this.#tokens;
    this.#renewal ??= this.#sendJson("/token/refresh", { refresh_token });
    try {
      this.#tokens = await this.#renewal;
    } finally {
      this.#renewal = null;
    }
  }

  async #sendJson(path, document) {
    const response = await this.#send(path, json(document));
    return response.json();
  }

  /** The response to a request. Throws ProblemError, or TypeError if there is none. */
  async #send(path, options) {
    const response = await fetch(this.#address + path, options);
    if (response.ok) return response;
    throw new ProblemError(response, await response.json().catch(() => ({})));
  }
}

function isPassing(error) {
  return error instanceof TypeError || PASSING.has(error.status);
}

/** The fields of a server-sent event; `event`, its type, as `type`. */
function parseEvent(block) {
  const fields = block.split("\n").map((line) => line.match(/^(\w+): ?(.*)$/)?.slice(1) ?? []);
  const { event: type, id, data } = Object.fromEntries(fields);
  return { type, id, data };
}

function json(document) {
  const headers = { "Content-Type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify(document) };
}

function pause(seconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
  });
}
