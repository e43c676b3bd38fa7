// Building the page. Text only ever becomes text nodes: there is no innerHTML in this console, so a route called
// "<script>" is a strange name and nothing more.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element: h("p", {class: "x", onclick: f, style: {left: "3px"}}, "text", child, …). */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** A name from outside: isolated, so that right-to-left marks in it cannot turn the text around it. */
export const name = (text, attributes) => h("bdi", { class: "name", ...attributes }, cut(text, 200));

/** Text that is never longer than `most` characters. */
export function cut(text, most) {
  const whole = String(text ?? "");
  return whole.length > most ? `${whole.slice(0, most)}… (${whole.length} characters)` : whole;
}

/** A part of the page that is rebuilt only when what it shows has changed, so that focus and selection survive. */
export function part(tag, attributes, build) {
  const element = h(tag, attributes);
  let shown;
  return {
    element,
    update(...values) {
      const key = JSON.stringify(values);
      if (key === shown) return;
      shown = key;
      element.replaceChildren(...[build(...values)].flat(2).filter((child) => child));
    },
  };
}

/** Say something to a screen reader. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}
