// The view and its filter in the address (`#ecgs?failed&owner=ada`): a link shows a colleague the same.

/** The view that an address names, and its parameters. */
export function readAddress(hash = location.hash) {
  const [view, query = ""] = hash.replace(/^#/, "").split("?");
  return { view, parameters: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a view; parameters that are empty are left out, and one that is true has no value. */
export function addressOf(view, parameters = {}) {
  const kept = Object.entries(parameters).filter(([, value]) => value);
  const query = kept.map(([name, value]) => (value === true ? name : `${name}=${encodeURIComponent(value)}`));
  return `#${view}${query.length ? `?${query.join("&")}` : ""}`;
}

/** Go to an address, as a link would. */
export function goTo(view, parameters = {}) {
  location.hash = addressOf(view, parameters);
}
