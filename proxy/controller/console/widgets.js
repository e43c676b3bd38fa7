// Small pieces that both views use: verdicts, the ladder, a guard's bar, traffic by arm.

import { h, name, svg } from "./dom.js";
import * as f from "./format.js";

const MARK = { pass: "✓", fail: "✕", inconclusive: "…" };
const STATE_MARK = { rolled_back: "fail", promoted: "pass", completed: "pass" };

/** A word with a mark, so that colour is never the only sign. */
export const verdict = (word) => h("span", { class: `tag ${word}` }, h("span", { "aria-hidden": "true" }, MARK[word] ?? "·"), ` ${f.words(word)}`);

/** Whether it has ended: what is shown of it is what was known then. */
export const over = (rollout) => ["rolled_back", "completed"].includes(rollout.state);

/** What to say of a rollout in one word: how it ended, else its verdict. */
export function standing(rollout) {
  const ended = STATE_MARK[rollout.state];
  if (ended) return h("span", { class: `tag ${ended}` }, h("span", { "aria-hidden": "true" }, MARK[ended]), ` ${f.words(rollout.state)}`);
  if (rollout.paused) return h("span", { class: "tag held" }, "paused");
  return verdict(rollout.verdict);
}

/** How far a stage is: the share of what it asks for that it lacks most of. What has ended is all there is of it. */
function progress(rollout) {
  if (!["shadow", "canary"].includes(rollout.state)) return 1;
  const shares = (rollout.stage.needs ?? []).map(({ have, want }) => Math.min(1, have / want));
  return shares.length ? Math.min(...shares) : 0;
}

/** The rungs from shadow to promoted, with the present one marked and filled as far as it is. */
export function ladder(rollout) {
  const rungs = [...(rollout.stages ?? [rollout.stage.name]), "promoted"];
  const here = rollout.state === "promoted" || rollout.state === "completed" ? rungs.length - 1 : rollout.stage.index;
  const out = rollout.state === "rolled_back";
  return h(
    "ol",
    { class: `ladder${out ? " out" : ""}` },
    rungs.map((rung, at) => {
      const state = at < here ? "done" : at === here ? "here" : "ahead";
      return h(
        "li",
        { class: state, "aria-current": at === here ? "step" : null, style: at === here ? { "--progress": progress(rollout) } : null },
        h("span", { class: "rung" }, f.stageName(rung)),
        at === here && out ? h("span", { class: "unseen" }, "rolled back here") : null,
      );
    }),
  );
}

const NEED = {
  pairs: (have, want) => [`${f.count(want)} pairs`, `${f.count(have)} of ${f.count(want)} pairs`],
  ready: () => ["candidate ready", "candidate not ready: its health checks fail"],
  candidate_pairs: (have, want) => [`${f.count(want)} answered by the candidate`, `${f.count(have)} of ${f.count(want)} answered by the candidate`],
  seconds: (have, want) => [`${f.duration(want)} in this stage`, `${f.duration(have)} of ${f.duration(want)}`],
  guards: (have, want) => [want === 1 ? "the guard passes" : `all ${want} guards pass`, `${have} of ${want} guards pass`],
};

/** What a stage asks for, each with how far it is. */
export function needs(stage) {
  const one = ({ what, have, want }) => {
    const met = have >= want;
    const [done, open] = NEED[what](have, want);
    return h(
      "li",
      { class: met ? "need met" : "need" },
      h("span", { class: "num" }, h("span", { "aria-hidden": "true" }, met ? "✓ " : ""), met ? done : open, h("span", { class: "unseen" }, met ? ": done" : ": not yet")),
      h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: { width: `${100 * Math.min(1, have / want)}%` } })),
    );
  };
  return stage.needs?.length ? h("ul", { class: "needs", "aria-label": "what this stage asks for" }, stage.needs.map(one)) : null;
}

/** Where a guard stands between 0 and its limit: a band for the interval, a mark for the value, a line for the limit. */
export function bar(finding, unit) {
  const { value, low, high, limit } = finding;
  const atLeast = finding.guard.startsWith("min_");
  const top = atLeast ? 1 : Math.max(limit * 1.5, Math.min((value ?? 0) * 1.06, limit * 3)) || 1;
  const at = (x) => `${(100 * Math.max(0, Math.min(top, x))) / top}%`;
  const known = value !== null && value !== undefined;
  const said = known
    ? `${f.inUnit(value, unit)}, interval ${low === null ? "unknown" : f.range(low, high, unit)}, limit ${f.inUnit(limit, unit)}`
    : `nothing measured yet, limit ${f.inUnit(limit, unit)}`;
  const band =
    known && low !== null
      ? h("span", { class: "band", style: { left: at(low), width: `calc(${at(high ?? top)} - ${at(low)})` } })
      : null;
  return h(
    "div",
    { class: `gauge ${finding.verdict}`, role: "img", "aria-label": said },
    h("span", { class: "zone", style: atLeast ? { left: "0", width: at(limit) } : { left: at(limit), right: "0" } }),
    band,
    known ? h("span", { class: "value", style: { left: at(value) } }) : null,
    h("span", { class: "limit", style: { left: at(limit) } }),
  );
}

const HUES = ["guard-1", "guard-2", "guard-3", "guard-4", "guard-5", "guard-6"]; // none of them an arm's colour
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 2], [1, 2]];

/** How a guard is drawn: a colour, and a dash of its own for whoever cannot tell the colours apart. */
export const stroke = (at) => ({ hue: HUES[at % HUES.length], dash: DASHES[(at + Math.floor(at / HUES.length)) % DASHES.length] });

/** A piece of a guard's line, as a key to the chart. */
export function swatch(at) {
  const { hue, dash } = stroke(at);
  const line = svg("line", { x1: 0, y1: 5, x2: 22, y2: 5, "stroke-dasharray": dash.join(" ") || null });
  line.style.stroke = `var(--${hue})`;
  return svg("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" }, line);
}

/** Evidence over time as a line from 0 to 1. */
export function spark(values, label) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return h("span", { class: "spark empty" });
  const [width, height] = [120, 28];
  const x = (i) => (i / (values.length - 1)) * width;
  const y = (value) => height - 2 - Math.max(0, Math.min(1, value)) * (height - 4);
  const points = values.map((value, i) => (value === null ? null : `${x(i).toFixed(1)},${y(value).toFixed(1)}`)).filter(Boolean);
  const last = known.at(-1);
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: now ${f.percent(last)}` },
    svg("line", { x1: 0, x2: width, y1: 2, y2: 2, class: "top" }),
    svg("polyline", { points: points.join(" ") }),
  );
}

/** Whether a finding is about all requests. Those of requests that name no segment have an empty name for it. */
export const ofAll = (finding) => finding.segment === null || finding.segment === undefined;

/** The finding that has failed, else the one nearest to it. */
export function nearest(findings) {
  const trouble = (one) => one.evidence + (one.verdict === "fail" ? 1 : 0);
  return findings.filter(ofAll).reduce((worst, one) => (worst === null || trouble(one) > trouble(worst) ? one : worst), null);
}

export const ledgerParts = ["compared", "pending", "shed", "too_large", "too_long", "not_ready", "client_gone", "live_failed", "unparseable", "link_full", "late"];

const PART_HELP = {
  compared: "both answers were read and compared",
  pending: "on its way",
  shed: "the copy was left out: the mirror budget was used up",
  too_large: "request or answer longer than mirror.max_body",
  too_long: "a copy took longer than mirror.max_duration",
  not_ready: "the candidate was away: its connection was refused or lost, and its health check failed",
  client_gone: "the client left before its answer was whole, and not for the candidate's sake",
  live_failed: "live itself failed, so there is nothing to compare with",
  unparseable: "live's answer could not be read as a prediction",
  link_full: "lost between worker and controller",
  late: "came after the rollout had ended; no evidence",
};
export const partHelp = (part) => PART_HELP[part] ?? "";

/** One stacked line for what became of the sampled requests. */
export function ledgerLine(ledger) {
  const total = Math.max(1, ledger.sampled);
  const dropped = ledger.sampled - ledger.compared - ledger.pending;
  return h(
    "div",
    { class: "stack", role: "img", "aria-label": `${f.count(ledger.compared)} of ${f.count(ledger.sampled)} sampled requests compared, ${f.count(dropped)} left out` },
    h("span", { class: "compared", style: { width: `${(100 * ledger.compared) / total}%` } }),
    h("span", { class: "pending", style: { width: `${(100 * ledger.pending) / total}%` } }),
    h("span", { class: "dropped", style: { width: `${(100 * dropped) / total}%` } }),
  );
}

/** Rates of both arms: answers to clients and copies a second, and the share of both that failed. */
export function arms(rollout, rates) {
  const row = (arm, upstream) => {
    const rate = rates?.[rollout.route]?.[upstream];
    const cell = (text, more) => h("td", { class: `num ${more ?? ""}` }, text);
    return h(
      "tr",
      { class: `arm ${arm}` },
      h("th", { scope: "row" }, h("span", { class: "key", "aria-hidden": "true" }), h("span", { class: "unseen" }, `${arm}: `), name(upstream)),
      cell(rate ? `${f.number(rate.answers)}/s` : "–"),
      cell(rate ? `${f.number(rate.copies)}/s` : "–", "muted"),
      cell(rate ? f.percent(rate.errors) : "–", rate?.errors > 0 ? "some errors" : "muted"),
    );
  };
  const titles = [["answers", "requests of clients that it was asked to answer"], ["copies", "copies of requests that the other arm answers"], ["failed", "of both"]];
  return h(
    "table",
    { class: "arms" },
    h("thead", {}, h("tr", {}, h("td", {}), titles.map(([title, help]) => h("th", { scope: "col", class: "num", title: help }, title)))),
    h("tbody", {}, row("live", rollout.live), row("candidate", rollout.candidate)),
  );
}

const known = (value) => value !== null && value !== undefined;

/** Whether anything is known of the answers of both arms. */
export const hasFigures = (found, { cost, judges }) => Object.values(found?.live ?? {}).some(known) || known(cost) || Boolean(judges?.length);

/** What both arms' answers look like: a row a figure, so that it fits a phone; the ratio says more than either. */
export function armFigures(found, cost, judges, budget) {
  const { pairs, events, live, candidate } = found ?? { pairs: 0, live: {}, candidate: {} };
  const rows = [
    ["first token", live.first_seconds, candidate.first_seconds, f.seconds, "median time to the first token"],
    [events ? "events" : "tokens", live.tokens, candidate.tokens, f.number, "mean of a streamed answer; events where not both arms say how many tokens"],
    ["refused", live.refusals, candidate.refusals, f.percent, "share of answers that refuse, by what the API marks or how texts open in English"],
    ["cost of 1,000", cost?.live.mean, cost?.candidate.mean, (value) => f.money(1000 * value, cost.currency), "of so many answers, by the prices in the file"],
  ].filter(([, ours, theirs]) => known(ours) && known(theirs));
  const times = (ours, theirs) => (ours > 0 && theirs > 0 ? `${f.number(theirs / ours)}×` : "");
  return [
    rows.length
      ? h(
          "table",
          { class: "arms figures" },
          h("thead", {}, h("tr", {}, h("td", {}), ["live", "candidate"].map((arm) => h("th", { scope: "col", class: "num" }, h("span", { class: `arm-name ${arm}` }, arm))), h("th", { scope: "col", class: "num" }, "ratio"))),
          h("tbody", {}, rows.map(([title, ours, theirs, show, help]) => h("tr", {}, h("th", { scope: "row", title: help }, title), h("td", { class: "num" }, show(ours)), h("td", { class: "num" }, show(theirs)), h("td", { class: "num muted" }, times(ours, theirs))))),
        )
      : null,
    pairs ? h("p", { class: "muted small" }, `Of the last ${f.count(pairs)} pairs${cost ? "; cost of all" : ""}.`) : null,
    cost?.copies ? h("p", { class: "small" }, "Copies have cost ", h("strong", { class: "num" }, f.money(cost.copies, cost.currency)), budget ? `; the budget of ${budget.limit} affords ${f.percent(budget.share)} of the pairs` : "", ".") : null,
    judges.map(verdicts),
  ];
}

/** A judge's verdicts so far: wins, ties and losses of the candidate as one line, and in words. */
function verdicts({ aspect, judge, verdicts: { win, tie, loss }, not_judged: missing, first, earlier }) {
  const total = win + tie + loss;
  const left = Object.values(missing ?? {}).reduce((sum, n) => sum + n, 0);
  const said = `${f.count(win)} better, ${f.count(tie)} alike, ${f.count(loss)} worse`;
  const part = (word, n) => h("span", { class: word, style: { width: `${(100 * n) / Math.max(1, total)}%` } });
  return h(
    "div",
    { class: "verdicts" },
    h("h3", {}, "Judge ", name(judge), aspect ? [" of ", name(aspect)] : ""),
    h("div", { class: "stack", role: "img", "aria-label": `the candidate's answers: ${said}` }, part("win", win), part("tie", tie), part("loss", loss)),
    h("p", { class: "small" }, total ? [h("strong", {}, f.percent((win + tie / 2) / total)), ` win rate: ${said}`] : "No verdict yet", left ? h("span", { class: "muted" }, `, ${f.count(left)} not judged`) : null, earlier ? h("span", { class: "muted" }, `, since this controller began; ${f.count(earlier)} were drawn before`) : null, "."),
    first && known(first.rate) ? h("p", { class: "muted small" }, `The answer that stands first wins ${f.percent(first.rate)} of those that one wins.`) : null,
  );
}

const OLD = 5; // seconds without a report of a replica, which comes each second, after which its rates are not those of now

/** The same rates of each replica, where there are several; what has not reported lately is said. */
export function byReplica(rollout, replicas) {
  if (replicas.length < 2) return null;
  const rate = (one, upstream, what) => one.rates[rollout.route]?.[upstream]?.[what] ?? 0;
  const cells = (one) => {
    const said = !one.connected ? "cut off" : one.age === null ? "no report yet" : one.age > OLD ? `${Math.round(one.age)} s old` : "";
    if (said) return h("td", { class: "muted", colspan: "3" }, said);
    const copies = rate(one, rollout.live, "copies") + rate(one, rollout.candidate, "copies");
    return [rate(one, rollout.live, "answers"), rate(one, rollout.candidate, "answers"), copies].map((value) => h("td", { class: "num" }, `${f.number(value)}/s`));
  };
  return h(
    "table",
    { class: "arms by-replica" },
    h("thead", {}, h("tr", {}, h("td", {}), ["live", "candidate", "copies"].map((title) => h("th", { scope: "col", class: "num" }, title)))),
    h("tbody", {}, replicas.map((one) => h("tr", {}, h("th", { scope: "row" }, name(one.name)), cells(one)))),
  );
}

/** How many replicas the rates are of, and how many of them are missing. */
export function replicasIn(replicas) {
  const here = replicas.filter((one) => one.connected && one.age !== null && one.age <= OLD).length;
  return here === replicas.length ? `Of ${here} replicas` : `Of ${here} of ${replicas.length} replicas`;
}

/** Field names and values. */
export const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));

export const when = (time) => h("time", { datetime: new Date(typeof time === "number" ? time * 1000 : time).toISOString(), title: f.exactMoment(time) }, f.moment(time));
