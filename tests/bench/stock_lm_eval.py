"""What lm-eval, which knows nothing of this project, finds on the questions of the embedded model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TASKS = Path(__file__).parents[2] / "benchmark" / "tasks"
TASK = "nano_metamath"


def samples_of_the_command(arguments: str, limit: int, out: Path) -> list[dict[str, Any]]:
    """Of the command `lm_eval`, which reads its thousands of tasks first: half a minute.

    Args:
        arguments: of the model, such as `pretrained=DIR`.
        out: an empty folder.
    """
    words = ["--model", "hf", "--model_args", arguments, "--device", "cpu", "--batch_size", str(limit)]
    words += ["--include_path", str(TASKS), "--tasks", TASK, "--limit", str(limit)]
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", "run", *words, "--log_samples", "--output_path", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        cwd=out,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.rglob(f"samples_{TASK}_*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def samples(arguments: str, limit: int) -> list[dict[str, Any]]:
    """Of the function that the command calls, in this process and with this project's tasks alone."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model="hf", model_args=arguments, tasks=[TASK], device="cpu", batch_size=limit, limit=limit, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
    )  # fmt: skip
    assert found is not None
    taken: list[dict[str, Any]] = found["samples"][TASK]
    return taken
