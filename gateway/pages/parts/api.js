// Requests to the gateway with the token of the session, and the problems that it answers with.

import { root } from "./root.js";

/** The gateway refused a request; `detail` is its own sentence. */
export class ProblemError extends Error {
  constructor(status, problem) {
    const details = (problem.errors ?? []).map((error) => `${error.pointer}: ${error.detail}`);
    super([problem.detail ?? `The gateway answered with ${status}.`, ...details].join(" "));
    this.status = status;
  }
}

/** The gateway did not answer. */
export class OfflineError extends Error {
  constructor() {
    super("The gateway can't be reached.");
  }
}

export class Api {
  #session;
  #folder;

  /** Requests below a folder of the gateway, such as `ops/api/`. */
  constructor(session, folder) {
    this.#session = session;
    this.#folder = folder;
  }

  /** The document at a path; parameters that are empty are left out. */
  async get(path, parameters = {}) {
    const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
    const response = await this.open(query.size ? `${path}?${query}` : path);
    return response.json();
  }

  /** Send a document; the document that is answered. */
  async send(method, path, document) {
    const headers = { "Content-Type": "application/json" };
    const response = await this.open(path, { method, headers, body: JSON.stringify(document) });
    return response.status === 204 ? null : response.json();
  }

  /**
   * The response to a request, of which the body is not read yet.
   *
   * Throws ProblemError, OfflineError, or an AbortError if its signal says so. A 401 ends the session.
   */
  async open(path, { method = "GET", headers = {}, body, signal } = {}) {
    const token = await this.#token();
    const options = { method, body, signal, headers: { ...headers, Authorization: `Bearer ${token}` } };
    const response = await reached(fetch(new URL(this.#folder + path, root), options));
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (response.status === 401) this.#session.end("Your login has ended. Sign in again to go on.");
    throw new ProblemError(response.status, problem);
  }

  async #token() {
    const token = await reached(this.#session.token());
    if (token === null) throw new ProblemError(401, { detail: "Sign in first." });
    return token;
  }
}

/** The outcome of a request; a TypeError of fetch means that there was no answer. */
async function reached(request) {
  try {
    return await request;
  } catch (error) {
    throw error instanceof TypeError ? new OfflineError() : error;
  }
}
