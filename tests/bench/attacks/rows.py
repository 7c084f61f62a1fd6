"""Rows of the table: ids that are paths, odd types, odd numbers, names that are markup, lines that are none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from attacks.gate import Attack, Place
from attacks.hostile_bytes import DEEP, MARKDOWN, MARKUP, SEQUENCES

READ = ("results verify", "compare lora hra")
SHOWN = ("list", "compare lora hra")
REPORT = ("report --readme results/page.md",)  # draws, which takes a second or two: where a kind of text meets it
LONG = "x" * 10_000
Row = dict[str, Any]

PATHS = [
    "../../escaped",
    "/tmp/escaped",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "~/escaped",
    "a\0b",
    "a\nb",
    LONG,
    "-x",
    "\ud83d",
]
TEXTS = {
    "Markdown": MARKDOWN,
    "markup": MARKUP,
    "sequences": SEQUENCES,
    "line breaks": "a\n| b |\r\u2028c",
    "long": LONG,
    "surrogate": "\ud83d",
    "right to left": "\u202egnp.exe",
    "template": "{{ 7 * 7 }}{% for x in y %}",
}
REPORTED = [("model", "markup"), ("model", "Markdown"), ("hardware", "sequences")]
TYPED: dict[str, list[object]] = {
    "run_id": [None, 3, True, [], {}],
    "seed": ["0", True, 1.5, None, [], 10**400, -1],
    "lr": ["fast", True, -1, {}],
    "test_accuracy": ["0.5", None, 2.0, []],
    "test_n": ["8", -1, 10**30],
    "config": [None, "x", {}, [], 3, {"adapter": None}],
    "metrics": [None, {}, {"test": {}}, {"test": None}, "x", {"test": {"../../x": {}}}, {"valid": {}}],
    "provenance": [None, "x", {}, [], {"git": None}, {"hardware": 3}],
    "status": ["okay", None, 1, ["ok"]],
    "schema": ["2", None, 99, -1, True, [2]],
    "items_sha256": [None, 3, "", "x" * 64],
    "trained_parameters": ["many", 10**25],
    "variant": [None, 3, "no-such", "../lora"],
    "arm": [None, "../x", 3],
    "protocol": ["../../x", None, ""],
}
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "5e-324"]
LINES: dict[str, bytes] = {
    "200,000 brackets": b"[" * DEEP + b"\n",
    "200,000 closed brackets": b"[" * DEEP + b"]" * DEEP + b"\n",
    "200,000 mappings": b'{"a":' * DEEP + b"\n",
    "a list": b"[1, 2]\n",
    "a number": b"3\n",
    "a string": b'"row"\n',
    "zero bytes": b"\0" * 5000 + b"\n",
    "bytes": bytes(range(256)) + b"\n",
    "20 megabytes of digits": b'{"seed": ' + b"9" * 20_000_000 + b"}\n",
    "5,000 digits": b'{"seed": ' + b"9" * 5_000 + b"}\n",
    "100,000 empty lines": b"\n" * 100_000,
    "half of a row": b'{"schema": 4, "run_id": "nano__lo',
    "UTF-16": '{"schema": 4}\n'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}\n",
}


def _changed(name: str, change: Callable[[Row], Row | None], commands: tuple[str, ...] = READ) -> Attack:
    """The first row of the table, changed; a schema without digests, so that what it holds is looked at."""

    def prepare(place: Place) -> None:
        table = place.work / "results/table.ndjson"
        first, *others = table.read_text().splitlines(keepends=True)
        row = {key: value for key, value in json.loads(first).items() if key != "row_sha256"} | {"schema": 3}
        row = change(row) or row
        table.write_text("".join([json.dumps(row) + "\n", *others]))

    return Attack(f"row {name}", prepare, commands, results="rows")


def _set(key: str, value: object, commands: tuple[str, ...] = READ) -> Attack:
    return _changed(
        f"with {key}={str(value)[:24]!r} ({type(value).__name__})", lambda row: row | {key: value}, commands
    )


def _number(key: str, text: str) -> Attack:
    def prepare(place: Place) -> None:
        table = place.work / "results/table.ndjson"
        first, *others = table.read_text().splitlines(keepends=True)
        row = {name: value for name, value in json.loads(first).items() if name != "row_sha256"} | {"schema": 3}
        row[key] = "@"
        table.write_text("".join([json.dumps(row).replace('"@"', text) + "\n", *others]))

    return Attack(f"row with {key}={text}", prepare, ("list --json", *READ), results="rows")


def _line(name: str, line: bytes) -> Attack:
    def prepare(place: Place) -> None:
        table = place.work / "results/table.ndjson"
        table.write_bytes(line + table.read_bytes() if line.endswith(b"\n") else table.read_bytes() + line)

    return Attack(f"table with a line of {name}", prepare, READ, results="rows")


def _table_is(kind: str) -> Attack:
    def prepare(place: Place) -> None:
        table = place.work / "results/table.ndjson"
        table.unlink()
        if kind == "pipe":
            os.mkfifo(table)
        elif kind == "folder":
            table.mkdir()
        elif kind == "empty":
            table.touch()
        else:
            table.symlink_to({"loop": table, "device": "/dev/zero", "outside": "../../neighbour.txt"}[kind])

    return Attack(f"table that is a {kind}", prepare, READ, results="rows")


def _named(where: str, kind: str, text: str) -> Attack:
    def change(row: Row) -> None:
        if where == "hardware":
            row["provenance"]["hardware"] = text
        elif where == "model":
            row["model"] = row["config"]["model"] = text
        else:
            row[where] = text

    reported = (where, kind) in REPORTED
    return _changed(f"whose {where} is {kind}", change, SHOWN + REPORT if reported else SHOWN)


ATTACKS = [
    *(_set("run_id", path, ("list", "results verify", *(REPORT if path in PATHS[:1] else ()))) for path in PATHS),
    *(_set(key, value) for key, values in TYPED.items() for value in values),
    *(_number(key, text) for key in ("test_accuracy", "lr") for text in NUMBERS),
    *(_line(name, line) for name, line in LINES.items()),
    *(_table_is(kind) for kind in ("pipe", "folder", "empty", "loop", "device", "outside")),
    *(_named(where, kind, text) for where in ("hardware", "model", "variant") for kind, text in TEXTS.items()),
    _changed(
        "that fails with markup", lambda row: row | {"status": "failed", "error": MARKUP + SEQUENCES}, SHOWN + REPORT
    ),
    _changed("without any key but its id", lambda row: {"schema": 3, "run_id": row["run_id"]}),
]
