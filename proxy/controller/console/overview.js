// The first page: every rollout at a glance, and recent events.

import { cut, h, name, part } from "./dom.js";
import * as f from "./format.js";
import { arms, bar, ladder, ledgerLine, nearest, standing, when } from "./widgets.js";

const EXAMPLE = `routes:
  - name: credit
    live: credit-v1
    rollouts:
      - candidate: credit-v2
        shadow: 100%`;

const link = (rollout) => `#/${rollout.name.split("/").map(encodeURIComponent).join("/")}`;

function closest(rollout) {
  const finding = nearest(rollout.findings);
  if (!finding || !rollout.ledger.compared) return h("p", { class: "muted" }, "No pair has been judged yet.");
  return h(
    "div",
    { class: "closest" },
    h("span", { class: "muted" }, `${finding.verdict === "fail" ? "failed" : "closest to failing"}: ${finding.title}`),
    bar(finding, finding.unit),
    h(
      "span",
      { class: "numbers num" },
      h("span", {}, h("strong", {}, f.inUnit(finding.value, finding.unit)), ` of ${f.inUnit(finding.limit, finding.unit)}`),
      h("span", { class: "muted" }, `${f.evidence(finding.evidence)} of the evidence to fail`),
    ),
  );
}

function row(rollout, rates) {
  return h(
    "li",
    { class: `card rollout ${rollout.state}` },
    h("div", { class: "what" }, h("div", { class: "head" }, h("h2", {}, h("a", { href: link(rollout) }, name(rollout.name))), standing(rollout)), closest(rollout)),
    h("div", { class: "weight" }, h("span", { class: "big" }, f.weight(rollout.weight)), h("span", { class: "muted" }, "answered by the candidate")),
    h("div", { class: "climb" }, ladder(rollout), rollout.reason && rollout.state === "rolled_back" ? h("p", { class: "cause", title: rollout.reason }, h("span", { class: "clamp" }, rollout.reason)) : h("p", { class: "waiting" }, rollout.stage.waiting_for)),
    h("div", { class: "now" }, arms(rollout, rates), ledgerLine(rollout.ledger), h("p", { class: "muted num" }, `${f.count(rollout.ledger.compared)} of ${f.count(rollout.ledger.sampled)} compared`)),
  );
}

function empty() {
  return h(
    "section",
    { class: "card empty" },
    h("h2", {}, "No rollout is configured"),
    h("p", {}, "Add a candidate under a route in the configuration file and reload (SIGHUP, or ", h("code", {}, "POST /-/reload"), "). The shortest one that does something:"),
    h("pre", { tabindex: "0" }, EXAMPLE),
  );
}

function happened(events) {
  if (!events.length) return h("p", { class: "muted" }, "Nothing has happened yet. Stage changes, rollbacks and manual actions appear here.");
  return h(
    "ol",
    { class: "events" },
    events.map((event) =>
      h(
        "li",
        {},
        when(event.timestamp),
        " ",
        h("strong", {}, f.words(event.type.replace("rollout.", "").replace(".", " "))),
        " ",
        name(event.data.rollout ?? event.data.route ?? ""),
        " ",
        h("span", { class: "muted" }, cut(event.data.reason ?? "", 400)),
      ),
    ),
  );
}

const standingOf = (rollout) => (rollout.paused ? "paused" : ["shadow", "canary"].includes(rollout.state) ? "in progress" : f.words(rollout.state));

/** How many rollouts are in which state: "1 rolled back, 2 in progress". What needs attention comes first. */
function summary(rollouts) {
  const order = ["rolled back", "paused", "in progress", "promoted", "completed"];
  const count = (word) => rollouts.filter((rollout) => standingOf(rollout) === word).length;
  return order.filter(count).map((word) => `${count(word)} ${word}`).join(", ");
}

/** The view: `element`, and `show(state)`. */
export function overview() {
  const list = part("div", {}, (rollouts, rates) =>
    rollouts.length ? h("ul", { class: "rollouts" }, rollouts.map((one) => row(one, rates))) : empty(),
  );
  const events = part("div", {}, happened);
  const said = h("p", { class: "muted" });
  const element = h(
    "div",
    { class: "overview" },
    h("header", { class: "overview-head" }, h("h1", {}, "Rollouts"), said),
    list.element,
    h("section", { class: "card lately", "aria-labelledby": "lately" }, h("h2", { id: "lately" }, "Recent events"), events.element),
  );
  return {
    element,
    title: (state) => summary(state.rollouts) || "no rollout",
    show(state) {
      said.textContent = summary(state.rollouts);
      list.update(state.rollouts, state.rates);
      events.update(state.events.slice(0, 20));
    },
    leave() {},
  };
}
