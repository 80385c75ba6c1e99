// Numbers as people read them, with their units, from which no line break parts them.

const GROUPED = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const MINUTE_S = 60;
const HOUR_S = 60 * MINUTE_S;
const DAY_S = 24 * HOUR_S;

/** 12345 as "12,345". */
export function countText(count) {
  return GROUPED.format(count);
}

/** A count with its noun: "1 ECG", "2 ECGs". */
export function counted(count, noun, nouns = `${noun}s`) {
  return `${countText(count)} ${count === 1 ? noun : nouns}`;
}

/** Seconds as a person says them: "40 ms", "1.5 s", "4 min 10 s", "2 h 5 min", "3 d 2 h". */
export function durationText(seconds) {
  return durationWords(seconds).replaceAll(" ", "\u00a0");
}

function durationWords(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < MINUTE_S - 0.5) return `${Math.round(seconds)} s`;
  if (seconds < HOUR_S - 0.5) return twoUnits(seconds, MINUTE_S, "min", 1, "s");
  if (seconds < DAY_S - MINUTE_S / 2) return twoUnits(seconds, HOUR_S, "h", MINUTE_S, "min");
  return twoUnits(seconds, DAY_S, "d", HOUR_S, "h");
}

/** A rate as "12.5 per s", or per minute or hour where that is less than one a second. */
export function rateText(perSecond) {
  if (perSecond === 0) return "0 per s";
  if (perSecond >= 100) return `${countText(perSecond)} per s`;
  if (perSecond >= 1) return `${perSecond.toFixed(1)} per s`;
  if (perSecond * MINUTE_S >= 1) return `${(perSecond * MINUTE_S).toFixed(1)} per min`;
  return `${(perSecond * HOUR_S).toFixed(1)} per h`;
}

function twoUnits(seconds, large, largeName, small, smallName) {
  const smalls = Math.round(seconds / small);
  const rest = smalls % (large / small);
  const text = `${Math.floor((smalls * small) / large)} ${largeName}`;
  return rest ? `${text} ${rest} ${smallName}` : text;
}
