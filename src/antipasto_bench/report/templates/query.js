// Filters: words that a row has to hold, and comparisons such as `params < 1e5 and rank = 16`.

const CLAUSE = /^(.+?)\s*(<=|>=|!=|=|<|>|~)\s*(.+)$/;
const SIZES = { k: 1e3, m: 1e6, g: 1e9 };
const bare = (name) => name.toLowerCase().replace(/[^a-z0-9+/]/g, "");

/** The column that a reader means: by its name, without its signs and spaces, or the beginning of one alone. */
function columnNamed(columns, name) {
  const wanted = bare(name);
  if (!wanted) return null;
  const names = (column) => [column.name, headingOf(column), column.axis ?? ""].map(bare);
  const exactly = columns.filter((column) => names(column).includes(wanted));
  const beginning = columns.filter((column) => bare(column.name).startsWith(wanted));
  return exactly[0] ?? (beginning.length === 1 ? beginning[0] : null);
}

function numberOf(text) {
  const found = /^([-+]?[\d.,]+(?:e[-+]?\d+)?)\s*([kmg%]?)$/i.exec(text.trim());
  return found ? Number(found[1].replaceAll(",", "")) * (SIZES[found[2].toLowerCase()] ?? 1) : NaN;
}

const COMPARED = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
};

/** A test of rows, and what is wrong with the filter; a row is {text, cells, values} by the columns' places. */
function filterOf(text, columns) {
  let problem = "";
  const clause = (part) => {
    const found = CLAUSE.exec(part);
    const column = found && columnNamed(columns, found[1]);
    if (!column) {
      if (found && /[<>]/.test(found[2])) problem = `no column is called “${found[1].trim()}”`;
      const words = part.toLowerCase().split(/\s+/).filter(Boolean);
      return (row) => words.every((word) => row.text.toLowerCase().includes(word));
    }
    const [, , sign, given] = found;
    const place = columns.indexOf(column);
    const number = numberOf(given);
    const wanted = given
      .trim()
      .replace(/^["']|["']$/g, "")
      .toLowerCase();
    if (sign === "~") return (row) => row.cells[place].toLowerCase().includes(wanted);
    if (!Number.isNaN(number)) {
      return (row) => typeof row.values[place] === "number" && COMPARED[sign](row.values[place], number);
    }
    if (/[<>]/.test(sign)) problem = `“${given}” is no number`;
    return (row) => COMPARED[sign](row.cells[place].toLowerCase(), wanted);
  };
  const either = text.split(/\s+or\s+/i).map((part) =>
    part
      .split(/\s+and\s+|\s*&&\s*/i)
      .filter((each) => each.trim())
      .map(clause),
  );
  const test = (row) => either.some((all) => all.every((one) => one(row)));
  return { test: problem ? () => true : test, problem };
}
