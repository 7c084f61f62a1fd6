// All rows, arms or single runs: columns, filter, order, any two quantities against each other, and files of it.

const USUAL = ["variant", "rank", "lr", "test %", "95 %", "vs reference", "verdict", "test loss", "verdict by loss", "forgets", "seeds", "params", "step ms", "train s"];

function armRows(section) {
  const columns = section.columns.map((column, place) => ({ ...column, place, usual: USUAL.includes(column.name) }));
  const rows = section.arms.map((arm, i) => ({
    id: arm.id, name: arm.name, cells: arm.cells, values: arm.values, verdict: arm.verdict, link: armLink(section, arm),
    interval: arm.interval, mark: i === section.reference ? "reference" : null, text: `${arm.name} ${arm.cells.join(" ")}`,
  }));
  return { columns, rows };
}

function runRows(section) {
  const own = [["run", "", null], ["variant", "with its settings", null], ["rank", "rank", null], ["lr", "learning rate", null], ["seed", "seed", null]];
  const usual = (column) => column.listed;
  const columns = [
    ...own.map(([name, meaning]) => ({ name, meaning, left: name === "variant", axis: meaning.startsWith("with") ? "" : meaning, better: null, usual: true })),
    ...data.runColumns.map((column) => ({ ...column, usual: usual(column) })),
  ].map((column, place) => ({ ...column, place }));
  const rows = section.runs.map(([id, label]) => {
    const run = byRun.get(id);
    const values = [id, label, run.rank, run.lr, run.seed, ...run.values];
    const cells = [id, label, ...[run.rank, run.lr, run.seed].map((value) => (value === null ? "" : String(value))), ...run.cells];
    const seed = run.seed === null ? "" : ` seed ${run.seed}`;
    return { id, name: `${label}${run.rank === null ? "" : ` r=${run.rank}`}${seed}`, cells, values, link: `#run=${encodeURIComponent(id)}`, text: `${label} r=${run.rank} seed=${run.seed} ${cells.join(" ")}` };
  });
  return { columns: columns.filter((column) => column.place < 5 || rows.some((row) => row.cells[column.place])), rows, all: columns };
}

function exploreView(section, params, part) {
  const runs = params.get("rows") === "runs";
  const { columns, rows, all = columns } = runs ? runRows(section) : armRows(section);
  const chosen = () => {
    const names = read().params.get("cols");
    return names === null ? columns.filter((column) => column.usual) : columns.filter((column, i) => i === 0 || names.split(",").includes(column.name));
  };
  const [table, plot, told] = [el("div"), el("div"), el("output", { "aria-live": "polite", class: "told" })];
  const order = () => ({ column: read().params.get("sort"), direction: read().params.get("dir") === "descending" ? "descending" : "ascending" });
  const matching = () => {
    const now = read().params;
    const { test, problem } = filterOf(now.get("q") ?? "", all);
    const kept = rows.filter(test);
    told.textContent = problem || `${kept.length} of ${counted(rows.length, "row")}`;
    told.classList.toggle("problem", Boolean(problem));
    const by = columns.find((column) => column.name === order().column);
    return by ? inOrder(kept, by.place, order().direction) : kept;
  };
  const sorted = (column, direction) => {
    remember({ sort: column.name, dir: direction });
    update();
    table.querySelectorAll("thead button").forEach((node) => node.textContent === column.name && node.focus());
  };
  const update = () => {
    const kept = matching();
    table.replaceChildren(tableOf({ columns: chosen(), rows: kept, sort: order().column ? order() : null, sorted, label: `Every ${runs ? "run" : "arm"}: ${section.name}` }));
    plot.replaceChildren(plotOf(section, columns, kept, runs, update));
  };
  const pick = (column) => (on) => {
    const names = new Set(chosen().map((each) => each.name));
    if (on) names.add(column.name);
    else names.delete(column.name);
    remember({ cols: columns.filter((each) => names.has(each.name)).map((each) => each.name).join(",") });
    update();
  };
  const filter = el("input", {
    type: "search", autocomplete: "off", spellcheck: "false", value: params.get("q") ?? "", placeholder: "lora, or params < 1e5 and rank = 16",
    oninput: (event) => { remember({ q: event.target.value }); update(); },
  });
  const kinds = [["arms", "arms (seeds pooled)"], ["runs", "single runs"]];
  const switched = (value) => {
    remember({ rows: value === "runs" ? "runs" : null, cols: null, sort: null, dir: null, x: null, y: null });
    exploreView(section, read().params, part);
    part.querySelector("select").focus();
  };
  const names = chosen().map((column) => column.name);
  part.replaceChildren(
    el("h3", {}, `Every ${runs ? "run" : "arm"}: ${section.name}`),
    el("div", { class: "controls" },
      menu("Rows", kinds, runs ? "runs" : "arms", switched),
      el("label", { class: "control wide" }, el("span", {}, "Filter rows"), filter), told,
      el("details", { class: "picker" }, el("summary", {}, "Columns"), el("div", { class: "choices" },
        columns.slice(1).map((column) => checkbox(column.name, names.includes(column.name), pick(column))))),
      saveButtons(section, runs ? "runs" : "arms", () => [chosen(), matching()])),
    table,
    el("details", { class: "notes" }, el("summary", {}, "What the columns mean"),
      el("dl", { class: "facts" }, columns.map((column) => el("div", {}, el("dt", {}, column.name), el("dd", {}, column.meaning || column.name))))),
    plot,
    ...panels(section, params));
  update();
}

/** Any two quantities of the rows that are shown. */
function plotOf(section, columns, rows, runs, update) {
  const axes = columns.filter((column) => column.axis && rows.some((row) => typeof row.values[column.place] === "number"));
  if (axes.length < 2) return el("p", {}, "No two quantities to draw.");
  const { params } = { params: read().params };
  const by = (name, usual) => axes.find((column) => column.name === params.get(name)) ?? axes.find((column) => column.name === usual) ?? axes[0];
  const [x, y] = [by("x", "params"), by("y", "test %")];
  const points = rows.map((row) => ({
    name: row.name, x: row.values[x.place], y: row.values[y.place], verdict: row.verdict ?? "", link: row.link,
    low: y.name === "test %" ? row.interval?.[0] : undefined, high: y.name === "test %" ? row.interval?.[1] : undefined,
    said: [`${y.name}: ${row.cells[y.place]}`, `${x.name}: ${row.cells[x.place]}`],
  })).map((point) => ({ ...point, x: point.x ?? NaN, y: point.y ?? NaN }));
  const options = axes.map((column) => [column.name, column.axis]);
  const change = (changes) => { remember(changes); update(); };
  const few = rows.length <= 45;
  return el("figure", { class: "drawing", "data-plot": `${x.name}:${y.name}`, "aria-label": `Any two quantities: ${section.name}` },
    el("h3", {}, `${y.axis} against ${x.axis}: ${section.name}`),
    el("div", { class: "controls" }, menu("Across", options, x.name, (name) => change({ x: name })), menu("Up", options, y.name, (name) => change({ y: name }))),
    scatter({
      points, xTitle: x.axis, yTitle: y.axis, xBetter: x.better, yBetter: y.better, percent: y.axis.includes("%"), names: few, frontier: Boolean(x.better && y.better),
      label: `${y.axis} against ${x.axis} of ${counted(rows.length, "row")}, ${section.name}`,
    }),
    el("figcaption", {}, `The rows of the table above${few ? "" : "; names are shown of 45 rows or fewer, so filter them, or point at one"}.`));
}
