// Charts by uPlot. Colours come from the style sheet, so that a chart is always in the page's theme.

import { h } from "./dom.js";
import * as f from "./format.js";

/** A colour of the style sheet, resolved: light-dark() in a custom property is not, until something wears it. */
export function colour(token, alpha = 1) {
  const probe = h("span", { style: { color: `var(--${token})` } });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  const [r, g, b] = found.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

const axis = (format, extra) => ({
  stroke: colour("muted"),
  grid: { stroke: colour("line"), width: 1 },
  ticks: { show: false },
  font: "11px system-ui, sans-serif",
  size: 22,
  values: (_, splits) => splits.map((split) => (split === null ? "" : format(split))),
  ...extra,
});

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

/** Both arms' distributions over each other. `unit` formats the horizontal axis; `log` for times. */
export function overlay(label, unit, log) {
  const series = (arm) => ({
    label: arm,
    stroke: colour(arm),
    fill: colour(arm, 0.16),
    width: 1.5,
    paths: uPlot.paths.stepped({ align: 1 }),
    points: { show: false },
  });
  return plot(label, 150, () => ({
    scales: { x: { time: false, ...(log ? { distr: 3 } : {}) }, y: { range: (_, __, max) => [0, max || 1] } },
    axes: [axis(unit, log ? { filter: roundTicks, grid: { stroke: colour("line"), width: 1, filter: roundTicks } } : {}), axis((v) => f.percent(v), { size: 44 })],
    series: [{}, series("live"), series("candidate")],
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

const HUES = ["guard-1", "guard-2", "guard-3", "guard-4", "guard-5", "guard-6"]; // none of them an arm's colour
const DASHES = [[], [5, 3], [2, 2]];
export const hue = (at) => HUES[at % HUES.length];

/** Evidence of every guard over time, 1 being decided. */
export function evidence(label) {
  return plot(label, 170, (data) => ({
    scales: { x: { time: true }, y: { range: [0, 1.05] } },
    axes: [axis(f.moment, { space: 90 }), axis((v) => f.percent(v), { size: 44 })],
    series: [
      {},
      ...data.shape.map((guard, at) => ({ label: guard, stroke: colour(hue(at)), dash: DASHES[Math.floor(at / HUES.length) % 3], width: 1.75, points: { show: false }, spanGaps: true })),
    ],
    hooks: {
      draw: [
        (u) => {
          const y = Math.round(u.valToPos(1, "y", true)) + 0.5;
          u.ctx.save();
          u.ctx.strokeStyle = colour("fail");
          u.ctx.setLineDash([4, 4]);
          u.ctx.beginPath();
          u.ctx.moveTo(u.bbox.left, y);
          u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
          u.ctx.stroke();
          u.ctx.restore();
        },
      ],
    },
  }));
}
