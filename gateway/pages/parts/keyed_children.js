// Shows a list that changes: nodes of items that stay are kept, and with them focus and selection.

const nodesOf = new WeakMap();

/**
 * Make the children of a parent those of the items.
 *
 * key(item) tells items apart; create(item) makes a node; update(node, item) changes it to what the item is.
 */
export function showItems(parent, items, { key, create, update = () => {} }) {
  const before = nodesOf.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const node = before.get(key(item)) ?? create(item);
    update(node, item);
    after.set(key(item), node);
  }
  const focused = removeGone(before, after);
  place(parent, after.values());
  nodesOf.set(parent, after);
  if (focused !== null) focusInstead(parent, focused);
}

/** Remove nodes whose items are gone; the position of the one that had the focus, or null. */
function removeGone(before, after) {
  let focused = null;
  [...before].forEach(([key, node], position) => {
    if (after.get(key) === node) return;
    if (node.contains(document.activeElement)) focused = position;
    node.remove();
  });
  return focused;
}

/** Put the nodes in this order; one that is in its place already is not touched. */
function place(parent, nodes) {
  let next = parent.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
}

/** Focus what took the place of a node that had the focus, or else the heading above the list. */
function focusInstead(parent, position) {
  const neighbour = parent.children[Math.min(position, parent.children.length - 1)];
  const target =
    neighbour?.querySelector("a, button, input") ?? parent.closest("section")?.querySelector("h2");
  target?.focus({ preventScroll: true });
}
