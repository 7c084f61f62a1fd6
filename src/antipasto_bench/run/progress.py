"""What a person sees of a run while it runs: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .train import Step


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader of stderr is gone: print no more, and go on."""
        self.quiet = True


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
        self.console.print(text)

    @contextmanager
    def training(self, steps: int) -> Iterator[Callable[[Step], None]]:
        """Gives a function to call after each step."""
        if not self.console.is_terminal:
            every = max(1, steps // 10)

            def line(step: Step) -> None:
                if step.step % every == 0 or step.step == steps:
                    self.console.print(
                        f"step {step.step}/{steps}  loss {step.loss:.4f}  lr {step.lr:.2e}  "
                        f"{step.seconds:.0f} s, {step.seconds / step.step * (steps - step.step):.0f} s to go"
                    )

            yield line
            return
        wide = self.console.width >= 90
        more = "  lr {task.fields[lr]:.1e}  {task.fields[speed]:,.0f} tok/s" if wide else ""
        columns = (
            TextColumn("train"),
            *([BarColumn(bar_width=None)] if wide else []),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}" + more),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.console) as bar:
            task = bar.add_task("train", total=steps, loss=float("nan"), lr=0.0, speed=0.0)
            tokens = 0

            def update(step: Step) -> None:
                nonlocal tokens
                tokens += step.tokens
                bar.update(task, completed=step.step, loss=step.loss, lr=step.lr, speed=tokens / step.seconds)

            yield update
