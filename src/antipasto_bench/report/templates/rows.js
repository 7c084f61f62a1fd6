// The rows of the explorer, arms or single runs: {name, cells, values, text} by the places of their columns.

const USUAL = [
  "variant",
  "rank",
  "lr",
  "test %",
  "95 %",
  "vs reference",
  "verdict",
  "test loss",
  "verdict by loss",
  "forgets",
  "seeds",
  "params",
  "step ms",
  "train s",
];

function armRows(section) {
  const columns = section.columns.map((column, place) => ({ ...column, place, usual: USUAL.includes(column.name) }));
  const rows = section.arms.map((arm, i) => ({
    id: arm.id,
    name: arm.name,
    cells: arm.cells,
    values: arm.values,
    verdict: arm.verdict,
    link: armLink(section, arm),
    interval: arm.interval,
    mark: i === section.reference ? "reference" : null,
    text: `${arm.name} ${arm.cells.join(" ")}`,
  }));
  return { columns, rows };
}

function runRows(section) {
  const own = [
    ["run", "", null],
    ["variant", "with its settings", null],
    ["rank", "rank", null],
    ["lr", "learning rate", null],
    ["seed", "seed", null],
  ];
  const usual = (column) => column.listed;
  const columns = [
    ...own.map(([name, meaning]) => ({
      name,
      meaning,
      left: name === "variant",
      axis: meaning.startsWith("with") ? "" : meaning,
      better: null,
      usual: true,
    })),
    ...data.runColumns.map((column) => ({ ...column, usual: usual(column) })),
  ].map((column, place) => ({ ...column, place }));
  const rows = section.runs.map(([id, label]) => {
    const run = byRun.get(id);
    const values = [id, label, run.rank, run.lr, run.seed, ...run.values];
    const cells = [
      id,
      label,
      ...[run.rank, run.lr, run.seed].map((value) => (value === null ? "" : String(value))),
      ...run.cells,
    ];
    const seed = run.seed === null ? "" : ` seed ${run.seed}`;
    return {
      id,
      name: `${label}${run.rank === null ? "" : ` r=${run.rank}`}${seed}`,
      cells,
      values,
      link: `#run=${encodeURIComponent(id)}`,
      text: `${label} r=${run.rank} seed=${run.seed} ${cells.join(" ")}`,
    };
  });
  return {
    columns: columns.filter((column) => column.place < 5 || rows.some((row) => row.cells[column.place])),
    rows,
    all: columns,
  };
}
