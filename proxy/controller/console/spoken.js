// What two language models said to one request: their texts with the words that differ marked, their calls argument by
// argument, how each ended. The server puts the texts together; all of it is text from outside, and only ever text here.

import { cut, h, name } from "./dom.js";
import * as f from "./format.js";
import { wordDiff } from "./worddiff.js";

const ARMS = ["live", "candidate"];
const LONG = 700; // characters of an equal run of which only the ends are shown
const END = 160;
const MARK = { live: "del", candidate: "ins" };
const NEVER = { text: "", text_length: 0, reasoning: "", refusal: "", refused: false, finish: null, sources: [] };

// --- texts -----------------------------------------------------------------------------------------------------------

/** Blanks that differ, so that they can be seen. */
const visible = (text) => (/^\s+$/u.test(text) ? text.replaceAll("\n", "↵\n").replaceAll("\t", "→\t").replaceAll(" ", "·") : text);

/** An equal run, of which the middle is folded when it is long. */
function equalRun(text, first, last) {
  if (text.length <= LONG) return text;
  const [begin, end] = [first ? 0 : END, last ? 0 : END];
  const hidden = text.slice(begin, text.length - end);
  const more = h("button", { type: "button", class: "quiet fold", onclick: () => more.replaceWith(hidden) }, `… ${f.count(hidden.length)} characters that are equal …`);
  return [text.slice(0, begin), more, end ? text.slice(-end) : ""];
}

function marked(runs, arm) {
  const differ = runs.some((run) => run.both === undefined);
  return runs.flatMap((run, at) => {
    if (run.both !== undefined) return differ ? equalRun(run.both, at === 0, at === runs.length - 1) : run.both;
    return run[arm] ? h(MARK[arm], { class: "differs" }, visible(run[arm])) : h("span", { class: "gap", "aria-hidden": "true" });
  });
}

const box = (label, ...content) => h("div", { class: "said", tabindex: "0", role: "group", dir: "auto", "aria-label": label }, content);

/** Two texts beside each other, or the one text that both are. */
function texts(what, live, candidate, heads) {
  const both = [live, candidate];
  if (live === candidate) {
    return h("div", { class: "spoken-one" }, heads && h("div", { class: "spoken-heads" }, heads), box(`${what} of both arms`, live || h("span", { class: "muted" }, "(no text)")), live ? h("p", { class: "muted small" }, "Both arms say the same, word for word.") : null);
  }
  const runs = wordDiff(live, candidate);
  const one = (arm, at) => h("div", { class: "side" }, heads?.[at] ?? h("h3", { class: `arm-name ${arm}` }, arm), box(`${what} of ${arm}`, both[at] ? marked(runs, arm) : h("span", { class: "muted" }, "(no text)")));
  return h("div", { class: "sides" }, ARMS.map(one));
}

// --- labels ----------------------------------------------------------------------------------------------------------

const label = (text, kind, title) => h("span", { class: `tag ${kind}`, title }, text);

/** How an arm's answer ended and what it took, as labels; what the other arm has otherwise stands out. */
function heading(arm, side, said, choice, other, alone) {
  const tokens = alone && said.tokens ? h("span", { class: "num" }, `${f.count(said.tokens)} token${said.tokens === 1 ? "" : "s"}`) : null;
  const first = alone && said.first_seconds !== null ? h("span", { class: "num" }, `first token ${f.seconds(said.first_seconds)}`) : null;
  return h(
    "div",
    { class: "said-by" },
    h("h3", { class: `arm-name ${arm}` }, arm),
    choice.refused ? label("refused", "fail", "it is marked as a refusal, or opens as one") : null,
    choice.finish === null ? null : label(name(cut(choice.finish, 40)), choice.finish === other.finish ? "" : "held", "why it ended"),
    side.reason ? label(f.words(side.reason), "fail") : side.status >= 400 ? label(String(side.status), "fail", "status") : null,
    !said.whole && said.choices.length ? label("broke off", "fail") : null,
    h("span", { class: "muted took" }, [first, tokens, side.seconds === null ? null : h("span", { class: "num" }, `in ${f.seconds(side.seconds)}`)].filter(Boolean).flatMap((one, at) => (at ? [" · ", one] : [one]))),
  );
}

// --- calls -----------------------------------------------------------------------------------------------------------

const value = (field, arm, call) => h("td", { class: field.differs ? `${arm} differs` : "" }, field[arm] === null ? h("span", { class: "muted" }, call[arm] ? "(none)" : "") : h("bdi", {}, cut(field[arm], 300)));

function oneCall(call) {
  const who = call.live && call.candidate ? (call.fields.some((field) => field.differs) ? label("arguments differ", "held") : label("equal", "")) : label(call.live ? "only live calls it" : "only the candidate calls it", "fail");
  const rows = call.fields.map((field) => h("tr", { class: field.differs ? "differs" : "" }, h("th", { scope: "row" }, h("bdi", {}, cut(field.path || "(arguments)", 120))), ARMS.map((arm) => value(field, arm, call))));
  return h("tbody", {}, h("tr", { class: "call" }, h("th", { scope: "rowgroup", colspan: "3" }, h("code", {}, name(call.name)), " ", who)), rows);
}

function calls(found) {
  if (!found.length) return null;
  return [
    h("h3", {}, `Tool calls`),
    h("div", { class: "scroll diff", tabindex: "0", role: "group", "aria-label": "tool calls" }, h("table", { class: "calls" }, h("thead", {}, h("tr", {}, ["argument", "live", "candidate"].map((title) => h("th", { scope: "col" }, title)))), found.map(oneCall))),
  ];
}

// --- all of it -------------------------------------------------------------------------------------------------------

const spokenText = (choice) => choice.text || choice.refusal;
const beyond = (choice) => choice.text_length > choice.text.length;

function oneChoice(pair, transcript, at, several) {
  const choices = ARMS.map((arm) => transcript[arm].choices[at] ?? NEVER);
  const [live, candidate] = choices;
  const heads = ARMS.map((arm, i) => heading(arm, pair[arm], transcript[arm], choices[i], choices[1 - i], at === 0));
  const thought = live.reasoning || candidate.reasoning;
  const cited = choices.map((choice) => choice.sources.join("\n"));
  return [
    several ? h("h3", { class: "choice" }, `Choice ${at + 1}`) : null,
    texts("text", spokenText(live), spokenText(candidate), heads),
    choices.some(beyond) ? h("p", { class: "muted small" }, "Only the first part of each text is shown.") : null,
    calls(transcript.calls[at] ?? []),
    thought ? h("details", { class: "more" }, h("summary", {}, "reasoning"), texts("reasoning", live.reasoning, candidate.reasoning)) : null,
    cited[0] || cited[1] ? h("details", { class: "more", open: cited[0] !== cited[1] }, h("summary", {}, "sources"), texts("sources", ...cited)) : null,
  ].flat();
}

/** Of a long request, how much of it is there. */
export const beginning = ({ size, whole }) => (whole === false ? `only the first 16 KiB of a request of ${f.bytes(size)} are kept.` : "");

/** What was read as each prediction, in a line: whether it differs, and of a label how. */
function readings(aspects) {
  const plain = (rows) => rows?.length === 1 && ["boolean", "number"].includes(typeof rows[0]) ? String(rows[0]) : null;
  const one = ({ name: of, difference, live, candidate }) => {
    const [ours, theirs] = [plain(live), plain(candidate)];
    const how = difference >= 2 ? "failed" : !difference ? "same" : ours !== null && theirs !== null ? `${ours} → ${theirs}` : difference === 1 ? "differs" : `differs by ${f.number(difference)}`;
    return h("li", {}, label([name(of), `: ${how}`], difference >= 2 ? "fail" : difference ? "held" : ""));
  };
  return aspects.length ? h("ul", { class: "row readings", "aria-label": "predictions of this pair" }, aspects.map(one)) : null;
}

/** A pair as a person reads it. */
export function spoken(pair, transcript) {
  const most = Math.max(1, ...ARMS.map((arm) => transcript[arm].choices.length));
  const untold = (trouble) => trouble && !(pair.detail ?? "").includes(trouble);
  const troubles = ARMS.filter((arm) => untold(transcript[arm].trouble)).map((arm) => h("p", { class: "cause held" }, h("span", { class: `arm-name ${arm}` }, arm), " ", cut(transcript[arm].trouble, 300)));
  const unread = !transcript.asked && beginning(pair.request);
  const asked = unread ? h("p", { class: "asked muted" }, `What was asked cannot be read: ${unread}`) : transcript.asked ? h("p", { class: "asked" }, h("span", { class: "muted" }, "asked "), h("bdi", {}, cut(transcript.asked, 1000))) : null;
  return h("div", { class: "spoken" }, asked, readings(pair.aspects), troubles, Array.from({ length: most }, (_, at) => oneChoice(pair, transcript, at, most > 1)));
}

// --- judges ----------------------------------------------------------------------------------------------------------

const VERDICT = { win: "the candidate's answer is better", loss: "live's answer is better", tie: "neither is better" };

/** What a judge said of a pair, of one prediction where there are several. */
function verdictOf({ aspect, judge, verdict, reason, order, not_judged: why }) {
  const said = verdict ? h("strong", {}, VERDICT[verdict] ?? f.words(verdict)) : why ? `not judged: ${f.words(why)}` : "not judged yet";
  return h(
    "p",
    { class: "judged" },
    label(["judge ", name(judge)], verdict === "loss" ? "held" : "", "a model that was asked which answer is better, without being told whose they are"),
    " ", aspect ? [name(aspect), ": "] : "", said,
    verdict && order ? h("span", { class: "muted" }, ` (it read ${f.words(order)})`) : null,
    reason ? [h("br", {}), h("bdi", {}, cut(reason, 1000))] : null,
  );
}

/** What judges said of a pair; nothing where none was asked. */
export const judged = (verdicts) => (verdicts ?? []).map(verdictOf);
