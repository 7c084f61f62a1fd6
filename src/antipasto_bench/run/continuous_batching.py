"""Answers by transformers' continuous batching, each as soon as it ends."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from .progress import ScoringProgress


def answers_as_they_end(
    model: Any,
    prompts: list[list[int]],
    limits: GenerationConfig,
    room: ContinuousBatchingConfig,
    progress: ScoringProgress,
) -> Generator[tuple[int, list[int]]]:
    """The place of each prompt and the tokens of its answer, those that end first first.

    Raises:
        RuntimeError: a prompt got no answer.
    """
    with model.continuous_batching_context_manager(
        generation_config=limits, continuous_batching_config=room, timeout=5, warmup=False
    ) as manager:
        names = manager.add_requests(inputs=prompts, max_new_tokens=limits.max_new_tokens)
        places = {name: place for place, name in enumerate(names)}
        while places:
            output = manager.get_result(timeout=1)
            if output is None and not manager.is_running():
                raise RuntimeError(f"{len(places)} of {len(prompts)} questions got no answer")
            if output is not None and output.error:
                raise RuntimeError(output.error)
            if output is not None and output.is_finished():
                yield places.pop(output.request_id), output.generated_tokens
            else:
                progress.step(0)  # how long the answers under way are is not told
