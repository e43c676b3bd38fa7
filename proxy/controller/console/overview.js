// The first page: every rollout at a glance, and recent events.

import { cut, h, name, part } from "./dom.js";
import * as f from "./format.js";
import { lines, link, summary, worstFirst } from "./lines.js";
import { arms, bar, ladder, ledgerLine, nearest, standing, when } from "./widgets.js";

const FEW = 6;

const EXAMPLE = `routes:
  - name: credit
    live: credit-v1
    rollouts:
      - candidate: credit-v2
        shadow: 100%`;

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

/** The view: `element`, and `show(state)`. Up to `FEW` rollouts have a card each, more have a line each. */
export function overview() {
  const cards = part("div", {}, (rollouts, rates) =>
    rollouts.length ? h("ul", { class: "rollouts" }, rollouts.map((one) => row(one, rates))) : empty(),
  );
  const many = lines();
  const events = part("div", {}, happened);
  const said = h("p", { class: "muted" });
  const element = h(
    "div",
    { class: "overview" },
    h("header", { class: "overview-head" }, h("h1", {}, "Rollouts"), said),
    cards.element,
    many.element,
    h("section", { class: "card lately", "aria-labelledby": "lately" }, h("h2", { id: "lately" }, "Recent events"), events.element),
  );
  return {
    element,
    title: (state) => summary(state.rollouts) || "no rollout",
    show(state) {
      const few = state.rollouts.length <= FEW;
      said.textContent = summary(state.rollouts);
      many.element.hidden = few;
      cards.element.hidden = !few;
      if (few) cards.update(worstFirst(state.rollouts), state.rates);
      else many.show(state);
      events.update(state.events.slice(0, few ? 20 : 8));
    },
    leave: many.leave,
  };
}
