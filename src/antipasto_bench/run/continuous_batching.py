"""Answers by transformers' continuous batching, each as soon as it ends."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from .streamed_answers import Questions


def answers_as_they_end(
    model: Any, questions: Questions, end_ids: list[int], pad_id: int, batch_size: int
) -> Generator[tuple[int, list[int]]]:
    """The place of each prompt and the tokens of its answer, those that end first first.

    Raises:
        RuntimeError: a prompt got no answer.
    """
    limits: GenerationConfig = copy.deepcopy(model.generation_config)
    limits.update(max_new_tokens=questions.most, do_sample=False, eos_token_id=end_ids, pad_token_id=pad_id)
    width = questions.most + max(map(len, questions.prompts))
    page = 256 if model.device.type == "cuda" else 64  # flash attention takes no smaller
    room = ContinuousBatchingConfig(
        page_size=page,
        num_blocks=batch_size * -(-width // page),
        max_batch_tokens=max(width, 2 * batch_size),
        max_requests_per_batch=batch_size,
        allow_block_sharing=False,  # questions begin alike for a few words only
    )
    with model.continuous_batching_context_manager(
        generation_config=limits, continuous_batching_config=room, timeout=5, warmup=False
    ) as manager:
        names = manager.add_requests(inputs=questions.prompts, max_new_tokens=questions.most)
        places = {name: place for place, name in enumerate(names)}
        while places:
            output = manager.get_result(timeout=1)
            if output is None and not manager.is_running():
                raise RuntimeError(f"{len(places)} of {len(names)} questions got no answer")
            if output is not None and output.error:
                raise RuntimeError(output.error)
            if output is not None and output.is_finished():
                yield places.pop(output.request_id), output.generated_tokens
            else:
                questions.on_step(0)  # how long the answers under way are is not told
