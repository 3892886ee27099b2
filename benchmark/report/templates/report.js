// Shows a chart's exact values: under the pointer, and with the arrow keys once a chart has the focus.
"use strict";
const tip = document.getElementById("tip");
let shown = null;

function hide() {
  if (shown) shown.classList.remove("shown");
  shown = null;
  tip.textContent = "";
}

function show(value) {
  hide();
  shown = value;
  value.classList.add("shown");
  tip.textContent = value.dataset.text;
  const box = value.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const left = Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, room));
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${Math.max(box.top - tip.offsetHeight - 6, 4) + window.scrollY}px`;
}

for (const chart of document.querySelectorAll("figure svg")) {
  const values = [...chart.querySelectorAll(".value")];
  let current = -1;
  for (const value of values) {
    const title = value.querySelector("title");
    value.dataset.text = title.textContent;
    title.remove();  // or the browser's own hint would stand beside this one
    value.addEventListener("pointerenter", () => { current = values.indexOf(value); show(value); });
    value.addEventListener("pointerleave", hide);
  }
  const go = (index) => {
    current = Math.max(0, Math.min(index, values.length - 1));
    show(values[current]);
  };
  const keys = {
    ArrowRight: () => go(current + 1),
    ArrowDown: () => go(current + 1),
    ArrowLeft: () => go(current - 1),
    ArrowUp: () => go(current - 1),
    Home: () => go(0),
    End: () => go(values.length - 1),
    Escape: hide,
  };
  if (values.length) {
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) go(Math.max(current, 0)); });
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.key in keys) {
        event.preventDefault();
        keys[event.key]();
      }
    });
  }
}
