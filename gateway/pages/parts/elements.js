// Makes and changes elements. Data become text nodes and attributes, and never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a function as an attribute listens to an event (`onclick`). */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same, of SVG. */
export function svgElement(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Change the text of a node without elements, if it differs: selections and screen readers keep still. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/** Change an attribute if it differs; `true` is an empty one, `false` and `null` are none. */
export function setAttribute(node, name, value) {
  if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== textOf(value)) node.setAttribute(name, textOf(value));
}

/** Show a node, or hide it. */
export function setShown(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else setAttribute(node, name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function textOf(value) {
  return value === true ? "" : String(value);
}
