"""What a person sees of a run while it runs: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ..core.text import printable
from .train import Step

WIDE = 90  # columns of a terminal that has room for a bar
LINE_S = 60.0  # without a terminal, between two lines at most


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader of stderr is gone: print no more, and go on."""
        self.quiet = True


class ScoringProgress:
    """How many of a split's questions are answered, and how long the others will take at that pace."""

    def __init__(self, on_change: Callable[[ScoringProgress], None] = lambda progress: None) -> None:
        self.total = 0  # questions that answers were requested for so far
        self.answered = 0
        self.tokens = 0  # generated of each answer of the batch in hand
        self._known = 0  # answered by an earlier try
        self._began = time.monotonic()
        self._on_change = on_change

    def expect(self, count: int, known: int = 0) -> None:
        """Add questions to be answered, of which an earlier try has answered some."""
        self.total += count
        self.answered += known
        self._known += known
        self._on_change(self)

    def add(self, count: int) -> None:
        """Add answers."""
        self.answered, self.tokens = self.answered + count, 0
        self._on_change(self)

    def back_to(self, answered: int) -> None:
        """Take answers back that are to be given again."""
        self.answered = answered

    def step(self, tokens: int) -> None:
        """Note how far the batch in hand is; 0 where that is not known."""
        self.tokens = tokens
        self._on_change(self)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def seconds_to_go(self) -> float | None:
        """None before the first answer."""
        answered = self.answered - self._known
        return self.seconds / answered * (self.total - self.answered) if answered > 0 else None

    @property
    def time_text(self) -> str:
        """Seconds so far and to go; before the first answer, how long those of the batch in hand are, where known."""
        left = self.seconds_to_go
        if left is not None:
            return f"{self.seconds:.0f} s, {left:.0f} s to go"
        if self.tokens == 0:
            return f"{self.seconds:.0f} s, no answer yet"
        return f"{self.seconds:.0f} s, {self.tokens} tokens of each answer of the first batch"


class Progress:
    """Reports on stderr, so that stdout stays for results."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = _Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    def phase(self, name: str) -> None:
        if self.console.is_terminal:
            self.console.print(f"[dim]{name} ...[/dim]")
        else:
            self.console.print(f"{name} ...")

    def note(self, text: str) -> None:
        """A line that stays, on a terminal and in a log."""
        self.console.print(printable(text), markup=False)

    @contextmanager
    def scoring(self, split: str) -> Iterator[ScoringProgress]:
        """Gives what scoring tells of its answers: a live bar, or ten lines a split and one a minute at least."""
        if not self.console.is_terminal:
            tenths, printed_at = 0, time.monotonic()

            def line(progress: ScoringProgress) -> None:
                nonlocal tenths, printed_at
                now = 10 * progress.answered // max(1, progress.total)
                if now > tenths or time.monotonic() - printed_at >= LINE_S:
                    tenths, printed_at = now, time.monotonic()
                    self.console.print(
                        f"score {split} {progress.answered}/{progress.total}  {progress.time_text}", markup=False
                    )

            yield ScoringProgress(line)
            return
        columns = (
            TextColumn(f"score {split}"),
            *([BarColumn(bar_width=None)] if self.console.width >= WIDE else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[time]}"),
        )
        with Bar(*columns, console=self.console) as bar:
            task = bar.add_task("score", total=None, time="")
            yield ScoringProgress(
                lambda progress: bar.update(
                    task, total=progress.total, completed=progress.answered, time=progress.time_text
                )
            )

    @contextmanager
    def training(self, steps: int) -> Iterator[Callable[[Step], None]]:
        """Gives a function to call after each step."""
        if not self.console.is_terminal:
            every = max(1, steps // 10)

            def line(step: Step) -> None:
                if step.step % every == 0 or step.step == steps or step.valid_loss is not None:
                    held_out = "" if step.valid_loss is None else f"valid {step.valid_loss:.4f}  "
                    self.console.print(
                        f"step {step.step}/{steps}  loss {step.loss:.4f}  {held_out}lr {step.lr:.2e}  "
                        f"{step.seconds:.0f} s, {step.seconds / step.step * (steps - step.step):.0f} s to go"
                    )

            yield line
            return
        wide = self.console.width >= WIDE
        columns = (
            TextColumn("train"),
            *([BarColumn(bar_width=None)] if wide else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.console) as bar:
            task = bar.add_task("train", total=steps, measured="no step yet")
            tokens, held_out = 0, ""  # the last held-out loss stays in the bar

            def update(step: Step) -> None:
                nonlocal tokens, held_out
                tokens += step.tokens
                held_out = held_out if step.valid_loss is None else f"  valid {step.valid_loss:.3f}"
                more = f"  lr {step.lr:.1e}  {tokens / step.seconds:,.0f} tok/s" if wide else ""
                bar.update(task, completed=step.step, measured=f"loss {step.loss:.3f}{held_out}{more}")

            yield update
