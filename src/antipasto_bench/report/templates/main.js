// Which view is shown, by the address; light and dark; what has to be built once.

const article = document.getElementById("run");
const places = new Map([...document.querySelectorAll("section.bench")].map((node) => [node.id, node]));
const BUILT = { explore: exploreView, compare: compareView };

function show({ moved }) {
  const state = read();
  document.documentElement.dataset.view = state.run ? "run" : state.view;
  for (const [slug, node] of places) node.hidden = Boolean(state.run) || slug !== state.section.slug;
  for (const node of document.querySelectorAll(".beside")) node.hidden = Boolean(state.run);
  document.getElementById("strange").hidden = !state.strange;
  for (const link of document.querySelectorAll(".switch a")) {
    link.toggleAttribute("aria-current", !state.run && link.dataset.slug === state.section.slug);
  }
  article.hidden = !state.run;
  if (state.run) {
    article.replaceChildren(...runView(state.run).flat(2).filter(Boolean));
    document.title = `${state.run.id}: antipasto-bench`;
    scrollTo(0, 0);
    return article.focus({ preventScroll: true });
  }
  showView(places.get(state.section.slug), state);
  document.title = `${state.section.name}: which adapter should I use?`;
  if (!moved) return;
  scrollTo(0, 0);
  places.get(state.section.slug).querySelector("h2").focus({ preventScroll: true }); // from here a reader by keyboard goes on
}

function showView(node, { section, view, params }) {
  node
    .querySelector(".views")
    .replaceChildren(
      ...VIEWS.map(([name, text]) =>
        el("a", { href: address(section, name), "aria-current": name === view ? "page" : null }, text),
      ),
    );
  for (const part of node.querySelectorAll(".view")) part.hidden = part.dataset.view !== view;
  const part = node.querySelector(`.view[data-view=${view}]`);
  if (view === "answer") answerView(section, params, part);
  else BUILT[view](section, params, part);
}

const themes = ["light", "dark"];
const darkness = matchMedia("(prefers-color-scheme: dark)");
const toggle = document.getElementById("theme");

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser that keeps nothing for files
  }
}

function wear(theme) {
  const now = theme ?? (darkness.matches ? "dark" : "light");
  if (theme) document.documentElement.dataset.theme = theme;
  const other = themes.find((each) => each !== now);
  toggle.textContent = other === "dark" ? "Dark" : "Light";
  toggle.setAttribute("aria-label", `Switch to ${other} colours`);
  toggle.onclick = () => {
    try {
      localStorage.setItem("theme", other);
    } catch {
      // it holds until the page is left
    }
    wear(other);
  };
}

if (data.sections.length) {
  toggle.hidden = false;
  wear(themes.includes(stored()) ? stored() : null);
  darkness.addEventListener("change", () => document.documentElement.dataset.theme || wear(null));
  for (const table of document.querySelectorAll("table.sortable")) {
    letSort(table);
    table.parentElement.after(beyondTheEdge(table.parentElement, table));
  }
  for (const link of document.querySelectorAll(".skip")) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the address is the state
      (link.closest(".opening") ?? document).querySelector(link.dataset.to).focus();
    });
  }
  rememberPlace();
  let before = location.hash.split("?")[0];
  addEventListener("hashchange", () => {
    const now = location.hash.split("?")[0];
    const moved = now !== before;
    if (moved) show({ moved });
    else keepingFocus(document.querySelector("main"), () => show({ moved }));
    before = now;
    backInPlace();
  });
  show({ moved: false });
  backInPlace(); // after a reload
}
document.documentElement.dataset.ready = "1";
