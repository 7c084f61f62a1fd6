"""The comparison table, from what lies in results/ and nothing else.

One table a (model, protocol): runs that were trained or scored differently never share one. A row is an arm, its
seeds pooled; the untuned base heads every table that it was scored like.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from .config import BASE
from .errors import UserError
from .evaluate import headline_of
from .paths import Store
from .results import atomically, items_digest, read_table
from .stats import accuracy_over_seeds

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADER = ("variant", "rank", "lr", "test %", "strict %", "valid %", "params", "train s", "eval s", "seeds")


def render(store: Store) -> str:
    """All tables as Markdown. The order of rows in the table file does not matter.

    Raises:
        UserError: no run has been recorded.
    """
    table = read_table(store.table)
    done = table.filter(pl.col("status") == "ok")
    if done.is_empty():
        raise UserError(f"{store.table} holds no finished run yet; make one with: antipasto-bench demo")
    rows = [
        row | {name: json.loads(row[name]) for name in ("config", "provenance", "metrics")} for row in done.to_dicts()
    ]
    trained = [row for row in rows if row["variant"] != BASE]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    names = {row["protocol"]: row["model"] for row in sorted(rows, key=lambda row: row["run_id"])}
    for row in trained:
        groups.setdefault((names[row["protocol"]], row["protocol"]), []).append(row)
    bases = {row["scoring"]: row for row in rows if row["variant"] == BASE}
    for scoring, row in bases.items():
        if not any(scoring == other["scoring"] for other in trained):
            groups[(row["model"], row["protocol"])] = []  # a base that nothing was trained on yet
    sections = []
    for (_, protocol), members in sorted(groups.items()):
        scorings = {row["scoring"] for row in members}
        base = [row for row in bases.values() if row["scoring"] in scorings or row["protocol"] == protocol]
        sections.append(_section([*base, *members], protocol, store))
    failed = table.filter(pl.col("status") == "failed")
    if not failed.is_empty():
        lines = [
            f"- `{run_id}`: {error}" for run_id, error in failed.select("run_id", "error").sort("run_id").iter_rows()
        ]
        sections.append("\n".join(["Failed runs, in no table:", "", *lines]))
    return "\n\n".join(sections) + "\n"


def _section(rows: list[dict[str, Any]], protocol: str, store: Store) -> str:
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        arms.setdefault(row["arm"], []).append(row)
    lines = [_line(_label(members[0], rows), members, store) for members in arms.values()]
    lines.sort(key=lambda line: (-line[0], line[1]))
    config = next((row["config"] for row in rows if row["variant"] != BASE), rows[0]["config"])
    scored = f"{' + '.join(config['eval']['tasks'])}, n = {rows[0]['test_n']}"
    batch = config["batch_size"] * config["grad_accum"]
    title = f"### {rows[0]['model']}: {config['steps']} steps x {batch}, {config['dtype']}, scored on {scored}"
    note = (
        "test % is flexible-extract accuracy ± one standard error over questions and seeds; "
        f"{_made_on(rows)}; protocol `{protocol}`."
    )
    return "\n".join([title, "", _markdown([line[2] for line in lines]), "", note])


def _label(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The variant, with those of its settings that tell it from its neighbours in the same table."""
    adapter = row["config"]["adapter"]
    peers = [r["config"]["adapter"] for r in rows if r["variant"] == row["variant"]]
    shown = [
        key
        for key, value in adapter.items()
        if key != "r" and (key == "rotate_basis" or any(peer.get(key) != value for peer in peers))
    ]
    return " ".join([row["variant"], *(f"{key}={_compact(adapter[key])}" for key in sorted(shown))])


def _compact(value: Any) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _line(label: str, members: list[dict[str, Any]], store: Store) -> tuple[float, str, tuple[str, ...]]:
    """An arm's sort keys and its cells."""
    members = sorted(members, key=lambda row: row["seed"] or 0)
    mean, stderr = _pooled(members, store)
    first = members[0]

    def average(name: str, scale: float = 1, digits: int = 1) -> str:
        values = [row[name] for row in members if row[name] is not None]
        return f"{scale * sum(values) / len(values):.{digits}f}" if values else ""

    cells = (
        label,
        str(first["rank"] or ""),
        f"{first['lr']:g}" if first["lr"] else "",
        f"{100 * mean:.1f} ± {100 * stderr:.1f}",
        average("test_strict", 100),
        average("valid_accuracy", 100),
        f"{first['trained_parameters'] or 0:,}",
        average("train_s", digits=0),
        average("eval_s", digits=0),
        str(len(members)) if first["seed"] is not None else "",
    )
    return mean, label, cells


def _pooled(members: list[dict[str, Any]], store: Store) -> tuple[float, float]:
    """Headline accuracy and stderr over an arm's seeds, from the questions themselves."""
    task = next(iter(members[0]["metrics"]["test"]))
    columns = []
    for row in members:
        path = store.items(row["run_id"])
        if not path.exists():
            raise UserError(f"{path} is missing: the table's row for it cannot be backed; restore it or run it again")
        items = pl.read_parquet(path)
        if items_digest(items) != row["items_sha256"]:
            raise UserError(f"{path} is not what the table's row for it was made from; restore it or run it again")
        items = items.filter((pl.col("split") == "test") & (pl.col("task") == task))
        name, metric = headline_of(items.to_dicts())
        items = items.filter((pl.col("filter") == name) & (pl.col("metric") == metric))
        columns.append(items.sort("doc_id")["score"].to_numpy())
    return accuracy_over_seeds(columns)


def _made_on(rows: list[dict[str, Any]]) -> str:
    made = [row["provenance"] for row in rows]
    machines = sorted({f"{m['hardware']}, {m['device']}, {m['threads']} threads" for m in made})
    commits = sorted(
        {(m["git"]["commit"] or "no commit")[:10] + ("+changes" if m["git"]["dirty"] else "") for m in made}
    )
    return f"times on {' and '.join(machines)}; code {', '.join(commits)}"


def _markdown(lines: list[tuple[str, ...]]) -> str:
    table = [HEADER, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
    right = [name not in ("variant",) for name in HEADER]

    def row(cells: tuple[str, ...]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([row(HEADER), rule, *map(row, lines)])


def write_into(page: Path, text: str) -> bool:
    """Put the tables between a page's markers; a page that does not exist is begun.

    Returns:
        Whether the page changed.

    Raises:
        UserError: the page has no markers.
    """
    old = page.read_text(encoding="utf-8") if page.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{page} has no place for the tables; put the lines {BEGIN} and {END} where they belong")
    new = f"{head}{BEGIN}\n\n{text}\n{END}{tail}"
    if page.exists() and new == old:
        return False
    with atomically(page) as partial:
        partial.write_text(new, encoding="utf-8")
    return True
