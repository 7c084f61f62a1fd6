"""`tune`: the settings of each arm, searched with equal budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import command_line, echo, print_json, print_notice

if TYPE_CHECKING:
    from ..analysis.searched import Found, SearchedArm
    from ..spec.tune import Tune
    from ..sweeps.tune import ArmSearch


class _Printer:
    def log(self, text: str) -> None:
        print_notice(text)

    def worker_line(self, number: int, line: str) -> None:
        print_notice(f"worker {number}: {line}")


def tune(
    words: Annotated[
        list[str],
        typer.Argument(metavar=options.SWEEP_WORDS, help="Arms, their settings, and one of several values at most."),
    ],
    budget: Annotated[int, typer.Option(min=1, help="Trials of each arm.")] = 12,
    preset: options.Preset = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of a short trial [a third of the run's].")] = None,
    seed: Annotated[str, typer.Option(metavar="N,...", help="Of trials, 1000 or more: results have others.")] = "1000",
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The sweep of the chosen settings [outputs/tune/NAME.yaml].")
    ] = None,
    workers: options.Workers = None,
    workers_per_gpu: options.WorkersPerGpu = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: options.AsJson = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Search the learning rate of each arm by as many short runs, and write the sweep of what was chosen.

    A quarter of the trials, at least two of four or more, have the whole steps of the run, and the best of these is
    chosen: the shorter a run, the lower its best rate. A trial is judged by the held-out loss of the validation
    questions; no test question is read. With a setting of several values, such as `rank=16,64`, the budget of an arm is
    shared out among them. Trials are kept in results/tune, so the same command goes on after a stop, and one with a
    larger budget makes only what is new to it. Of several `--workers` each searches another arm.

    Example: `antipasto-bench tune lora,antipasto rotate_basis=V --budget 8 --workers 2`, or
    `antipasto-bench tune lora rank=4,16,64 --budget 18 --dry-run`
    """
    from ..core.launcher import launched
    from ..spec.tune import tune_of
    from ..sweeps.engine import engine_of
    from ..sweeps.tune import searches
    from ..sweeps.tune_workers import is_tune_worker, run_tune

    if launched():
        raise UserError("torchrun makes one run: `torchrun ... -m antipasto_bench run`; tune makes its trials itself")
    store = Store.of(results, outputs)
    engine, words = engine_of(words, workers, workers_per_gpu)
    wanted = tune_of(words, preset, budget=budget, steps=steps, seeds=_seeds(seed))
    if dry_run:
        _print_plan(wanted, store, as_json)
        return
    given: dict[str, object] = {"--budget": budget, "--steps": steps, "--seed": seed, "--preset": preset}
    given |= {"--results": store.results, "--outputs": store.outputs}
    again = [*words, *(word for name, value in given.items() if value is not None for word in (name, str(value)))]
    code = run_tune(wanted, store, engine, again, _Printer())
    if is_tune_worker():
        raise typer.Exit(code)
    states = searches(wanted, store)
    _print_outcome([_searched(state, wanted) for state in states], as_json)
    _write(wanted, states, write or store.outputs / "tune" / f"{_name(wanted)}.yaml", results)
    if code or any(state.owed is not None for state in states):
        raise typer.Exit(code or 1)


def _seeds(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"--seed {text}: expected whole numbers, such as 1000 or 1000,1001") from None


def _searched(state: ArmSearch, tune: Tune) -> SearchedArm:
    from ..analysis.searched import SearchedArm

    axis = tune.axis if len(state.arm.values) > 1 else None
    return SearchedArm(state.arm.name, axis, state.arm.values, tuple(state.tried))


def _print_plan(tune: Tune, store: Store, as_json: bool) -> None:
    from ..core.text_table import text_table
    from ..sweeps.plan import format_duration
    from ..sweeps.tune import estimate, searches

    states = searches(tune, store)
    if as_json:
        for state in states:
            print_json({"arm": state.arm.name, "trials": _planned(state), "made": _made(state)})
        return
    rows = [
        [
            state.arm.name,
            "" if len(state.arm.values) == 1 else f"{tune.axis}={','.join(map(str, state.arm.values))}",
            " + ".join(map(str, _planned(state).values())),
            " + ".join(map(str, _made(state).values())),
            " + ".join(map(str, _planned(state))),
            ", ".join(dict.fromkeys(f"{run.lr:g}" for run in state.arm.runs)),
        ]
        for state in states
    ]
    echo(text_table(["arm", "values", "trials", "made", "steps", "lr at first"], rows, left={"arm", "values"}))
    owed = sum(tune.budget - len(state.tried) for state in states)
    seconds = estimate(states, store)
    work = f", at most about {format_duration(seconds)} of one process" if seconds else ""
    echo(f"{len(states)} arms x {tune.budget} trials: {owed} owed{work}")


def _planned(state: ArmSearch) -> dict[int, int]:
    """An arm's trials by their steps."""
    return state.search.budget_by_steps


def _made(state: ArmSearch) -> dict[int, int]:
    from ..spec.tried import of_steps

    return {steps: len(of_steps(state.tried, steps)) for steps in _planned(state)}


def _print_outcome(arms: list[SearchedArm], as_json: bool) -> None:
    from ..analysis.searched import found
    from ..core.text_table import terminal_width, text_table

    rows = [(arm.name, row) for arm in arms for row in found(arm)]
    if as_json:
        for arm, row in rows:
            print_json(row._asdict() | {"arm": arm})
        return
    header = ["arm", "steps", "trials", "stopped", "diverged", "best lr", "valid loss", "next", "where", "chosen"]
    several = len(rows) > len(arms)
    cells = [_cells(row, several=several) for _, row in rows]
    echo(text_table(header, cells, left={"arm", "where", "chosen"}, width=terminal_width()))


def _cells(row: Found, *, several: bool) -> list[str]:
    lr, loss = ("" if row.lr is None else f"{row.lr:g}"), ("" if row.loss is None else f"{row.loss:.4f}")
    lead = "" if row.lead is None else f"+{row.lead:.4f}"
    where = row.where or "no trial reached its end"
    counts = [str(row.steps), str(row.trials), str(row.stopped), str(row.diverged)]
    return [row.name, *counts, lr, loss, lead, where, "*" if row.chosen and several else ""]


def _name(tune: Tune) -> str:
    """The name of a tune's files: preset, variants and axis."""
    parts = [
        tune.arms[0].runs[0].preset,
        *(arm.runs[0].variant for arm in tune.arms),
        *([tune.axis] if tune.axis else []),
    ]
    return "-".join(part.replace(":", "-").replace("/", "-") for part in parts)[:80].strip("-.")


def _write(tune: Tune, states: list[ArmSearch], path: Path, results: Path | None) -> None:
    """Write the sweep of the chosen settings, and beside it the drawing of the search.

    An arm that has not had its budget is in neither.
    """
    from ..core.files import write_bytes
    from ..report.searched import drawing_of_search
    from ..sweeps.chosen import sweep_text

    tried = {state.arm.name: state.tried if state.owed is None else [] for state in states}
    arms = [_searched(state, tune) for state in states if state.owed is None]
    text, left_out = sweep_text(tune, tried)
    for state in states:
        if state.arm.name in left_out:
            made = f"{len(state.tried)} of {tune.budget} trials are made"
            why = "no trial reached its end" if state.owed is None else made
            print_notice(f"{state.arm.name}: {why}, so it is not in {path}")
    if text is None:
        raise typer.Exit(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())
    drawing = path.with_suffix(".svg")
    write_bytes(drawing, drawing_of_search(arms, drawing).encode())
    print_notice(f"{path}: written, with {drawing.name}; next: {command_line(f'sweep {path}', results=results)}")
