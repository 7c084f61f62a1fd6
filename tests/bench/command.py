"""The command line as a user starts it: a process of its own, in a folder of its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SHARED = Path(__file__).parents[3] / "shared"  # real GSM8K, where a checkout has it beside it
HUB = tempfile.mkdtemp(prefix="empty-hub-cache-")  # no test may find what a user has fetched
QUICK = [
    "steps=8", "batch_size=4", "eval.limit=12", "eval.valid_limit=6", "eval.batch_size=12", "costs=false",
    "eval.general_limit=8",
]  # fmt: skip


def start(*words: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "antipasto_bench", *map(str, words)],
        cwd=cwd,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": HUB, "CUDA_VISIBLE_DEVICES": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bench(*words: str, cwd: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    process = start(*words, cwd=cwd, **environment)
    out, err = process.communicate(timeout=280)
    assert process.returncode == expect, f"exit {process.returncode}\n{out}\n{err}"
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def row_of(done: subprocess.CompletedProcess[str]) -> dict:
    return json.loads(done.stdout.splitlines()[-1])


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}
