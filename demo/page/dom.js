// Elements with text from elsewhere: it is always a text node, never markup.

export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

export function svgElement(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// What the server says is wrong, from an answer that is not ok.
export async function problemOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (Array.isArray(answer.detail)) {
    return answer.detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  }
  return answer.detail ?? `HTTP ${response.status}`;
}

export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}
