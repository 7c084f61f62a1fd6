// Elements, whose texts are text whatever they say, and numbers for people.

const data = JSON.parse(document.getElementById("data").textContent);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== 0),
  );
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const PREFIXES = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** A number on an axis, as 30k or 1.2M; never with an exponent where it can be helped. */
function human(value) {
  const size = Math.abs(value);
  for (const [scale, prefix] of PREFIXES) {
    if (size >= scale) return `${short(value / scale)}${prefix}`;
  }
  return size === 0 || size >= 1e-5 ? short(value) : value.toExponential(0);
}

const short = (value) => String(Number(value.toPrecision(3)));

/** A number in a tooltip or a file: all digits that mean something. */
const exact = (value) => Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });

/** As the tables round, which are made elsewhere: of two equally near numbers the one that ends in an even digit. */
function fixed(value, digits) {
  const tie = Number.isInteger(value * 2 ** (digits + 1)) && Math.abs((value * 10 ** digits) % 1) === 0.5;
  return tie ? ((2 * Math.round((value * 10 ** digits) / 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
}

const signed = (value, digits) => `${value < 0 ? "−" : "+"}${fixed(Math.abs(value), digits)}`;

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** What stands in a cell that has no text: a dash that says why. */
const dash = (why) => el("span", { role: "img", "aria-label": why, title: why }, "–");

/** What a column is called above it. */
const headingOf = (column) => column.heading ?? column.name;

const CONTROL = /(\\x[0-9a-f]{2}|\\u[0-9a-f]{4})/;

/** A model's text, in which control characters are written out: these in grey. */
const answerText = (text) =>
  el(
    "pre",
    {},
    text.split(CONTROL).map((part) => (CONTROL.test(part) ? el("span", { class: "control-character" }, part) : part)),
  );

/** A label with a menu; `changed` gets the value that is chosen. */
function menu(label, options, chosen, changed) {
  const list = el(
    "select",
    { onchange: (event) => changed(event.target.value) },
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
  return el("label", { class: "control" }, el("span", {}, label), list);
}

function checkbox(label, checked, changed) {
  return el(
    "label",
    { class: "control" },
    el("input", { type: "checkbox", checked, onchange: (event) => changed(event.target.checked) }),
    el("span", {}, label),
  );
}

const button = (text, pressed, attributes = {}) =>
  el("button", { type: "button", onclick: pressed, ...attributes }, text);

/** Do what replaces controls of a place, and give the focus to the one that stands where it was. */
function keepingFocus(place, act) {
  const controls = () => [...place.querySelectorAll("select, input, button")];
  const at = controls().indexOf(document.activeElement);
  act();
  if (at >= 0 && !place.contains(document.activeElement)) controls()[at]?.focus();
}

function scrolling(label, table, tall = false) {
  const view = el(
    "div",
    { class: tall ? "scroll tall" : "scroll", role: "region", tabindex: 0, "aria-label": label },
    table,
  );
  return el("div", {}, view, beyondTheEdge(view, table));
}

/** A line that names the columns of a table that are out of sight to the right. */
function beyondTheEdge(view, table) {
  const more = el("p", { class: "quiet more", "aria-hidden": "true" });
  const tell = () => {
    const { right } = view.getBoundingClientRect();
    const hidden = [...(table.tHead?.rows[0].cells ?? [])].filter(
      (cell) => cell.getBoundingClientRect().right > right + 1,
    );
    const names = hidden.slice(0, 12).map((cell) => cell.firstChild?.textContent ?? "");
    more.textContent = hidden.length
      ? `${counted(hidden.length, "more column")} to the right: ${names.join(", ")}${hidden.length > 12 ? ", …" : ""}`
      : "";
  };
  view.addEventListener("scroll", tell);
  new ResizeObserver(tell).observe(view);
  return more;
}
