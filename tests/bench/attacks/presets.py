"""Presets and sweep files: bombs, tags, wrong types, wrong names."""

from __future__ import annotations

import os

from attacks.gate import Attack, Place
from attacks.hostile_bytes import DEEP, SEQUENCES

from antipasto_bench.core.paths import benchmark_dir

_NANO = (benchmark_dir() / "presets" / "nano.yaml").read_text(encoding="utf-8")
_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
_MERGES = "a: &a {k0: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [{', '.join(['*a'] * 50)}], k{i}: 1}}\n" for i in range(50))

ALONE = {  # files that hold nothing but this
    "of nothing": "",
    "null": "null",
    "a scalar": "lora",
    "a list": "- lora\n- hra\n",
    "a number": "3",
    "an alias bomb": _BOMB,
    "merges of merges": _MERGES,
    "a list within itself": "model: &a [*a]\n",
    "a mapping within itself": "model: nano\ndata: &a {train: *a}\n",
    "20,000 brackets": "model: " + "[" * 20_000,
    "20,000 closed brackets": "model: " + "[" * 20_000 + "]" * 20_000,
    "200,000 mappings": "model: " + "{a: " * DEEP,
    "20,000 indents": "\n".join(f"{' ' * i}a:" for i in range(2000)),
    "an object of Python": "model: !!python/object/apply:os.system ['touch {canary}']\n",
    "a name of Python": "model: !!python/name:os.system\n",
    "a module of Python": "model: !!python/module:antigravity\n",
    "a new object": "model: !!python/object/new:subprocess.Popen [['touch', '{canary}']]\n",
    "an unknown tag": "model: !evil nano\n",
    "two documents": "model: nano\n---\nmodel: other\n",
    "an undefined alias": "model: *nothing\n",
    "a key that is a list": "? [a, b]\n: 1\n",
    "a key that comes twice": "model: nano\nmodel: other\n",
    "tabs": "model:\n\t- nano\n",
    "bytes": b"\x89PNG\r\n\x1a\n\0\0\xff\xfe",
    "UTF-16": "model: nano\n".encode("utf-16"),
    "half of a surrogate pair": 'model: "\\ud83d"\n',
    "a zero byte": b"model: na\0no\n",
    "sequences of a terminal": f"model: '{SEQUENCES}'\n".encode(),
    "an integer of 100,000 digits": "steps: " + "9" * 100_000,
    "a hexadecimal of 100,000 digits": "steps: 0x" + "f" * 100_000,
    "a number in base sixty": "steps: 1:30:00\n",
}

ADDED = {  # a preset of ours with this in place of its own key
    "data": ["3", "null", "[]", "{train: 3}", "{train: [a]}", "{trian: x}", "{1: x}"],
    "eval": ["3", "{tasks: 3}", "{tasks: {a: b}}", "{limit: -1}", "{limit: many}", "{batch_size: {constrained: 1}}"],
    "variants": [
        "{lorra: {rank: 4}}",
        "3",
        "[lora]",
        "{lora: 3}",
        "{lora: {rnak: 4}}",
        "{lora: {lr: fast}}",
        "{1: {}}",
    ],
    "steps": ["-1", "1.5", "true", "'10'", "1e400", ".nan", "2001-01-01", "[1]"],
    "lr": [".nan", ".inf", "-1", "'fast'", "true", "{a: 1}"],
    "model": ["3", "null", "[nano]", "''", "'a/../../b'", "2001-01-01"],
    "seed": ["010", "true", "99999999999999999999999", "-1", "1.0"],
    "dtype": ["float33", "3", "null"],
    "evil": ["1"],
    "3": ["1"],
}


def _preset(name: str, content: str | bytes) -> Attack:
    def prepare(place: Place) -> None:
        text = content.replace("{canary}", str(place.canary)).encode() if isinstance(content, str) else content
        (place.work / "evil.yaml").write_bytes(text)

    return Attack(f"preset {name}", prepare, ["sweep lora --dry-run --preset evil.yaml", "sweep evil.yaml --dry-run"])


def _added(key: str, value: str) -> Attack:
    lines = _NANO.splitlines()
    rest: list[str] = []
    skipping = False
    for line in lines:
        if not line.startswith((" ", "#")) and line.strip():
            skipping = line.startswith(f"{key}:")
        if not skipping:
            rest.append(line)
    text = "\n".join([*rest, f"{key}: {value}", ""])

    def prepare(place: Place) -> None:
        (place.work / "evil.yaml").write_text(text, encoding="utf-8")

    commands = ["sweep lora --dry-run --preset evil.yaml", "variants lora --preset evil.yaml"]
    return Attack(f"preset with {key}: {value}", prepare, commands)


def _is(kind: str) -> Attack:
    def prepare(place: Place) -> None:
        path = place.work / "evil.yaml"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to({"device": "/dev/zero", "loop": path}[kind])

    commands = ["sweep lora --dry-run --preset evil.yaml", "sweep evil.yaml --dry-run"]
    return Attack(f"preset that is a {kind}", prepare, commands, codes=(2,))


ATTACKS = [
    *(_preset(name, content) for name, content in ALONE.items()),
    *(_added(key, value) for key, values in ADDED.items() for value in values),
    *(_is(kind) for kind in ("pipe", "folder", "device", "loop")),
]
