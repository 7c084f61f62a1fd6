"""Score a model through lm-eval, on task files that the stock `lm_eval` command runs too."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from .config import EvalConfig
from .data import question_hash, read_questions
from .errors import UserError
from .paths import benchmark_dir

HEADLINE_FILTERS = ("flexible-extract", "none")
HEADLINE_METRICS = ("exact_match", "acc")
ITEMS_SCHEMA = {
    "split": pl.String,
    "task": pl.String,
    "doc_id": pl.Int64,
    "sha1": pl.String,  # of the question's text
    "filter": pl.String,
    "metric": pl.String,
    "score": pl.Float64,  # 1 right, 0 wrong
}


@dataclass(frozen=True)
class Scores:
    """A split's results: `metrics[task][filter][metric]` is (value, stderr); one item and one sample a question."""

    metrics: dict[str, dict[str, dict[str, tuple[float, float | None]]]]
    items: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    questions: dict[str, int]  # by task
    seconds: float

    def headline(self, strict: bool = False) -> tuple[float, float | None] | None:
        """The first task's accuracy and stderr: flexible-extract where the task has it, or strict-match."""
        by_filter = next(iter(self.metrics.values()))
        names = ("strict-match",) if strict else (*HEADLINE_FILTERS, *by_filter)
        chosen = next((by_filter[name] for name in names if name in by_filter), None)
        if chosen is None:
            return None
        return next((chosen[m] for m in (*HEADLINE_METRICS, *chosen) if m in chosen), None)


class Evaluation:
    """lm-eval's tasks, loaded once and checked before any time is spent on training."""

    def __init__(self, config: EvalConfig, valid: pl.DataFrame | None) -> None:
        """
        Args:
            config: which tasks, which questions, how many.
            valid: questions to score as a validation split with the first task; None for no such split.

        Raises:
            UserError: an unknown task, or one whose data cannot be had.
        """
        self.config = config
        self._configs = _task_configs(config.tasks)
        test = None if config.data is None else read_questions(config.data, "test")
        with _quiet():
            self.test = [self._task(name, test) for name in config.tasks]
            self.valid = [] if valid is None else [self._task(config.tasks[0], valid)]

    def _task(self, name: str, questions: pl.DataFrame | None) -> Any:
        from datasets import Dataset, DatasetDict
        from lm_eval.api.task import ConfigurableTask

        values = dict(self._configs[name])
        values["metadata"] = {**(values.get("metadata") or {})}
        values.setdefault("num_fewshot", 0)
        if questions is not None:
            split = values.get("test_split") or values.get("validation_split") or "test"
            if values["num_fewshot"]:
                raise UserError(
                    f"eval.tasks={name}: shows {values['num_fewshot']} worked examples from its own data, so other "
                    "questions cannot be put in; with eval.data or eval.valid use a zero-shot task: gsm8k_metamath"
                )
            rows = Dataset.from_list(questions.to_dicts())
            dataset = DatasetDict({split: rows})
            for key in ("training_split", "validation_split", "fewshot_split", "dataset_path", "dataset_name"):
                values.pop(key, None)
            values |= {"test_split": split, "dataset_kwargs": None, "custom_dataset": lambda **_: dataset}
        try:
            return ConfigurableTask(config=values)
        except Exception as error:  # whatever a task's own loading raises, offline above all
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
            raise UserError(
                f"eval.tasks={name}: its questions cannot be loaded ({reason}); go online once to fill the cache, or "
                "give eval.data=PATH (.jsonl, .parquet or a saved dataset folder)"
            ) from error

    def run(self, model: Any, tokenizer: Any, split: str) -> Scores:
        """Score `test` or `valid`, greedily, with the model as it stands."""
        from lm_eval.evaluator import evaluate
        from lm_eval.models.huggingface import HFLM

        tasks = self.test if split == "test" else self.valid
        start = time.perf_counter()
        with _quiet():
            lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=self.config.batch_size)
            for task in tasks:
                task.set_fewshot_seed(seed=1234)
            limit = self.config.limit if split == "test" else None
            found: Any = evaluate(
                lm, {"tasks": {task.task_name: task for task in tasks}}, limit=limit, bootstrap_iters=1000
            )
        metrics: dict[str, Any] = {}
        items: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        for task, logged in found["samples"].items():
            for sample in logged:
                sha1 = question_hash(_question(sample))
                place = {"split": split, "task": task, "doc_id": sample["doc_id"], "sha1": sha1}
                for metric in (m for m in sample["metrics"] if isinstance(sample[m], int | float)):
                    items.append(place | {"filter": sample["filter"], "metric": metric, "score": float(sample[metric])})
                samples.append(_sample(place, sample))
            metrics[task] = _by_filter(found["results"][task])
        counts = {task: len({item["doc_id"] for item in items if item["task"] == task}) for task in metrics}
        return Scores(metrics, items, samples, counts, time.perf_counter() - start)


def _by_filter(results: Mapping[str, Any]) -> dict[str, dict[str, tuple[float, float | None]]]:
    """lm-eval's `metric,filter` and `metric_stderr,filter` entries, nested."""
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for key, value in results.items():
        metric, comma, name = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            stderr = results.get(f"{metric}_stderr,{name}")
            found.setdefault(name, {})[metric] = (float(value), stderr if isinstance(stderr, float) else None)
    return found


def _question(sample: Mapping[str, Any]) -> str:
    """What names the question: its text where the task has it, else the whole prompt."""
    question = sample["doc"].get("question")
    return question if isinstance(question, str) else str(sample["arguments"][0][0])


def _sample(place: dict[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    scores = {metric: sample[metric] for metric in sample["metrics"]}
    answers = {"filter": sample["filter"], "extracted": sample["filtered_resps"], "target": str(sample["target"])}
    return place | answers | scores | {"prompt": str(sample["arguments"][0][0]), "response": sample["resps"][0][0]}


def _task_configs(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The tasks' YAML by name; lm-eval's own thousands are only indexed where one of them is asked for."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    ours = benchmark_dir() / "tasks"
    with _quiet():
        manager = TaskManager(include_path=str(ours), include_defaults=False)
        if not set(names) <= set(manager.all_subtasks):
            manager = TaskManager(include_path=str(ours))
    for name in names:
        if name not in manager.all_subtasks:
            from antipasto.config import did_you_mean

            near = did_you_mean(name, manager.all_subtasks).partition(" (known")[0]
            raise UserError(f"eval.tasks={name}: lm-eval has no task of that name{near}; `lm_eval ls tasks` lists them")
    return {name: load_yaml(manager.task_index[name].yaml_path, resolve_func=True) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
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
