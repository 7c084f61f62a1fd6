"""Training examples: rows tokenised, drawn in the order of a seed, put into batches of like length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from ..core.errors import UserError
from ..spec.config import DataConfig, RunConfig
from .tokens import completion_ids, prompt_ids

if TYPE_CHECKING:  # what is counted on shapes needs no row, and so does not wait for polars
    import polars as pl

    from .data import Splits

PROMPT = "Question: {query} Think step by step.\nAnswer:"  # what benchmark/tasks/gsm8k_metamath asks, word for word
IGNORED = -100  # the label of a token that bears no loss
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Example:
    ids: list[int]
    prompt_length: int
    query: str
    response: str
    unlabelled: int | None = None  # tokens at its beginning that bear no loss; those of the prompt where None

    @property
    def first_label(self) -> int:
        """The place of the first token that bears loss."""
        return self.prompt_length if self.unlabelled is None else self.unlabelled


def encode(tokenizer: Any, rows: pl.DataFrame) -> list[Example]:
    """Prompt and response of each row, tokenised apart, as they are at scoring time, and closed by the end token."""
    return _encoded(tokenizer, list(rows["query"]), list(rows["response"]))


def _encoded(tokenizer: Any, queries: Sequence[str], responses: Sequence[str]) -> list[Example]:
    prompts = prompt_ids(tokenizer, [PROMPT.format(query=query) for query in queries])
    closed = completion_ids(tokenizer, [f" {text}" for text in responses])
    parts = zip(prompts, closed, queries, responses, strict=True)
    return [Example([*p, *r], len(p), query, response) for p, r, query, response in parts]


def draw_examples(
    tokenizer: Any, rows: pl.DataFrame, count: int, max_length: int, generator: Generator, *, truncate: bool = False
) -> list[Example]:
    """`count` examples in random order, without replacement until all were used; only what is drawn is tokenised.

    Args:
        truncate: cut an example that is longer than max_length, in place of leaving it out; one of whose response
            nothing would be there is left out still.

    Raises:
        UserError: not one row fits into max_length tokens.
    """
    examples: list[Example] = []
    while len(examples) < count:
        order = torch.randperm(len(rows), generator=generator)
        before = len(examples)
        for part in order.split(max(count, 64)):
            if len(examples) >= count:
                break
            encoded = encode(tokenizer, rows[part.tolist()])
            if truncate:
                encoded = [replace(e, ids=e.ids[:max_length]) for e in encoded if e.prompt_length < max_length]
            examples += [e for e in encoded if len(e.ids) <= max_length]
        if len(examples) == before:
            raise UserError(f"no training row fits into data.max_length={max_length} tokens; raise it")
    return examples[:count]


def collate(examples: list[Example], pad_id: int, width: int | None = None) -> dict[str, Tensor]:
    """A right-padded batch: input_ids, attention_mask and labels, each (rows, longest).

    Args:
        width: of a row, in tokens, that shall hold as many examples as fit; by default each has a row of its own.

    Returns:
        of rows that hold several, also position_ids, which begin anew with every example.
    """
    rows = [[e] for e in examples] if width is None else _packed(examples, width)
    sizes = [sum(len(e.ids) for e in row) for row in rows]
    longest = max(sizes)
    ids, labels, positions = [], [], []
    for row, size in zip(rows, sizes, strict=True):  # lists become tensors once, for all rows
        padding = longest - size
        ids.append([token for e in row for token in e.ids] + [pad_id] * padding)
        borne = [[IGNORED] * e.first_label + e.ids[e.first_label :] for e in row]
        labels.append([label for part in borne for label in part] + [IGNORED] * padding)
        positions.append([place for e in row for place in range(len(e.ids))] + [*range(padding)])
    mask = (torch.arange(longest) < torch.tensor(sizes)[:, None]).long()
    batch = {"input_ids": torch.tensor(ids), "attention_mask": mask, "labels": torch.tensor(labels)}
    return batch if width is None else batch | {"position_ids": torch.tensor(positions)}


def _packed(examples: list[Example], width: int) -> list[list[Example]]:
    """Rows of no more than `width` tokens: each example, longest first, goes to the first row that has room for it."""
    rows: list[list[Example]] = []
    left: list[int] = []
    for example in sorted(examples, key=lambda e: -len(e.ids)):
        place = next((i for i, room in enumerate(left) if room >= len(example.ids)), len(rows))
        if place == len(rows):
            rows.append([])
            left.append(width)
        rows[place].append(example)
        left[place] -= len(example.ids)
    return rows


def with_wrong_numbers(examples: list[Example], tokenizer: Any, seed: int) -> list[Example]:
    """The same examples with every number of the solution changed: its shape is right, its sums are not."""
    rng = Random(seed)
    responses = [_NUMBER.sub(lambda m: _other_number(m[0], rng), e.response) for e in examples]
    return _encoded(tokenizer, [e.query for e in examples], responses)


def _other_number(number: str, rng: Random) -> str:
    least, most = 10 ** (len(number) - 1), 10 ** len(number) - 1
    drawn = rng.randint(least, most - 1)
    return str(drawn + (drawn >= int(number)))  # skips the number itself


def bucketed_batches(
    examples: list[Example],
    batch_size: int,
    pad_id: int,
    generator: Generator,
    window: int = 32,
    width: int | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Batches of examples of like length, so that little is padding.

    Lengths are sorted within a window of batches, and the batches of a window shuffled: every example is seen
    once, near the place where it was drawn. `width` is as in `collate`.
    """
    for start in range(0, len(examples), batch_size * window):
        near = sorted(examples[start : start + batch_size * window], key=lambda e: len(e.ids))
        batches = [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield collate(batches[index], pad_id, width)


def drawn_examples(run: RunConfig, tokenizer: Any, splits: Splits, count: int | None = None) -> list[Example]:
    """What the run trains on, in order, or the first `count` of it. Under one seed every variant sees the same."""
    wanted = run.steps * run.batch_size * run.grad_accum if count is None else count
    order = Generator().manual_seed(run.seed)
    data, rows = run.data, _short_rows(splits.train, run.data)
    examples = draw_examples(tokenizer, rows, wanted, data.max_length, order, truncate=data.truncate)
    if run.loss_on == "all":  # but for the first token, which nothing predicts
        examples = [replace(e, unlabelled=1) for e in examples]
    return examples


def _short_rows(rows: pl.DataFrame, data: DataConfig) -> pl.DataFrame:
    """The rows of no more than data.max_characters, query, response and a space between.

    Raises:
        UserError: there is none.
    """
    if data.max_characters is None:
        return rows
    characters = rows["query"].str.len_chars() + 1 + rows["response"].str.len_chars()
    short = rows.filter(characters <= data.max_characters)
    if short.is_empty():
        raise UserError(f"no training row has at most data.max_characters={data.max_characters} characters; raise it")
    return short
