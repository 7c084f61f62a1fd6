"""Score a model through lm-eval, on task files that the stock `lm_eval` command runs too."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

import polars as pl

from ..core.compat import shard_questions, templates_compiled_once
from ..core.errors import UserError, first_line
from ..core.json_types import Json
from ..spec.config import EvalConfig
from ..store.items import Item, headline_of
from ..store.kinds import Kinds
from ..store.record import Metrics, Score
from .answer_log import AnswerLog
from .batch_size import sizes_text
from .data import question_hash, question_source
from .decided_answers import decision_of
from .hub_sets import commit_of
from .kinds import kinds_among, kinds_in, kinds_of_task, refuse_kinds
from .process_group import ALONE, ProcessGroup
from .progress import ScoringProgress
from .repetition import repeats
from .row_columns import QUESTION_FIELDS
from .tasks import (
    check_references,
    drop_repeated_questions,
    limit_answers,
    load_tasks,
    question_texts,
    quiet,
    task_manager,
    task_with_questions,
)
from .tokens import whole_characters


@dataclass(frozen=True)
class SplitScores:
    """A split's results: `metrics[task][filter][metric]` is (value, stderr); one item and one sample a question."""

    metrics: Metrics
    items: list[Item]
    samples: list[Json]
    questions: dict[str, int]  # by task
    seconds: float
    batch_size: int | str  # questions at once, in the end; all sizes in words where processes differ
    loss: Score = (None, None)  # of the first task's reference solutions, nats a completion token
    batch_sizes: tuple[int | str, ...] = ()  # by process
    kinds: Kinds | None = None  # of the first task's test questions, by sha1; None where these have none

    @property
    def count(self) -> int:
        """Questions of the first task."""
        return next(iter(self.questions.values()))

    @property
    def repeating(self) -> float | None:
        """The share of the first task's answers that end in a text that they repeat; None where they are no texts."""
        first = next(iter(self.metrics))
        said = {sample["doc_id"]: sample["response"] for sample in self.samples if sample["task"] == first}
        repeated = [repeats(answer) for answer in said.values() if isinstance(answer, str)]
        return sum(repeated) / len(repeated) if repeated else None

    def headline(self, strict: bool = False) -> Score:
        """The first task's accuracy and stderr by its headline filter, or by strict-match."""
        task, by_filter = next(iter(self.metrics.items()))
        if strict:
            return next(iter(by_filter.get("strict-match", {"": (None, None)}).values()))
        name, metric = headline_of((item.filter, item.metric) for item in self.items if item.task == task)
        return by_filter[name][metric]


class Evaluation:
    """lm-eval's tasks, loaded once and checked before any time is spent on training."""

    def __init__(self, config: EvalConfig, valid: pl.DataFrame | None) -> None:
        """
        Args:
            config: which tasks (or groups of them), which questions, how many. The first task is the headline;
                `config.data` stands in for its own questions.
            valid: questions to score as a validation split with the first task; None for no such split.

        Raises:
            UserError: an unknown task, one whose data cannot be had, or a reference that holds no number.
        """
        self.config = config
        first, *others = config.tasks
        manager = task_manager(config.tasks)
        test = None if config.data is None else question_source(config.data, "test", config.revision)
        with quiet():
            if test is None:
                headline = load_tasks(manager, first, config.revision, first=True)
            else:
                headline = [task_with_questions(manager, first, test.frame.select(QUESTION_FIELDS))]
            more = [task for name in others for task in load_tasks(manager, name)]
            self.test = limit_answers(headline + more, config.max_new_tokens)
            for task in self.test:
                if test is None or task not in headline:
                    check_references(task, f"eval.tasks={task.task_name}")
                else:
                    check_references(task, str(config.data), test.origin.place)
            self.valid = self._valid_tasks(manager, valid)
            with templates_compiled_once():
                self.repeated = {task.task_name: drop_repeated_questions(task) for task in self.test}
        self._manager = manager
        self._decision = decision_of(self.test) if config.stop == "decided" else None
        self._kinds = kinds_of_task(first) if test is None else kinds_in(test.frame)
        if config.answer_limit is not None:
            refuse_kinds(headline[0], self._kinds, config)
        self.commits = {task.task_name: commit_of(task.dataset) for task in self.test}  # of hub sets
        if test is not None:
            self.commits[headline[0].task_name] = test.origin.commit

    def _valid_tasks(self, manager: Any, valid: pl.DataFrame | None) -> list[Any]:
        self._responses = list(valid["response"]) if valid is not None and "response" in valid.columns else None
        if valid is None:
            return []
        task = task_with_questions(manager, self.config.tasks[0], valid.select(QUESTION_FIELDS))
        check_references(task, f"eval.valid={self.config.valid}")
        return limit_answers([task], self.config.max_new_tokens)

    def validate_on(self, valid: pl.DataFrame | None) -> None:
        """Score other questions as the validation split; None for no such split.

        Raises:
            UserError: a reference that holds no number.
        """
        with quiet():
            self.valid = self._valid_tasks(self._manager, valid)

    @property
    def test_questions(self) -> list[str]:
        """The texts of the questions that are scored: see `question_texts`. Of a task without any, a warning."""
        texts = []
        with templates_compiled_once():
            for task in self.test:
                for document in list(task.eval_docs)[: self.config.limit]:
                    of_document = question_texts(task, document)
                    if not of_document:
                        warnings.warn(
                            f"eval.tasks={task.task_name}: its documents have no text of a question; data.overlap is "
                            "not checked for them",
                            stacklevel=2,
                        )
                        break
                    texts += of_document
        return texts

    def try_backend(self, model: Any, tokenizer: Any) -> None:
        """Generate one short answer, with a backend that not every model works with.

        Raises:
            UserError: the backend does not work with this model.
        """
        if self.config.backend not in ("static", "continuous"):
            return
        from .generate import Scorer

        request = SimpleNamespace(args=("1", {"until": [], "do_sample": False, "max_gen_toks": 2}))
        limits = model.generation_config
        compiled, limits.disable_compile = limits.disable_compile, True  # a try is not worth the minutes
        try:
            with quiet():
                Scorer(model, tokenizer, self.config).generate_until([request], disable_tqdm=True)
        except Exception as error:  # whatever transformers raises where it lacks something
            reason = first_line(error)
            name = self.config.backend
            raise UserError(f"eval.backend={name}: not for this model ({reason}); write eval.backend=hf") from error
        finally:
            limits.disable_compile = compiled

    def sample_texts(self, count: int) -> list[str]:
        """The first questions with their reference answers, of the validation split or else of the first test task.

        Of rows that were held out for validation the answer is the row's response: the reference is a number alone.
        """
        task = (self.valid or self.test)[0]
        texts = []
        for place, doc in enumerate(islice(task.eval_docs, count)):
            target = task.doc_to_target(doc) if self._responses is None else self._responses[place]
            answer = target if isinstance(target, str) else ""  # a choice is given by its number
            texts.append(f"{task.doc_to_text(doc)}{task.config.target_delimiter}{answer}")
        return texts

    def run(
        self,
        model: Any,
        tokenizer: Any,
        split: str,
        answers: AnswerLog | None = None,
        group: ProcessGroup = ALONE,
        *,
        batch_size: int | None = None,
        progress: ScoringProgress | None = None,
    ) -> SplitScores | None:
        """Score `test` or `valid`, greedily, with the model as it stands.

        Args:
            answers: the log of answers that need not be generated again, and of new ones.
            group: of processes that share the questions out.
            batch_size: questions at once; as configured where None.
            progress: is told of answers as they come.

        Returns:
            the scores; None in all processes of a group but the first.
        """
        from lm_eval.evaluator import evaluate

        from .generate import scorer

        tasks = self.test if split == "test" else self.valid
        config = self.config if batch_size is None else self.config.model_copy(update={"batch_size": batch_size})
        progress = progress or ScoringProgress()
        start = time.perf_counter()
        with quiet(), templates_compiled_once(), scorer(model, tokenizer, config, progress) as lm:
            if config.backend != "vllm" or not sys.stderr.isatty():  # vLLM alone has a bar of its own
                lm.generate_until = partial(lm.generate_until, disable_tqdm=True)
            lm.decision = self._decision
            if group.size > 1:
                shard_questions(lm, group.index, group.size)
            if answers is not None and config.backend != "vllm":  # which answers all of them at once
                answers.attach_to(lm, progress.expect)
            for task in tasks:
                task.set_fewshot_seed(seed=1234)
            limit = self.config.answered if split == "test" else None
            results: Any = evaluate(
                lm, {"tasks": {task.task_name: task for task in tasks}}, limit=limit, bootstrap_iters=1000
            )
            generates = any(task.OUTPUT_TYPE == "generate_until" for task in tasks)
            size = lm.batch_size if generates else getattr(lm, "likelihood_batch_size", lm.batch_size)
            del lm  # before `scorer` gives back what it took
        sizes = group.gather(size)
        if results is None:
            return None
        metrics: Metrics = {}
        items: list[Item] = []
        samples: list[Json] = []
        for task, logged in results["samples"].items():
            filters = list(dict.fromkeys(sample["filter"] for sample in logged))
            # As one process alone orders them, whichever process answered.
            for sample in sorted(logged, key=lambda sample: (filters.index(sample["filter"]), sample["doc_id"])):
                sha1 = question_hash(_question(sample))
                question = {"split": split, "task": task, "doc_id": sample["doc_id"], "sha1": sha1}
                for metric in (m for m in sample["metrics"] if isinstance(sample[m], int | float)):
                    score = float(sample[metric])
                    items.append(Item(**question, filter=sample["filter"], metric=metric, score=score))
                samples.append(_sample(question, sample))
            metrics[task] = _by_filter(results["results"][task])
        asked = (
            (question_hash(_question(sample)), sample["doc"]) for sample in next(iter(results["samples"].values()))
        )
        kinds = kinds_among(asked, self._kinds) if split == "test" else None
        counts = {task: len({item.doc_id for item in items if item.task == task}) for task in metrics}
        seconds = time.perf_counter() - start
        return SplitScores(
            metrics, items, samples, counts, seconds, sizes_text(sizes), (None, None), tuple(sizes), kinds
        )


def _by_filter(results: Mapping[str, Any]) -> dict[str, dict[str, Score]]:
    """lm-eval's `metric,filter` and `metric_stderr,filter` entries, nested."""
    nested: dict[str, dict[str, Score]] = {}
    for key, value in results.items():
        metric, comma, name = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            nested.setdefault(name, {})[metric] = (_finite(value), _finite(results.get(f"{metric}_stderr,{name}")))
    return nested


def _finite(value: Any) -> float | None:
    """A number that JSON can hold; None for lm-eval's "N/A", and for what is infinite or undefined."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _question(sample: Mapping[str, Any]) -> str:
    """What names the question: its text where the task has it, else the whole prompt."""
    question = sample["doc"].get("question")
    return question if isinstance(question, str) else str(sample["arguments"][0][0])


def _sample(question: Json, sample: Mapping[str, Any]) -> Json:
    scores = {metric: sample[metric] for metric in sample["metrics"]}
    answers = {"filter": sample["filter"], "extracted": sample["filtered_resps"], "target": str(sample["target"])}
    texts = {"prompt": str(sample["arguments"][0][0]), "response": sample["resps"][0][0]}
    return {name: _in_json(value) for name, value in (question | answers | scores | texts).items()}


def _in_json(value: Any) -> Any:
    """What JSON can hold of a value that lm-eval logs: null for what is not finite, text whose characters are whole."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, Mapping):
        return {whole_characters(str(name)): _in_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(each) for each in value]
    if isinstance(value, bool | int) or value is None:
        return value
    return _finite(value) if isinstance(value, float) else _in_json(str(value))
