// A drawing of any two quantities.

const COLUMNS_BY = {
  accuracy: ["test %", "vs reference", "strict %", "valid %"],
  loss: ["test loss", "loss vs reference", "valid loss"],
};

/** By which score the marks of a plot are verdicts: that of its axis up, or across; none where neither is a score. */
function scoreShown(x, y) {
  const scores = Object.keys(COLUMNS_BY);
  return [y, x].flatMap(({ name }) => scores.filter((score) => COLUMNS_BY[score].includes(name)))[0] ?? null;
}

/** A row's mark and its bar; single runs are not judged, and have none. */
function markedRow({ arm, mark, ends }, score, y) {
  if (!arm) return { verdict: null };
  const at = scoreOf(arm, score ?? "accuracy");
  const drawn = { "test %": [at.low, at.high], "test loss": [at.low, at.high] }[y.name] ?? ends[y.place] ?? [];
  return { verdict: score ? (at.verdict ?? "") : mark, low: drawn[0], high: drawn[1] };
}

/** Any two quantities of the rows that are shown. */
function plotOf(section, columns, rows, change) {
  const axes = columns.filter(
    (column) => column.axis && rows.some((row) => typeof row.values[column.place] === "number"),
  );
  if (axes.length < 2) return el("p", {}, rows.length ? "No two quantities to draw." : "No row to draw.");
  const { params } = read();
  const by = (name, usual) =>
    axes.find((column) => column.name === params.get(name)) ?? axes.find((column) => column.name === usual) ?? axes[0];
  const [x, y] = [by("x", "params"), by("y", "test %")];
  const score = scoreShown(x, y);
  const judged = score ? rows.filter((row) => row.arm).map((row) => row.arm) : [];
  const points = rows.map((row) => {
    const marked = markedRow(row, score, y);
    const said = [`${y.name}: ${row.cells[y.place]}`, `${x.name}: ${row.cells[x.place]}`];
    if (score && row.arm) said.push(marked.verdict || withoutVerdict([row.arm], score));
    return { ...marked, name: row.name, x: row.values[x.place] ?? NaN, y: row.values[y.place] ?? NaN, link: row.link, said };
  });
  const marks = judged.some((arm) => scoreOf(arm, score).verdict) ? ` Marks: verdicts by ${score === "loss" ? "held-out loss" : "accuracy"}.` : "";
  const bars = points.some(({ y: at, low }) => Number.isFinite(at) && Number.isFinite(low))
    ? ` ${y.name === "test loss" ? BARS.loss : BARS.accuracy}`
    : "";
  const options = axes.map((column) => [column.name, axisName(column)]);
  const unlike = [x, y].some((column) => column.unlike) ? " Measured on different machines, so rows do not compare." : "";
  const few = rows.length <= 60;
  return el(
    "figure",
    { class: "drawing", "data-plot": `${x.name}:${y.name}`, "aria-label": `Any two quantities: ${section.name}` },
    el("h3", {}, `${y.axis} against ${x.axis}: ${section.model}`),
    el(
      "div",
      { class: "controls" },
      menu("Across", options, x.name, (name) => change({ x: name })),
      menu("Up", options, y.name, (name) => change({ y: name })),
    ),
    scatter({
      points,
      xTitle: axisName(x),
      yTitle: axisName(y),
      xBetter: x.better,
      yBetter: y.better,
      percent: y.axis.includes("%"),
      names: few,
      frontier: Boolean(x.better && y.better && !unlike),
      unjudged: judged.length ? withoutVerdict(judged, score) : "",
      label: `${y.axis} against ${x.axis} of ${counted(rows.length, "row")}, ${section.name}`,
    }),
    el(
      "figcaption",
      {},
      `The rows of the table above${few ? "" : "; names are shown of 60 rows or fewer, so filter them, or point at one"}.${marks}${bars}${unlike}`,
    ),
  );
}
