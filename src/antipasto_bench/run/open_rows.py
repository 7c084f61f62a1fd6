"""Answers of which each pass of the model computes only those that have not ended.

A row whose answer has ended leaves at once, and once a quarter of the batch is free, the next questions are read
together and take the free places. Which rows share a pass follows from the questions, their answers and the batch
size alone, and never from the time that anything takes: in bfloat16 the last bits of an answer depend on it.

On a GPU tokens are read by the host eight at a time, so that it waits for none of them; those behind an end are cut.
On a CPU, whose time goes with what is computed, prompts are read in groups of like length, with little padding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor

from .row_attention import of_like_length, padding_left_out
from .row_cache import RowCache

FREE_SHARE = 4  # a quarter of the batch is free before others come
TOKENS_A_READ = {"cpu": 1}  # by kind of device
TOKENS_A_READ_GPU = 8
PADDING = {"cpu": 1 / 8}  # of rows that are read or attend together: at most so much of their tokens; on a GPU any


@dataclass
class Row:
    """An answer under way."""

    place: int  # of its question
    prompt: list[int]
    most: int  # tokens of the answer
    tokens: list[int] = field(default_factory=list)  # of the answer so far


class OpenRows:
    """Greedy answers of a model, as many at once as `width` says.

    Attributes:
        open: the answers under way, in the order of their rows.
    """

    def __init__(
        self,
        model: Any,
        width: int,
        ends: Callable[[list[int]], bool],
        pad_id: int,
        on_step: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        """
        Args:
            ends: of the tokens of an answer, whether it ends with the last.
            on_step: is told how long the longest answer under way is, after each reading of tokens.
        """
        self._model, self._width, self._ends, self._pad_id, self._on_step = model, width, ends, pad_id, on_step
        self._device = model.device
        self._padding = PADDING.get(self._device.type, inf)
        self._at_once = TOKENS_A_READ.get(self._device.type, TOKENS_A_READ_GPU)
        self._cache = RowCache(model.config)
        self._last = torch.empty(0, dtype=torch.long, device=self._device)  # (rows,): tokens that are read next
        self._lengths = torch.empty(0, dtype=torch.long, device=self._device)  # (rows,): tokens in the cache
        # What sdpa takes is given whole: of another mask, transformers asks on the host whether it masks anything.
        self._whole_mask = model.config._attn_implementation == "sdpa" and not any(self._cache.cache.is_sliding)
        # As an index it has the last hidden states copied. A view of them, which a number gives, has torch copy the
        # head's matrix for every row on a CPU: 57 MB a row of SmolLM2.
        self._last_column = torch.tensor([-1], device=self._device)
        self.open: list[Row] = []

    def answers(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Each row when its answer has ended. A row that has tokens goes on behind them."""
        waiting: deque[Row] = deque()
        for row in rows:
            if row.tokens and (len(row.tokens) >= row.most or self._ends(row.tokens)):
                yield row
            else:
                waiting.append(row)
        while waiting or self.open:
            free = self._width - len(self.open)
            if waiting and (free * FREE_SHARE >= self._width or not self.open):
                tokens = [self._join([waiting.popleft() for _ in range(min(free, len(waiting)))])]
                first = len(self.open) - len(tokens[0])
            else:
                steps = min(self._at_once, *(row.most - len(row.tokens) for row in self.open))
                tokens = torch.stack([self._step(unread) for unread in range(steps)]).tolist()
                first = 0
            gone = [
                first + i for i, row in enumerate(self.open[first:]) if self._append(row, [each[i] for each in tokens])
            ]
            self._on_step(max(len(row.tokens) for row in self.open))
            for slot in gone:
                yield self.open[slot]
            self._leave(gone)

    def _append(self, row: Row, tokens: list[int]) -> bool:
        """Give a row its next tokens; whether it has ended with one of them."""
        for token in tokens:
            row.tokens.append(token)
            if len(row.tokens) >= row.most or self._ends(row.tokens):
                return True
        return False

    def _join(self, rows: list[Row]) -> list[int]:
        """Read the prompts of new rows; their next tokens."""
        self.open = [*self.open, *rows]  # before a pass that can be interrupted: they can have tokens
        texts = [row.prompt + row.tokens for row in rows]
        groups = of_like_length([len(text) for text in texts], self._padding)
        return [token for group in groups for token in self._read(texts[group])]

    @torch.no_grad()
    def _read(self, texts: list[list[int]]) -> list[int]:
        """Read texts together, each into a row behind those that there are; their next tokens."""
        columns = max(map(len, texts))
        ids = torch.tensor([[self._pad_id] * (columns - len(text)) + text for text in texts], device=self._device)
        lengths = torch.tensor([len(text) for text in texts], device=self._device)
        mask = _mask(lengths, columns)
        cache = self._cache.new()
        last = self._next(ids, mask.long(), (mask.cumsum(1) - 1).clamp(min=0), cache)
        self._cache.join(cache, len(texts), columns)
        self._last = torch.cat([self._last, last])
        self._lengths = torch.cat([self._lengths, lengths])
        tokens: list[int] = last.tolist()
        return tokens

    @torch.no_grad()
    def _step(self, unread: int) -> Tensor:
        """The next token of every row: (rows,)

        Args:
            unread: tokens of each row that the host has not read yet.
        """
        mask = _mask(self._lengths + 1, self._cache.columns + 1)
        given = mask[:, None, None] if self._whole_mask else mask.long()
        lengths = [len(row.prompt) + len(row.tokens) + unread for row in self.open]
        bounded = self._whole_mask and self._padding != inf
        with padding_left_out(lengths, self._cache.columns + 1, self._padding) if bounded else nullcontext():
            self._last = self._next(self._last[:, None], given, self._lengths[:, None], self._cache.cache)
        self._lengths = self._lengths + 1
        self._cache.grow()
        return self._last

    def _next(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=self._last_column,
        ).logits
        # The first of the largest, as transformers' generate chooses in float32, where the order is the same.
        likeliest: Tensor = logits[:, -1].max(-1).indices
        return likeliest

    @torch.no_grad()
    def _leave(self, gone: list[int]) -> None:
        if not gone:
            return
        if len(gone) == len(self.open):
            self._cache = RowCache(self._model.config)
            self._last, self._lengths, self.open = self._last[:0], self._lengths[:0], []
            return
        order = self._cache.drop(gone)
        places = torch.tensor(order, device=self._device)
        self._last, self._lengths = self._last[places], self._lengths[places]
        self.open = [self.open[slot] for slot in order]
        self._cache.trim(max(len(row.prompt) + len(row.tokens) for row in self.open) - 1)


def _mask(lengths: Tensor, columns: int) -> Tensor:
    """Where rows that end in the last column have a token: (rows, columns)"""
    return torch.arange(columns, device=lengths.device) >= columns - lengths[:, None]
