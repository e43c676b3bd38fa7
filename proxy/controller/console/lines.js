// Many rollouts, one line each, the worst first: search, filters and pages. What is chosen stands in the address, so
// that it can be sent to somebody and is there after going back.

import { cut, h, name, part } from "./dom.js";
import * as f from "./format.js";
import { nearest, standing } from "./widgets.js";

const RANKS = ["rolled back", "failing", "stalled", "held", "paused", "in progress", "promoted", "completed"];
const NARROW = matchMedia("(max-width: 640px)");
const perPage = () => (NARROW.matches ? 10 : 20);

/** Where a rollout stands in one word, by which it is sorted and filtered. */
export function condition(rollout) {
  if (rollout.state === "rolled_back") return "rolled back";
  if (rollout.state === "completed") return "completed";
  if (rollout.findings.some((finding) => finding.verdict === "fail")) return "failing";
  if (rollout.state === "promoted") return "promoted";
  return rollout.stalled ? "stalled" : rollout.held ? "held" : rollout.paused ? "paused" : "in progress";
}

/** How many are in which condition, the worst first: "1 rolled back, 2 in progress". */
export function summary(rollouts) {
  const words = rollouts.map(condition);
  const count = (word) => words.filter((one) => one === word).length;
  return RANKS.filter(count).map((word) => `${f.count(count(word))} ${word}`).join(", ");
}

const trouble = (rollout) => nearest(rollout.findings)?.evidence ?? 0;

/** The worst first: by condition, then by how much of the evidence to fail is there, then by name. */
export function worstFirst(rollouts) {
  const ranked = rollouts.map((one) => [RANKS.indexOf(condition(one)), -trouble(one), one.name, one]);
  return ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2].localeCompare(b[2])).map((one) => one[3]);
}

export const link = (rollout) => `#/${rollout.name.split("/").map(encodeURIComponent).join("/")}`;

/** What the address asks for: `#/?q=fraud&state=failing&page=2`. */
export function asked() {
  const given = new URLSearchParams(location.hash.replace(/^#\/?\??/, ""));
  return { ...Object.fromEntries(["q", "state", "owner", "route", "replica"].map((key) => [key, given.get(key) ?? ""])), page: Math.max(1, Number(given.get("page")) || 1) };
}

/** The address of a choice. */
export function address(choice) {
  const given = Object.entries(choice).filter(([key, value]) => value && !(key === "page" && value === 1));
  return given.length ? `#/?${new URLSearchParams(given)}` : "#/";
}

const served = (replica, rollout) => Boolean(replica?.rates[rollout.route]);

function fits(rollout, { q, state, owner, route, replica }, replicas) {
  const text = `${rollout.name} ${rollout.owner ?? ""} ${rollout.version} ${rollout.live} ${rollout.reason ?? ""}`.toLowerCase();
  if (!q.toLowerCase().split(/\s+/).every((word) => text.includes(word))) return false;
  if (state && condition(rollout) !== state) return false;
  if (owner && (rollout.owner ?? "") !== owner) return false;
  if (route && rollout.route !== route) return false;
  return !replica || served(replicas.find((one) => one.name === replica), rollout);
}

function closest(rollout) {
  const finding = nearest(rollout.findings);
  if (!finding || !rollout.ledger.compared) return h("span", { class: "muted" }, "no pair judged yet");
  return [h("span", {}, finding.title), h("span", { class: "muted num" }, ` ${f.inUnit(finding.value, finding.unit)} of ${f.inUnit(finding.limit, finding.unit)}`)];
}

const why = (rollout) => (["rolled_back", "completed"].includes(rollout.state) ? rollout.reason : rollout.stage.waiting_for) ?? "";

function line(rollout, replicas) {
  const where = replicas.filter((one) => served(one, rollout)).map((one) => one.name);
  return h(
    "li",
    { class: `line ${rollout.state}` },
    h("span", { class: "who" }, h("a", { href: link(rollout), title: rollout.name }, name(rollout.name)), h("span", { class: "muted" }, [cut(rollout.owner ?? "", 64), replicas.length > 1 && where.length ? `on ${where.join(", ")}` : ""].filter(Boolean).join(" · "))),
    h("span", { class: "standing" }, ["stalled", "held"].includes(condition(rollout)) ? h("span", { class: "tag held" }, condition(rollout)) : standing(rollout)),
    h("span", { class: "stage num" }, f.stageName(rollout.stage.name), h("span", { class: "muted" }, ` ${f.weight(rollout.weight)}`)),
    h("span", { class: "nearest" }, closest(rollout)),
    h("span", { class: "why muted", title: cut(why(rollout), 400) }, cut(why(rollout), 200)),
  );
}

function choose(label, key, change) {
  const select = h("select", { "aria-label": label, onchange: () => change({ [key]: select.value }) });
  let known = "";
  return {
    element: select,
    update(values, chosen) {
      const all = [...new Set([...values, ...(chosen ? [chosen] : [])])];
      const next = JSON.stringify([all, chosen]);
      select.hidden = all.length < 2 && !chosen;
      if (next === known || document.activeElement === select) return;
      known = next;
      select.replaceChildren(h("option", { value: "" }, `any ${label}`), ...all.map((value) => h("option", { value, selected: value === chosen }, cut(value, 40))));
      select.value = chosen;
    },
  };
}

function step(list, event) {
  const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
  const links = [...list.querySelectorAll(".line a")];
  const at = links.indexOf(document.activeElement);
  const next = links[at < 0 ? (way > 0 ? 0 : links.length - 1) : at + way];
  if (!next) return;
  next.focus();
  event.preventDefault();
}

/** The list with its tools: `element`, `show(state)`, and `leave()`. */
export function lines() {
  let choice = asked();
  let last = null;
  const change = (part) => {
    choice = { ...choice, page: 1, ...part };
    history.replaceState(null, "", address(choice));
    if (last) show(last);
  };
  const search = h("input", { type: "search", placeholder: "Search  ( / )", "aria-label": "Search rollouts", value: choice.q, oninput: () => change({ q: search.value }) });
  const selects = { state: choose("state", "state", change), owner: choose("owner", "owner", change), route: choose("route", "route", change), replica: choose("replica", "replica", change) };
  const found = h("span", { class: "muted", role: "status" });
  const list = part("div", { class: "lines" }, (shown, replicas) => (shown.length ? h("ul", {}, shown.map((one) => line(one, replicas))) : h("p", { class: "muted none" }, "No rollout fits.")));
  const turn = (by, label) => h("button", { type: "button", onclick: () => change({ page: choice.page + by }) }, label);
  const [before, after] = [turn(-1, "‹ worse"), turn(1, "better ›")];
  const pages = h("nav", { class: "pages", "aria-label": "Pages" }, before, after);
  const element = h("section", { class: "card many", "aria-label": "Rollouts" }, h("form", { class: "tools", role: "search", onsubmit: (event) => event.preventDefault() }, search, ...Object.values(selects).map((one) => one.element), found, pages), list.element);

  function key(event) {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      search.focus();
      event.preventDefault();
    } else if (event.target.tagName !== "SELECT" && element.isConnected && !document.querySelector("dialog[open]")) step(list.element, event);
  }
  document.addEventListener("keydown", key);

  function show(state) {
    last = state;
    const fitting = worstFirst(state.rollouts.filter((one) => fits(one, choice, state.replicas)));
    const most = Math.max(1, Math.ceil(fitting.length / perPage()));
    const page = Math.min(choice.page, most);
    choice.page = page;
    const from = (page - 1) * perPage();
    const shown = fitting.slice(from, from + perPage());
    const values = (of) => [...new Set(state.rollouts.map(of))].filter(Boolean).sort();
    selects.state.update(RANKS.filter((word) => state.rollouts.some((one) => condition(one) === word)), choice.state);
    selects.owner.update(values((one) => one.owner), choice.owner);
    selects.route.update(values((one) => one.route), choice.route);
    selects.replica.update(state.replicas.length > 1 ? state.replicas.map((one) => one.name) : [], choice.replica);
    found.textContent = fitting.length ? `${f.count(from + 1)}–${f.count(from + shown.length)} of ${f.count(fitting.length)}` : "none";
    pages.hidden = most < 2;
    [before.disabled, after.disabled] = [page <= 1, page >= most];
    const focused = list.element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.update(shown, state.replicas.map(({ name: of, rates }) => ({ name: of, rates: Object.fromEntries(Object.keys(rates).map((one) => [one, true])) })));
    if (focused && !list.element.contains(document.activeElement)) [...list.element.querySelectorAll("a")].find((one) => one.getAttribute("href") === focused)?.focus();
  }

  return { element, show, leave: () => document.removeEventListener("keydown", key) };
}
