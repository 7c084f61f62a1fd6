// Learning rate by rank: a map of each variant that was tried at several rates, and learning curves.

const MEASURES = [
  ["valid %", "higher"],
  ["valid loss", "lower"],
  ["test %", "higher"],
  ["test loss", "lower"],
];

function ratesPanel(section) {
  const grids = gridsOf(section);
  if (!grids.length) return null;
  const measures = MEASURES.filter(([name]) =>
    grids.some((grid) => grid.runs.some((run) => measured(run, name) !== null)),
  );
  if (!measures.length) return null;
  const place = el("div", { class: "grids" });
  const inTable = new Set(section.arms.flatMap((arm) => arm.runs));
  const fill = (name) =>
    place.replaceChildren(
      ...grids.map((grid) => heatMap(grid, name, MEASURES.find(([each]) => each === name)[1], inTable)),
    );
  fill(measures[0][0]);
  return [
    el(
      "p",
      {},
      "Means over all seeds of each setting; the best of a map is framed. A star is at the rate that the table shows: a search found it on seeds of its own, or validation chose it, on the lowest seed; never the test questions. So it can be another than the framed one.",
    ),
    el(
      "div",
      { class: "controls" },
      menu(
        "Shown",
        measures.map(([name]) => [name, name]),
        measures[0][0],
        fill,
      ),
    ),
    place,
  ];
}

function measured(run, name) {
  const place = data.runColumns.findIndex((column) => column.name === name);
  return place < 0 ? null : run.values[place];
}

function gridsOf(section) {
  const groups = new Map();
  for (const [id, label] of section.runs) {
    const run = byRun.get(id);
    if (run.lr !== null) groups.set(label, [...(groups.get(label) ?? []), run]);
  }
  const distinct = (values) => [...new Set(values)].sort((a, b) => a - b);
  return [...groups]
    .map(([label, runs]) => ({
      label,
      runs,
      rates: distinct(runs.map((run) => run.lr)),
      ranks: distinct(runs.map((run) => run.rank)),
    }))
    .filter((grid) => grid.rates.length > 1);
}

function heatMap(grid, name, better, inTable) {
  const cells = grid.ranks.map((rank) =>
    grid.rates.map((rate) => {
      const runs = grid.runs.filter((run) => run.rank === rank && run.lr === rate);
      const values = runs.map((run) => measured(run, name)).filter((value) => value !== null);
      if (!values.length) return null;
      const mean = values.reduce((a, b) => a + b) / values.length;
      return { mean, count: values.length, starred: runs.some((run) => inTable.has(run.id)) };
    }),
  );
  const means = cells
    .flat()
    .filter(Boolean)
    .map((cell) => cell.mean);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const first = better === "higher" ? high : low;
  const share = (mean) =>
    high === low ? 1 : better === "higher" ? (mean - low) / (high - low) : (high - mean) / (high - low);
  const body = cells.map((row, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, grid.ranks[i] === null ? "" : `r=${grid.ranks[i]}`),
      row.map((cell) => {
        if (!cell) return el("td", { class: "quiet" }, dash("not tried"));
        const text = name.includes("%") ? fixed(cell.mean, 1) : fixed(cell.mean, 3);
        return el(
          "td",
          {
            class: cell.mean === first ? "heat framed" : "heat",
            style: `--share:${(60 * share(cell.mean)).toFixed(0)}%`,
            title: counted(cell.count, "seed") + (cell.starred ? ", the rate that the table shows" : ""),
          },
          cell.starred ? `${text} ★` : text,
        );
      }),
    ),
  );
  const table = el(
    "table",
    { class: "map" },
    el("caption", {}, `${grid.label}, ${name}`),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "rank \\ lr"),
        grid.rates.map((rate) => el("th", { scope: "col" }, String(rate))),
      ),
    ),
    el("tbody", {}, body),
  );
  return el("div", { class: "sideways", role: "region", tabindex: 0, "aria-label": `${grid.label}, ${name}` }, table);
}

function curvesPanel(section) {
  const kinds = [
    ["train", "training loss, nats a token", "Training loss"],
    ["valid", "held-out loss, nats a token", "Held-out loss while they trained"],
  ];
  const known = kinds.filter(([name]) => section.arms.some((arm) => arm[name]));
  if (!known.length) return null;
  const chosen = new Set(
    section.best
      .map((i) => section.arms[i])
      .filter((arm) => arm.train)
      .slice(0, 5)
      .map((arm) => arm.id),
  );
  const place = el("div");
  const fill = () =>
    place.replaceChildren(
      ...known.flatMap(([name, yTitle, title]) => [
        el("h4", {}, `${title}: ${section.model}`),
        lines({
          yTitle,
          label: `${title} of every arm by step, ${section.name}`,
          curves: section.arms
            .filter((arm) => arm[name])
            .map((arm) => ({ name: arm.name, points: curveOf(arm[name]), chosen: chosen.has(arm.id) })),
        }),
      ]),
    );
  fill();
  const boxes = section.arms
    .filter((arm) => arm.train || arm.valid)
    .map((arm) =>
      checkbox(arm.name, chosen.has(arm.id), (on) => {
        if (on) chosen.add(arm.id);
        else chosen.delete(arm.id);
        fill();
      }),
    );
  return [
    el("p", {}, "The mean over an arm's seeds. What is scored is the last step, never the best."),
    el("details", { class: "picker" }, el("summary", {}, "Arms in colour"), el("div", { class: "choices" }, boxes)),
    place,
  ];
}
