// The running batch: a row a place in it, a bar a text from when it joins to when it leaves.

import { svgElement } from "./dom.js";
import { formatFigure } from "./figures.js";

const AXIS_HEIGHT = 22;
const MAX_HEIGHT = 320;
const MAX_ROW_HEIGHT = 14;
const TICKS = 4;

const figure = document.querySelector("#batch-figure");
const svg = document.querySelector("#batch");
const text = document.querySelector("#batch-text");

export function drawBatch(batch) {
  figure.hidden = !batch;
  if (!batch) return;
  const inMs = formatFigure(batch.window_ms);
  text.textContent =
    `In the last ${inMs} ms before the load ended, ${batch.joined} texts joined and ${batch.left} left the ` +
    `running batch, at most ${batch.most} at once.`;
  const translated = batch.task === "translation";
  document.querySelector("#computed").textContent = translated ? "decoded, token by token" : "computed as one batch";
  document.querySelector("#encoded").hidden = !translated;
  drawSpans(batch);
}

function drawSpans({ texts, window_ms: windowMs }) {
  const rows = Math.max(...texts.map((one) => one.row)) + 1;
  const rowHeight = Math.min(MAX_ROW_HEIGHT, MAX_HEIGHT / rows);
  const height = rows * rowHeight + AXIS_HEIGHT;
  const { width } = svg.getBoundingClientRect();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  const x = (ms) => (Math.min(Math.max(ms, 0), windowMs) / windowMs) * width;
  const bars = texts.flatMap((one) => {
    const parts = [["encoded", one.joined_ms, one.decoding_ms], ["computed", one.decoding_ms, one.left_ms]];
    return parts.map(([className, from, to]) => {
      // A gap on the right tells a text from the next one of its row.
      const size = { width: Math.max(0, x(to) - x(from) - (className === "computed" ? 1 : 0)), height: rowHeight * 0.8 };
      return svgElement("rect", { class: className, x: x(from), y: one.row * rowHeight, ...size });
    });
  });
  const axis = Array.from({ length: TICKS + 1 }, (_, index) => {
    const anchor = index === 0 ? "start" : index === TICKS ? "end" : "middle";
    const label = `${formatFigure((windowMs * index) / TICKS)}${index === TICKS ? " ms" : ""}`;
    return svgElement("text", { x: (width * index) / TICKS, y: height - 6, "text-anchor": anchor }, label);
  });
  svg.replaceChildren(...bars, ...axis);
}
