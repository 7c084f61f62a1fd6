"""Texts as token ids: one way for training, for scoring by every backend, and for losses.

    prompt:      what the tokenizer begins a text with (BOS, where it has one), then the text's own tokens
    completion:  the text's own tokens, then the end token

A prompt never ends with what the tokenizer closes a text with: the completion follows it. The name of a special token
inside a text is text: it is split into the tokens of its characters, so that a row that quotes `</s>` does not end
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import UserError

_PROBE = "1"


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text alone, with nothing before or after them."""
    if not texts:
        return []
    whole = [whole_characters(text) for text in texts]
    ids: list[list[int]] = tokenizer(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair alone, which stands in no UTF-8 and no tokenizer reads."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def first_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before every text, such as BOS; empty for one that puts nothing there.

    Raises:
        UserError: it changes the text itself where it adds special tokens.
    """
    (bare,) = text_ids(tokenizer, [_PROBE])
    whole: list[int] = tokenizer(_PROBE)["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start]
    raise UserError(
        f"the tokenizer reads {_PROBE!r} as {bare} alone and as {whole} with its special tokens; "
        "expected the same tokens with others before or after them"
    )


def prompt_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text as a model reads them before it continues them.

    Raises:
        UserError: as `first_ids`.
    """
    first = first_ids(tokenizer)
    return [[*first, *ids] for ids in text_ids(tokenizer, texts)]


def completion_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text as a model continues a prompt with them, closed by the end token."""
    return [[*ids, tokenizer.eos_token_id] for ids in text_ids(tokenizer, texts)]


def encode_prompts(
    tokenizer: Any, first: list[int], text: str | Sequence[str], add_special_tokens: bool | None = None, **options: Any
) -> Any:
    """The ids of a prompt, or of several, as lm-eval's models ask for them.

    Args:
        first: begins each, unless `add_special_tokens` is False.
    """
    begun = [] if add_special_tokens is False else first
    if isinstance(text, str):
        return [*begun, *text_ids(tokenizer, [text])[0]]
    return [[*begun, *ids] for ids in text_ids(tokenizer, text)]
