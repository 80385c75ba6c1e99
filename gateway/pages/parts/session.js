// The login: tokens in memory alone, so that no later visitor of this browser and no other page finds them.

import { root } from "./root.js";

// A token is renewed when this part of its life is over.
const RENEWED_AFTER = 0.8;

/**
 * Who is signed in. It tells of each change by an event "change"; `endReason` says why a login ended.
 */
export class Session extends EventTarget {
  #access = null;
  #refresh = null;
  #renewAt = 0;
  #renewal = null;
  name = "";
  roles = [];
  endReason = "";

  get isSignedIn() {
    return this.#access !== null;
  }

  /** Sign in; throws an Error that says why not. */
  async signIn(user, password) {
    const response = await post("token", { user, password });
    if (!response.ok) throw new Error(await detailOf(response));
    this.#keep(await response.json());
    this.dispatchEvent(new Event("change"));
  }

  /** End the login here and at the gateway. */
  signOut() {
    const token = this.#refresh;
    this.end("");
    if (token) post("token/revoke", { refresh_token: token }).catch(() => {});
  }

  /** Forget the login, which the gateway no longer takes. */
  end(reason) {
    if (!this.isSignedIn) return;
    this.#access = this.#refresh = null;
    this.endReason = reason;
    this.dispatchEvent(new Event("change"));
  }

  /** The access token, renewed when it is due; null if nobody is signed in. */
  async token() {
    if (this.#refresh && Date.now() >= this.#renewAt) {
      this.#renewal ??= this.#renew().finally(() => {
        this.#renewal = null;
      });
      await this.#renewal;
    }
    return this.#access;
  }

  async #renew() {
    const response = await post("token/refresh", { refresh_token: this.#refresh });
    if (response.ok) this.#keep(await response.json());
    else if (response.status === 401) this.end("Your login has ended. Sign in again to go on.");
  }

  #keep(tokens) {
    const claims = claimsOf(tokens.access_token);
    this.#access = tokens.access_token;
    this.#refresh = tokens.refresh_token;
    this.#renewAt = Date.now() + tokens.expires_in * 1000 * RENEWED_AFTER;
    this.name = claims.sub;
    this.roles = claims.roles ?? [];
    this.endReason = "";
  }
}

function post(path, body) {
  return fetch(new URL(path, root), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function detailOf(response) {
  const problem = await response.json().catch(() => ({}));
  return problem.detail ?? `The gateway answered with ${response.status}.`;
}

/** What a token says of its account. The page only chooses by it what to show; the gateway verifies it. */
function claimsOf(token) {
  const bytes = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(bytes);
}
