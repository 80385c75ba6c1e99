// A chart of the last hour: how many ECGs were completed and failed in each minute.

import { element, setAttribute, setText, svgElement } from "../parts/elements.js";
import { countText, counted } from "../parts/numbers.js";
import { timeText } from "../parts/times.js";

const MINUTES = 60;
const MINUTE_MS = 60_000;
const BAR = 10; // units of the drawing, which is stretched to the width of the page
const HEIGHT = 100;

/** The chart; update(overview) draws it anew. */
export function throughputChart() {
  const bars = Array.from({ length: MINUTES }, (_, minute) => bar(minute));
  const drawing = svgElement(
    "svg",
    { viewBox: `0 0 ${MINUTES * BAR} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    ...bars.map(({ node }) => node),
  );
  const most = element("span");
  const caption = element("figcaption", {}, legend("completed"), legend("failed"), most);
  const ends = element(
    "p",
    { class: "ends", "aria-hidden": "true" },
    element("span", {}, "1 h ago"),
    element("span", {}, "now"),
  );
  const update = ({ throughput, at }) => {
    const minutes = lastHour(throughput.minutes, new Date(at));
    const isEmpty = throughput.minutes.length === 0;
    const highest = Math.max(1, ...minutes.map(({ completed, failed }) => completed + failed));
    bars.forEach((one, index) => one.update(minutes[index], highest));
    setText(
      most,
      isEmpty ? "none was settled in this hour" : `at most ${counted(highest, "ECG")} in a minute`,
    );
    setAttribute(drawing, "aria-label", summary(throughput.hour, highest));
  };
  return { node: element("figure", { class: "chart" }, caption, drawing, ends), update };
}

/** The counts of each of the last 60 minutes, oldest first; the API leaves out those without any. */
function lastHour(counts, now) {
  const known = new Map(counts.map((count) => [Math.floor(new Date(count.at) / MINUTE_MS), count]));
  const last = Math.floor(now / MINUTE_MS);
  return Array.from({ length: MINUTES }, (_, index) => {
    const minute = last - MINUTES + 1 + index;
    return known.get(minute) ?? { at: new Date(minute * MINUTE_MS), completed: 0, failed: 0 };
  });
}

function bar(minute) {
  const completed = svgElement("rect", { class: "completed", x: minute * BAR + 1, width: BAR - 2 });
  const failed = svgElement("rect", { class: "failed", x: minute * BAR + 1, width: BAR - 2 });
  const title = svgElement("title");
  const area = svgElement("rect", { class: "area", x: minute * BAR, width: BAR, height: HEIGHT });
  const update = (count, highest) => {
    const heights = [count.completed, count.failed].map((ecgs) => (ecgs / highest) * HEIGHT);
    stretch(completed, HEIGHT - heights[0], heights[0]);
    stretch(failed, HEIGHT - heights[0] - heights[1], heights[1]);
    setText(
      title,
      `${timeText(count.at)}: ${countText(count.completed)} completed, ${countText(count.failed)} failed`,
    );
  };
  return { node: svgElement("g", {}, title, area, completed, failed), update };
}

function stretch(rectangle, top, height) {
  setAttribute(rectangle, "y", top.toFixed(1));
  setAttribute(rectangle, "height", height.toFixed(1));
}

function legend(name) {
  return element("span", { class: `legend ${name}` }, name);
}

function summary(hour, highest) {
  const counts = `${countText(hour.completed)} completed, ${countText(hour.failed)} failed`;
  return `ECGs by minute over the last hour: ${counts}, at most ${countText(highest)} in a minute`;
}
