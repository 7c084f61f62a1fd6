"""The answers of a run under way, written batch by batch, so that scoring goes on where it was interrupted.

Only whole batches are written: the remaining questions then form the same batches, with the same padding, as without
an interruption, and the answers are the same to the last bit. (Not so with eval.batch_size=auto.)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.files import write_bytes


class AnswerLog:
    """A file of answers: a first line names the model that gave them, then a line a batch. A torn line is not read."""

    def __init__(self, path: Path, model: str) -> None:
        """
        Args:
            model: names the model with its adapter; a file of another one is begun anew.
        """
        self.path = path
        self._lm: Any = None
        self._batch: list[tuple[str, str]] = []
        self._settings = ""
        self._answers: dict[str, str] = {}
        lines = list(self._lines())
        if lines[:1] == [model]:
            self._answers = dict(pair for batch in lines[1:] for pair in batch)
        # Written anew without a torn line; whole or not at all, so that a kill here loses no answer.
        text = "".join(json.dumps(line) + "\n" for line in (lines if self._answers else [model]))
        write_bytes(path, text.encode())

    def _lines(self) -> Iterator[Any]:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    return

    def attach_to(self, lm: Any) -> None:
        """Let an lm-eval model generate only answers that the log lacks, and add them to it."""
        generate = lm.generate_until
        lm.cache_hook, self._lm = self, lm

        def generate_until(requests: list[Any], **options: Any) -> list[str]:
            keys = [_key(request.args) for request in requests]
            if any(request.args[1].get("do_sample") for request in requests):  # each answer is a draw of its own
                return list(generate(requests, **options))
            missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._answers}
            if missing:
                generate(list(missing.values()), **options)
                self._write()
            return [self._answers[key] for key in keys]

        lm.generate_until = generate_until

    def add_partial(self, kind: str, request: Any, answer: str) -> None:
        """What lm-eval calls after each answer, batch after batch."""
        if kind != "generate_until":
            return
        settings = json.dumps(list(request)[1:], sort_keys=True, default=str)
        if settings != self._settings:  # batches are of one task's settings each
            self._write()
            self._settings = settings
        self._batch.append((_key(request), answer))
        if len(self._batch) >= self._lm.batch_size:
            self._write()

    def _write(self) -> None:
        if self._batch:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self._batch) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._answers |= dict(self._batch)
            self._batch = []


def _key(request: Any) -> str:
    return hashlib.sha256(json.dumps(list(request), sort_keys=True, default=str).encode()).hexdigest()[:24]
