"""Which runs are being made now, by whom, and how far they are: for another terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import yaml

from ..spec.config import BASE
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import Lease, live_leases, logged_step
from ..store.table import read_records
from .plan import estimate, format_duration, plan, summary

EVERY_S = 2.0


def status_lines(store: Store, sweep: Sweep | None = None) -> list[str]:
    """A line on the table or the sweep, then one for each run that is being made."""
    if sweep is None:
        counts = Counter(record.status for record in read_records(store.table))
        head = f"{store.table}: {counts['ok']} ok, {counts['failed']} failed"
        steps = dict[str, int]()
    else:
        planned = plan(sweep, store)
        seconds = estimate(planned, store)
        running = max(1, sum(p.state == "running" for p in planned))
        to_go = f", about {format_duration(seconds / running)} to go" if seconds else ""
        head = f"{len(planned)} runs: {summary(planned)}{to_go}"
        steps = {p.run_id: p.run.steps for p in planned if p.run.trains}
    leases = live_leases(store)
    lines = [_lease_line(lease, steps.get(lease.run_id), store) for lease in leases]
    return [head, *(lines or ["nothing is being made"])]


def _lease_line(lease: Lease, steps: int | None, store: Store) -> str:
    logged = logged_step(lease.run_id, store)
    step = lease.holder.step if logged is None else logged
    total = steps or _planned_steps(lease.run_id, store)
    if step is None:
        phase = "loading"
    elif step == total:
        phase = "scoring"
    else:
        phase = f"step {step}" + (f" of {total}" if total else "")
    spent = (datetime.now(UTC) - datetime.fromisoformat(lease.holder.since)).total_seconds()
    return f"{lease.run_id}  {phase}, {format_duration(spent)}, {lease.who}"


def _planned_steps(run_id: str, store: Store) -> int | None:
    """The steps of a run under way, by its config file; None where nothing is trained or the file is not there yet."""
    try:
        settings = yaml.safe_load(store.workspace(run_id).config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    steps = settings.get("steps") if isinstance(settings, dict) and settings.get("variant") != BASE else None
    return steps if isinstance(steps, int) else None


def watch(lines: Callable[[], list[str]]) -> None:
    """Show the lines in place, again and again, until Ctrl-C."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console()

    def screen() -> Group:
        rows = [row for line in lines() for row in fold_line(line, console.width)]
        return Group(*(Text(row, overflow="ellipsis", no_wrap=True) for row in rows))

    try:
        with Live(screen(), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY_S)
                live.update(screen(), refresh=True)
    except KeyboardInterrupt:
        return


def fold_line(line: str, width: int) -> list[str]:
    """A line as it is; or, where it is longer than the terminal, the run id and below it how far the run is."""
    run_id, gap, state = line.partition("  ")
    return [line] if len(line) <= width or not gap else [run_id, f"  {state}"]
