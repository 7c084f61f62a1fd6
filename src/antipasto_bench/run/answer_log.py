"""The answers of a run under way, so that scoring goes on where it was interrupted.

Answers are written as they are given, and the tokens of those under way every half minute: of rows that leave the batch
one by one (`open_rows.py`), or of a batch that ends as a whole (`batch_in_hand.py`). The remaining questions then come
in the same order, and whole batches have the same rows and padding, as without an interruption.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.files import read_regular, write_bytes
from ..core.signals import Interrupted
from .batch_in_hand import NOTE_S, UnfinishedBatch
from .generation_settings import draws


def log_line(value: Any) -> str:
    """A line of the log: JSON, and a digest of it."""
    return _with_digest(json.dumps(value).encode()).decode()


def _with_digest(text: bytes) -> bytes:
    return text + b"\t" + hashlib.sha256(text).hexdigest()[:16].encode() + b"\n"


def read_log(path: Path) -> list[Any]:
    """What the lines of a log hold; nothing, with a warning, where one is damaged.

    A last line that a kill cut short is no damage, and is left out. No line is written twice: each has other answers,
    or more of them.
    """
    lines = read_regular(path).splitlines(keepends=True) if path.exists() else []
    values: list[Any] = []
    for number, line in enumerate(lines, start=1):
        text, _, _ = line.rpartition(b"\t")
        is_new = line not in lines[: number - 1]
        if _with_digest(text) == line and is_new and _fits(value := json.loads(text), first=not values):
            values.append(value)
        elif number < len(lines) or line.endswith(b"\n") or line.count(b"\t") > 1:
            warnings.warn(f"{path.name}, line {number} is damaged: all is answered again", stacklevel=4)
            return []
    return values


def _fits(value: Any, *, first: bool) -> bool:
    """Whether a line is where it was written: the first names the model, and no other one does."""
    return isinstance(value, str) == first


class AnswerLog:
    """A file of answers: a first line names the model that gave them, then lines of answers, each with its digest.

    A line that is an object says that answers begin anew with batches of another size, or holds the tokens under way.
    """

    def __init__(self, path: Path, model: str) -> None:
        """
        Args:
            model: names the model with its adapter, and whether that is merged; a file of another one is begun anew.
        """
        self.path = path
        self.batch_size: int | None = None  # to go on with, where it is not the configured one
        self.unfinished: UnfinishedBatch | None = None
        self.open: dict[str, list[int]] = {}  # tokens of the answers that had not ended, by `request_key`
        self._lm: Any = None
        self._batch: list[tuple[str, str]] = []
        self._settings = ""
        self._answers: dict[str, str] = {}
        lines = read_log(path)
        batches: list[Any] = []
        for line in lines[1:] if lines[:1] == [model] else []:
            if isinstance(line, list):
                batches.append(line)
                self.unfinished = None
            elif "batch_size" in line:
                batches, self.unfinished, self.batch_size = [], None, line["batch_size"]
                self.open = {}
            elif "open" in line:
                self.open = line["open"]
            else:
                self.unfinished = UnfinishedBatch(**line)
        self._answers = dict(pair for batch in batches for pair in batch)
        # Written anew without a torn line; whole or not at all, so that a kill here loses no answer.
        whole: list[Any] = [model, *([{"batch_size": self.batch_size}] if self.batch_size else []), *batches]
        whole += [asdict(self.unfinished)] if self.unfinished else []
        self.open = {key: tokens for key, tokens in self.open.items() if key not in self._answers}
        whole += [{"open": self.open}] if self.open else []
        write_bytes(path, "".join(map(log_line, whole)).encode())

    def attach_to(self, lm: Any, on_begin: Callable[[int, int], None] = lambda count, known: None) -> None:
        """Let an lm-eval model generate only answers that the log lacks, and add them to it.

        Drawn answers are never in the log: each is a draw of its own.

        Args:
            on_begin: is told how many answers are asked for, and how many of those are known.
        """
        generate = lm.generate_until
        lm.cache_hook, lm.answer_log, self._lm = self, self, lm
        if self.batch_size is not None:
            lm.batch_size_per_gpu = self.batch_size

        def generate_until(requests: list[Any], **options: Any) -> list[str]:
            keys = [
                f"draw {place}" if draws(request.args[1]) else request_key(request.args)
                for place, request in enumerate(requests)
            ]
            on_begin(len(keys), sum(key in self._answers for key in keys))
            drawn: dict[str, str] = {}
            # Again only where a smaller batch made answers of an earlier try void: at most until batches have one row.
            while missing := {k: r for k, r in zip(keys, requests, strict=True) if k not in self._answers | drawn}:
                answers = generate(list(missing.values()), **options)
                self._write()
                drawn |= {key: answers[i] for i, key in enumerate(missing) if draws(missing[key].args[1])}
            return [(self._answers | drawn)[key] for key in keys]

        lm.generate_until = generate_until

    def add_partial(self, kind: str, request: Any, answer: str) -> None:
        """What lm-eval calls after each answer, batch after batch."""
        if kind != "generate_until" or draws(request[1]):
            return
        settings = json.dumps(list(request)[1:], sort_keys=True, default=str)
        if settings != self._settings:  # batches are of one task's settings each
            self._write()
            self._settings = settings
        self._batch.append((request_key(request), answer))
        if len(self._batch) >= self._lm.batch_size:
            self._write()

    def flush(self) -> None:
        """Write the answers so far: of whole batches, or such as do not depend on what else is in their batch."""
        self._write()

    @contextmanager
    def flushed_now_and_then(self, tokens: Callable[[], dict[str, list[int]]] = dict) -> Iterator[Callable[[], None]]:
        """Gives a function to call after each step: it writes the answers so far, every half minute.

        Args:
            tokens: of the answers under way, by `request_key`, which are noted too.
        """
        written_at = time.monotonic()

        def flush() -> None:
            nonlocal written_at
            if time.monotonic() - written_at >= NOTE_S:
                write()
                written_at = time.monotonic()

        def write() -> None:
            self.flush()
            under_way = {key: list(ids) for key, ids in tokens().items() if key not in self._answers}
            if under_way and under_way != self.open:  # no line is written twice
                self._append({"open": under_way})
                self.open = under_way

        try:
            yield flush
        except (Interrupted, KeyboardInterrupt):
            write()
            raise

    def note(self, unfinished: UnfinishedBatch) -> None:
        """Write the batch in hand."""
        self._append(asdict(unfinished))

    def begin_anew(self, batch_size: int) -> None:
        """Forget all answers: those of batches of another size may be others."""
        self._answers, self._batch, self.unfinished, self.batch_size = {}, [], None, batch_size
        self.open = {}
        self._append({"batch_size": batch_size})

    def _write(self) -> None:
        if self._batch:
            self._append(self._batch)
            self._answers |= dict(self._batch)
            self._batch = []

    def _append(self, line: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(log_line(line))
            file.flush()
            os.fsync(file.fileno())


def request_key(request: Any) -> str:
    """Names a prompt with the settings that it is answered by."""
    return hashlib.sha256(json.dumps(list(request), sort_keys=True, default=str).encode()).hexdigest()[:24]
