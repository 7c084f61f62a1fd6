"""The gate that every attack goes through: commands over hostile files, in a folder whose surroundings are watched.

A command ends with exit code 0, 1 or 2, in time, with one `error:` line at most and no traceback; it writes nothing but
results/ and outputs/, sends no escape sequence to the terminal, and runs nothing of what it reads: no canary is there.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from command import fork

from antipasto_bench.cli import main

TIME_S = 100.0  # for all commands of an attack, on a machine that has other work
MEMORY = 3 * 2**30  # bytes that they may take beyond what is loaded already
LONGEST_LINE = 2500  # characters of a message
GIVEN = ("results", "outputs")  # folders that commands may write to


@dataclass(frozen=True)
class Place:
    """Where an attack is prepared."""

    work: Path  # the folder that commands run in
    canary: Path  # a file that only code of the attacker's would write


@dataclass(frozen=True)
class Attack:
    """Hostile files, and the commands that meet them.

    Attributes:
        prepare: writes the files; results/ of a few runs lie in the folder already where `results` is set.
        commands: words of each; `{canary}` stands for the canary's path.
        codes: exit codes that each command may end with.
        said: words that are part of what the commands print.
        results: "" for none, "rows" for recorded rows, "run" for a run with its adapter.
    """

    name: str
    prepare: Callable[[Place], object]
    commands: Sequence[str | Sequence[str]]
    codes: tuple[int, ...] = (0, 1, 2)
    said: str = ""
    results: str = ""


@dataclass(frozen=True)
class Ended:
    code: int | str
    out: str
    err: str


def survive(attack: Attack, place: Place, streams: Path) -> None:
    """Run an attack's commands, and hold them to what this module promises."""
    around = place.canary.parent
    attack.prepare(place)
    before = snapshot(around, place.work)
    commands = [command.split() if isinstance(command, str) else list(command) for command in attack.commands]
    commands = [[word.replace("{canary}", str(place.canary)) for word in command] for command in commands]
    ended = run_commands(commands, place.work, streams)
    for command, end in zip(commands, ended, strict=True):
        shown = f"{command}\nexit {end.code}\n{end.out[-3000:]}\n{end.err[-6000:]}"
        assert end.code in attack.codes, shown
        assert "Traceback" not in end.out + end.err, shown
        lines = end.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == (lines[-1:] if end.code == 2 else []), shown
        assert len(max(lines, key=len, default="")) < LONGEST_LINE, shown
        assert not {"\x1b", "\x9b", "\x07"} & {*end.out, *end.err}, "an escape sequence reaches the terminal"
    assert len(ended) == len(commands), f"no answer within {TIME_S:.0f} s: {commands[len(ended)]}"
    assert not place.canary.exists(), "code of the attacker's was run"
    changed = {name for name, state in _changes(before, snapshot(around, place.work))}
    assert not changed, f"written outside results/ and outputs/: {changed}"
    assert attack.said in "".join(end.out + end.err for end in ended)


def _changes(before: dict[str, str], after: dict[str, str]) -> set[tuple[str, str]]:
    return {*before.items()} ^ {*after.items()}


def snapshot(around: Path, work: Path) -> dict[str, str]:
    """Every file, folder and link below a folder with its content, but for what commands may write."""
    state = {}
    for folder, folders, files in os.walk(around):
        if Path(folder) == work:
            folders[:] = [name for name in folders if name not in GIVEN]
        for name in [*folders, *files]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                content = os.readlink(path) if stat.S_ISLNK(mode) else str(stat.S_IFMT(mode))
            state[str(path.relative_to(around))] = content
    return state


def run_commands(commands: list[list[str]], work: Path, streams: Path) -> list[Ended]:
    """Run commands one after another in a process that has imported what they need; those that ended in time."""
    process = fork(_run, commands, work, streams)
    process.join(TIME_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    codes = [json.loads(line) for line in _text(streams / "codes").splitlines()]
    if process.exitcode != 0 and len(codes) < len(commands):
        codes += [f"killed, {process.exitcode}"]
    return [
        Ended(code, _text(streams / f"{index}.out"), _text(streams / f"{index}.err"))
        for index, code in enumerate(codes)
    ]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="backslashreplace") if path.exists() else ""


def _run(commands: list[list[str]], work: Path, streams: Path) -> None:
    """In the process of an attack: say yes to every question, and note each command's exit code."""
    gc.freeze()  # what was imported is no garbage: looking for some there would copy all of its memory
    os.chdir(work)
    os.environ |= {"HOME": str(work.parent / "home"), "XDG_CACHE_HOME": str(streams / "cache")}
    os.environ |= {"HF_MODULES_CACHE": str(streams / "modules"), "ANTIPASTO_MODELS": str(streams / "models")}
    most = psutil.Process().memory_info().data + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # not of addresses: V8 reserves many, and uses few
    (streams / "yes").write_text("y\n" * 1000)
    os.dup2(os.open(streams / "yes", os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (for as long as the process lives)
    for index, command in enumerate(commands):
        for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
            file = os.open(streams / f"{index}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, stream.fileno())
            os.close(file)
        sys.argv = ["antipasto-bench", *command]
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            code = f"Traceback: {type(error).__name__}: {str(error)[:500]}"
        sys.stdout.flush()
        sys.stderr.flush()
        with open(streams / "codes", "a", encoding="utf-8") as codes:
            codes.write(json.dumps(code) + "\n")
