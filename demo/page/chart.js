// Lines over the seconds of the window, labelled at their ends.

import { svgElement } from "./dom.js";
import { formatFigure } from "./figures.js";

const MARGIN = { top: 12, bottom: 24, left: 44 };
const LABEL_HEIGHT = 15;
const LABEL_WIDTH = 7; // of a character, about

// `lines`: [{className, label, dashed, points: [[seconds, value], ...]}]; values from 0, or on a log scale.
export function drawLines(svg, lines, seconds, { log = false } = {}) {
  const shown = lines.filter((line) => line.points.length);
  const labels = shown.map((line) => `${line.label} ${formatFigure(line.points.at(-1)[1])}`);
  const right = 10 + LABEL_WIDTH * Math.max(0, ...labels.map((label) => label.length));
  const { width, height } = svg.getBoundingClientRect();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const values = shown.flatMap((line) => line.points.map(([, value]) => value));
  const scale = log ? logScale(values) : linearScale(values);
  const x = (second) => MARGIN.left + (second / seconds) * (width - MARGIN.left - right);
  const y = (value) => height - MARGIN.bottom - scale.share(value) * (height - MARGIN.top - MARGIN.bottom);
  const made = scale.ticks.flatMap((tick) => [
    svgElement("line", { class: "grid", x1: MARGIN.left, x2: width - right, y1: y(tick), y2: y(tick) }),
    svgElement("text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, formatFigure(tick)),
  ]);
  made.push(
    svgElement("text", { x: x(0), y: height - 6 }, "0"),
    svgElement("text", { x: x(seconds), y: height - 6, "text-anchor": "end" }, `${seconds} s`),
  );
  const ends = spread(shown.map((line) => y(line.points.at(-1)[1])), height - MARGIN.bottom);
  shown.forEach((line, index) => {
    const path = line.points.map(([second, value]) => `${x(second).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    made.push(
      svgElement("polyline", { class: `line ${line.className}${line.dashed ? " dashed" : ""}`, points: path }),
      svgElement("text", { class: line.className, x: width - right + 6, y: ends[index] + 4 }, labels[index]),
    );
  });
  svg.replaceChildren(...made);
}

function linearScale(values) {
  const most = Math.max(1, ...values) * 1.05;
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const ticks = [];
  for (let tick = 0; tick <= most; tick += step) ticks.push(tick);
  return { ticks, share: (value) => value / most };
}

function logScale(values) {
  const low = Math.floor(Math.log10(Math.min(...values, 10)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values, 100))));
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index));
  return { ticks, share: (value) => (Math.log10(value) - low) / (high - low) };
}

// Heights near the given ones that are at least a label apart and not below `bottom`.
function spread(heights, bottom) {
  const order = heights.map((_, index) => index).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((index, rank) => {
    if (rank) placed[index] = Math.max(placed[index], placed[order[rank - 1]] + LABEL_HEIGHT);
  });
  let limit = bottom;
  for (const index of order.reverse()) {
    placed[index] = Math.min(placed[index], limit);
    limit = placed[index] - LABEL_HEIGHT;
  }
  return placed;
}
