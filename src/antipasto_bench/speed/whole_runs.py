"""One whole run, ours and the same made peft's way, with the seconds of its phases.

Peft's way: the method in peft's model wrapper, trained by the loop of peft's own comparison on the same examples in
buckets of 20 batches, scored unmerged by `generate` in batches of 50, and by the loss of the reference solutions, as
many at once as a step trains on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import torch

from ..core.errors import UserError
from ..run.context import RunContext
from ..run.examples import Example, collate, encode
from ..run.execute import execute
from ..run.heldout_loss import reference_solution
from ..run.progress import Progress
from ..spec.config import RunConfig
from ..store.folders import Store
from ..store.items import headline_scores, items_of
from .peers import PEFT_CONFIGS, PresetArms, linear_layers, pad_as_peft, peft_step, wrap_in_peft
from .questions import Questions, generate_answers, score_answers

GENERATE_ROWS = 50  # questions at once of peft's comparison


@dataclass(frozen=True)
class TimedRun:
    """A run's seconds, whether each question was answered right, and the seconds of its phases."""

    seconds: float
    right: list[bool]
    phases: dict[str, float]


def run_ours(run: RunConfig) -> TimedRun:
    """A run as a user makes it; nothing is loaded before it begins."""
    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home, "results"), Path(home, "outputs"))
        start = time.perf_counter()
        record = execute(run, RunContext(store, Progress(quiet=True))).record
        seconds = time.perf_counter() - start
        if record is None or record.status != "ok":
            raise UserError(f"{run.variant} could not be timed: {getattr(record, 'error', None) or 'it was not made'}")
        right = headline_scores(items_of(record, store, "test")).scores == 1
    names = {"load": "load_s", "attach": "attach_s", "train": "train_s", "answers": "eval_s", "loss": "measure_s"}
    phases = {phase: float(getattr(record, name)) for phase, name in names.items()}
    return TimedRun(seconds, right.tolist(), phases)


def run_peft(
    preset_name: str,
    settings: Mapping[str, Any],
    run: RunConfig,
    method: str,
    r: int,
    endings: tuple[str, ...] = ("_proj",),
) -> TimedRun:
    """The same run by peft.

    Args:
        preset_name, settings: that `run` was composed of.
        endings: of the names of the layers to adapt.
    """
    start = time.perf_counter()
    preset = PresetArms(preset_name, **dict(settings) | {"seed": run.seed})
    model, _ = preset.models.model(run)
    torch.manual_seed(run.seed)  # peft draws an adapter's first values from the global generator
    model = wrap_in_peft(model, PEFT_CONFIGS[method](r, linear_layers(model, endings)))
    batches = length_buckets(preset.examples, run.batch_size)
    step = peft_step(model, lambda: pad_as_peft(preset.tokenizer, next(batches)), run.steps, run.lr)
    loaded = time.perf_counter()
    for _ in range(run.steps):
        step()
    trained = time.perf_counter()
    assert run.eval.limit is not None
    questions = Questions(run, run.eval.limit)
    right = score_answers(generate_answers(model.eval(), preset.tokenizer, questions, GENERATE_ROWS), questions)
    answered = time.perf_counter()
    plain_losses(model, preset.tokenizer, questions, run.batch_size)
    times = [start, loaded, trained, answered, time.perf_counter()]
    phases = zip(("load", "train", "answers", "loss"), pairwise(times), strict=True)
    return TimedRun(times[-1] - start, right, {phase: after - before for phase, (before, after) in phases})


@torch.inference_mode()
def plain_losses(model: Any, tokenizer: Any, questions: Questions, size: int) -> list[float]:
    """The loss of each batch of `size` reference solutions in the order of the questions: nats a completion token."""
    responses = [reference_solution(doc["answer"]) for doc in questions.docs]
    rows = pl.DataFrame({"query": [doc["question"] for doc in questions.docs], "response": responses})
    examples = encode(tokenizer, rows)
    batches = (collate(examples[i : i + size], tokenizer.pad_token_id) for i in range(0, len(examples), size))
    return [float(model(**batch).loss) for batch in batches]


def length_buckets(examples: list[Example], size: int, factor: int = 20) -> Iterator[list[Example]]:
    """Batches of `size` examples of like length, out of buckets of `factor` batches."""
    rng = Random(0)
    for start in range(0, len(examples), size * factor):
        bucket = sorted(examples[start : start + size * factor], key=lambda example: len(example.ids))
        batches = [bucket[i : i + size] for i in range(0, len(bucket), size)]
        rng.shuffle(batches)
        yield from batches
