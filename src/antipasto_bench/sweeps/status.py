"""What is being made now, by whom, and how far it is: for another terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import yaml

from ..spec.config import BASE
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import Claim, claim_on, lock_of, making_of, step_of
from ..store.table import read_table
from .plan import estimate, plan, summary, told

EVERY_S = 2.0


def lines(store: Store, asked: Sweep | None = None) -> list[str]:
    """A line on the table or the sweep, then one for each run in the making."""
    if asked is None:
        counts = Counter(read_table(store.table)["status"].to_list())
        head = f"{store.table}: {counts['ok']} ok, {counts['failed']} failed"
        steps = dict[str, int]()
    else:
        planned = plan(asked, store)
        seconds = estimate(planned, store)
        running = max(1, sum(p.state == "running" for p in planned))
        due = f", about {told(seconds / running)} to go" if seconds else ""
        head = f"{len(planned)} runs: {summary(planned)}{due}"
        steps = {p.run_id: p.run.steps for p in planned if p.run.trains}
    making = claims(store)
    return [head, *(_line(claim, steps.get(claim.run_id), store) for claim in making)] + (
        [] if making else ["nothing is being made"]
    )


def claims(store: Store) -> list[Claim]:
    """Every run in the making, by run id."""
    names = sorted(path.stem for path in lock_of("x", store).parent.glob("*.json"))
    return [claim for name in names if (claim := claim_on(name, store)) is not None]


def _line(claim: Claim, steps: int | None, store: Store) -> str:
    logged = step_of(claim.run_id, store)
    step = claim.step if logged is None else logged
    of = steps or _steps_of(claim.run_id, store)
    where = "loading" if step is None else f"step {step}" + (f" of {of}" if of else "")
    if step is not None and step == of:
        where = "scoring"
    spent = (datetime.now(UTC) - datetime.fromisoformat(claim.since)).total_seconds()
    return f"{claim.run_id}  {where}, {told(spent)}, {claim.who}"


def _steps_of(run_id: str, store: Store) -> int | None:
    """How many a run in the making is to have; None where nothing is trained, or nobody knows yet."""
    try:
        settings = yaml.safe_load((making_of(run_id, store) / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    return settings["steps"] if isinstance(settings, dict) and settings.get("variant") != BASE else None


def watched(lines: Callable[[], list[str]]) -> None:
    """Show the lines in place, again and again, until Ctrl-C."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console()

    def shown() -> Group:
        rows = [row for line in lines() for row in folded(line, console.width)]
        return Group(*(Text(row, overflow="ellipsis", no_wrap=True) for row in rows))

    try:
        with Live(shown(), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY_S)
                live.update(shown(), refresh=True)
    except KeyboardInterrupt:
        return


def folded(line: str, width: int) -> list[str]:
    """A line as it stands, or, where it is too long, how far a run is below its id."""
    run_id, gap, state = line.partition("  ")
    return [line] if len(line) <= width or not gap else [run_id, f"  {state}"]
