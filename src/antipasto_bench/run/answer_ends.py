"""Where an answer ends: at an end token, at a stop string in any of the ways that tokens can spell it, or decided."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from .decided_answers import LINE_ENDS


class AnswerEnds:
    """Tells of the tokens of an answer whether it ends with the last of them."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        end_ids: Collection[int],
        stop: Sequence[str],
        decided: Callable[[Sequence[int]], bool] | None = None,
    ) -> None:
        """
        Args:
            decode: tokens as text, special tokens included.
            stop: strings, none of them empty.
            decided: of the tokens of an answer, whether its whole lines decide its score.
        """
        self._decode, self._end_ids, self._stop = decode, frozenset(end_ids), tuple(stop)
        self._decided = decided
        self._last = {text[-1] for text in stop}
        self._can_stop: dict[int, bool] = {}  # by token
        self._ends_line: dict[int, bool] = {}

    def __call__(self, tokens: Sequence[int]) -> bool:
        last = tokens[-1]
        if last in self._end_ids:
            return True
        if self._last and self._completes(last):
            text = self._decode(tokens)
            if any(string in text for string in self._stop):
                return True
        return self._decided is not None and self._completes_line(last) and self._decided(tokens)

    def _completes_line(self, token: int) -> bool:
        if token not in self._ends_line:
            text = self._decode([token])
            self._ends_line[token] = any(end in text for end in LINE_ENDS)
        return self._ends_line[token]

    def _completes(self, token: int) -> bool:
        """Whether a token can be the last of a stop string."""
        if token not in self._can_stop:
            text = self._decode([token])
            # A part of a character, or a space, may not be seen in a token alone.
            self._can_stop[token] = "\ufffd" in text or any(c.isspace() or c in text for c in self._last)
        return self._can_stop[token]
