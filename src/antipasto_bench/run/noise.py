"""How many of a trained run's answers depend on how many questions are answered at once.

A matrix product adds up in an order that its shape chooses. In bfloat16 that moves a logit by up to a few thousandths,
and where two tokens are as good as equal, another one is taken.
"""

from __future__ import annotations

from typing import NamedTuple

from ..core.device import pinned_threads
from ..core.errors import UserError
from ..spec.config import RunConfig
from ..store.folders import Store
from ..store.items import headline_of
from ..store.record import RunRecord
from .evaluate import Evaluation, SplitScores
from .export import finished_record, load_adapted
from .local_files import Places, require_data, runnable_config
from .methods.registry import adapter_on
from .progress import Progress


class Noise(NamedTuple):
    """The same model's answers to the same questions, in batches of two sizes."""

    run_id: str
    dtype: str
    merged: bool | None  # whether merged weights answered; None of the untuned model
    batch_sizes: tuple[int, int]
    questions: int
    answers_changed: int  # whose text differs
    verdicts_changed: int  # right by one size and wrong by the other
    accuracy: tuple[float, float]

    @property
    def accuracy_difference(self) -> float:
        """The second minus the first."""
        return self.accuracy[1] - self.accuracy[0]


def measure_noise(
    run_id: str,
    store: Store,
    batch_sizes: tuple[int, int],
    limit: int | None,
    progress: Progress,
    places: Places | None = None,
) -> Noise:
    """Answer a run's test questions twice, by its model as it was scored.

    Args:
        batch_sizes: questions at once.
        limit: the first questions alone; as many as were scored where None.
        places: see `runnable_config`.

    Raises:
        UserError: no such run, its adapter is not in outputs/, or it was scored by vLLM, which makes its own batches;
            or both sizes make the same batches of these questions.
    """
    record = finished_record(run_id, store)
    run = runnable_config(record, store, places)
    require_data(record, run, {"eval.data": f"test:{run.eval.tasks[0]}"})
    if run.eval.backend == "vllm":
        raise UserError(f"{run_id} was scored by vLLM, which chooses its batches itself; noise is for other backends")
    with pinned_threads(run.threads):
        return _measure(record, run, store, batch_sizes, limit, progress)


def _measure(
    record: RunRecord,
    run: RunConfig,
    store: Store,
    batch_sizes: tuple[int, int],
    limit: int | None,
    progress: Progress,
) -> Noise:
    config = run.eval.model_copy(update={"limit": limit or run.eval.limit})
    evaluation = Evaluation(config, None)
    _require_other_batches(batch_sizes, _question_count(evaluation))
    model, tokenizer = load_adapted(record, run, store)
    merged: bool | None = None
    if (adapter := adapter_on(model)) is not None:
        merged = record.scored_merged
        if merged is None:  # scored by the first rules
            merged = adapter.merge_refusal() is None
        if merged:
            adapter.merge()
    scores: list[SplitScores] = []
    for size in batch_sizes:
        progress.phase(f"answer {size} at once")
        with progress.scoring("test") as shown:
            result = evaluation.run(model, tokenizer, "test", batch_size=size, progress=shown)
        assert result is not None  # one process
        if result.batch_size != size:
            raise UserError(f"memory does not hold {size} questions at once; give smaller --batch-sizes")
        scores.append(result)
    first, second = map(_responses, scores)
    verdicts = [_verdicts(split) for split in scores]
    return Noise(
        run_id=record.run_id,
        dtype=run.dtype,
        merged=merged,
        batch_sizes=batch_sizes,
        questions=len(first),
        answers_changed=sum(first[key] != second[key] for key in first),
        verdicts_changed=sum(verdicts[0][key] != verdicts[1][key] for key in verdicts[0]),
        accuracy=(_mean(verdicts[0]), _mean(verdicts[1])),
    )


def _question_count(evaluation: Evaluation) -> int:
    """Questions that share batches with the first task's: all that are answered by the same settings."""
    settings = evaluation.test[0].config.generation_kwargs
    alike = [task for task in evaluation.test if task.config.generation_kwargs == settings]
    return sum(len(list(task.eval_docs)[: evaluation.config.answered]) for task in alike)


def _require_other_batches(batch_sizes: tuple[int, int], questions: int) -> None:
    """Refuse two sizes that make the same batches: no answer could differ."""
    first, second = (min(size, questions) for size in batch_sizes)
    if first != second:
        return
    sizes = f"--batch-sizes={batch_sizes[0]},{batch_sizes[1]}"
    if questions == 1:
        raise UserError(f"{sizes}: one question has no other batch to compare; write a --limit of 2 or more")
    given = f"{sizes}: both answer {questions} questions {first} at once"
    larger = max(first, 2)
    raise UserError(f"{given}, which compares nothing; write --batch-sizes {larger // 2},{larger}")


def _responses(scores: SplitScores) -> dict[int, str]:
    """Each question's answer, of the first task."""
    task = next(iter(scores.questions))
    return {sample["doc_id"]: sample["response"] for sample in scores.samples if sample["task"] == task}


def _verdicts(scores: SplitScores) -> dict[int, float]:
    """Each question's score by the first task's headline."""
    task = next(iter(scores.questions))
    items = [item for item in scores.items if item.task == task]
    headline = headline_of((item.filter, item.metric) for item in items)
    return {item.doc_id: item.score for item in items if (item.filter, item.metric) == headline}


def _mean(verdicts: dict[int, float]) -> float:
    return sum(verdicts.values()) / len(verdicts)
