"""Where an answer ends: at an end token, at a stop string, or where its score is decided."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence


class AnswerEnds:
    """Tells of the tokens of an answer whether it ends with the last of them."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        end_ids: Collection[int],
        stop: Sequence[str],
        decided: Callable[[str], bool] | None = None,
    ) -> None:
        """
        Args:
            decode: tokens as text, special tokens included.
            stop: strings, none of them empty.
            decided: of an answer that has come to the end of a line, whether no later text can change its score.
        """
        self._decode, self._end_ids, self._stop, self._decided = decode, frozenset(end_ids), tuple(stop), decided
        self._last = {text[-1] for text in stop}
        self._stops: dict[int, tuple[bool, bool]] = {}  # by token

    def __call__(self, tokens: Sequence[int]) -> bool:
        last = tokens[-1]
        if last in self._end_ids:
            return True
        completes, ends_line = self._of_token(last)
        if not completes and not ends_line:
            return False
        text = self._decode(tokens)
        if completes and any(string in text for string in self._stop):
            return True
        return self._decided is not None and ends_line and self._decided(text)

    def _of_token(self, token: int) -> tuple[bool, bool]:
        """Whether a token can be the last of a stop string, and whether it holds the end of a line."""
        if token not in self._stops:
            text = self._decode([token])
            # A part of a character, or a space, may not be seen in a token alone.
            completes = "\ufffd" in text or any(c.isspace() or c in text for c in self._last)
            self._stops[token] = bool(self._last) and completes, self._decided is not None and "\n" in text
        return self._stops[token]
