"""Ctrl-C and SIGTERM: at once, or after the step in hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Somebody asked the process to stop. Not an Exception: nothing on the way may take it for a failure."""

    def __init__(self, signum: int, where: str = "") -> None:
        super().__init__(where)
        self.signum = signum
        self.where = where

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class Stop:
    """Whether a stop was asked for while it was deferred."""

    def __init__(self) -> None:
        self.deferred = False
        self.asked: int | None = None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if not self.deferred or self.asked is not None:  # who asks twice does not want to wait
            raise Interrupted(signum)
        self.asked = signum

    @contextmanager
    def after_this(self) -> Iterator[None]:
        """Within the block a first request is only noted: whoever runs it looks at `asked` where stopping is safe."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into `Interrupted`, in the main thread; the handlers before it come back."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
