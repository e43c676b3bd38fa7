// The page's clock: which view is open, what it shows, when to ask again.
//
// An event says that something changed; the state itself is always asked for, so that a lost event makes the page late
// and never wrong. Nothing is asked for while the page is hidden.

import * as api from "./api.js";
import { announce, h, name } from "./dom.js";
import * as f from "./format.js";
import { driftOf, driftView, loadDrift, showDrift } from "./drift.js";
import * as login from "./login.js";
import { overview } from "./overview.js";
import { rolloutView } from "./rollout.js";

const SOONEST = 1000; // between two refreshes, milliseconds
const LATEST = 5000; // a refresh without any event
const RATE_OVER = 10; // seconds over which rates are taken
const MOST_RECALLED = 20; // rollouts whose journals are read when the page is opened

const $ = (id) => document.getElementById(id);
const state = { rollouts: [], rates: {}, replicas: [], events: [], entries: [], pairs: [], trials: [], next: null, rollout: null, charts: null };
let view = null;
let route = null;
let drift = null; // the route whose drift is shown, "" for all of them
let timer = null;
let refreshedAt = 0;
let asking = false;
let refused = false;
let recalled = false;
const back = login.cameBack();
let overviewAt = "#/"; // with what was searched for there

// --- rates -----------------------------------------------------------------------------------------------------------

const samples = [];

/** Exchanges for clients, copies, and how many of both failed. A hedge asks for a client's answer too. */
function sum(legs) {
  const of = (leg, what) => legs[leg]?.[what] ?? 0;
  const answers = of("served", "exchanges") + of("hedge", "exchanges");
  const errors = Object.keys(legs).reduce((n, leg) => n + of(leg, "errors"), 0);
  return { answers, copies: of("copy", "exchanges"), errors };
}

const since = (now, then) => Math.max(0, now - then); // counts begin anew with the controller

function takeRates(traffic) {
  samples.push(traffic);
  while (samples.length > 2 && traffic.time - samples[1].time >= RATE_OVER) samples.shift();
  const before = samples[0];
  const elapsed = traffic.time - before.time;
  if (elapsed <= 0) return;
  const counted = traffic.replicas.map((now) => made(now.routes, before.replicas.find(({ name: of }) => of === now.name)?.routes));
  state.rates = rated(counted, elapsed);
  state.replicas = traffic.replicas.map(({ name: of, connected, age_seconds: age }, at) => ({ name: of, connected, age, rates: rated([counted[at]], elapsed) }));
}

/** What one replica's workers have done between two samples. Of one that has just come nothing is known: its counts are those of its whole life. */
function made(routes, before) {
  const found = [];
  for (const [of, upstreams] of Object.entries(routes)) {
    for (const [upstream, legs] of Object.entries(upstreams)) {
      const now = sum(legs);
      const then = before ? sum(before[of]?.[upstream] ?? {}) : now;
      found.push({ of, upstream, answers: since(now.answers, then.answers), copies: since(now.copies, then.copies), errors: since(now.errors, then.errors) });
    }
  }
  return found;
}

/** Rates by route and upstream, over all replicas that are given. */
function rated(counted, elapsed) {
  const rates = {};
  for (const { of, upstream, answers, copies, errors } of counted.flat()) {
    const rate = ((rates[of] ??= {})[upstream] ??= { answers: 0, copies: 0, errors: 0, failed: 0 });
    rate.answers += answers / elapsed;
    rate.copies += copies / elapsed;
    rate.failed += errors / elapsed;
    rate.errors = rate.answers + rate.copies ? rate.failed / (rate.answers + rate.copies) : 0;
  }
  return rates;
}

// --- asking ----------------------------------------------------------------------------------------------------------

/** What happened before this page was opened, once, from the journals. */
async function recall() {
  if (recalled) return;
  recalled = true;
  const pages = await Promise.all(state.rollouts.slice(0, MOST_RECALLED).map(({ name: of }) => api.journal(of).then(({ journal }) => journal.map((entry) => ({ of, entry })), () => [])));
  const before = pages.flat().map(({ of, entry }) => ({ type: entry.kind, timestamp: entry.time, data: { rollout: of, reason: entry.reason } }));
  const heard = new Set(state.events.map((event) => event.data.rollout));
  state.events.push(...before.filter((event) => !heard.has(event.data.rollout)).sort((a, b) => b.timestamp - a.timestamp));
}

async function load() {
  if (drift !== null) {
    Object.assign(state, await loadDrift(drift));
    return;
  }
  takeRates(await api.traffic());
  if (route === null) {
    state.rollouts = await api.rollouts();
    await recall();
    return;
  }
  const asked = route;
  const [rollout, charts, pairs, journal, trials] = await Promise.all([api.rollout(asked), api.charts(asked), api.pairs(asked, "worst"), api.journal(asked), api.trials(asked)]);
  const kept = state.entries.filter((entry) => journal.journal.length && entry.number < journal.journal.at(-1).number);
  const changed = state.rollout && (state.rollout.state !== rollout.state || state.rollout.weight !== rollout.weight);
  Object.assign(state, { rollout, charts, pairs, trials, entries: [...journal.journal, ...kept], next: kept.length ? state.next : journal.next });
  if (changed) announce(`${rollout.name} is now ${f.words(rollout.state)} at ${f.weight(rollout.weight)}`);
}

async function refresh() {
  if (asking || refused || document.hidden) return;
  asking = true;
  refreshedAt = Date.now();
  const before = location.hash;
  try {
    await load();
    if (before === location.hash) show();
  } catch (error) {
    failed(error);
  }
  asking = false;
  if (before !== location.hash) soon(0);
}

function failed(error) {
  if (error.status === 401) {
    refused = true;
    login.renew();
    message("Sign in", back || "This port shows pairs of real requests, so it asks who you are.", login.signIn(error.ways, start));
  } else if (error.status === 404) {
    message(drift === null ? "There is no such rollout" : "Drift is not watched there", error.message, h("a", { href: "#/" }, "All rollouts"));
  } else if (!view) {
    message("The controller does not answer", "Workers keep serving with the last routing table. This page retries by itself.");
  }
}

function message(title, text, action) {
  view?.leave();
  view = null;
  $("view").replaceChildren(h("section", { class: "card empty" }, h("h1", {}, title), h("p", {}, text), action ?? null));
  $("view").setAttribute("aria-busy", "false");
}

function soon(wait = SOONEST) {
  clearTimeout(timer);
  const due = Math.max(0, Math.min(wait, LATEST) - (wait === LATEST ? 0 : Date.now() - refreshedAt));
  timer = setTimeout(async () => {
    await refresh();
    soon(LATEST);
  }, wait === 0 ? 0 : due);
}

async function older() {
  try {
    const page = await api.journal(route, state.next);
    state.entries.push(...page.journal);
    state.next = page.next;
    show();
  } catch (error) {
    failed(error);
  }
}

// --- showing ---------------------------------------------------------------------------------------------------------

function show() {
  if (!view) {
    view = drift !== null ? driftView(drift, () => soon(0)) : route === null ? overview() : rolloutView(() => soon(0), older);
    $("view").replaceChildren(view.element);
  }
  view.show(state);
  document.title = `${view.title(state)} · Understudy`;
  $("view").setAttribute("aria-busy", "false");
}

/** A part of the address, as it stands where it is no proper encoding: nothing in a link may stop the page. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function navigate() {
  const hash = location.hash.replace(/^#\/?/, "");
  if (hash === "view") return; // the skip link
  view?.leave();
  view = null;
  if (route === null) overviewAt = location.hash.startsWith("#/?") ? location.hash : overviewAt;
  const steps = hash.startsWith("?") ? [] : hash.split("/").map(decoded);
  drift = driftOf(steps);
  route = steps.join("/") && drift === null ? steps.join("/") : null;
  Object.assign(state, { drift: null, rollout: null, charts: null, pairs: [], trials: [], entries: [], next: null });
  const way = drift ? [h("a", { href: "#/-/drift" }, "drift"), " / ", name(drift)] : drift === "" ? ["drift"] : route ? [name(route)] : [];
  $("crumbs").replaceChildren(...(way.length ? [h("a", { href: overviewAt }, "all rollouts"), " / ", ...way] : []));
  $("view").setAttribute("aria-busy", "true");
  soon(0);
}

async function showProcesses() {
  try {
    const [{ workers }, fleet] = await Promise.all([api.processes(), api.fleet().catch(() => null)]);
    const connected = workers.filter((worker) => worker.connected !== false).length;
    const [words, lacking, whole] = fleet && (fleet.term || fleet.replicas.length > 1) ? told(fleet) : [`${connected} of ${workers.length} worker${workers.length === 1 ? "" : "s"}`, connected < workers.length, ""];
    $("processes").textContent = words;
    $("processes").title = whole;
    $("processes").classList.toggle("lacking", lacking);
  } catch {
    $("processes").textContent = "";
  }
}

/** Above every page: that the files have changed and could not be taken, and why. */
async function showConfig() {
  const { refused: no } = await api.config().catch(() => ({ refused: null }));
  if ($("refused").dataset.at === (no?.at ?? "")) return;
  $("refused").dataset.at = no?.at ?? "";
  $("refused").hidden = !no;
  const by = { start: "", SIGHUP: " at SIGHUP", watch: " when its files changed" }[no?.by] ?? ` asked for by ${no?.by}`;
  $("refused").replaceChildren(...(no ? [h("details", {}, h("summary", {}, `The configuration was refused${by}, ${f.moment(no.at)}: what is in force is an earlier one.`), h("pre", { tabindex: "0" }, no.error))] : []));
}

/** A fleet in a few words, whether something is missing, and all of it for who points at it. */
function told({ leader, term, replicas }) {
  const here = replicas.filter((one) => one.connected).length;
  const hash = (replicas.find((one) => one.role === "leader") ?? replicas[0])?.config_hash;
  const others = replicas.filter((one) => one.config_hash !== hash).length;
  const words = [`${here} of ${replicas.length} replicas`, leader ? `${leader.name} leads` : "nobody leads", others ? `${others} with another configuration` : ""];
  const whole = replicas.map((one) => `${one.name}: ${one.role}, version ${one.version}, ${one.workers} workers${one.connected ? "" : ", cut off"}${one.config_hash === hash ? "" : ", another configuration"}`);
  return [words.filter(Boolean).join(" · "), here < replicas.length || !leader || others > 0, [`Term ${term}`, ...whole].join("\n")];
}

// --- theme -----------------------------------------------------------------------------------------------------------

function turnTheme() {
  const order = ["auto", "light", "dark"];
  const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    next === "auto" ? localStorage.removeItem("understudy.theme") : localStorage.setItem("understudy.theme", next);
  } catch {
    // storage may be forbidden; the theme then lasts until the page is left
  }
  showTheme();
  document.dispatchEvent(new Event("themechange"));
}

const showTheme = () => ($("theme").textContent = `theme: ${document.documentElement.dataset.theme ?? "auto"}`);

// --- beginning -------------------------------------------------------------------------------------------------------

function heard(event) {
  if (event.type !== "rollout.changed") state.events.unshift(event);
  state.events.length = Math.min(state.events.length, 100);
  if (event.type.startsWith("drift.")) showDrift($("drift"));
  soon();
}

function connection(word) {
  $("connection").dataset.state = word;
  $("connection").textContent = word;
  if (word === "live") {
    soon();
    showProcesses();
    showDrift($("drift"));
    showConfig();
  }
}

function start() {
  refused = false;
  login.renew().then(() => soon(0));
  navigate();
  api.events(heard, connection);
}

$("zone").textContent = `Times are in ${f.zone()}.`;
showTheme();
$("theme").addEventListener("click", turnTheme);
$("who").addEventListener("click", () => login.showWho(() => location.reload()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
document.addEventListener("visibilitychange", () => soon(0));
window.addEventListener("hashchange", navigate);
setInterval(showProcesses, 15_000);
setInterval(() => document.hidden || showDrift($("drift")), 15_000);
setInterval(showConfig, 15_000);
start();
