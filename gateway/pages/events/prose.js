// Texts of the contract: paragraphs, with code between backticks. Nothing else of Markdown is in them.

import { element } from "../parts/elements.js";

/** The paragraphs of a text, which empty lines part. */
export function paragraphs(text) {
  return text
    .split(/\n{2,}/)
    .map((paragraph) => element("p", { class: "prose" }, ...phrases(paragraph.replaceAll("\n", " "))));
}

/** A text without paragraphs, with its code as such. */
export function phrases(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}
