"""Where an answer ends: at an end token, or at a stop string in any of the ways that tokens can spell it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence


class AnswerEnds:
    """Tells of the tokens of an answer whether it ends with the last of them."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        end_ids: Collection[int],
        stop: Sequence[str],
    ) -> None:
        """
        Args:
            decode: tokens as text, special tokens included.
            stop: strings, none of them empty.
        """
        self._decode, self._end_ids, self._stop = decode, frozenset(end_ids), tuple(stop)
        self._last = {text[-1] for text in stop}
        self._can_stop: dict[int, bool] = {}  # by token

    def __call__(self, tokens: Sequence[int]) -> bool:
        last = tokens[-1]
        if last in self._end_ids:
            return True
        if not self._last or not self._completes(last):
            return False
        text = self._decode(tokens)
        return any(string in text for string in self._stop)

    def _completes(self, token: int) -> bool:
        """Whether a token can be the last of a stop string."""
        if token not in self._can_stop:
            text = self._decode([token])
            # A part of a character, or a space, may not be seen in a token alone.
            self._can_stop[token] = "\ufffd" in text or any(c.isspace() or c in text for c in self._last)
        return self._can_stop[token]
