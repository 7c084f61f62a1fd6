// The state of the page is its address: #SLUG, #SLUG/explore?q=rank+%3D+16&x=params, #SLUG/compare?a=..&b=.., #run=ID.

const bySlug = new Map(data.sections.map((section) => [section.slug, section]));
const byRun = new Map(data.runs.map((run) => [run.id, run]));
const VIEWS = [
  ["answer", "Answer"],
  ["explore", "Explore"],
  ["compare", "Compare two"],
];

function named(hash) {
  try {
    return decodeURIComponent(hash);
  } catch {
    return ""; // not an address of this page
  }
}

/** What an address says; what is not of this page is the first section's answer, and `strange`. */
function read(hash = location.hash) {
  if (hash.startsWith("#run=")) {
    const run = byRun.get(named(hash.slice(5)));
    if (run) return { run, strange: false };
  }
  const [path, query = ""] = hash.slice(1).split("?");
  const [slug, view = "answer"] = path.split("/");
  const section = bySlug.get(named(slug));
  const params = new URLSearchParams(query);
  const known = VIEWS.some(([name]) => name === view);
  const arms = ["a", "b"].map((name) => params.get(name)).filter((id) => id !== null);
  const strange = hash.length > 1 && !(section && known && arms.every((id) => section.arms.some((arm) => arm.id === id)));
  return { section: section ?? data.sections[0], view: known ? view : "answer", params, strange };
}

function address(section, view = "answer", values = {}) {
  const params = values instanceof URLSearchParams ? values : new URLSearchParams(values);
  const query = params.toString();
  return `#${encodeURIComponent(section.slug)}${view === "answer" && !query ? "" : `/${view}`}${query ? `?${query}` : ""}`;
}

/**
 * Write values into the address; empty ones are taken out of it.
 *
 * Each change is a step of the reader's history, that Back undoes; one after the other of the same `kind` are one step,
 * such as the letters of a filter, and those of the kind "none" are no step.
 */
function remember(changes, kind = null) {
  const state = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "" || value === undefined) state.params.delete(name);
    else state.params.set(name, value);
  }
  const to = address(state.section, state.view, state.params);
  if (kind === "none" || (kind && kind === history.state?.kind)) history.replaceState(history.state, "", to);
  else if (to !== location.hash) {
    history.replaceState({ ...history.state, y: scrollY }, "");
    history.pushState({ y: scrollY, kind }, "", to);
  }
  return state.params;
}

const tableShown = () => document.querySelector(".bench:not([hidden]) .view:not([hidden]) .scroll");
const linksTo = (href) => [...document.querySelectorAll(`a[href="${CSS.escape(href)}"]`)];

/** Keep with each step of the reader's history how far it was scrolled, and the link that led away from it. */
function rememberPlace() {
  history.scrollRestoration = "manual"; // a browser scrolls before the view is there
  let waiting = 0;
  addEventListener("scroll", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => history.replaceState({ ...history.state, y: scrollY }, ""), 150);
  });
  document.addEventListener(
    "click",
    (event) => {
      const href = event.target.closest?.("a[href^='#']")?.getAttribute("href");
      if (!href) return;
      clearTimeout(waiting);
      const place = linksTo(href).indexOf(event.target.closest("a"));
      history.replaceState({ y: scrollY, inner: tableShown()?.scrollTop ?? 0, link: href, place }, "");
    },
    true,
  );
}

/** Where the reader comes back to a step of the history: as far down as it was, and at the link that led away. */
function backInPlace() {
  if (!history.state) return;
  const { y = 0, inner = 0, link, place } = history.state;
  if (inner) tableShown()?.scrollTo(0, inner);
  if (link) linksTo(link)[place]?.focus({ preventScroll: true });
  scrollTo(0, y);
}
