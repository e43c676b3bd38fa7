// Two answers, field by field: what differs first, what is equal only counted.

import { cut, h } from "./dom.js";

const MOST_FIELDS = 200;
const MOST_COMPARED = 10 * MOST_FIELDS;
const MOST_TEXT = 300;

/** Paths and values of everything in a JSON value; at most `MOST_COMPARED` of them. */
function flatten(value, path = "", into = new Map()) {
  if (into.size >= MOST_COMPARED) return into;
  if (value !== null && typeof value === "object" && Object.keys(value).length) {
    for (const key of Object.keys(value)) flatten(value[key], `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, into);
  } else into.set(path || "/", typeof value === "bigint" ? String(value) : JSON.stringify(value));
  return into;
}

const WHOLE = /^-?\d+$/;

/** A number as it was written where a double cannot hold it: two ids beyond 2^53 that differ must not look equal. */
function exact(key, value, context) {
  const written = typeof value === "number" && !Number.isSafeInteger(value) ? context?.source : undefined;
  return written !== undefined && WHOLE.test(written) ? BigInt(written) : value;
}

function parsed(text) {
  try {
    return flatten(JSON.parse(text, exact));
  } catch {
    return null;
  }
}

const side = (arm, text) => h("div", { class: "side" }, h("h3", { class: `arm-name ${arm}` }, arm), h("pre", { tabindex: "0" }, cut(text || "(no body)", 2000)));

function distance(a, b) {
  const gap = WHOLE.test(a) && WHOLE.test(b) ? Number(BigInt(b) - BigInt(a)) : Number(b) - Number(a);
  return a !== undefined && b !== undefined && Number.isFinite(gap) && gap !== 0 ? `${gap > 0 ? "+" : "−"}${Math.abs(gap).toPrecision(3)}` : "";
}

/** A table of the fields in which two bodies differ; side by side when either is not JSON. */
export function diff(live, candidate) {
  const [a, b] = [parsed(live ?? ""), parsed(candidate ?? "")];
  if (!a || !b) return h("div", { class: "sides" }, side("live", live), side("candidate", candidate));
  const fields = [...new Set([...a.keys(), ...b.keys()])];
  const differing = fields.filter((field) => a.get(field) !== b.get(field));
  const equal = fields.length - differing.length;
  const more = differing.length > MOST_FIELDS ? `, ${differing.length - MOST_FIELDS} more differ` : "";
  const beyond = Math.max(a.size, b.size) >= MOST_COMPARED ? ` Only the first ${MOST_COMPARED} fields of each were compared.` : "";
  return h(
    "div",
    { class: "diff scroll", tabindex: "0", role: "group", "aria-label": "fields that differ" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["field", "live", "candidate", "difference"].map((title) => h("th", { scope: "col" }, title)))),
      h(
        "tbody",
        {},
        differing.slice(0, MOST_FIELDS).map((field) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, h("bdi", {}, cut(field, 120))),
            h("td", { class: "live" }, h("bdi", {}, cut(a.get(field) ?? "(absent)", MOST_TEXT))),
            h("td", { class: "candidate" }, h("bdi", {}, cut(b.get(field) ?? "(absent)", MOST_TEXT))),
            h("td", { class: "num" }, distance(a.get(field), b.get(field))),
          ),
        ),
      ),
    ),
    h("p", { class: "muted" }, `${equal} field${equal === 1 ? " is" : "s are"} equal${more}.${beyond}`),
  );
}
