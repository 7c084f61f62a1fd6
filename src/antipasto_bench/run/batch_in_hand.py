"""The batch whose answers are being generated, noted every half minute: a stop or a kill loses no more than that.

An interrupted batch goes on from the tokens that were noted: the same rows with the same padding, prompt and tokens so
far read in one pass, where they were computed token by token before. In float32 that gives the same answers; in
bfloat16 a token whose two best candidates are as good as equal may become the other.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.signals import Interrupted

NOTE_S = 30.0  # between two notes


@dataclass(frozen=True)
class UnfinishedBatch:
    """The rows of a batch as far as they were generated."""

    key: str  # names the prompts with their padding, and the settings
    tokens: list[list[int]]  # (rows, tokens so far); padding behind the end of a row
    ended: list[bool]  # by row

    @property
    def length(self) -> int:
        return len(self.tokens[0])


class BatchInHand:
    """Stops each row at its end, as transformers' stopping criterion, and notes the batch now and then."""

    def __init__(
        self,
        key: str,
        prompt_length: int,
        end_ids: Sequence[int],
        pad_id: int,
        *,
        stops: Callable[[Tensor, Tensor], Tensor] | None,
        rows_stay: bool = True,
        note: Callable[[UnfinishedBatch], None] | None,
        on_step: Callable[[int], None],
    ) -> None:
        """
        Args:
            key: of this batch.
            prompt_length: of every row, padding included, in tokens.
            stops: from answers (rows, tokens) and scores to the rows that have come to a stop string.
            rows_stay: a row is one answer from step to step, and ends once; not so of beams.
            note: writes the batch; None where nothing is kept of it.
            on_step: is told how many tokens each row has.
        """
        self.key = key
        self._prompt_length, self._end_ids, self._pad_id = prompt_length, torch.tensor(end_ids), pad_id
        self._stops, self._rows_stay, self._note, self._on_step = stops, rows_stay, note, on_step
        self._state: tuple[Tensor, Tensor] | None = None  # ids (rows, tokens) and ended (rows), of one step
        self._resumed_ended: Tensor | None = None
        self._noted_at = time.monotonic()

    def resume(self, earlier: UnfinishedBatch, prompts: Tensor) -> Tensor:
        """Go on from an earlier try.

        Returns:
            prompts with the tokens so far: (rows, prompt_length + tokens)
        """
        tokens = torch.tensor(earlier.tokens, dtype=prompts.dtype, device=prompts.device)
        self._resumed_ended = torch.tensor(earlier.ended, device=prompts.device)
        ids = torch.cat([prompts, tokens], dim=1)
        self._state = ids, self._resumed_ended
        return ids

    def __call__(self, ids: Tensor, scores: Tensor, **more: object) -> Tensor:
        """Which rows have ended: (rows,)"""
        if self._resumed_ended is not None:  # generate takes every row for one that goes on, and has added a token
            ids[self._resumed_ended, -1] = self._pad_id
            self._resumed_ended = None
        answers = ids[:, self._prompt_length :]
        self._end_ids = self._end_ids.to(ids.device)
        ended = torch.isin(answers[:, -1], self._end_ids)
        if self._stops is not None:
            ended = ended | self._stops(answers, scores)
        if self._state is not None and self._rows_stay:
            ended = ended | self._state[1]
        self._state = ids, ended
        self._on_step(answers.shape[1])
        if time.monotonic() - self._noted_at >= NOTE_S:
            self.write_note()
        return ended

    def write_note(self) -> None:
        """Note the batch as it stands."""
        if self._note is None or self._state is None:
            return
        ids, ended = self._state
        self._note(UnfinishedBatch(self.key, ids[:, self._prompt_length :].tolist(), ended.tolist()))
        self._noted_at = time.monotonic()

    @contextmanager
    def noted_when_interrupted(self) -> Iterator[None]:
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            self.write_note()
            raise


def batch_key(
    prompts: Tensor, mask: Tensor, max_length: int, stop: Sequence[str], settings: Mapping[str, object]
) -> str:
    """Names a batch: its rows with their padding, and how they are answered."""
    content = [prompts.tolist(), mask.tolist(), max_length, stop, settings]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]


def steps_shown(prompt_length: int, on_step: Callable[[int], None]) -> Callable[[Tensor, Tensor], Tensor]:
    """A logits processor that changes nothing: for lm-eval's own generation, which takes no stopping criterion.

    Args:
        on_step: is told how many tokens each row has.
    """

    def show(ids: Tensor, logits: Tensor) -> Tensor:
        on_step(ids.shape[1] - prompt_length)
        return logits

    return show
