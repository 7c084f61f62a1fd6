// A drawing of any two quantities.

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
  const points = rows
    .map((row) => ({
      name: row.name,
      x: row.values[x.place],
      y: row.values[y.place],
      verdict: row.verdict ?? "",
      link: row.link,
      low: y.name === "test %" ? row.interval?.[0] : undefined,
      high: y.name === "test %" ? row.interval?.[1] : undefined,
      said: [`${y.name}: ${row.cells[y.place]}`, `${x.name}: ${row.cells[x.place]}`],
    }))
    .map((point) => ({ ...point, x: point.x ?? NaN, y: point.y ?? NaN }));
  const options = axes.map((column) => [column.name, column.axis]);
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
      xTitle: x.axis,
      yTitle: y.axis,
      xBetter: x.better,
      yBetter: y.better,
      percent: y.axis.includes("%"),
      names: few,
      frontier: Boolean(x.better && y.better),
      label: `${y.axis} against ${x.axis} of ${counted(rows.length, "row")}, ${section.name}`,
    }),
    el(
      "figcaption",
      {},
      `The rows of the table above${few ? "" : "; names are shown of 60 rows or fewer, so filter them, or point at one"}.${unlike}`,
    ),
  );
}
