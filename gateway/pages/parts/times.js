// Times in the zone of the person who reads them, and in UTC on hover.

import { element, setAttribute, setText } from "./elements.js";

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** An element that shows a time, or a dash for none. */
export function timeElement(iso) {
  const node = element("time");
  setTime(node, iso);
  return node;
}

/** Have an element of `timeElement` show another time. */
export function setTime(node, iso) {
  setText(node, iso ? timeText(iso) : "–");
  setAttribute(node, "datetime", iso || null);
  setAttribute(node, "title", iso ? utcText(iso) : null);
}

/** "19:20:03" of today, "29 Nov 19:20:03" of another day, with the year if that is another. */
export function timeText(iso, now = new Date()) {
  const time = new Date(iso);
  if (time.toDateString() === now.toDateString()) return CLOCK.format(time);
  const day = time.getFullYear() === now.getFullYear() ? DAY : YEAR;
  return `${day.format(time)} ${CLOCK.format(time)}`;
}

/** "2026-11-30 18:20:03 UTC". */
export function utcText(iso) {
  return `${new Date(iso).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A time of the API as the value of an input of type datetime-local. */
export function inputOfTime(iso) {
  if (!iso) return "";
  const time = new Date(iso);
  if (Number.isNaN(time.valueOf())) return "";
  const local = new Date(time.valueOf() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

/** The value of an input of type datetime-local as a time of the API, in UTC. */
export function timeOfInput(value) {
  return value ? new Date(value).toISOString().replace(/\.\d+Z$/, "Z") : "";
}
