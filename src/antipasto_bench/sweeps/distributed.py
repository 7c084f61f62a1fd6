"""One run by itself: in this process, or in all processes that torchrun started."""

from __future__ import annotations

import warnings

from ..core.errors import RunFailure, UserError
from ..core.signals import Interrupted, handle_signals
from ..run.context import RunContext
from ..run.execute import Outcome, execute, follow
from ..run.process_group import ALONE, ProcessGroup, join_group, leave_group
from ..run.progress import Progress
from ..spec.config import RunConfig
from ..store.folders import Store
from .scheduler import PrintLine, PrintOutcome


def execute_one(run: RunConfig, store: Store, *, force: bool = False, group: ProcessGroup = ALONE) -> Outcome:
    """Make a run; SIGINT and SIGTERM stop it after the step in hand.

    Args:
        group: of processes that make the run together, of which this is the first.

    Raises:
        UserError: it cannot be made; nothing was recorded.
        Interrupted: a signal came; what was trained and answered is kept for the next try.
    """
    with handle_signals() as stop:
        return execute(run, RunContext(store, stop=stop, group=group), force=force)


def execute_launched(
    run: RunConfig, store: Store, *, force: bool, print_outcome: PrintOutcome, print_line: PrintLine
) -> int:
    """Make a run together with the other processes that torchrun started, or alone where it started none.

    Args:
        print_outcome: called in the first process, with what came of the run.
        print_line: called in the others, with an error of their own.

    Returns:
        the exit code of this process: 1 where the run failed.

    Raises:
        UserError, Interrupted: in the first process, as `execute_one` raises them.
    """
    group = join_group()
    if not group.is_first:
        return _follow(run, store, group, print_line)
    outcome = execute_one(run, store, force=force, group=group)
    print_outcome(outcome)
    leave_group(group)
    return 1 if outcome.record is not None and outcome.record.status == "failed" else 0


def _follow(run: RunConfig, store: Store, group: ProcessGroup, print_line: PrintLine) -> int:
    """Take part in the run in any process but the first; print errors of this process alone."""
    warnings.showwarning = lambda *_, **__: None
    try:
        with handle_signals() as stop:
            follow(run, RunContext(store, progress=Progress(quiet=True), stop=stop, group=group))
    except RunFailure:
        pass  # the first process reports it; an exit code here would have torchrun stop that process before it has
    except (UserError, RuntimeError) as error:
        print_line(f"process {group.index}: {error}")
        return 1
    except Interrupted as error:
        return error.exit_code  # the first process says so
    leave_group(group)
    return 0
