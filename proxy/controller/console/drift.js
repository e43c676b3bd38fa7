// Drift of live's requests and answers: a page for all routes that watch it, and one for each.
//
// `#/-/drift` and `#/-/drift/ROUTE`: no route's name begins with a dash.

import * as api from "./api.js";
import { askAcceptance } from "./dialogs.js";
import { cut, h, name, part } from "./dom.js";
import * as f from "./format.js";
import { axis, colour, plot, pointed, rule } from "./plots.js";
import { stroke, swatch, when } from "./widgets.js";

const MOST_LABELS = 6; // lines in one chart: what moved, then the most frequent

/** The route whose drift a place in the page's address is about, "" for all of them, null where it is about none. */
export const driftOf = (steps) => (steps[0] === "-" && steps[1] === "drift" ? (steps[2] ?? "") : null);

const address = (route) => `#/-/drift/${encodeURIComponent(route)}`;

/** What the page shows of one route, or of all. */
export async function loadDrift(route) {
  if (!route) return { drift: { routes: (await api.drift()).routes } };
  const [one, journal] = await Promise.all([api.driftOf(route), api.driftJournal(route)]);
  return { drift: { one, journal: journal.journal } };
}

const MARK = { drifting: ["!", "held"], steady: ["✓", "pass"], learning: ["…", ""] };

/** A state with a mark, so that colour is never the only sign. */
function stateTag(state) {
  const [mark, look] = MARK[state] ?? ["·", ""];
  return h("span", { class: `tag ${look}` }, h("span", { "aria-hidden": "true" }, mark), ` ${state}`);
}

const drifting = (route) => route.fields.filter(({ state }) => state === "drifting");

/** A link in the page's head, where a route watches drift: how many fields are not as they were. */
export async function showDrift(link) {
  try {
    const { routes } = await api.drift();
    const moved = routes.flatMap(drifting).length;
    link.hidden = !routes.length;
    link.textContent = moved ? `drift: ${moved} field${moved === 1 ? "" : "s"}` : "drift";
    link.classList.toggle("moved", moved > 0);
  } catch {
    link.hidden = true;
  }
}

// --- one field -------------------------------------------------------------------------------------------------------

/** An effect with its interval, in its unit. */
function effect({ effect: found }) {
  if (!found) return "–";
  const signed = (value, unit) => `${value > 0 ? "+" : ""}${f.number(value)} ${unit}`;
  const words = { share: (value) => signed(value * 100, "pp"), ratio: (value) => `× ${f.number(value)}`, sd: (value) => signed(value, "sd") };
  const said = words[found.unit];
  const least = found.low ?? found.high;
  if (least === null) return said(found.value);
  if (found.low === null || found.high === null) return `${said(found.value)} or more (${said(least)} at least)`;
  return `${said(found.value)} (${said(found.low)} to ${said(found.high)})`;
}

/** Columns of a chart, and what its lines are: of numbers three quantiles and the reference's band, of labels their shares. */
function drawn(field, buckets) {
  const times = buckets.map(({ start, seconds }) => start + seconds / 2);
  if (buckets.some(({ shares }) => shares.length)) {
    const last = Object.fromEntries(buckets.at(-1).shares);
    const rank = (label) => (label === field.detail ? 2 : (last[label] ?? 0));
    const labels = [...new Set(buckets.flatMap(({ shares }) => shares.map(([label]) => label)))].sort((a, b) => rank(b) - rank(a)).slice(0, MOST_LABELS);
    const at = (bucket, label) => bucket.shares.findIndex(([one]) => one === label);
    const share = (bucket, label) => bucket.shares[at(bucket, label)]?.[1] ?? null;
    const expected = (bucket, label) => bucket.expected[at(bucket, label)] ?? null;
    return { columns: [times, ...labels.flatMap((label) => [buckets.map((one) => share(one, label)), buckets.map((one) => expected(one, label))])], shape: { labels } };
  }
  const of = (key) => buckets.map((bucket) => bucket[key]);
  const expected = (n) => buckets.map((bucket) => bucket.expected[n] ?? null);
  return { columns: [times, expected(0), expected(1), expected(2), of("low"), of("middle"), of("high")], shape: { labels: null } };
}

const thin = { points: { show: false }, spanGaps: true };

function lines({ labels }) {
  if (labels) {
    return labels.flatMap((label, at) => {
      const { hue, dash } = stroke(at);
      return [
        { label, stroke: colour(hue), hue: colour(hue), width: 1.75, dash, ...thin },
        { label: `${label}, expected`, stroke: colour(hue, 0.6), hue: colour(hue, 0.6), width: 1, ...thin },
      ];
    });
  }
  const reference = (label, width) => ({ label, stroke: colour("strong-line", width ? 1 : 0), hue: colour("strong-line"), width, dash: [3, 4], ...thin });
  const live = (label, width) => ({ label, stroke: colour("live", width > 1 ? 1 : 0.55), hue: colour("live", width > 1 ? 1 : 0.55), width, ...thin });
  return [reference("reference, 10 %", 0), reference("reference, median", 1), reference("reference, 90 %", 0), live("now, 10 %", 1), live("now, median", 2), live("now, 90 %", 1)];
}

/** What a field was over time; `since()` is where it began to differ. */
function chart(label, since) {
  const times = (u, splits) => splits.map((split) => f.tick(split, u.scales.x.max - u.scales.x.min));
  return plot(label, 150, ({ shape }) => {
    const value = shape.labels ? f.percent : f.number;
    return {
      scales: { x: { time: true } },
      axes: [axis(f.number, { space: 90, values: times }), axis(value, { size: 56 })],
      series: [{}, ...lines(shape)],
      bands: shape.labels ? [] : [{ series: [3, 1], fill: colour("strong-line", 0.22) }],
      plugins: [pointed((u, i) => f.moment(u.data[0][i]), value)],
      hooks: {
        draw: [
          (u) => {
            const began = since();
            if (!began || began < u.scales.x.min || began > u.scales.x.max) return;
            u.ctx.save();
            rule(u, "x", began, "held", [4, 3]);
            u.ctx.restore();
          },
        ],
      },
    };
  });
}

/** Which line is which, in words beside the chart. */
function key(shape) {
  if (shape.labels) return h("ul", { class: "legend" }, shape.labels.map((label, at) => h("li", {}, swatch(at), name(label))), h("li", { class: "muted" }, "thin, straight: as the reference has it"));
  return h("ul", { class: "legend" }, h("li", {}, h("span", { class: "key now" }), "now: median, 10 % and 90 %"), h("li", {}, h("span", { class: "key band" }), "reference: from 10 % to 90 %"));
}

/** One field: what is said of it, and its chart. `accept(field)` asks whether it is normal as it is. */
function fieldCard(accept) {
  let since = null;
  const picture = chart("", () => since);
  const head = part("div", { class: "field-head" }, (field) => [
    h("div", { class: "head" }, h("h2", {}, name(field.field)), stateTag(field.state), h("span", { class: "muted small" }, `${field.source}, ${field.kind}`)),
    field.state === "drifting" ? h("button", { type: "button", onclick: () => accept(field) }, "Take for normal…") : null,
  ]);
  const said = part("div", { class: "field-said" }, (field) => [
    h("p", { class: field.state === "drifting" ? "cause held" : "muted" }, cut(field.words, 300)),
    h(
      "dl",
      { class: "facts" },
      field.since ? [h("dt", {}, "since"), h("dd", {}, when(field.since))] : null,
      field.effect && field.state === "drifting" ? [h("dt", {}, "effect, 95 % interval"), h("dd", { class: "num" }, effect(field))] : null,
      h("dt", {}, field.state === "learning" ? "values so far" : "values since it differs"),
      h("dd", { class: "num" }, f.count(field.observations)),
      field.state === "steady" ? [h("dt", {}, "of what an alarm needs"), h("dd", { class: "num" }, f.evidence(field.evidence))] : null,
    ),
  ]);
  const legend = part("div", {}, key);
  const missing = part("p", { class: "muted small" }, (share) => (share > 0 ? `${f.percent(share)} of the last values are missing` : ""));
  const element = h("li", { class: "card field" }, head.element, said.element, picture.element, legend.element, missing.element);
  return {
    element,
    show(field, buckets) {
      element.classList.toggle("drifting", field.state === "drifting");
      since = field.since ? Date.parse(field.since) / 1000 : null;
      head.update(field);
      said.update(field);
      picture.element.hidden = legend.element.hidden = buckets.length < 2;
      missing.update(buckets.at(-1)?.missing ?? 0);
      if (buckets.length < 2) return;
      const data = drawn(field, buckets);
      picture.update(data, `${field.field} over time, with what the reference expects: ${field.words}`);
      legend.update(data.shape);
    },
    leave: () => picture.leave(),
  };
}

// --- pages -----------------------------------------------------------------------------------------------------------

function facts(one) {
  const { reference } = one;
  const normal = reference.recording ? h("span", {}, "the recording ", name(reference.recording)) : `the first ${f.count(reference.first)} values of each field`;
  const unreadable = one.unreadable.map(({ what, reason, count }) => `${what || "prediction"}: ${f.words(reason)} ${f.count(count)}`);
  const rows = [
    ["live", [name(one.live), " ", name(one.version)]],
    ["reference", normal],
    ["cycle", reference.period_seconds ? f.duration(reference.period_seconds) : "none"],
    ["false alarms", `${one.alarms.count} in ${f.duration(one.alarms.per_seconds)}, on average, at most`],
    ["looked at", `${f.count(one.observations)} requests, up to ${one.observations_per_second} a second, since ${f.moment(one.began_at)}`],
    unreadable.length ? ["unreadable", unreadable.join(", ")] : null,
  ];
  return h("dl", { class: "facts wide" }, rows.filter(Boolean).map(([what, value]) => [h("dt", {}, what), h("dd", {}, value)]));
}

function entries(journal) {
  if (!journal.length) return h("p", { class: "muted" }, "Nothing has happened yet.");
  return h("ol", { class: "journal" }, journal.map((entry) => h("li", {}, when(entry.time), " ", h("strong", {}, f.words(entry.kind.replace("drift_", ""))), " ", h("span", {}, cut(entry.reason, 400)), " ", h("span", { class: "muted" }, "by ", name(entry.actor)))));
}

/** One route: its fields, those that drift first, and what happened. */
function routeView(refresh) {
  const cards = new Map();
  let route = "";
  const accept = (field) => askAcceptance(route, field.field, refresh);
  const top = part("div", { class: "top-text" }, (one) => [
    h("div", { class: "head" }, h("h1", {}, "Drift of ", name(one.route)), stateTag(one.state)),
    one.problems.map((problem) => h("p", { class: "cause" }, cut(problem, 400))),
    one.fields.length ? null : h("p", { class: "muted" }, "No field is known yet: the first answers say what live predicts."),
    facts(one),
  ]);
  const list = h("ul", { class: "fields", "aria-label": "fields" });
  const journal = part("div", {}, entries);
  const element = h("div", { class: "drift-page" }, h("section", { class: "card top" }, top.element), list, h("section", { class: "card", "aria-labelledby": "drift-journal" }, h("h2", { id: "drift-journal" }, "Journal"), journal.element));
  return {
    element,
    title: ({ drift }) => (drifting(drift.one).length ? `${drifting(drift.one).length} drifting` : drift.one.state),
    show({ drift: { one, journal: found } }) {
      route = one.route;
      const { charts, ...rest } = one;
      top.update(rest);
      const order = [...one.fields].sort((a, b) => (b.state === "drifting") - (a.state === "drifting"));
      for (const [of, card] of cards) if (!order.some(({ field }) => field === of)) cards.delete(of), card.leave(), card.element.remove();
      for (const field of order) if (!cards.has(field.field)) cards.set(field.field, fieldCard(accept));
      const wanted = order.map(({ field }) => cards.get(field).element);
      if (wanted.some((card, at) => list.children[at] !== card)) list.replaceChildren(...wanted);
      for (const field of order) cards.get(field.field).show(field, charts[field.field] ?? []);
      journal.update(found);
    },
    leave: () => cards.forEach((card) => card.leave()),
  };
}

/** Every route in a line. */
function routesView() {
  const list = part("div", {}, (routes) =>
    routes.length
      ? h("ul", { class: "rollouts" }, routes.map((one) => h("li", { class: "card drift-line" }, h("div", { class: "head" }, h("h2", {}, h("a", { href: address(one.route) }, name(one.route))), stateTag(one.state)), drifting(one).length ? h("ul", { class: "moved" }, drifting(one).map((field) => h("li", {}, h("strong", {}, name(field.field)), ": ", cut(field.words, 200)))) : h("p", { class: "muted" }, `${one.fields.length} field${one.fields.length === 1 ? "" : "s"}, ${f.count(one.observations)} requests looked at`))))
      : h("section", { class: "card empty" }, h("h2", {}, "No route watches drift"), h("p", {}, "Add ", h("code", {}, "drift:"), " to a route of the configuration and reload.")),
  );
  const element = h("div", { class: "overview" }, h("header", { class: "overview-head" }, h("h1", {}, "Drift")), list.element);
  return { element, title: () => "drift", show: ({ drift }) => list.update(drift.routes), leave() {} };
}

/** The view of a route's drift, or of all. */
export const driftView = (route, refresh) => (route ? routeView(refresh) : routesView());
