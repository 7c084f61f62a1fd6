// Filters: words that a row has to hold, and comparisons such as `params < 1e5 and rank = 16`.

const CLAUSE = /^(.*?)\s*([<>=!~]*[<>=~][<>=!~]*)\s*(.*)$/; // what is compared, the sign, and with what
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

const unclosed = (text) => text.split("(").length !== text.split(")").length;

/** Why a comparison cannot be read; empty where it can. */
function misread([, name, sign, given], column) {
  if (!name) return `no column stands before “${sign}”`;
  if (!(sign in COMPARED) && sign !== "~") return `“${sign}” is no comparison: these are = != < > <= >= ~`;
  if (!column) return `no column is called “${name}”`;
  if (unclosed(name) || unclosed(given)) return "brackets do not group comparisons";
  if (!given) return `nothing follows “${sign}”`;
  return /[<>]/.test(sign) && Number.isNaN(numberOf(given)) ? `“${given}” is no number` : "";
}

/**
 * A test of rows, and what is wrong with the filter; a row is {text, cells, values} by the columns' places.
 *
 * What has a sign and names no column is words that a row holds, as in `lora r=16`, or wrong if no row does.
 */
function filterOf(text, columns, rows) {
  let problem = "";
  const clause = (part) => {
    const found = CLAUSE.exec(part.trim());
    const column = found && columnNamed(columns, found[1]);
    if (found && column) problem ||= misread(found, column);
    if (!column) {
      const words = part.toLowerCase().split(/\s+/).filter(Boolean);
      const test = (row) => words.every((word) => row.text.toLowerCase().includes(word));
      if (found && (/[<>]/.test(found[2]) || !rows.some(test))) problem ||= misread(found, null);
      else if (!found && unclosed(part) && !rows.some(test)) problem ||= "brackets do not group words";
      return test;
    }
    if (problem) return () => true;
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
