"""Attention of one token a row, without the columns that are padding in the rows of a group.

Rows of a cache end in the same column, and the shorter have padding to the left. A CPU takes as long for a padded
column as for any other, so rows are put into groups of like length, each of which has the columns of its longest.
A group is a call of its own, which a small model would not earn back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

A_CALL = 50_000  # padded numbers among the keys that take as long as one more call of attention


def of_like_length(lengths: Sequence[int], padding: float) -> list[slice]:
    """Neighbours, in groups that are padded to their longest by no more than this share of all that they hold."""
    groups: list[slice] = []
    first = longest = held = 0
    for place, length in enumerate(lengths):
        longest, held = max(longest, length), held + length
        if longest * (place + 1 - first) > (1 + padding) * held:
            groups.append(slice(first, place))
            first, longest, held = place, length, length
    return [*groups, slice(first, len(lengths))] if lengths else []


@contextmanager
def padding_left_out(lengths: Sequence[int], columns: int, padding: float) -> Iterator[None]:
    """Have a model's attention by `sdpa` pass over padding, where it is of one token of each row.

    Args:
        lengths: of the rows, with that token.
        columns: that keys and values have with it.
        padding: the most of it that is left, as a share of what the rows hold.
    """
    from transformers import modeling_utils

    functions = modeling_utils.ALL_ATTENTION_FUNCTIONS
    groups = [(rows, columns - max(lengths[rows])) for rows in of_like_length(lengths, padding)]
    passed_over = sum(len(lengths[rows]) * start for rows, start in groups)
    whole = functions["sdpa"]

    def by_groups(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *rest: Any, **more: Any
    ) -> tuple[Tensor, None]:
        mask = attention_mask
        known = query.shape[2] == 1 and key.shape[2] == columns
        pays = passed_over * key.shape[1] * key.shape[3] >= A_CALL * len(groups)
        if not known or not pays or mask is None or mask.shape != (len(key), 1, 1, columns):
            result: tuple[Tensor, None] = whole(module, query, key, value, mask, *rest, **more)
            return result
        parts = [
            whole(
                module,
                query[rows],
                key[rows, :, start:],
                value[rows, :, start:],
                mask[rows, ..., start:],
                *rest,
                **more,
            )
            for rows, start in groups
        ]
        return torch.cat([part for part, _ in parts]), None

    functions["sdpa"] = by_groups
    try:
        yield
    finally:
        del functions["sdpa"]
