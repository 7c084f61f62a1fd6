// Tables that sort: what is not there comes last either way, and of a cost the cheapest comes first.

const firstDirection = (column) => (column.better === "higher" ? "descending" : "ascending");

function inOrder(rows, place, direction) {
  const value = (row) => row.values[place];
  const absent = (row) => value(row) === null || value(row) === undefined || value(row) === "";
  return [...rows].sort((a, b) => {
    if (absent(a) || absent(b)) return absent(a) - absent(b);
    const [x, y] = [value(a), value(b)];
    const order =
      typeof x === "number" && typeof y === "number"
        ? x - y
        : String(x).localeCompare(String(y), "en", { numeric: true });
    return direction === "descending" ? -order : order;
  });
}

/** A table of rows {cells, values, link, best}; `sorted` gets the column and the direction that a reader asks for. */
function tableOf({ columns, rows, sort, sorted, label }) {
  const head = columns.map((column, i) => {
    const chosen = sort && sort.column === column.name;
    const asked = () =>
      sorted(
        column,
        chosen && sort.direction === firstDirection(column) ? opposite(sort.direction) : firstDirection(column),
      );
    return el(
      "th",
      {
        scope: "col",
        class: column.left || i === 0 ? "left" : null,
        title: column.meaning,
        "aria-sort": chosen ? sort.direction : null,
      },
      button(headingOf(column), asked),
    );
  });
  const body = rows.map((row) =>
    el(
      "tr",
      { class: row.mark ?? null },
      columns.map((column, i) => {
        const text = row.cells[column.place];
        if (i === 0) return el("th", { scope: "row" }, row.link ? el("a", { href: row.link }, text) : text);
        return el("td", { class: column.left ? "left" : null }, text ? verdictOr(column, text) : dash(row.blanks?.[column.place] ?? "not measured"));
      }),
    ),
  );
  return scrolling(label, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)), true);
}

const opposite = (direction) => (direction === "ascending" ? "descending" : "ascending");

function verdictOr(column, text) {
  return column.name.startsWith("verdict") && text
    ? el("span", { class: "verdict", "data-verdict": text }, text)
    : text;
}

/** Let the headings of a table that stands in the markup sort it. */
function letSort(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    const column = { better: heading.dataset.better ?? (heading.textContent.startsWith("test %") ? "higher" : null) };
    const pressed = () => {
      const now = heading.getAttribute("aria-sort");
      const direction = now === firstDirection(column) ? opposite(now) : firstDirection(column);
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", direction);
      const rows = [...table.tBodies[0].rows].map((node) => {
        const key = node.cells[place].dataset.sort;
        return { node, values: [key === "" || Number.isNaN(Number(key)) ? key : Number(key)] };
      });
      table.tBodies[0].append(...inOrder(rows, 0, direction).map((row) => row.node));
    };
    const inside = [...heading.childNodes];
    heading.replaceChildren(el("button", { type: "button", onclick: pressed }, inside));
  });
}
