"""Score a model through lm-eval, on task files that the stock `lm_eval` command runs too."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import polars as pl
import torch

from antipasto import REGISTRY
from antipasto.config import did_you_mean

from ..core.errors import UserError
from ..core.install import install_hint
from ..core.paths import benchmark_dir
from ..spec.config import BASE, EvalConfig, RunConfig
from ..store.items import headline_of
from .answer_log import Answers
from .data import question_hash, read_questions
from .process_group import ALONE, Group

Score = tuple[float | None, float | None]  # value and standard error


@dataclass(frozen=True)
class Scores:
    """A split's results: `metrics[task][filter][metric]` is (value, stderr); one item and one sample a question."""

    metrics: dict[str, dict[str, dict[str, Score]]]
    items: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    questions: dict[str, int]  # by task
    seconds: float
    at_once: int | str  # questions

    def headline(self, strict: bool = False) -> Score:
        """The first task's accuracy and stderr: flexible-extract where the task has it, or strict-match."""
        task, by_filter = next(iter(self.metrics.items()))
        if strict:
            return next(iter(by_filter.get("strict-match", {"": (None, None)}).values()))
        name, metric = headline_of(item for item in self.items if item["task"] == task)
        return by_filter[name][metric]


def check_backend(run: RunConfig, processes: int = 1) -> None:
    """Refuse, before anything is loaded, to score by vLLM what it cannot score.

    Raises:
        UserError: vLLM is not installed or has no GPU, or the adapter does not merge into a plain model.
    """
    if run.eval.backend != "vllm":
        return
    if find_spec("vllm") is None:
        raise UserError(f"eval.backend=vllm needs vLLM; install it with: {install_hint('vllm')}")
    if not torch.cuda.is_available():
        raise UserError("eval.backend=vllm needs a GPU; write eval.backend=hf")
    if run.quant != "none":
        raise UserError(f"eval.backend=vllm scores plain weights, not quant={run.quant}; write eval.backend=hf")
    if run.variant != BASE and not REGISTRY[run.variant].mergeable:
        raise UserError(f"eval.backend=vllm scores merged weights, and {run.variant} has none; write eval.backend=hf")
    if processes > 1:
        raise UserError("eval.backend=vllm is for one process; start it without torchrun, or write eval.backend=hf")


class Evaluation:
    """lm-eval's tasks, loaded once and checked before any time is spent on training."""

    def __init__(self, config: EvalConfig, valid: pl.DataFrame | None) -> None:
        """
        Args:
            config: which tasks (or groups of them), which questions, how many. The first task is the headline;
                `config.data` stands in for its own questions.
            valid: questions to score as a validation split with the first task; None for no such split.

        Raises:
            UserError: an unknown task, or one whose data cannot be had.
        """
        self.config = config
        first, *others = config.tasks
        manager = _task_manager(config.tasks)
        test = None if config.data is None else read_questions(config.data, "test")
        with _quiet():
            headline = _load(manager, first) if test is None else [_with_questions(manager, first, test)]
            self.test = headline + [task for name in others for task in _load(manager, name)]
            self.valid = [] if valid is None else [_with_questions(manager, first, valid)]

    def try_backend(self, model: Any, tokenizer: Any) -> None:
        """Have one short answer generated, where that is done in a way which is not for every model.

        Raises:
            UserError: it cannot be done with this one.
        """
        if self.config.backend not in ("static", "continuous"):
            return
        from .generate import Scorer

        asked = SimpleNamespace(args=("1", {"until": [], "do_sample": False, "max_gen_toks": 2}))
        limits = model.generation_config
        compiled, limits.disable_compile = limits.disable_compile, True  # a try is not worth the minutes
        try:
            with _quiet():
                Scorer(model, tokenizer, self.config).generate_until([asked], disable_tqdm=True)
        except Exception as error:  # whatever transformers raises where it lacks something
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
            name = self.config.backend
            raise UserError(f"eval.backend={name}: not for this model ({reason}); write eval.backend=hf") from error
        finally:
            limits.disable_compile = compiled

    def run(
        self, model: Any, tokenizer: Any, split: str, answers: Answers | None = None, group: Group = ALONE
    ) -> Scores | None:
        """Score `test` or `valid`, greedily, with the model as it stands.

        Args:
            answers: those it gave before, which are not asked for again, and the place for new ones.
            group: of processes that share the questions out.

        Returns:
            the scores; None in all processes of a group but the first.
        """
        from lm_eval.evaluator import evaluate

        from .generate import scorer

        tasks = self.test if split == "test" else self.valid
        start = time.perf_counter()
        with _quiet(), _each_template_compiled_once(), scorer(model, tokenizer, self.config) as lm:
            if not sys.stderr.isatty():
                lm.generate_until = partial(lm.generate_until, disable_tqdm=True)
            group.share_questions(lm)
            if answers is not None and self.config.backend != "vllm":  # which answers all of them at once
                answers.keep(lm)
            for task in tasks:
                task.set_fewshot_seed(seed=1234)
            limit = self.config.limit if split == "test" else None
            found: Any = evaluate(
                lm, {"tasks": {task.task_name: task for task in tasks}}, limit=limit, bootstrap_iters=1000
            )
            at_once = lm.batch_size
            del lm  # before `scorer` gives back what it took
        if found is None:
            return None
        metrics: dict[str, Any] = {}
        items: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        for task, logged in found["samples"].items():
            filters = list(dict.fromkeys(sample["filter"] for sample in logged))
            # As one process alone orders them, whichever process answered.
            for sample in sorted(logged, key=lambda sample: (filters.index(sample["filter"]), sample["doc_id"])):
                sha1 = question_hash(_question(sample))
                place = {"split": split, "task": task, "doc_id": sample["doc_id"], "sha1": sha1}
                for metric in (m for m in sample["metrics"] if isinstance(sample[m], int | float)):
                    items.append(place | {"filter": sample["filter"], "metric": metric, "score": float(sample[metric])})
                samples.append(_sample(place, sample))
            metrics[task] = _by_filter(found["results"][task])
        counts = {task: len({item["doc_id"] for item in items if item["task"] == task}) for task in metrics}
        return Scores(metrics, items, samples, counts, time.perf_counter() - start, at_once)


def _by_filter(results: Mapping[str, Any]) -> dict[str, dict[str, Score]]:
    """lm-eval's `metric,filter` and `metric_stderr,filter` entries, nested."""
    found: dict[str, dict[str, Score]] = {}
    for key, value in results.items():
        metric, comma, name = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            found.setdefault(name, {})[metric] = (_finite(value), _finite(results.get(f"{metric}_stderr,{name}")))
    return found


def _finite(value: Any) -> float | None:
    """A number that JSON can hold; None for lm-eval's "N/A", and for what is infinite or undefined."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _question(sample: Mapping[str, Any]) -> str:
    """What names the question: its text where the task has it, else the whole prompt."""
    question = sample["doc"].get("question")
    return question if isinstance(question, str) else str(sample["arguments"][0][0])


def _sample(place: dict[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    scores = {metric: sample[metric] for metric in sample["metrics"]}
    answers = {"filter": sample["filter"], "extracted": sample["filtered_resps"], "target": str(sample["target"])}
    return place | answers | scores | {"prompt": str(sample["arguments"][0][0]), "response": sample["resps"][0][0]}


def _task_manager(names: tuple[str, ...]) -> Any:
    """lm-eval's index of tasks: ours, and its own thousands only where one of them is asked for."""
    from lm_eval.tasks import TaskManager

    ours = str(benchmark_dir() / "tasks")
    with _quiet():
        manager = TaskManager(include_path=ours, include_defaults=False)
        if not set(names) <= set(manager.all_tasks):
            manager = TaskManager(include_path=ours)
    for name in names:
        if name not in manager.all_tasks:
            near = did_you_mean(name, manager.all_tasks).partition(" (known")[0]
            raise UserError(f"eval.tasks={name}: lm-eval has no task of that name{near}; `lm-eval ls tasks` lists them")
    return manager


def _load(manager: Any, name: str) -> list[Any]:
    """A task, or all of a group, with its own questions."""
    try:
        tasks = list(manager.load([name])["tasks"].values())
    except Exception as error:  # whatever a task's own loading raises, offline above all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise UserError(
            f"eval.tasks={name}: its questions cannot be loaded ({reason}); go online once to fill the cache, or give "
            "eval.data=PATH (.jsonl, .parquet or a saved dataset folder)"
        ) from error
    for task in tasks:
        if task.config.num_fewshot is None:
            task.set_config(key="num_fewshot", value=0)
    return tasks


def _with_questions(manager: Any, name: str, questions: pl.DataFrame) -> Any:
    """A task as its YAML says, but for the questions."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    path = manager.task_index[name].yaml_path
    values = load_yaml(path, resolve_func=True) if path is not None else {}
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
def _each_template_compiled_once() -> Iterator[None]:
    """lm-eval compiles a task's few templates anew for every question, which takes as long as answering some."""
    from lm_eval.utils import env

    compiled = env.from_string
    env.from_string = lru_cache(compiled)
    try:
        yield
    finally:
        env.from_string = compiled


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
