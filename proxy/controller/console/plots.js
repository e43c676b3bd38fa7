// Charts by uPlot. Colours come from the style sheet, so that a chart is always in the page's theme.

import { h } from "./dom.js";
import * as f from "./format.js";
import { stroke } from "./widgets.js";

/** A colour of the style sheet, resolved: light-dark() in a custom property is not, until something wears it. */
export function colour(token, alpha = 1) {
  const probe = h("span", { style: { color: `var(--${token})` } });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  const [r, g, b] = found.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

export const axis = (format, extra) => ({
  stroke: colour("muted"),
  grid: { stroke: colour("line"), width: 1 },
  ticks: { show: false },
  font: "11px system-ui, sans-serif",
  size: 22,
  values: (_, splits) => splits.map((split) => (split === null ? "" : format(split))),
  ...extra,
});

/** Says what stands under the pointer: `title(u, i)`, then each series' value by `format`. */
export function pointed(title, format) {
  let tip = null;
  return {
    hooks: {
      init: (u) => {
        tip = h("div", { class: "tip", hidden: true });
        u.over.append(tip);
        u.over.addEventListener("mouseleave", () => (tip.hidden = true));
      },
      setCursor: (u) => {
        const { idx, left } = u.cursor;
        tip.hidden = left < 0 || idx === null || idx === undefined;
        if (tip.hidden) return;
        const rows = u.series.slice(1).map((series, at) => {
          const key = h("span", { class: "key", style: { background: series.hue } });
          return h("li", {}, key, h("bdi", {}, series.label), h("span", { class: "num" }, format(u.data[at + 1][idx])));
        });
        tip.replaceChildren(h("p", { class: "num" }, title(u, idx)), h("ul", {}, rows));
        const right = left > u.over.clientWidth / 2;
        tip.style.left = right ? "auto" : `${left + 12}px`;
        tip.style.right = right ? `${u.over.clientWidth - left + 12}px` : "auto";
      },
    },
  };
}

/** A chart that follows the width of its place; `options()` is asked again when the theme changes. */
export function plot(label, height, options) {
  const place = h("div", { class: "plot", role: "img", "aria-label": label });
  let chart = null;
  let data = null;
  const draw = () => {
    chart?.destroy();
    chart = data && place.clientWidth ? new uPlot({ width: place.clientWidth, height, padding: [10, 20, 0, 0], legend: { show: false }, cursor: { y: false, points: { size: 5 } }, ...options(data) }, data.columns, place) : null;
  };
  const resize = new ResizeObserver(() => (chart ? chart.setSize({ width: place.clientWidth, height }) : draw()));
  resize.observe(place);
  document.addEventListener("themechange", draw);
  return {
    element: place,
    update(next, said) {
      const same = chart && JSON.stringify(next?.shape) === JSON.stringify(data?.shape);
      data = next;
      if (said) place.setAttribute("aria-label", said);
      if (same) chart.setData(next.columns);
      else draw();
    },
    leave() {
      resize.disconnect();
      document.removeEventListener("themechange", draw);
      chart?.destroy();
    },
  };
}

/** The round ticks of a logarithmic axis: 1, 2, 5, or only 1 when there are many decades. */
function roundTicks(u, splits) {
  const { min, max } = u.scales.x;
  const round = max / min > 150 ? /^1e/ : /^[125]e/;
  return splits.map((split) => (split !== null && round.test(split.toExponential()) ? split : null));
}

/** Ticks of a logarithmic axis. uPlot's own (1.6) come to no end where the least value is just below a power of ten: its
 * first step crosses into the next decade, and from there rounding takes it back to 0 for ever. */
function decades(_u, _axis, min, max) {
  const found = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power += 1) {
    found.push(...[1, 2, 5].map((digit) => Number(`${digit}e${power}`)).filter((tick) => tick >= min && tick <= max));
  }
  return found.length ? found : [min];
}

/** Both arms' distributions over each other. `unit` formats the horizontal axis; `log` for times. */
export function overlay(label, unit, log) {
  const series = (arm) => ({
    label: arm,
    stroke: colour(arm),
    hue: colour(arm),
    fill: colour(arm, 0.16),
    width: 1.5,
    paths: uPlot.paths.stepped({ align: 1 }),
    points: { show: false },
  });
  return plot(label, 150, () => ({
    scales: { x: { time: false, range: (u) => [u.data[0][0], u.data[0].at(-1)], ...(log ? { distr: 3 } : {}) }, y: { range: (_, __, max) => [0, max || 1] } },
    axes: [axis(unit, log ? { splits: decades, filter: roundTicks, grid: { stroke: colour("line"), width: 1, filter: roundTicks } } : {}), axis((v) => f.percent(v), { size: 44 })],
    series: [{}, series("live"), series("candidate")],
    plugins: [pointed((u, i) => `${unit(u.data[0][i])} to ${unit(u.data[0][Math.min(i + 1, u.data[0].length - 1)])}`, f.percent)],
  }));
}

/** Columns of an overlay: shares of each arm's pairs, so that arms of different size compare. */
export function overlayData(drawn) {
  const shares = (counts) => {
    const total = Math.max(1, counts.reduce((a, b) => a + b, 0));
    return [...counts, counts.at(-1)].map((n) => n / total);
  };
  return { columns: [drawn.edges, shares(drawn.live), shares(drawn.candidate)], shape: [drawn.edges.length] };
}

/** A line across the chart at a value or a moment. */
export function rule(u, scale, value, token, dash) {
  const at = Math.round(u.valToPos(value, scale, true)) + 0.5;
  const { left, top, width, height } = u.bbox;
  const [from, to] = scale === "y" ? [[left, at], [left + width, at]] : [[at, top], [at, top + height]];
  u.ctx.strokeStyle = colour(token);
  u.ctx.lineWidth = 1;
  u.ctx.setLineDash(dash);
  u.ctx.beginPath();
  u.ctx.moveTo(...from);
  u.ctx.lineTo(...to);
  u.ctx.stroke();
  return at;
}

/** Marks where the candidate's weight changed: what it became, at the top of a line. */
function weightMarks(u, weights) {
  const times = u.data[0];
  u.ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  u.ctx.fillStyle = colour("muted");
  u.ctx.textBaseline = "top";
  for (let i = 1; i < weights.length; i += 1) {
    if (weights[i] === weights[i - 1]) continue;
    const at = rule(u, "x", times[i], "strong-line", []);
    const right = at > u.bbox.left + 0.9 * u.bbox.width;
    u.ctx.textAlign = right ? "right" : "left";
    u.ctx.fillText(f.weight(weights[i]), at + (right ? -4 : 4) * devicePixelRatio, u.bbox.top + 14 * devicePixelRatio);
  }
}

/** Evidence of every guard over time, 1 being decided; `weights()` gives the candidate's weight at the same moments. */
export function evidence(label, weights) {
  const times = (u, splits) => splits.map((split) => f.tick(split, u.scales.x.max - u.scales.x.min));
  const line = (title, at) => {
    const { hue, dash } = stroke(at);
    return { label: title, stroke: colour(hue), hue: colour(hue), dash, width: 1.75, points: { show: false }, spanGaps: true };
  };
  return plot(label, 190, (data) => ({
    scales: { x: { time: true }, y: { range: [0, 1.05] } },
    axes: [axis(f.number, { space: 90, values: times }), axis((v) => f.percent(v), { size: 44 })],
    series: [{}, ...data.shape.map(line)],
    plugins: [pointed((u, i) => `${f.moment(u.data[0][i])} · weight ${f.weight(weights()[i] ?? 0)}`, f.evidence)],
    hooks: {
      draw: [
        (u) => {
          u.ctx.save();
          rule(u, "y", 1, "fail", [4, 4]);
          weightMarks(u, weights());
          u.ctx.restore();
        },
      ],
    },
  }));
}
