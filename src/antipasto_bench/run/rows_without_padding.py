"""Generation without padding, for a model that has tokens of its own before the prompt.

Padding would stand between those and the prompt, and every position behind it would be another.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Generate = Callable[[Tensor, Tensor, int], Tensor]


def generate_without_padding(generate: Generate, prompts: Tensor, mask: Tensor, most: int, pad_id: int) -> Tensor:
    """Answers as `generate` gives them, each computed among rows whose prompts are as long as its own.

    Args:
        generate: from prompts (rows, length), their mask and the most tokens of a row, prompt included, to
            (rows, at most so many).
        prompts: (rows, width), padded to the left.
        mask: (rows, width); 0 where padding is.
        most: tokens of a row, prompt and padding included.

    Returns:
        (rows, at most `most`), prompts with their padding included; behind the end of a row `pad_id`.
    """
    width = prompts.shape[1]
    lengths = mask.sum(1)
    answers: dict[int, Tensor] = {}
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        left = width - length
        whole = generate(prompts[rows, left:], mask[rows, left:], most - left)
        answers |= zip(rows.tolist(), whole[:, length:], strict=True)
    longest = max(len(answer) for answer in answers.values())
    result = torch.full((len(prompts), width + longest), pad_id, dtype=prompts.dtype, device=prompts.device)
    result[:, :width] = prompts
    for row, answer in answers.items():
        result[row, width : width + len(answer)] = answer
    return result
