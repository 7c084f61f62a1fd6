// All rows, arms or single runs: columns, filter, order, any two quantities against each other, and files of it.

const KINDS = [
  ["arms", "arms (seeds pooled)"],
  ["runs", "single runs"],
];

const EXAMPLES = ["variant = lora", "params < 1e5 and rank = 16"]; // of filters

/** What is shown follows from the address alone: a control writes there, and has the rows shown again. */
class Explorer {
  constructor(section, params, part) {
    const runs = params.get("rows") === "runs";
    const { columns, rows, all = columns } = runs ? runRows(section) : armRows(section);
    Object.assign(this, { section, part, columns, rows, all, what: runs ? "run" : "arm" });
    this.table = el("div");
    this.plot = el("div");
    this.told = el("output", { "aria-live": "polite", class: "told" });
  }

  get chosen() {
    const names = read().params.get("cols");
    return names === null
      ? this.columns.filter((column) => column.usual)
      : this.columns.filter((column, i) => i === 0 || names.split(",").includes(column.name));
  }

  get order() {
    const { params } = read();
    const direction = params.get("dir") === "descending" ? "descending" : "ascending";
    return { by: this.columns.find((column) => column.name === params.get("sort")), direction };
  }

  /** The rows that pass the filter, in their order. */
  matching() {
    const { test, problem } = filterOf(read().params.get("q") ?? "", this.all, this.rows);
    const kept = this.rows.filter(test);
    const all = counted(this.rows.length, "row");
    this.told.textContent = problem
      ? `${kept.length} of ${all}: all are shown, because the filter cannot be read: ${problem}`
      : `${kept.length} of ${all}`;
    this.told.classList.toggle("problem", Boolean(problem));
    const { by, direction } = this.order;
    return by ? inOrder(kept, by.place, direction) : kept;
  }

  change(changes, kind) {
    remember(changes, kind);
    keepingFocus(this.part, () => this.update());
  }

  update() {
    const rows = this.matching();
    const { by, direction } = this.order;
    this.table.replaceChildren(
      tableOf({
        columns: this.chosen,
        rows,
        sort: by ? { column: by.name, direction } : null,
        sorted: (column, to) => this.change({ sort: column.name, dir: to }),
        label: `Every ${this.what}: ${this.section.name}`,
      }),
    );
    this.plot.replaceChildren(plotOf(this.section, this.columns, rows, (changes) => this.change(changes)));
  }

  pick(column, on) {
    const names = new Set(this.chosen.map((each) => each.name));
    if (on) names.add(column.name);
    else names.delete(column.name);
    const kept = this.columns.filter((each) => names.has(each.name));
    this.change({ cols: kept.map((each) => each.name).join(",") });
  }

  controls(params) {
    const filter = el("input", {
      type: "search",
      autocomplete: "off",
      spellcheck: "false",
      value: params.get("q") ?? "",
      placeholder: matchMedia("(max-width: 40rem)").matches ? EXAMPLES[0] : EXAMPLES.join(" or "),
      "aria-describedby": `${this.section.slug}-filter`,
      oninput: (event) => this.change({ q: event.target.value }, "filter"),
    });
    const names = this.chosen.map((column) => column.name);
    const boxes = this.columns
      .slice(1)
      .map((column) => checkbox(headingOf(column), names.includes(column.name), (on) => this.pick(column, on)));
    const switched = (value) => {
      const rows = remember({
        rows: value === "runs" ? "runs" : null,
        cols: null,
        sort: null,
        dir: null,
        x: null,
        y: null,
      });
      keepingFocus(this.part, () => exploreView(this.section, rows, this.part));
    };
    return el(
      "div",
      { class: "controls" },
      menu("Rows", KINDS, `${this.what}s`, switched),
      el("label", { class: "control wide" }, el("span", {}, "Filter rows"), filter),
      this.told,
      el("details", { class: "picker", open: this.part.querySelector(".picker")?.open }, el("summary", {}, "Columns"), el("div", { class: "choices" }, boxes)),
      saveButtons(this.section, `${this.what}s`, () => [this.chosen, this.matching()]),
    );
  }

  meanings() {
    const entries = this.columns.map((column) =>
      el("div", {}, el("dt", {}, headingOf(column)), el("dd", {}, column.meaning || column.name)),
    );
    return el(
      "details",
      { class: "notes" },
      el("summary", {}, "What the columns mean"),
      el("dl", { class: "facts" }, entries),
    );
  }
}

function exploreView(section, params, part) {
  const explorer = new Explorer(section, params, part);
  part.replaceChildren(
    el("h3", {}, `Every ${explorer.what}: ${section.model}`),
    explorer.controls(params),
    el(
      "p",
      { class: "quiet hint", id: `${section.slug}-filter` },
      "A word is looked for anywhere in a row: lora finds gralora, too. To name one exactly: ",
      el("code", {}, EXAMPLES[0]),
      ". Numbers: ",
      el("code", {}, EXAMPLES[1]),
    ),
    explorer.table,
    explorer.meanings(),
    explorer.plot,
    ...panels(section, params),
  );
  explorer.update();
}
