// One text to each server, one after another: the answer, and a bar of where its time went.

import { element, post, problemOf } from "./dom.js";
import { formatMs } from "./figures.js";

const form = document.querySelector("#ask");
const message = document.querySelector("#ask-message");
const progress = document.querySelector("#ask-status");
const answers = document.querySelector("#answers");
const button = form.querySelector("button");
let asking = false;

export function prepareAsking(servers) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(servers);
  });
  document.addEventListener("comparing", (event) => {
    button.disabled = event.detail;
  });
}

async function ask(servers) {
  if (asking) return; // not disabled: a disabled button loses the keyboard's focus
  asking = true;
  const question = { task: form.task.value, text: form.text.value };
  message.textContent = "";
  form.text.removeAttribute("aria-invalid");
  const results = [];
  try {
    for (const server of servers) {
      progress.textContent = `Asking ${server.title} …`;
      const response = await post(`/ask/${server.name}`, question);
      if (response.status === 422) {
        progress.textContent = "";
        message.textContent = await problemOf(response);
        form.text.setAttribute("aria-invalid", "true");
        form.text.focus();
        return;
      }
      results.push(response.ok ? { server, ...(await response.json()) } : { server, problem: await problemOf(response) });
      show(results);
    }
    progress.textContent = "All have been asked.";
  } catch {
    message.textContent = "The demo does not answer.";
  } finally {
    asking = false;
  }
}

function show(results) {
  const longestMs = Math.max(...results.map((result) => result.total_ms ?? 0));
  answers.replaceChildren(...results.map((result) => row(result, longestMs)));
}

function row({ server, problem, answer, phases_ms: phasesMs, total_ms: totalMs, cache }, longestMs) {
  const name = element("b", server.name, server.title);
  const made = element("div", "answer", element("p", "", name, cache === "hit" ? " (from the cache)" : ""));
  made.dataset.server = server.name;
  if (problem) {
    made.append(element("p", "message", problem));
    return made;
  }
  const text = answer.translation ?? `${answer.label}, score ${answer.score.toFixed(4)}`;
  made.append(element("p", "text", text), bar(server, phasesMs, longestMs), list(server, phasesMs, totalMs));
  return made;
}

function bar(server, phasesMs, longestMs) {
  const made = element("div", "bar");
  made.setAttribute("aria-hidden", "true"); // the list says the same
  for (const [phase, ms] of Object.entries(phasesMs)) {
    const part = element("span", `${phase} ${server.name}`);
    part.style.width = `${(100 * ms) / longestMs}%`;
    made.append(part);
  }
  return made;
}

function list(server, phasesMs, totalMs) {
  const items = Object.entries(phasesMs).map(([phase, ms]) => {
    const label = phase === "http" ? "HTTP" : phase;
    const item = element("li", "", element("span", `key ${phase} ${server.name}`), `${label} ${formatMs(ms)}`);
    item.dataset.phase = phase;
    return item;
  });
  return element("ul", "phases", ...items, element("li", "", element("b", "", `total ${formatMs(totalMs)}`)));
}
