"""SIGINT and SIGTERM: they end a process at once, or after its current step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the process to stop. Not an Exception, so that no `except Exception` takes it for a failure."""

    def __init__(self, signum: int, where: str = "") -> None:
        super().__init__(where)
        self.signum = signum
        self.where = where

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class StopRequest:
    """Whether SIGINT or SIGTERM asked this process to stop while that was deferred."""

    def __init__(self) -> None:
        self.signum: int | None = None  # of the signal that asked to stop
        self._deferring = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._deferring or self.signum is not None:  # a second request does not wait
            raise Interrupted(signum)
        self.signum = signum

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a first request within the block; its owner reads `signum` where it is safe to stop."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into `Interrupted`, in the main thread; the handlers before it come back."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
