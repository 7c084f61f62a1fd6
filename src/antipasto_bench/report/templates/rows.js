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
  "step time",
  "train s",
];

/** A cell of an arm; beside a ratio to the untuned model what it was measured from. */
function withMeasured(section, arm, place) {
  const pair = arm.measured[place];
  if (!pair) return arm.cells[place];
  const beside = arm.untuned ? "" : `; the untuned model ${short(pair[1])}`;
  return `${arm.cells[place]} (${short(pair[0])} ${section.columns[place].unit}${beside})`;
}

function armRows(section) {
  const columns = section.columns.map((column, place) => ({ ...column, place, usual: USUAL.includes(column.name) }));
  const rows = section.arms.map((arm, i) => ({
    id: arm.id,
    name: arm.name,
    cells: arm.cells,
    values: arm.values,
    ends: arm.ends,
    measured: arm.measured,
    blanks: arm.blanks,
    arm,
    link: armLink(section, arm),
    mark: i === section.reference ? "reference" : null,
    text: `${arm.name} ${arm.cells.join(" ")}`,
  }));
  return { columns, rows };
}

/** What tells runs apart: name, meaning, title as an axis, and whether it is shown without being asked for. */
const RUN_COLUMNS = [
  ["run", "variant, rank and seed, and the rate where it alone tells runs apart", "", true],
  ["lr", "learning rate", "learning rate", true],
  ["variant", "with its settings", "", false],
  ["rank", "rank", "rank", false],
  ["seed", "seed", "seed", false],
  ["run id", "as commands take it", "", true],
];

const NOT_OF_BASE = ["lr", "rank", "seed", "train s"]; // columns of runs

/** Why a blank cell of a run is blank. */
function whyBlank(run, column) {
  if (run.lr === null && NOT_OF_BASE.includes(column.name)) return "trains nothing";
  return column.name === "rank" ? "has no rank" : "not measured";
}

function runRows(section) {
  const own = RUN_COLUMNS.map(([name, meaning, axis, usual]) => ({
    name,
    meaning,
    axis,
    usual,
    left: !axis,
    better: null,
  }));
  const unlike = new Set(section.columns.filter((column) => column.unlike).map((column) => column.axis));
  const measured = data.runColumns.map((column) => ({ ...column, usual: column.listed, unlike: unlike.has(column.axis) }));
  const [head, tail] = [own.slice(0, 2), own.slice(2)];
  const columns = [...head, ...measured, ...tail].map((column, place) => ({ ...column, place }));
  const nameOf = ([id, label], withRate) => {
    const { rank, lr, seed } = byRun.get(id);
    const said = [rank === null ? "" : ` r=${rank}`, withRate ? ` lr=${lr}` : "", seed === null ? "" : ` seed ${seed}`];
    return label + said.join("");
  };
  const uses = new Map();
  for (const each of section.runs) uses.set(nameOf(each), (uses.get(nameOf(each)) ?? 0) + 1);
  const rows = section.runs.map(([id, label]) => {
    const run = byRun.get(id);
    const name = nameOf([id, label], uses.get(nameOf([id, label])) > 1);
    const values = [name, run.lr, ...run.values, label, run.rank, run.seed, id];
    const text = (value) => (value === null ? "" : String(value));
    const cells = [name, text(run.lr), ...run.cells, label, text(run.rank), text(run.seed), id];
    const blanks = Object.fromEntries(columns.map((column) => [column.place, whyBlank(run, column)]));
    return { id, name, cells, values, blanks, link: `#run=${encodeURIComponent(id)}`, text: cells.join(" ") };
  });
  const shown = columns.filter((column) => rows.some((row) => row.cells[column.place]));
  return { columns: shown, rows, all: columns };
}
