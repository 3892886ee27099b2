// The comparison: reads its events and draws them; leaving the page or the button stops it.

import { drawBatch } from "./batch.js";
import { drawLines } from "./chart.js";
import { element, post, problemOf } from "./dom.js";
import { ABSENT, formatFigure, formatPercent, formatPercentile } from "./figures.js";

const COLUMNS = 7; // of figures
const form = document.querySelector("#compare");
const message = document.querySelector("#compare-message");
const [start, stop] = [form.querySelector("#start"), form.querySelector("#stop")];
const phase = document.querySelector("#phase");
const progress = document.querySelector("progress");
const sentence = document.querySelector("#sentence");
let state;
let plan;
let results = new Map(); // server's name -> {points, figures, failure}
let lastBatch = null;

export function prepareComparing(initial) {
  state = initial;
  document.querySelector("#max-users").textContent = `, 1 to ${state.max_users}`;
  document.querySelector("#max-seconds").textContent = `, 1 to ${state.max_seconds}`;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  new ResizeObserver(draw).observe(document.querySelector("main"));
}

async function compare() {
  const wanted = { task: form.task.value, users: Number(form.users.value), seconds: Number(form.seconds.value) };
  const stopping = new AbortController();
  const stopNow = () => stopping.abort();
  setComparing(true);
  stop.addEventListener("click", stopNow);
  message.textContent = "";
  try {
    const response = await post("/compare", wanted, stopping.signal);
    if (!response.ok) {
      message.textContent = await problemOf(response);
      say("Not started.");
      return;
    }
    plan = wanted;
    clear();
    await readEvents(response.body);
  } catch (error) {
    say(stopping.signal.aborted ? "Stopped." : "The comparison was cut off: the demo has ended.");
  } finally {
    stop.removeEventListener("click", stopNow);
    setComparing(false);
  }
}

function setComparing(comparing) {
  const hadFocus = [start, stop].includes(document.activeElement);
  [start.disabled, stop.disabled] = [comparing, !comparing];
  if (hadFocus) (comparing ? stop : start).focus();
  if (comparing) say("Starting. After a stopped comparison, its last answers are waited for.");
  document.dispatchEvent(new CustomEvent("comparing", { detail: comparing }));
}

async function readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  let ended = false;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (unread + part.value).split("\n");
    unread = lines.pop();
    for (const event of lines.map((line) => JSON.parse(line))) {
      handle(event);
      ended ||= event.event === "end";
    }
    draw();
  }
  say(ended ? "Done." : "The comparison was ended by the demo.");
}

function handle(event) {
  const result = results.get(event.server);
  if (event.event === "tick") {
    showPhase(event);
    if (!event.figures) return;
    if (event.phase !== "last answers") result.points.push(event.figures);
    result.figures = event.figures;
    result.loadCpu = event.load_cpu ?? null;
  } else if (event.event === "failed") {
    result.failure = event.message;
  } else if (event.event === "batch") {
    lastBatch = event;
  } else {
    sentence.textContent = event.sentence;
    progress.value = 1;
  }
}

function showPhase(event) {
  const number = state.servers.findIndex((server) => server.name === event.server);
  const { title } = state.servers[number];
  const measuredS = event.figures ? event.figures.elapsed_s : 0;
  progress.value = (number + measuredS / plan.seconds) / state.servers.length;
  const users = `${event.waiting} of ${plan.users} users`;
  const phases = {
    "first answers": `${title}: ${users} wait for their first answer.`,
    measuring: `${title}: second ${Math.min(plan.seconds, Math.floor(measuredS) + 1)} of ${plan.seconds}.`,
    "last answers": `${title}: ${users} wait for their last answer.`,
    done: `${title} is done.`,
  };
  say(phases[event.phase]);
}

function say(text) {
  if (phase.textContent !== text) phase.textContent = text;
}

function clear() {
  results = new Map(state.servers.map((server) => [server.name, { points: [], figures: null, failure: "", loadCpu: null }]));
  lastBatch = null;
  sentence.textContent = "";
  progress.value = 0;
}

function draw() {
  if (!plan) return;
  document.querySelector("#results").hidden = false;
  const lines = (key, dashed = false) =>
    state.servers.map(({ name, title }) => ({
      className: name,
      label: title,
      dashed,
      points: results.get(name).points.map((one) => [one.elapsed_s, one[key]]).filter(([, value]) => value !== null),
    }));
  drawLines(document.querySelector("#rate"), lines("rps"), plan.seconds);
  const latencies = [...lines("p50_ms"), ...lines("p95_ms", true).map((line) => ({ ...line, label: "p95" }))];
  drawLines(document.querySelector("#latency"), latencies, plan.seconds, { log: true });
  document.querySelector("#figures").replaceChildren(...state.servers.map(tableRow));
  drawBatch(lastBatch);
}

function tableRow({ name, title }) {
  const { figures, failure, loadCpu } = results.get(name);
  const heading = element("th", name, title);
  heading.scope = "row";
  const made = element("tr", "", heading);
  made.dataset.server = name;
  if (failure) {
    const cell = element("td", "failed", failure);
    cell.colSpan = COLUMNS;
    made.append(cell);
  } else {
    const { p50, p95 } = state.sample_floors;
    const cells = figures
      ? [
          formatFigure(figures.rps),
          formatPercentile(figures.p50_ms, p50),
          formatPercentile(figures.p95_ms, p95),
          ...[figures.answers, figures.cache_hits, figures.failures].map((count) => count.toLocaleString("en-US")),
          formatPercent(loadCpu),
        ]
      : Array(COLUMNS).fill(ABSENT);
    made.append(...cells.map((cell) => element("td", "", cell)));
  }
  return made;
}
