"""Words, names and places as users and scripts give them: odd values, markup, links, devices, folders in the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from attacks.gate import Attack, Place
from attacks.hostile_bytes import MARKUP, SEQUENCES

from antipasto_bench.nano import MODEL_DIR

SMALL = "steps=1 batch_size=2 eval.limit=2 eval.valid_limit=2 eval.general=none costs=false data.overlap=allow".split()
VALUES = [
    "seed=010",
    "seed=true",
    "seed=1e3",
    "seed=0x10",
    "seed=1_000",
    "seed=",
    "seed=null",
    "seed=-1",
    "seed=9" + "9" * 400,
    "revision=1e5",
    "lr=nan",
    "lr=inf",
    "lr=-1",
    "lr=1e400",
    "lr=",
    "lr=[1,2",
    "lr={a:",
    "lr=&a [*a]",
    "lr=!!python/name:os",
    "rank=0",
    "rank=-4",
    "rank=4.5",
    "rank=1" + "0" * 30,
    "rank=True",
    "rotate_basis=V",
    "steps=0",
    "steps=-1",
    "batch_size=0",
    "eval.batch_size=0",
    "eval.batch_size=-1",
    "eval.batch_size.constrained-int=0",
    "eval.limit=0",
    "data.train=\0",
    "data.train=" + "x" * 1000,
    "model=\ud83d",
    "model=../../..",
    "model=http://127.0.0.1:1/x",
    "model=file:///etc/passwd",
    "device=cuda:-1",
    "device=meta",
    "device=evil",
    "dtype=int8",
    "eval.tasks=../../x",
    "eval.tasks=[]",
    "eval.tasks=" + "a," * 500,
    "targets=[",
    "targets=*",
    "targets=(((((((((((((a+)+)+)+)+",
    "=1",
    "==",
    "=",
    "a=b=c",
    "--",
    "{}",
    "lora=1",
    "__class__=1",
    "adapter.__init__=1",
    "data=3",
    "data.=3",
    ".train=x",
    "eval..limit=3",
    "data.filter=evil",
    "quant=16bit",
    "attn=evil",
    "seed=0,1" * 200,
    f"model={MARKUP}",
    f"model={SEQUENCES}",
    SEQUENCES,
    MARKUP,
]
RUN_IDS = [
    "../../escaped",
    "/etc/passwd",
    "",
    "-x",
    "\0",
    "\ud83d",
    "*",
    "nano__*",
    "x" * 1000,
    SEQUENCES,
    "nano__lora\n",
]


def _nothing(place: Place) -> None:
    pass


def _word(word: str) -> Attack:
    commands = [["sweep", "lora", word, "--dry-run"], ["run", "lora", word, *SMALL, "model=nowhere/at/all"]]
    if word.startswith("model="):
        commands = [["sweep", "lora", word, "--dry-run"], ["run", "lora", word, *SMALL]]
    return Attack(f"word {word[:40]!r}", _nothing, _typed(commands))


def _typed(commands: list[list[str]]) -> list[list[str]]:
    """Words that a shell can pass: an argument ends at a zero byte."""
    return [[word.replace("\0", "\\0") for word in command] for command in commands]


def _run_id(text: str) -> Attack:
    commands = [
        ["show", text],
        ["compare", text, "lora"],
        ["export", text, "--merged", "results/x"],
        ["measure", text],
        ["noise", text],
    ]
    known = text.strip() == "nano__lora"  # a prefix, with white space around it, of the only run of lora
    return Attack(
        f"run id {text[:40]!r}", _nothing, _typed(commands), codes=(0, 1, 2) if known else (1, 2), results="rows"
    )


def _model_named(name: str) -> Attack:
    def prepare(place: Place) -> None:
        shutil.copytree(MODEL_DIR, place.work / name)

    words = [["run", "base", f"model={name}", *SMALL], ["list"]]
    return Attack(f"model folder called {name[:30]!r}", prepare, words)


def _at(name: str, prepare: Callable[[Place], object], *commands: str, codes: tuple[int, ...] = (0, 1, 2)) -> Attack:
    return Attack(f"place: {name}", prepare, commands, codes=codes, results="rows")


def _link(source: str, target: str) -> Callable[[Place], object]:
    def prepare(place: Place) -> None:
        path = place.work / source
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    return prepare


def _pipe(name: str) -> Callable[[Place], object]:
    return lambda place: os.mkfifo(place.work / name)


def _folder(name: str) -> Callable[[Place], object]:
    return lambda place: (place.work / name).mkdir(parents=True)


def _file(name: str) -> Callable[[Place], object]:
    def prepare(place: Place) -> None:
        path = place.work / name
        if path.is_dir():
            shutil.rmtree(path)
        path.write_text("in the way")

    return prepare


RUN = "run lora " + " ".join(SMALL)

ATTACKS = [
    *map(_word, VALUES),
    *map(_run_id, RUN_IDS),
    *map(_model_named, (f"a{MARKUP.replace('/', '')}", f"a{SEQUENCES}", "a\nb", "-a")),
    _at("outputs is a file", _file("outputs"), RUN, codes=(2,)),
    _at("results is a file", _file("results"), RUN, "report", codes=(2,)),
    _at("items is a file", _file("results/items"), "report", "results verify", "compare lora hra"),
    _at("runs is a file", _file("results/runs"), "results verify"),
    _at("figures leads out", _link("results/figures", "../../linked"), "report", codes=(2,)),
    _at("the page is a folder", _folder("results/report.html"), "report"),
    _at("the page leads out", _link("results/report.html", "../../neighbour.txt"), "report", codes=(2,)),
    _at("the README is a pipe", _pipe("results/page.md"), "report --readme results/page.md", codes=(2,)),
    _at("the README is a device", _nothing, "report --readme /dev/zero", codes=(2,)),
    _at("results are a device", _nothing, "list --results /dev/null", "report --results /dev/null", codes=(2,)),
    _at(
        "results are not there",
        _nothing,
        "list --results gone",
        "report --results gone",
        "results verify --results gone",
    ),
    _at("results lead to themselves", _link("results", "results"), "list", "report", RUN, codes=(2,)),
    _at(
        "the locks are a file",
        lambda place: (_folder("outputs")(place), _file("outputs/.locks")(place)),
        RUN,
        codes=(2,),
    ),
    _at(
        "the workspaces are a file", lambda place: (_folder("outputs")(place), _file("outputs/.workspaces")(place)), RUN
    ),
    _at("a reference is a pipe", _pipe("x.csv"), "report --reference x.csv", codes=(2,)),
    _at(
        "a reference is bytes", lambda place: (place.work / "x.csv").write_bytes(b"\xff\0"), "report --reference x.csv"
    ),
    _at(
        "a lease is a pipe",
        lambda place: (_folder("outputs/.locks")(place), _pipe("outputs/.locks/nano__x.json")(place)),
        "status",
    ),
    _at(
        "a lease of brackets",
        lambda place: (
            _folder("outputs/.locks")(place),
            (place.work / "outputs/.locks/nano__x.json").write_bytes(b"[" * 200_000),
        ),
        "status",
    ),
    _at(
        "an export where a file is",
        lambda place: (place.work / "x").write_text("in the way"),
        "export nano__x --merged x",
        codes=(2,),
    ),
]
