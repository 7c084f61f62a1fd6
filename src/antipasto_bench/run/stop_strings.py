"""Where answers end before their greatest length: at a stop string, in any of the ways that tokens can spell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import lru_cache
from typing import Any

from torch import Tensor
from transformers import StopStringCriteria

PREPARED = 8  # sets of stop strings that stay in memory


def stop_string_criterion(tokenizer: Any, stop: Sequence[str], end: str) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Tells which answers (rows, tokens) have come to a stop string; None where there is none.

    Args:
        end: the end token, which is matched by its id and not as a string.
    """
    strings = tuple(without_end(stop, end))
    # A copy, which moves its table to the model's device at its first call: the table in the cache occupies no GPU.
    return copy(_prepared(tokenizer, strings)) if strings else None


def without_end(stop: Sequence[str], end: str) -> list[str]:
    """The stop strings but for the end token, and what is left of it where an answer may quote its name: nothing."""
    return [string for string in stop if string not in ("", end)]


@lru_cache(PREPARED)
def _prepared(tokenizer: Any, strings: tuple[str, ...]) -> StopStringCriteria:
    """Once for each tokenizer and strings: it goes through the whole vocabulary, seconds at 248,000 tokens."""
    return StopStringCriteria(tokenizer, list(strings))
