"""lm-eval's tasks: ours and its own, with their own questions or with others."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import polars as pl

from antipasto.config import did_you_mean

from ..core.compat import task_settings
from ..core.errors import UserError, first_line
from ..core.hub import go_offline_if_unreachable
from ..core.paths import benchmark_dir, locate
from ..store.items import headline_of
from .data import NAMED_PLACES, others_like_it
from .generation_settings import LENGTHS
from .hub_sets import check_commit, is_hub_id, resolved_commit
from .question_text import normal_form

BY_VALUE = "given-answer"  # the filter that reads references as numbers; benchmark/tasks/gsm8k_metamath says how
INVALID = "[invalid]"  # what lm-eval's filters make of an answer that they find nothing in


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


def load_tasks(manager: Any, name: str, revision: str | None = None, *, first: bool = False) -> list[Any]:
    """A task, or all of a group, with its own questions.

    Args:
        revision: branch, tag or commit of the hub set that the questions of one task are.
        first: whether `eval.data` could stand in for its questions.

    Raises:
        UserError: the questions cannot be had, or are no hub set and a revision is given.
    """
    if _fetches_questions(manager, name):
        go_offline_if_unreachable()
    try:
        if revision is not None:
            return [_at_revision(manager, name, revision)]
        tasks = list(manager.load([name])["tasks"].values())
    except UserError:
        raise
    except Exception as error:  # whatever a task's own loading raises, offline above all
        reason, advice = first_line(error), "or leave it out of eval.tasks"
        if first:
            advice = "or choose another task"
            if _takes_other_questions(manager, name):
                advice = "or give eval.data=PATH (.jsonl, .json, .csv, .parquet or a folder of a data set)"
        raise UserError(
            f"eval.tasks={name}: its questions cannot be loaded ({reason}); go online once to fill the cache, {advice}"
        ) from error
    for task in tasks:
        if task.config.num_fewshot is None:
            task.set_config(key="num_fewshot", value=0)
    return tasks


def _at_revision(manager: Any, name: str, revision: str) -> Any:
    from lm_eval.api.task import ConfigurableTask

    values = task_settings(manager, name)
    source = values.get("dataset_path")
    if name in manager.all_groups or name in manager.all_tags:
        raise UserError(
            f"eval.revision={revision}: eval.tasks={name} is a group of tasks, which can have questions of several hub "
            "sets; make one of its tasks the first of eval.tasks, or leave out eval.revision"
        )
    own_code = "class" in values or values.get("custom_dataset") is not None
    if own_code or not isinstance(source, str) or not is_hub_id(source) or locate(source) is not None:
        raise UserError(
            f"eval.revision={revision}: the questions of eval.tasks={name} are no hub set; leave out eval.revision, or "
            "give eval.data=ORG/NAME"
        )
    commit = resolved_commit(source, revision, "eval.revision")
    values["dataset_kwargs"] = (values.get("dataset_kwargs") or {}) | {"revision": commit}
    task = ConfigurableTask(config=values)
    if task.config.num_fewshot is None:
        task.set_config(key="num_fewshot", value=0)
    check_commit(task.dataset, commit, source, "eval.revision")
    return task


def drop_repeated_questions(task: Any) -> int:
    """Leave out each question of a task that an earlier one equals as it is put to the model.

    In a task that generates, two are equal whose prompts have one normal form. Elsewhere their choices and targets must
    be equal too, to the letter.

    Returns:
        how many were left out: each would have counted twice.
    """
    documents = task.eval_docs
    first: dict[Hashable, int] = {}
    for place, document in enumerate(documents):
        first.setdefault(_as_put(task, document), place)
    repeated = len(documents) - len(first)
    if not repeated:
        return 0
    places = list(first.values())
    left = documents.select(places) if hasattr(documents, "select") else [documents[place] for place in places]
    tested = task.has_test_docs()
    split = task.config.test_split if tested else task.config.validation_split
    # Else its own code chooses them, which can leave out and reorder what is in `task.dataset`.
    if task.config.process_docs is None and split in (task.dataset or {}):
        task.dataset[split] = left  # few-shot examples can be drawn from it too
    setattr(task, "test_docs" if tested else "validation_docs", lambda: left)
    warnings.warn(f"{task.task_name}: {repeated} questions come twice and count once", stacklevel=2)
    return repeated


def _as_put(task: Any, document: Any) -> Hashable:
    """What two documents have in common that ask one question."""
    prompt = task.doc_to_text(document)
    shown = normal_form(prompt) if isinstance(prompt, str) else prompt  # a number where the choices are the prompts
    kind = getattr(task, "OUTPUT_TYPE", None)
    if kind == "generate_until":
        return str(shown)
    if task.config.doc_to_choice is not None:
        choices = task.doc_to_choice(document)
    else:  # a task in code of its own may keep them anywhere in its document
        choices = document if kind == "multiple_choice" else None
    return repr((shown, choices, task.doc_to_target(document)))


def question_texts(task: Any, document: Any) -> list[str]:
    """What the question of a document can be recognised by in other texts.

    Its `question` where it has a text of that name. Else its prompt, and of its own texts the longest that stands
    in the prompt, which is the question without a task's words around it. Empty where the prompt is no text.
    """
    fields = document if isinstance(document, Mapping) else {}
    if isinstance(question := fields.get("question"), str) and question.strip():
        return [question]
    prompt = task.doc_to_text(document)
    if not isinstance(prompt, str) or not prompt.strip():
        return []
    own = [value for value in fields.values() if isinstance(value, str) and value.strip() and value.strip() in prompt]
    return list(dict.fromkeys([prompt, *([max(own, key=len)] if own else [])]))


def task_with_questions(manager: Any, name: str, questions: pl.DataFrame) -> Any:
    """A task as its YAML says, but for the questions."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    values = task_settings(manager, name)
    if not _generates_zero_shot(values):
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


def _generates_zero_shot(settings: Mapping[str, Any]) -> bool:
    few_shot, code = settings.get("num_fewshot"), "class" in settings
    return not few_shot and settings.get("output_type") == "generate_until" and not code


def _fetches_questions(manager: Any, name: str) -> bool:
    """Whether a task's questions may come from the hub; False of one that makes them itself."""
    if name in manager.all_groups or name in manager.all_tags:
        return True
    try:
        return task_settings(manager, name).get("custom_dataset") is None
    except Exception:  # whatever a task's own loading raises; it is raised again where the task is loaded
        return True


def _takes_other_questions(manager: Any, name: str) -> bool:
    """Whether `task_with_questions` takes a task; False of a group, and where its settings cannot be read."""
    if name in manager.all_groups or name in manager.all_tags:
        return False
    try:
        return _generates_zero_shot(task_settings(manager, name))
    except Exception:  # whatever a task's own loading raises
        return False


def check_references(
    task: Any, source: str, place: Callable[[int], str] = lambda index: f"question {index + 1}"
) -> None:
    """Refuse references that no answer could match, where the task compares numbers by value.

    Args:
        source: of the questions, as a user names it.
        place: of a question in it, by its index.

    Raises:
        UserError: with the places of the first such questions, and how many there are.
    """
    if BY_VALUE not in filter_steps(task):
        return
    docs = list(task.eval_docs)
    read = filtered_answers(task, BY_VALUE, docs, [""] * len(docs))
    wrong = [index for index, text in enumerate(read) if text != INVALID]  # else the empty answer holds no number
    if wrong:
        end = str(task.doc_to_target(docs[wrong[0]])).rpartition("####")[2].strip()
        places = [place(index) for index in wrong[:NAMED_PLACES]]
        raise UserError(
            f"{source}, {places[0]}: {end[:40]!r} behind '####' is not one number; expected '#### N'"
            f"{others_like_it(places, len(wrong))}"
        )


def limit_answers(tasks: list[Any], tokens: int | None) -> list[Any]:
    """The tasks; those that generate take answers of so many tokens at most, and of as many as they say where None."""
    for task in tasks if tokens is not None else []:
        if getattr(task, "OUTPUT_TYPE", None) == "generate_until":
            own = {key: value for key, value in (task.config.generation_kwargs or {}).items() if key not in LENGTHS}
            task.set_config(key="generation_kwargs", value=own | {LENGTHS[0]: tokens})
    return tasks


def right_answers(task: Any, docs: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[bool]:
    """Whether each answer is right by the filter and metric that the task is ranked by."""
    name, metric = headline_of((name, metric) for name in filter_steps(task) for metric in task.aggregation())
    filtered = filtered_answers(task, name, docs, answers)
    return [bool(task.process_results(doc, [text])[metric]) for doc, text in zip(docs, filtered, strict=True)]


def filter_steps(task: Any) -> dict[str, list[dict[str, Any]]]:
    """The steps of each filter that the task's YAML names."""
    filters = task.config.filter_list
    return {each["name"]: each["filter"] for each in filters} if isinstance(filters, list) else {}


def filtered_answers(task: Any, name: str, docs: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[str]:
    """What a filter of the task makes of answers."""
    from lm_eval.filters import build_filter_ensemble

    steps = [
        (step["function"], {k: v for k, v in step.items() if k != "function"}) for step in filter_steps(task)[name]
    ]
    answered = [
        SimpleNamespace(resps=[text], doc=doc, filtered_resps={}) for doc, text in zip(docs, answers, strict=True)
    ]
    build_filter_ensemble(name, steps).apply(answered)
    return [each.filtered_resps[name] for each in answered]


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
