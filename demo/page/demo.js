// The page: its state, errors and notes; the forms are in ask.js and compare.js.

import { prepareAsking } from "./ask.js";
import { prepareComparing } from "./compare.js";
import { element } from "./dom.js";

const STATE_INTERVAL_MS = 2000;
const errors = document.querySelector("#errors");

function showErrors(lines) {
  const shown = [...errors.children].map((one) => one.textContent);
  // Unchanged ones stay, so that they are not read aloud again.
  if (lines.join("\n") !== shown.join("\n")) errors.replaceChildren(...lines.map((line) => element("li", "", line)));
}

async function readState() {
  const state = await (await fetch("/state")).json();
  showErrors(state.servers.map((server) => server.error).filter(Boolean));
  return state;
}

async function watchState() {
  try {
    await readState();
  } catch {
    showErrors(["The demo has ended; `make demo` starts it again."]);
  }
  setTimeout(watchState, STATE_INTERVAL_MS);
}

const state = await readState();
document.querySelector("#notes").replaceChildren(...state.notes.map((note) => element("li", "", note)));
prepareAsking(state.servers);
prepareComparing(state);
document.documentElement.dataset.ready = "true";
setTimeout(watchState, STATE_INTERVAL_MS);
