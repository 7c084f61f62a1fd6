// What lies below the rows: learning rate by rank, curves, swept settings, kinds of question, every pair.

function panels(section, params) {
  const open = new Set((params.get("open") ?? "").split(",").filter(Boolean));
  const parts = [
    ["rates", "Learning rate by rank", ratesPanel],
    ["curves", "Learning curves", curvesPanel],
    ["swept", "Settings that were swept", sweptPanel],
    ["kinds", "Accuracy by kind of question", kindsPanel],
    ["pairs", "Every pair, as exploration", pairsPanel],
  ];
  return parts
    .map(([name, title, build]) => {
      const place = el("div");
      const whole = el(
        "details",
        { class: "panel", "data-panel": name },
        el("summary", {}, `${title}: ${section.model}`),
        place,
      );
      const filled = () => place.childNodes.length || place.replaceChildren(...[build(section)].flat().filter(Boolean));
      whole.addEventListener("toggle", () => {
        if (whole.open) filled();
        const now = new Set((read().params.get("open") ?? "").split(",").filter(Boolean));
        if (now.has(name) === whole.open) return;
        if (whole.open) now.add(name);
        else now.delete(name);
        remember({ open: [...now].join(",") }, "none");
      });
      whole.open = open.has(name);
      return build(section) === null ? null : whole;
    })
    .filter(Boolean);
}

// ------------------------------------------------------------------ swept settings, kinds, pairs

function barOf(value, ends, low, high) {
  const place = (x) => `${((100 * (x - low)) / (high - low)).toFixed(1)}%`;
  return el(
    "span",
    { class: "bar" },
    ends
      ? el("span", {
          class: "whisker",
          style: `left:${place(ends[0])};width:${((100 * (ends[1] - ends[0])) / (high - low)).toFixed(1)}%`,
        })
      : null,
    el("span", { class: "dot", style: `left:${place(value)}` }),
  );
}

function sweptPanel(section) {
  if (!section.swept.length) return null;
  return section.swept.flatMap((swept) => {
    const rows = swept.series.flatMap((series) =>
      series.points.map(([value, mean, ends, seeds], i) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, i === 0 ? series.name : ""),
          el("td", {}, value),
          el("td", {}, fixed(mean, 1)),
          el("td", { class: "left" }, barOf(mean, ends, 0, 100)),
          el("td", {}, String(seeds)),
        ),
      ),
    );
    const head = ["series", swept.axis, "test %", "0 to 100 %", "seeds"].map((name, i) =>
      el("th", { scope: "col", class: i === 0 || i === 3 ? "left" : null }, name),
    );
    return [
      el("h4", {}, `Swept: ${swept.axis}, ${section.model}`),
      el("p", {}, swept.conclusion),
      scrolling(
        `Swept: ${swept.axis}`,
        el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
        true,
      ),
    ];
  });
}

function kindsPanel(section) {
  const table = section.kinds;
  if (!table) return null;
  const head = [
    el("th", { scope: "col", class: "left" }, "arm"),
    ...table.columns.map((kind) =>
      el("th", { scope: "col" }, kind.name, el("br"), el("span", { class: "quiet" }, String(kind.questions))),
    ),
  ];
  const body = table.rows.map((row) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, row.name),
      row.cells.map((cell) =>
        el("td", {}, cell.mean, cell.runs ? [el("br"), el("span", { class: "quiet" }, cell.runs)] : null),
      ),
    ),
  );
  const more = table.more ? ` ${table.more} kinds with fewer questions are not shown.` : "";
  return [
    el(
      "p",
      {},
      `Per cent of the questions of each kind that were answered right: the mean over an arm's runs and, below it, each run in the order of the seeds, those that diverged last. Under a kind stands its number of questions.${more}`,
    ),
    scrolling(
      "Accuracy by kind of question",
      el("table", { class: "dense" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)),
      true,
    ),
  ];
}

function pairsPanel(section) {
  const { arms } = section;
  if (!section.pairs.accuracy?.some((pair) => pair && pair[3] !== null)) return null;
  const cell = (i, j) => {
    const pair = i === j ? null : pairOf(section, "accuracy", i, j);
    if (!pair || pair.p === null) return el("td", {}, "");
    const apart = pair.p < 0.05;
    const text = `${arms[i].name} less ${arms[j].name}: ${signed(pair.difference, 1)} points, ${apart ? said(pair.p) : "not separated"}`;
    return el(
      "td",
      { class: apart ? "apart" : null, title: text },
      apart ? said(pair.p).replace("p ", "").replace("< 0.001", "0") : "-",
    );
  };
  return [
    el(
      "p",
      {},
      `Exploration: no pair was planned but those with the reference. p of no difference in accuracy where it is below 0.05, paired on the same questions and corrected for the number of pairs (Holm), here ${exact(pairsJudged(section, "accuracy"))}; 0 stands for less than 0.001, - for pairs that are not separated. Columns are numbered as rows are.`,
    ),
    scrolling(
      "p values of every pair",
      el(
        "table",
        { class: "dense" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col", class: "left" }, "arm"),
            arms.map((arm, i) =>
              el(
                "th",
                { scope: "col", title: arm.name },
                String(i + 1),
                el("span", { class: "unseen" }, ` ${arm.name}`),
              ),
            ),
          ),
        ),
        el(
          "tbody",
          {},
          arms.map((arm, i) =>
            el(
              "tr",
              {},
              el("th", { scope: "row" }, `${i + 1} ${arm.name}`),
              arms.map((_, j) => cell(i, j)),
            ),
          ),
        ),
      ),
      true,
    ),
  ];
}
