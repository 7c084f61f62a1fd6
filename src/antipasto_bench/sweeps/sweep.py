"""Make a sweep: in this process, in worker processes, or on a Ray cluster."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from ..core.child_processes import module_command
from ..core.errors import UserError
from ..core.signals import Interrupted, handle_signals
from ..run.context import RunContext
from ..run.execute import Outcome, execute
from ..spec.config import RunConfig
from ..spec.sweep import Sweep
from ..store.folders import Store
from .command import SWEEP_BEGAN, SWEEP_ENDS, SWEEP_RUNS, SweepCommand, is_worker
from .engine import Engine
from .plan import Planned, overview, plan
from .processes import SweepWork, run_workers, worker_count
from .scheduler import DEAD_DEVICE, Order, Tally, make_all

SHUFFLE_SEED = 0


class SweepOutput(Protocol):
    """Prints what goes on in a sweep."""

    def log(self, text: str) -> None:
        """A line about the sweep itself."""

    def outcome(self, outcome: Outcome) -> None:
        """What came of a run."""

    def all_done(self, count: int) -> None:
        """Say that every run of the sweep has a result."""

    def worker_line(self, number: int, line: str) -> None:
        """A line that a worker process printed."""


def run_sweep(sweep: Sweep, store: Store, engine: Engine, command: SweepCommand, output: SweepOutput) -> int:
    """Make every run that is owed and that no other process makes, until none is left.

    Args:
        command: the command that `sweep` was read from; workers are started with it.

    Returns:
        the exit code of the command: 0, or 1 where a run of the sweep has failed, now or earlier; 128 + the signal's
        number where one came that was passed on to workers.

    Raises:
        UserError: runs that could not be made, more workers than GPUs, or no cluster.
        Interrupted: SIGINT or SIGTERM came; what was trained and answered is kept for the next try.
    """
    if not is_worker():  # the process that started the workers has printed it
        output.log(overview(plan(sweep, store), store))
    code = make_runs(sweep, store, engine, command, output)
    return code if is_worker() or code > 128 else max(code, say_how_it_ended(sweep, store, output))


def make_runs(
    sweep: Sweep, store: Store, engine: Engine, command: SweepCommand, output: SweepOutput, *, is_part: bool = False
) -> int:
    """Make every run that is owed and that no other process makes, without a word on the sweep as a whole.

    Args:
        is_part: whether `sweep` is a part of what `command` says.

    Returns:
        the exit code, as `run_sweep` has it.

    Raises:
        UserError, Interrupted: as `run_sweep` raises them.
    """
    command = replace(command, began=os.environ.get(SWEEP_BEGAN, command.began))
    ends = datetime.fromisoformat(os.environ[SWEEP_ENDS]) if SWEEP_ENDS in os.environ else command.ends
    shuffle = SHUFFLE_SEED if command.shuffle else None
    order = Order(command.retry_before, command.limit, shuffle, ends)
    if is_worker() and SWEEP_RUNS in os.environ:
        in_hand = set(os.environ[SWEEP_RUNS].split(","))
        sweep = replace(sweep, runs=[run for run in sweep.runs if _digits(run) in in_hand])
    count = 1 if is_worker() or engine.engine == "ray" else worker_count(sweep.runs, engine, command.limit)
    if count > 1:
        told = {SWEEP_BEGAN: command.began} | ({} if ends is None else {SWEEP_ENDS: ends.isoformat()})
        told |= {SWEEP_RUNS: ",".join(map(_digits, sweep.runs))} if is_part else {}
        commands = worker_commands(command, store, count)
        try:
            work = SweepWork(sweep, store, order)
            ended = run_workers(commands, work, told, output.log, output.worker_line, engine.workers_per_gpu)
        except Interrupted as error:
            output.log("interrupted; the workers have stopped, and the same command goes on from what is kept")
            return error.exit_code
        return ended.exit_code
    tally = _make_runs(sweep, store, engine, order, output)
    if tally.device_is_dead and is_worker():
        return DEAD_DEVICE  # the process that started this one starts another
    return _exit_code(tally, sweep, store, output)


def _digits(run: RunConfig) -> str:
    return run.run_id.rpartition("__")[2]


def worker_commands(command: SweepCommand, store: Store, count: int) -> list[list[str]]:
    """The command line of each worker; a limit on runs is divided among them."""
    flags = {"--retry-failed": command.retry_failed, "--shuffle": command.shuffle, "--json": command.as_json}
    values = {"--preset": command.preset, "--results": store.results, "--outputs": store.outputs}
    options = [flag for flag, given in flags.items() if given]
    options += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    line = [*module_command("antipasto_bench"), "sweep", *command.words, *options]
    if command.limit is None:
        return [line] * count
    share, rest = divmod(command.limit, count)
    return [[*line, "--limit", str(share + (number < rest))] for number in range(count)]


def _make_runs(sweep: Sweep, store: Store, engine: Engine, order: Order, output: SweepOutput) -> Tally:
    """Make the runs in this process, or on the cluster that it drives."""
    with handle_signals() as stop:
        if engine.engine == "ray":
            from .ray_driver import make_all_on_ray

            return make_all_on_ray(sweep, store, engine, output.outcome, output.log, order, stop)
        context = RunContext(store, stop=stop)

        def make_run(run: RunConfig, failed_before: bool) -> Outcome:
            # Another worker may have made it again since it was planned: the table says when it failed.
            outcome = execute(run, context, retry_before=order.retry_before if failed_before else None)
            output.outcome(outcome)
            return outcome

        return make_all(sweep, store, make_run, output.log, order)


def _exit_code(tally: Tally, sweep: Sweep, store: Store, output: SweepOutput) -> int:
    planned = plan(sweep, store)
    waiting = sum(p.state == "waiting" for p in planned)
    if waiting:
        output.log(f"{waiting} runs wait for the choice of a learning rate: {_why_waiting(planned)}")
    if tally.device_is_dead:
        output.log(
            "the device is in an error state, which lasts until this process ends: the same command goes on with the "
            "rest, and with --retry-failed makes what failed again"
        )
        return 1
    if tally.refused:
        raise UserError(f"{tally.refused} of {tally.taken} runs could not be made, see above")
    return 1 if tally.failed else 0


def say_how_it_ended(sweep: Sweep, store: Store, output: SweepOutput) -> int:
    """Print the last line of a sweep: how many of its runs have failed, by whichever process and whenever.

    Returns:
        the exit code: 1 where one has.
    """
    planned = plan(sweep, store)
    counts = Counter(p.state for p in planned)
    if counts["failed"]:
        output.log(
            f"{counts['failed']} of {len(planned)} runs have failed: `antipasto-bench list` says why, and the same "
            "command with --retry-failed makes them again"
        )
        return 1
    if counts["done"] == len(planned):
        output.all_done(len(planned))
    return 0


def _why_waiting(planned: list[Planned]) -> str:
    """Why no learning rate could be chosen for some runs of a plan."""
    lost = [p for p in planned if p.withholds_choice]
    if not lost:
        return "its runs are being made elsewhere, or all failed"
    rates = ", ".join(dict.fromkeys(f"{p.run.variant} lr={p.run.lr:g}" for p in lost))
    return f"{rates} failed by the machine; --retry-failed makes it again"
