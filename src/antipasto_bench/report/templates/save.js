// What is shown, as a file: CSV, JSON, or a LaTeX table.

function save(name, type, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** A cell of CSV: a text that a spreadsheet would take for a formula begins with an apostrophe. */
function csvCell(value) {
  if (typeof value === "number") return String(value);
  const text = /^[=@\t\r]|^[-+](?![\d.−])/.test(value ?? "") ? `'${value}` : (value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const savedNumber = (row, column) => {
  const value = row.values[column.place];
  return typeof value === "number" && column.axis ? value : null;
};

/** Numbers beside a column's own: the ends of its interval, and what a ratio to the untuned model was measured from. */
function besides(column, rows) {
  const pairs = [
    ["ends", `${column.name} low`, `${column.name} high`],
    ["measured", `${column.name}, ${column.unit}`, `${column.name} of the untuned model, ${column.unit}`],
  ];
  return pairs.flatMap(([what, ...names]) =>
    rows.some((row) => row[what]?.[column.place])
      ? names.map((name, i) => [name, (row) => row[what]?.[column.place]?.[i] ?? ""])
      : [],
  );
}

/** Ids, numbers as they are, those beside them, and of a column that shows more than a number its text. */
function asCsv(columns, rows) {
  const fields = columns.flatMap((column) => {
    const text = (row) => row.cells[column.place];
    const more = besides(column, rows);
    if (!rows.some((row) => savedNumber(row, column) !== null)) return [[column.name, text], ...more];
    const number = [column.axis, (row) => savedNumber(row, column) ?? text(row)];
    const error = (row) => /± ([\d.]+)/.exec(text(row))?.[1] ?? "";
    const errors = rows.some((row) => error(row) !== "") ? [[`${column.name} standard error`, error]] : [];
    const shown = rows.some((row) => /[±(]/.test(text(row))) ? [[`${column.name} as shown`, text]] : [];
    return [number, ...errors, ...more, ...shown];
  });
  if (!columns.some((column) => column.name === "run id")) fields.push(["id", (row) => row.id]);
  const lines = [fields.map(([name]) => name), ...rows.map((row) => fields.map(([, cell]) => cell(row)))];
  return lines.map((line) => `${line.map(csvCell).join(",")}\n`).join("");
}

function asJson(section, columns, rows) {
  const objects = rows.map((row) =>
    Object.fromEntries(
      columns.map((column) => {
        const value = savedNumber(row, column);
        const [ends, pair] = [row.ends?.[column.place], row.measured?.[column.place]];
        return [
          column.name,
          {
            text: row.cells[column.place],
            ...(value === null ? {} : { value }),
            ...(ends ? { low: ends[0], high: ends[1] } : {}),
            ...(pair ? { measured: pair[0], untuned: pair[1], unit: column.unit } : {}),
          },
        ];
      }),
    ),
  );
  return `${JSON.stringify({ table: section.title, rows: objects }, null, 1)}\n`;
}

const TEX = {
  "\\": "\\textbackslash{}",
  "{": "\\{",
  "}": "\\}",
  "%": "\\%",
  "&": "\\&",
  "#": "\\#",
  $: "\\$",
  _: "\\_",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "±": "$\\pm$",
  "−": "$-$",
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  "|": "\\textbar{}",
  '"': "\\char34{}",
  "`": "\\textasciigrave{}",
};
const tex = (text) =>
  text
    .replace(/\s+/g, " ")
    .replace(/[\\{}%&#$_~^±−<>|"`]/g, (character) => TEX[character])
    .replace(/-(?=-)/g, "-{}"); // no dash

/** What 1x is in columns of ratios. */
const onesOf = (columns) =>
  columns
    .filter((column) => column.one)
    .map((column) => `${column.name}: 1x is ${column.one}, the untuned model's median over the rows.`);

function asLatex(section, columns, rows) {
  const lines = rows.map((row) => `${columns.map((column) => tex(row.cells[column.place])).join(" & ")} \\\\`);
  return [
    "% needs \\usepackage{booktabs}",
    "\\begin{table}",
    "\\centering",
    `\\begin{tabular}{${columns.map((column, i) => (column.left || i === 0 ? "l" : "r")).join("")}}`,
    "\\toprule",
    `${columns.map((column) => tex(column.name)).join(" & ")} \\\\`,
    "\\midrule",
    ...lines,
    "\\bottomrule",
    "\\end{tabular}",
    `\\caption{${tex([`${section.title}.`, ...onesOf(columns)].join(" "))}}`,
    "\\end{table}",
    "",
  ].join("\n");
}

/** Buttons that save what a table shows; `shown` gives its columns and rows. */
function saveButtons(section, what, shown) {
  const name = `${section.slug}-${what}`;
  return el(
    "span",
    { class: "save" },
    "Save as ",
    button("CSV", () => save(`${name}.csv`, "text/csv", asCsv(...shown()))),
    button("JSON", () => save(`${name}.json`, "application/json", asJson(section, ...shown()))),
    button("LaTeX", () => save(`${name}.tex`, "text/x-tex", asLatex(section, ...shown()))),
  );
}
