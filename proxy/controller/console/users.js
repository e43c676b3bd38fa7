// Users of both arms of a canary, and what they did later (`max_outcome_drop`).

import { h } from "./dom.js";
import * as f from "./format.js";
import { facts } from "./widgets.js";

const rows = [
  ["exposed", "whom the draw has put on the arm", "exposed"],
  ["waiting", "their time has not come", "waiting"],
  ["counted", "their time has come and they count", "counted"],
  ["with a value", "of these, with an outcome above 0", "with_value"],
  ["stage ended first", "left out on both arms alike", "switched"],
  ["outcomes joined", "posted in time", "outcomes"],
  ["outcomes too late", "their user's time was over: many on one arm alone make the comparison doubtful", "late"],
];

/** A table of both arms, and what does not count. */
export function users(found) {
  const number = (value) => h("td", { class: "num" }, value === null ? "–" : value);
  const line = ([title, help, key]) => h("tr", {}, h("th", { scope: "row", title: help }, title), number(f.count(found.live[key])), number(f.count(found.candidate[key])));
  const mean = (arm) => number(arm.mean === null ? null : f.number(arm.mean));
  const left = ["unknown", "unfit", "left_out", "lost"].filter((why) => found[why]);
  return [
    h("p", { class: "muted" }, `${found.outcome}, each user once; ${found.bound === null ? `the bound is being learned (${f.count(found.learning)} users so far)` : `at most ${f.number(found.bound)} of a user counts`}${found.share < 1 ? `; ${f.percent(found.share)} of the users are kept` : ""}`),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "users of both arms" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("td", {}), ["live", "candidate"].map((arm) => h("th", { scope: "col", class: "num" }, arm)))),
        h("tbody", {}, rows.map(line), h("tr", {}, h("th", { scope: "row", title: "of the users that count, nothing cut" }, "mean"), mean(found.live), mean(found.candidate))),
      ),
    ),
    left.length ? facts(left.map((why) => [f.words(why), h("span", { class: "num" }, f.count(found[why]))])) : null,
  ].filter(Boolean);
}
