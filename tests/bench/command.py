"""The command line as a user starts it: a process of its own, in a folder of its own."""

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from temporary import temporary_folder

from antipasto_bench.core.quiet import silence_libraries

SHARED = Path(__file__).parents[3] / "shared"  # real GSM8K, where a checkout has it beside it
QUICK = [
    "steps=8", "batch_size=4", "eval.limit=12", "eval.valid_limit=6", "eval.batch_size=12", "costs=false",
    "eval.general_limit=8",
]  # fmt: skip
HUB = "EMPTY_HUB_OF_TESTS"
if HUB not in os.environ:  # else this is the server that commands are forked from
    os.environ[HUB] = temporary_folder("empty-hub-cache-")
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": os.environ[HUB],  # no test may find what a user has fetched
    "CUDA_VISIBLE_DEVICES": "",
}
IMPORTED = [
    "antipasto_bench.run.execute",
    "antipasto_bench.report.write",
    "datasets",
    "antipasto_bench.run.generate",
    "lm_eval.evaluator",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.qwen3.modeling_qwen3",  # of the embedded model; its own imports take 3 s
    "transformers.models.qwen3_5.modeling_qwen3_5",
    "transformers.models.llama.modeling_llama",
    "transformers.tokenization_utils_tokenizers",
    "antipasto_bench.sweeps.sweep",
    "antipasto_bench.run.export",
    "antipasto_bench.run.noise",
    "antipasto_bench.analysis.compare",
    "antipasto_bench.store.integrity",
]


class Forked:
    """A command in a process that has imported what a run needs, to be asked as a `subprocess.Popen`."""

    def __init__(self, module: str, words: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> None:
        self._streams = Path(temporary_folder("streams-"))
        self._process = fork(_command, module, words, cwd, self._streams, environment)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, or minus the number of the signal that ended it."""
        self._process.join(timeout)
        code = self.poll()
        assert code is not None, f"no end within {timeout} s"
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self._text("out"), self._text("err")

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def _text(self, name: str) -> str:
        path = self._streams / name
        return path.read_text() if path.exists() else ""


READ_AT_IMPORT = ("PYTHON", "OMP_", "RAY_", "HF_", "TMPDIR")  # what a process must be started with


def start(
    *words: object, cwd: Path, module: str = "antipasto_bench", **environment: str
) -> Forked | subprocess.Popen[str]:
    """`python -m MODULE WORDS` in a process of its own; a new one where `environment` sets what is read at import."""
    arguments = tuple(map(str, words))
    if not any(name.startswith(READ_AT_IMPORT) for name in environment):
        return Forked(module, arguments, cwd, environment)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=os.environ | ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bench(
    *words: object, cwd: Path, expect: int = 0, module: str = "antipasto_bench", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command, from its start to its end."""
    process = start(*words, cwd=cwd, module=module, **environment)
    out, err = process.communicate(timeout=280)
    assert process.returncode == expect, f"exit {process.returncode}\n{out}\n{err}"
    return subprocess.CompletedProcess([*map(str, words)], expect, out, err)


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


def _command(module: str, words: tuple[str, ...], cwd: Path, streams: Path, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.update(environment)
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        file = os.open(streams / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream.fileno())
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def row_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that a command printed last."""
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}
