// Numbers and times as people read them. Every number keeps about three significant digits.

const plain = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const number = (value) => (value === null || value === undefined ? "–" : plain.format(value));
export const percent = (ratio) => (ratio === null || ratio === undefined ? "–" : `${plain.format(ratio * 100)} %`);
/** How far the case against a candidate has got: whole percents, for it is no measurement. */
export const evidence = (ratio) => (ratio > 0 && ratio < 0.01 ? "< 1 %" : ratio === null || ratio === undefined ? "–" : `${whole.format(ratio * 100)} %`);
export const weight = (value) => `${plain.format(value)} %`;

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${plain.format(value * 1e6)} µs`;
  if (value < 1) return `${plain.format(value * 1e3)} ms`;
  return value < 600 ? `${plain.format(value)} s` : duration(value);
}

/** A long time in at most two units: 2 h 5 min. */
/** A size as a person says it: 300 bytes, 16 KiB, 2.4 MiB. */
export const bytes = (value) => (value < 1024 ? `${whole.format(value)} bytes` : value < 1023.5 * 1024 ? `${whole.format(value / 1024)} KiB` : `${plain.format(Math.round(value / 104_857.6) / 10)} MiB`);

export function duration(value) {
  if (value === null || value === undefined) return "–";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(0, units.findIndex(([, size]) => value >= size));
  if (value < 1) return "under 1 s";
  const [unit, size] = units[at];
  const rest = units[at + 1] ? Math.floor((value % size) / units[at + 1][1]) : 0;
  return `${Math.floor(value / size)} ${unit}${rest ? ` ${rest} ${units[at + 1][0]}` : ""}`;
}

/** An amount of money: two digits after the point, three that count where it is small. */
export function money(value, currency) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) >= 1 || value === 0 ? new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 }) : plain;
  return /^\p{L}/u.test(currency) ? `${digits.format(value)} ${currency}` : `${currency}${digits.format(value)}`;
}

/** A guard's value in its unit. */
export function inUnit(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return percent(value);
  if (unit === "points") return `${plain.format(value * 100)} pp`;
  if (unit === "times") return `${plain.format(value)}×`;
  return unit === "seconds" ? seconds(value) : number(value);
}

/** An interval in a guard's unit; one without an upper end is open. */
export const range = (low, high, unit) => (high === null || high === undefined ? `${inUnit(low, unit)} or more` : `${inUnit(low, unit)} … ${inUnit(high, unit)}`);

const asDate = (time) => (typeof time === "number" ? new Date(time * 1000) : new Date(time));

/** A moment in the viewer's zone: the time, with the date when it is not today. */
export function moment(time) {
  const date = asDate(time);
  if (Number.isNaN(date.getTime())) return "–";
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date);
}

export function exactMoment(time) {
  const date = asDate(time);
  return Number.isNaN(date.getTime()) ? "" : full.format(date);
}

/** Marks of a time axis that spans so many seconds: no longer than they must be. */
export function tick(time, span) {
  const form = span < 300 ? clock : span < 86400 ? minute : date;
  return form.format(asDate(time));
}

/** The viewer's time zone, by name where the browser tells. */
export const zone = () => new Intl.DateTimeFormat().resolvedOptions().timeZone ?? "your own zone";

export const since = (time) => Math.max(0, (Date.now() - asDate(time).getTime()) / 1000);

export const stageName = (stage) => String(stage).replace(/^canary-(.*)$/, "canary $1 %").replace("_", " ");
export const words = (word) => String(word).replaceAll("_", " ");
