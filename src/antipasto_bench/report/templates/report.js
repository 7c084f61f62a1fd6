// Sorting, filtering, the run that the address names, and drawings in the reader's colours.

const dark = matchMedia("(prefers-color-scheme: dark)");

function sortBy(header, index) {
  const table = header.closest("table");
  const down = header.getAttribute("aria-sort") !== "descending";
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const key = (row) => row.cells[index].dataset.sort ?? row.cells[index].textContent;
  const numeric = [...body.rows].every((row) => key(row) === "" || !Number.isNaN(Number(key(row).replace("inf", "Infinity"))));
  const value = (row) => (numeric ? Number(key(row).replace("inf", "Infinity")) : key(row));
  const rows = [...body.rows].sort((a, b) => {
    if ((key(a) === "") !== (key(b) === "")) return key(a) === "" ? 1 : -1; // what is not there comes last, either way
    const [x, y] = [value(a), value(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((header, index) => {
    header.querySelector("button")?.addEventListener("click", () => sortBy(header, index));
  });
}

for (const field of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(field.dataset.table).tBodies[0].rows];
  const told = field.parentElement.querySelector("output");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    told.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
}

let asked = null; // the link that a run was opened by

function named(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return ""; // not an address of this page
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("main a[href^='#run=']");
  if (link) asked = link;
});

function show() {
  const name = named(location.hash);
  const run = name.startsWith("run=") ? document.getElementById(name) : null;
  for (const other of document.querySelectorAll("article.run")) other.hidden = other !== run;
  const main = document.querySelector("main");
  const was = main.hidden;
  main.hidden = run !== null;
  document.querySelector("header nav").hidden = run !== null;
  if (run) {
    scrollTo(0, 0);
    run.focus();
  } else if (was && asked) {
    asked.focus();
    asked.scrollIntoView({ block: "center" });
  }
}
addEventListener("hashchange", show);
show();

const stored = document.getElementById("charts");
const given = stored ? JSON.parse(stored.textContent) : { charts: {}, themes: {} };

async function draw() {
  const config = given.themes[dark.matches ? "dark" : "light"];
  for (const [place, specification] of Object.entries(given.charts)) {
    try {
      await window.vegaEmbed(`#${CSS.escape(place)}`, specification, { actions: false, renderer: "svg", config });
    } catch (error) {
      console.error(place, error); // the others are drawn all the same
    }
  }
  document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
}
dark.addEventListener("change", draw);
draw();
