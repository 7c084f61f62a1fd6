"""The command line as a user starts it: a process of its own, in a folder of its own."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from antipasto_bench.cli import main
from antipasto_bench.core.quiet import silence_libraries

SHARED = Path(__file__).parents[3] / "shared"  # real GSM8K, where a checkout has it beside it
QUICK = [
    "steps=8", "batch_size=4", "eval.limit=12", "eval.valid_limit=6", "eval.batch_size=12", "costs=false",
    "eval.general_limit=8",
]  # fmt: skip
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": tempfile.mkdtemp(prefix="empty-hub-cache-"),  # no test may find what a user has fetched
    "CUDA_VISIBLE_DEVICES": "",
}
IMPORTED = [
    "antipasto_bench.run.execute",
    "antipasto_bench.report.write",
    "datasets",
    "antipasto_bench.run.generate",
    "lm_eval.evaluator",
    "transformers.models.auto.modeling_auto",
]


def start(*words: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "antipasto_bench", *map(str, words)],
        cwd=cwd,
        env=os.environ | ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bench(*words: object, cwd: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that has imported what a run needs, or a new one where `environment` sets PYTHON..."""
    arguments = tuple(map(str, words))
    if any(name.startswith("PYTHON") for name in environment):
        process = start(*arguments, cwd=cwd, **environment)
        out, err = process.communicate(timeout=280)
        code = process.returncode
    else:
        with tempfile.TemporaryDirectory() as streams:
            forked = fork(_command, arguments, cwd, Path(streams), environment)
            forked.join(280)
            assert forked.exitcode is not None, f"{arguments} took too long"
            out, err = ((Path(streams) / name).read_text() for name in ("out", "err"))
            code = forked.exitcode
    assert code == expect, f"exit {code}\n{out}\n{err}"
    return subprocess.CompletedProcess(arguments, code, out, err)


def fork(work: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process that has imported what a run needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    before = dict(os.environ)
    try:
        os.environ.update(ENVIRONMENT)
        silence_libraries()
        forkserver.ensure_running()  # once
    finally:
        os.environ.clear()
        os.environ.update(before)
    process = context.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def _command(words: tuple[str, ...], cwd: Path, streams: Path, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.update(environment)
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        file = os.open(streams / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream.fileno())
    sys.argv = ["antipasto-bench", *words]
    main()


def row_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that a command printed last."""
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}
