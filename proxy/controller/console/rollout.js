// One rollout: where it is and why, in the order in which a person asks.

import * as api from "./api.js";
import { askAction } from "./dialogs.js";
import { diff } from "./diff.js";
import { cut, h, name, part } from "./dom.js";
import * as f from "./format.js";
import { lineage } from "./lineage.js";
import { isMe, whoIsIn, whyNot } from "./login.js";
import { beginning, judged, spoken } from "./spoken.js";
import { evidence, overlay, overlayData } from "./plots.js";
import { earlierTrials } from "./trials.js";
import { users } from "./users.js";
import { armFigures, arms, bar, byReplica, facts, hasFigures, ladder, ledgerLine, ledgerParts, needs, ofAll, over, partHelp, replicasIn, spark, standing, swatch, verdict, when } from "./widgets.js";

const MOST_TRANSCRIPTS = 50; // of pairs that were opened
const FEW_SEGMENTS = 12; // shown at first: what is in trouble is among them, the rest is a click away

const panel = (title, attributes, ...children) => h("section", { class: `card ${attributes?.class ?? ""}`, "aria-label": title }, h("h2", {}, title), children);

// --- head ------------------------------------------------------------------------------------------------------------

function actions(rollout, done) {
  const possible = over(rollout)
    ? rollout.state === "rolled_back" ? ["retry", "restart"] : []
    : [rollout.state === "promoted" ? null : "promote", rollout.paused ? "resume" : "pause", "abort"].filter(Boolean);
  const label = { promote: "Promote", pause: "Pause", resume: "Resume", abort: "Abort", retry: "Retry", restart: "Restart" };
  const why = whyNot("operate", rollout.route);
  const button = (action, words = label[action], full = false, off = why) =>
    h("button", { type: "button", class: action === "abort" ? "danger" : "plain", disabled: Boolean(off), title: off || null, onclick: () => askAction(rollout, action, done, full) }, words);
  return [
    asked(rollout, why, (words, off) => button("promote", words, true, off)),
    h("div", { class: "row actions" }, possible.map((action) => button(action))),
    why ? h("p", { class: "muted small refusal" }, why) : null,
  ];
}

/** That somebody has asked for 100 %, and the way to confirm it for somebody else. */
function asked(rollout, why, button) {
  if (!rollout.asked || Date.parse(rollout.asked.until) < Date.now()) return null;
  const own = isMe(rollout.asked.by) ? "You have asked for it yourself: another person has to confirm it." : why;
  return h("p", { class: "row asked" }, h("span", {}, name(rollout.asked.by), " asks for 100 %. Another person has to confirm that until ", when(rollout.asked.until), "."), button("Confirm 100 %", own), own && own !== why ? h("small", { class: "muted" }, own) : null);
}

function head(rollout) {
  const stage = rollout.stage;
  return [
    h("div", { class: "head" }, h("h1", {}, name(rollout.name)), standing(rollout)),
    h(
      "p",
      { class: "versus" },
      h("span", { class: "arm-name live" }, "live"), " ", name(rollout.live), " against ",
      h("span", { class: "arm-name candidate" }, "candidate"), " ", name(rollout.candidate), " version ", name(rollout.version),
    ),
    lineage(rollout.lineage),
    ladder(rollout),
    h(
      "p",
      { class: "waiting" },
      over(rollout)
        ? ["Ended in ", h("strong", {}, f.stageName(stage.name)), " at ", when(rollout.since), ". "]
        : [h("strong", {}, f.weight(rollout.weight)), " answered by the candidate. In this stage since ", when(rollout.since), ". "],
      stage.waiting_for,
    ),
    stage.forecast ? h("p", { class: "muted forecast" }, stage.forecast.text) : null,
    needs(stage),
    rollout.reason && over(rollout) ? h("p", { class: "cause" }, rollout.reason) : null,
    rollout.blocked_by ? h("p", { class: "cause held" }, "Waits in shadow: ", name(rollout.blocked_by), " has the canary traffic of this route.") : null,
  ];
}

// --- guards ----------------------------------------------------------------------------------------------------------

/** How many differences come together, where that is more than one; the sentence below says what it means. */
const bursts = ({ burst_size: size }) => (size >= 1.5 ? h("span", { class: "num muted" }, `bursts of ${f.count(Math.round(size))}`) : null);

function guard(finding, units, history, at) {
  const unit = units?.[finding.key];
  const past = history?.guards?.[finding.key]?.evidence ?? [];
  return h(
    "li",
    { class: `guard ${finding.verdict}` },
    h("div", { class: "what" }, h("h3", {}, swatch(at), finding.title), verdict(finding.verdict)),
    h("div", { class: "where" }, bar(finding, unit), h("div", { class: "numbers num" }, h("span", { class: "value" }, f.inUnit(finding.value, unit)), h("span", { class: "muted" }, finding.low === null ? "" : f.range(finding.low, finding.high, unit)), h("span", {}, `limit ${f.inUnit(finding.limit, unit)}`))),
    h("div", { class: "how" }, spark(past, `evidence of ${finding.title} over time`), h("span", { class: "num muted" }, `${f.evidence(finding.evidence)} evidence`), bursts(finding)),
    h("p", { class: "reason" }, finding.reason, finding.eta_seconds !== null && finding.verdict === "inconclusive" ? ` · about ${f.duration(finding.eta_seconds)} to go` : null),
  );
}

/** What to do while there is nothing to see. */
function nothingYet({ ledger: { sampled, compared, pending }, stage }) {
  if (compared || stage.needs.some(({ what }) => what === "ready")) return null;
  if (!sampled) return "No request has come to this route yet. Send some to the data port; the first findings come within a second.";
  return sampled > pending ? "Requests arrive, but none could be compared yet. The ledger says why." : "The first pairs are on their way.";
}

function guards(findings, units, history, hint) {
  const whole = findings.filter(ofAll);
  const drawn = Object.keys(history.guards); // by this order the chart gives out colours and dashes
  const place = ({ key: of }, at) => (drawn.includes(of) ? drawn.indexOf(of) : drawn.length + at);
  return [hint ? h("p", { class: "cause held hint" }, hint) : null, h("ol", { class: "guards" }, whole.map((finding, at) => guard(finding, units, history, place(finding, at))))];
}

/** Which line of the chart is which guard. */
const keys = (titles) => h("ul", { class: "legend keys" }, titles.map((title, at) => h("li", {}, swatch(at), title)));

/** Segments by trouble, the first few; `more()` shows all. */
function segments(findings, units, whole, more) {
  const found = findings.filter((one) => !ofAll(one)).sort((a, b) => b.evidence - a.evidence || b.pairs - a.pairs);
  if (!found.length) return null;
  const rows = (whole ? found : found.slice(0, FEW_SEGMENTS)).map((one) =>
    h(
      "tr",
      { class: one.verdict },
      h("th", { scope: "row" }, one.segment === "" ? "(none)" : name(one.segment)),
      h("td", {}, one.title),
      h("td", { class: "where" }, bar(one, units?.[one.key])),
      h("td", { class: "num" }, f.inUnit(one.value, units?.[one.key])),
      h("td", { class: "num" }, f.inUnit(one.limit, units?.[one.key])),
      h("td", { class: "num" }, f.evidence(one.evidence)),
      h("td", { class: "num" }, f.count(one.pairs)),
    ),
  );
  const rest = found.length - rows.length;
  const titles = ["segment", "guard", "", "value", "limit", "evidence", "pairs"];
  return [
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "segments" }, h("table", {}, h("thead", {}, h("tr", {}, titles.map((title, at) => h("th", { scope: "col", class: at > 2 ? "num" : null }, title || h("span", { class: "unseen" }, "bar"))))), h("tbody", {}, rows))),
    rest ? h("button", { type: "button", class: "quiet", onclick: more }, `${rest} more, all with less evidence`) : null,
  ];
}

// --- distributions ---------------------------------------------------------------------------------------------------

function quantiles(latency) {
  const names = Object.keys(latency.quantiles.live);
  const row = (arm) => h("tr", {}, h("th", { scope: "row" }, h("span", { class: `arm-name ${arm}` }, arm)), names.map((q) => h("td", { class: "num" }, f.seconds(latency.quantiles[arm][q]))));
  const ratio = names.map((q) => h("td", { class: "num muted" }, `${f.number(latency.quantiles.candidate[q] / latency.quantiles.live[q])}×`));
  return h("table", { class: "quantiles" }, h("thead", {}, h("tr", {}, h("td", {}), names.map((q) => h("th", { scope: "col" }, q)))), h("tbody", {}, row("live"), row("candidate"), h("tr", {}, h("th", { scope: "row", class: "muted" }, "ratio"), ratio)));
}

function agreement({ names, counts }) {
  const total = counts.flat().reduce((a, b) => a + b, 0);
  const same = counts.reduce((sum, row, i) => sum + row[i], 0);
  const most = Math.max(1, ...counts.flatMap((row, i) => row.filter((_, j) => j !== i)));
  const cell = (n, i, j) => {
    const strength = i === j ? 0 : n / most;
    return h("td", { class: `num${i === j ? " same" : n ? " differs" : " none"}`, style: strength ? { "--strength": strength } : null }, n ? f.count(n) : "·");
  };
  return [
    h("p", {}, h("strong", {}, f.percent(same / Math.max(1, total))), ` of ${f.count(total)} recent predictions agree. Rows are live, columns the candidate.`),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "agreement of labels" },
      h(
        "table",
        { class: "agreement" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "live \\ candidate")), names.map((label) => h("th", { scope: "col" }, name(label, { title: label }))))),
        h("tbody", {}, counts.map((row, i) => h("tr", {}, h("th", { scope: "row" }, name(names[i], { title: names[i] })), row.map((n, j) => cell(n, i, j))))),
      ),
    ),
  ];
}

// --- pairs, journal, ledger ------------------------------------------------------------------------------------------

const armLine = (arm, side) =>
  h("span", { class: `of-arm ${arm} num` }, h("span", { class: `arm-name ${arm}` }, arm), ` ${side.reason ? f.words(side.reason) : side.status}${side.seconds === null ? "" : ` in ${f.seconds(side.seconds)}`}`);

/** What a row of a prediction says, as text that fits into a cell. */
const said = (rows) => (rows === null ? "–" : rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join(", ").slice(0, 200));

/** What was read in a pair as each of several predictions, those first in which the arms differ. */
function aspects(read) {
  const rows = [...read].sort((a, b) => b.difference - a.difference).map((one) =>
    h("tr", { class: one.difference ? "differs" : null }, h("th", { scope: "row" }, name(one.name)), ["live", "candidate"].map((arm) => h("td", {}, h("bdi", {}, said(one[arm])))), h("td", { class: "num" }, one.difference >= 2 ? "failed" : f.number(one.difference))),
  );
  const titles = ["prediction", "live", "candidate", "difference"];
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "predictions of this pair" }, h("table", { class: "aspects" }, h("thead", {}, h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)))), h("tbody", {}, rows)));
}

/** In what a pair differs, in a word or two: which of several predictions, else by how much. */
function score(one) {
  if (one.difference >= 2) return "failed";
  if (one.mismatch) return f.words(one.mismatch);
  const differing = one.aspects.filter((aspect) => aspect.difference > 0).map((aspect) => cut(aspect.name, 24));
  return differing.length ? `${differing.join(", ")} ${differing.length > 1 ? "differ" : "differs"}` : one.aspects.length ? "same" : `differs by ${f.number(one.difference)}`;
}

/** Answers as they came, and all that was read of them, behind a fold where what they say is shown in words. */
function raw(one) {
  const parts = [one.aspects.length ? aspects(one.aspects) : null, diff(one.live.body, one.candidate.body)];
  return one.transcript ? h("details", { class: "more" }, h("summary", {}, "answers as they came"), parts) : parts;
}

/** What was said in a pair, asked for when the pair is opened; the page keeps the last ones. */
function saidIn(one, rollout, transcripts) {
  const element = h("div", { "aria-live": "polite" });
  const show = (found) => element.replaceChildren(spoken(one, found));
  const ask = async () => {
    if (transcripts.has(one.id)) return show(transcripts.get(one.id));
    element.replaceChildren(h("p", { class: "muted" }, "Reading what was said …"));
    try {
      const found = await api.transcript(rollout, one.id);
      transcripts.set(one.id, found);
      if (transcripts.size > MOST_TRANSCRIPTS) transcripts.delete(transcripts.keys().next().value);
      show(found);
    } catch (error) {
      element.replaceChildren(h("p", { class: "cause held" }, error.status === 404 ? "This pair is not kept any more." : `What was said could not be read: ${error.message}`));
    }
  };
  return { element, ask };
}

/** The request, behind a fold, and whether that is all of it. */
function requestOf(request) {
  const cutTo = beginning(request);
  const note = cutTo ? h("p", { class: "muted small" }, `${cutTo[0].toUpperCase()}${cutTo.slice(1)}`) : null;
  return h("details", { class: "more" }, h("summary", {}, "request"), note, h("pre", { tabindex: "0" }, `${request.method} ${request.path}\n\n`, h("bdi", {}, String(request.body))));
}

function pair(one, open, rollout, transcripts) {
  const said = one.transcript ? saidIn(one, rollout, transcripts) : null;
  const toggled = () => {
    details.open ? open.add(one.id) : open.delete(one.id);
    if (details.open) said?.ask();
  };
  const details = h(
    "details",
    { open: open.has(one.id), ontoggle: toggled },
    h(
      "summary",
      {},
      h("span", { class: "num score", title: one.aspects.length ? score(one) : "difference of the two answers, 0 to 1" }, score(one)),
      h("code", { class: "id" }, name(one.request_id, { title: "x-request-id" })),
      armLine("live", one.live),
      armLine("candidate", one.candidate),
      h("span", { class: "muted at" }, when(one.time)),
    ),
    one.detail ? h("p", { class: "cause" }, one.detail) : null,
    judged(one.judged),
    said?.element,
    raw(one),
    requestOf(one.request),
  );
  return h("li", {}, details);
}

function journal(entries) {
  if (!entries.length) return h("p", { class: "muted" }, "No entries yet.");
  return h(
    "ol",
    { class: "journal" },
    entries.map((entry) =>
      h("li", { class: entry.kind }, h("div", {}, when(entry.time), " ", h("strong", {}, f.words(entry.kind)), h("span", { class: "muted" }, " by ", name(entry.actor))), entry.reason ? h("p", {}, entry.reason) : null),
    ),
  );
}

/** How right both arms were, by truths that came later; no guard has a limit for it. */
const outcomes = ({ joined, live_loss, candidate_loss, drop }) =>
  facts([
    ["joined", h("span", { class: "num" }, f.count(joined))],
    ["mean loss of live", h("span", { class: "num" }, f.number(live_loss))],
    ["mean loss of the candidate", h("span", { class: "num" }, f.number(candidate_loss))],
    [h("span", { title: "max_quality_drop would be a limit for it" }, "quality drop"), h("span", { class: "num" }, `${f.number(drop.value)} ${drop.low === null ? "" : f.range(drop.low, drop.high, "number")}`)],
  ]);

function ledger(rollout) {
  const listed = (title, counts) => {
    const found = Object.entries(counts ?? {}).sort((a, b) => b[1] - a[1]);
    return found.length ? [h("h3", {}, title), facts(found.map(([word, n]) => [f.words(word), h("span", { class: "num" }, f.count(n))]))] : null;
  };
  return [
    ledgerLine(rollout.ledger),
    facts([
      ["sampled", h("span", { class: "num" }, f.count(rollout.ledger.sampled))],
      ...ledgerParts.filter((part) => part !== "late" || rollout.ledger.late).map((part) => [h("span", { title: partHelp(part) }, f.words(part)), h("span", { class: "num" }, f.count(rollout.ledger[part]))]),
      rollout.repeats ? [h("span", { title: "equal request bodies, counted once" }, "repeats"), h("span", { class: "num" }, f.count(rollout.repeats))] : null,
    ]),
    rollout.why_unparseable ? [h("h3", {}, "Not compared"), h("p", {}, rollout.why_unparseable)] : null,
    rollout.outcomes ? [h("h3", {}, "Outcomes"), outcomes(rollout.outcomes)] : null,
    rollout.users ? [h("h3", {}, "Users"), ...users(rollout.users)] : null,
    listed("Later truths", rollout.labels),
    listed("Failures of the candidate", rollout.candidate_failures),
    listed("Mismatched responses", rollout.response_mismatches),
  ];
}

// --- the page --------------------------------------------------------------------------------------------------------

/** The view of one rollout: `element`, `show(state)`, `leave()`. `done` is called after an action. */
export function rolloutView(done, older) {
  const open = new Set();
  const transcripts = new Map();
  let weights = [];
  let shown = null;
  let wholeSegments = false;
  let listed = []; // the pairs that are shown
  const renew = () => {
    open.clear();
    showPairs(shown.pairs, shown.rollout.name);
  };
  let aspect = null; // of several predictions the one that is drawn
  const showAspect = (one) => {
    aspect = one;
    showCharts(shown);
  };
  const showSegments = (whole) => {
    wholeSegments = whole;
    parts.segments.update(shown.rollout.findings, shown.charts.units, whole);
  };
  const parts = {
    head: part("div", { class: "top-text" }, head),
    actions: part("div", {}, (rollout) => actions(rollout, done)),
    guards: part("div", {}, guards),
    segments: part("div", {}, (findings, units, whole) => segments(findings, units, whole, () => showSegments(true))),
    keys: part("div", {}, keys),
    quantiles: part("div", {}, quantiles),
    agreement: part("div", {}, agreement),
    aspect: part("div", { class: "row" }, (names, at) => (names.length ? names.map((one) => h("button", { type: "button", class: "quiet", "aria-pressed": String(one === at), onclick: () => showAspect(one) }, one)) : [])),
    pairs: part("div", {}, (pairs, rollout) => (pairs.length ? h("ol", { class: "pairs" }, pairs.map((one) => pair(one, open, rollout, transcripts))) : h("p", { class: "muted" }, "No responses have differed yet."))),
    newer: part("div", {}, (count) => (count ? h("p", { class: "row newer" }, `The list holds still while a pair is open; ${f.count(count)} ${count === 1 ? "pair is" : "pairs are"} worse by now.`, h("button", { type: "button", class: "quiet", onclick: renew }, "Close all and show")) : [])),
    journal: part("div", {}, (entries, next) => [journal(entries), next ? h("button", { type: "button", class: "quiet", onclick: older }, "Older entries") : null]),
    trials: earlierTrials(),
    ledger: part("div", {}, ledger),
    arms: part("div", {}, arms),
    byReplica: part("div", {}, byReplica),
    figures: part("div", {}, armFigures),
  };
  const summary = h("summary", {});
  const replicas = h("details", { class: "replicas", hidden: true }, summary, parts.byReplica.element);
  const plots = {
    evidence: evidence("evidence of each guard over time", () => weights),
    values: overlay("distribution of predictions", f.number, false),
    latency: overlay("distribution of latency", f.seconds, true),
  };
  const sections = {
    evidence: panel("Evidence over time", {}, h("p", { class: "muted small" }, "Evidence to fail, by guard; at the red line the rollout fails. Vertical lines are changes of the candidate's weight."), parts.keys.element, plots.evidence.element),
    values: panel("Predictions", {}, h("p", { class: "legend" }, h("span", { class: "arm-name live" }, "live"), " ", h("span", { class: "arm-name candidate" }, "candidate")), plots.values.element),
    latency: panel("Latency", {}, plots.latency.element, parts.quantiles.element),
    agreement: panel("Agreement of labels", {}, parts.agreement.element),
    segments: panel("Segments", {}, parts.segments.element),
    trials: panel("Earlier trials", {}, parts.trials.element),
    figures: panel("Answers at a glance", { class: "glance" }, parts.figures.element),
    aspects: panel("Drawn prediction", {}, parts.aspect.element),
  };
  const element = h(
    "div",
    { class: "rollout-page" },
    h("header", { class: "card top" }, parts.head.element, parts.actions.element),
    h(
      "div",
      { class: "columns" },
      h("div", { class: "main-column" }, panel("Guards", { class: "guards-card" }, parts.guards.element), sections.evidence, sections.aspects, h("div", { class: "pair-of" }, sections.latency, sections.values, sections.agreement), sections.segments, panel("Worst pairs", {}, parts.newer.element, parts.pairs.element)),
      h("div", { class: "side-column" }, panel("Traffic", { class: "traffic-card" }, parts.arms.element, replicas), sections.figures, panel("Ledger", {}, parts.ledger.element), sections.trials, panel("Journal", {}, parts.journal.element)),
    ),
  );

  /** The worst pairs; while one of them is open the list holds still, so that nobody loses what he reads. */
  function showPairs(pairs, rollout) {
    const reading = listed.some((one) => open.has(one.id));
    if (!reading) listed = pairs;
    const newer = reading ? pairs.filter((one) => !listed.some((old) => old.id === one.id)).length : 0;
    parts.newer.update(newer);
    parts.pairs.update(listed, rollout);
  }

  function showCharts({ charts, rollout }) {
    const { history, latency, titles } = charts;
    const several = Object.keys(charts.aspects);
    if (!several.includes(aspect)) aspect = several[0] ?? null;
    const predictions = aspect === null ? charts.predictions : charts.aspects[aspect];
    parts.aspect.update(several, aspect);
    sections.aspects.hidden = !several.length;
    const names = Object.keys(history.guards);
    sections.evidence.hidden = history.time.length < 2;
    if (history.time.length >= 2) {
      const lines = names.map((guard) => history.guards[guard].evidence);
      const said = names.map((guard) => titles[guard] ?? guard); // a guard that the plan no longer has keeps its key
      const now = said.map((title, at) => `${title} ${f.evidence(lines[at].at(-1))}`);
      weights = history.weight;
      parts.keys.update(said);
      plots.evidence.update({ columns: [history.time, ...lines], shape: said }, `evidence of each guard over time; now ${now.join(", ")}`);
    }
    sections.latency.hidden = !latency;
    if (latency) {
      plots.latency.update(overlayData(latency), `latency of ${charts.pairs} recent pairs; the table below has the quantiles`);
      parts.quantiles.update(latency);
    }
    sections.figures.hidden = !hasFigures(charts.arms, rollout);
    parts.figures.update(charts.arms, rollout.cost ?? null, rollout.judges ?? [], rollout.cost_budget ?? null);
    sections.values.hidden = !predictions?.values;
    if (predictions?.values) plots.values.update(overlayData(predictions.values), `distribution of ${predictions.kind} over ${charts.pairs} recent pairs`);
    sections.agreement.hidden = !predictions?.labels;
    if (predictions?.labels) parts.agreement.update(predictions.labels);
  }

  return {
    element,
    title: (state) => `${state.rollout.name}: ${f.words(["shadow", "canary"].includes(state.rollout.state) ? state.rollout.verdict : state.rollout.state)}`,
    show(state) {
      const { rollout, charts, pairs, entries, next, rates } = state;
      shown = state;
      parts.head.update(rollout);
      parts.actions.update(rollout, whoIsIn());
      parts.guards.update(rollout.findings, charts.units, charts.history, nothingYet(rollout));
      showSegments(wholeSegments);
      sections.segments.hidden = rollout.findings.every(ofAll);
      showPairs(pairs, rollout.name);
      parts.journal.update(entries, next);
      sections.trials.hidden = !state.trials.length;
      parts.trials.update(state.trials);
      parts.ledger.update(rollout);
      parts.arms.update(rollout, rates);
      replicas.hidden = state.replicas.length < 2;
      summary.textContent = replicasIn(state.replicas);
      parts.byReplica.update(rollout, state.replicas);
      showCharts(state);
    },
    leave: () => Object.values(plots).forEach((one) => one.leave()),
  };
}
