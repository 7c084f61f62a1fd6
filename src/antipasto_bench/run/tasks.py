"""lm-eval's tasks: ours and its own, with their own questions or with others."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from antipasto.config import did_you_mean

from ..core.compat import task_settings
from ..core.errors import UserError, first_line
from ..core.paths import benchmark_dir


def task_manager(names: tuple[str, ...]) -> Any:
    """lm-eval's index of tasks: ours, and its own thousands only where one of them is asked for."""
    from lm_eval.tasks import TaskManager

    ours = str(benchmark_dir() / "tasks")
    with quiet():
        manager = TaskManager(include_path=ours, include_defaults=False)
        if not set(names) <= set(manager.all_tasks):
            manager = TaskManager(include_path=ours)
    for name in names:
        if name not in manager.all_tasks:
            near = did_you_mean(name, manager.all_tasks).partition(" (known")[0]
            raise UserError(f"eval.tasks={name}: lm-eval has no task of that name{near}; `lm-eval ls tasks` lists them")
    return manager


def load_tasks(manager: Any, name: str) -> list[Any]:
    """A task, or all of a group, with its own questions."""
    try:
        tasks = list(manager.load([name])["tasks"].values())
    except Exception as error:  # whatever a task's own loading raises, offline above all
        reason = first_line(error)
        raise UserError(
            f"eval.tasks={name}: its questions cannot be loaded ({reason}); go online once to fill the cache, or give "
            "eval.data=PATH (.jsonl, .parquet or a saved dataset folder)"
        ) from error
    for task in tasks:
        if task.config.num_fewshot is None:
            task.set_config(key="num_fewshot", value=0)
    return tasks


def task_with_questions(manager: Any, name: str, questions: pl.DataFrame) -> Any:
    """A task as its YAML says, but for the questions."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    values = task_settings(manager, name)
    if values.get("num_fewshot") or values.get("output_type") != "generate_until" or "class" in values:
        raise UserError(
            f"eval.tasks={name}: other questions can only be put into a zero-shot task that generates, such as "
            "gsm8k_metamath; make that the first of eval.tasks, or leave out eval.data and write eval.valid=none"
        )
    rows = Dataset.from_list(questions.to_dicts())
    own_data = ("training_split", "validation_split", "fewshot_split", "dataset_path", "dataset_name", "dataset_kwargs")
    values = {key: value for key, value in values.items() if key not in own_data} | {
        "num_fewshot": 0,
        "test_split": "test",
        "custom_dataset": lambda **metadata: DatasetDict({"test": rows}),
    }
    return ConfigurableTask(config=values)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's and the hub libraries' chatter below warnings of ours."""
    names = ("lm_eval", "lm-eval", "datasets", "transformers")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        sys.stdout.flush()
