"""What the commands print: text for people on stdout, or one line of JSON for each thing; notices on stderr."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..core.text import printable

if TYPE_CHECKING:
    from ..core.json_types import Json
    from ..run.execute import Outcome
    from ..run.export import MergedExport
    from ..run.noise import Noise
    from ..store.record import RunRecord
    from ..sweeps.plan import Planned


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text. What a model, a file or a row has put into it sends nothing to the terminal but characters."""
    typer.echo(printable(str(text)), err=err, nl=nl)


def print_notice(text: str) -> None:
    """A line on what goes on, apart from the results on stdout."""
    echo(text, err=True)


def print_json(value: object) -> None:
    echo(json.dumps(value))


# ------------------------------------------------------------------ runs and sweeps


class SweepPrinter:
    """Prints what goes on in a sweep."""

    def __init__(self, as_json: bool, next_command: str = "antipasto-bench report") -> None:
        self.as_json = as_json
        self.next_command = next_command

    def log(self, text: str) -> None:
        print_notice(text)

    def outcome(self, outcome: Outcome) -> None:
        print_outcome(outcome, self.as_json)

    def all_done(self, count: int) -> None:
        """Say that every run of the sweep has a result, and what to type next."""
        print_notice(f"done: {count} of {count} runs; next: {self.next_command}")

    def worker_line(self, number: int, line: str) -> None:
        """Pass a worker's JSON on as it is; name the worker before any other line."""
        if self.as_json and line.startswith("{"):
            echo(line)
        else:
            print_notice(f"worker {number}: {line}")


def command_line(words: str, **folders: Path | None) -> str:
    """A command as a user types it, with the folders that were given as options: `results=X` is `--results X`."""
    options = [f"--{name} {shlex.quote(str(folder))}" for name, folder in folders.items() if folder is not None]
    return " ".join(["antipasto-bench", words, *options])


def print_outcome(outcome: Outcome, as_json: bool, next_command: str | None = None) -> None:
    """What came of a run, in a line; with JSON of its record last where that is wanted.

    Args:
        next_command: what to type next where the run has a result.
    """
    scored = outcome.record is not None and outcome.record.status == "ok"
    then = f"; next: {next_command}" if scored and next_command else ""
    echo(outcome_line(outcome) + then, err=as_json)
    if as_json:
        print_json({"outcome": outcome.status, "run_id": outcome.run_id} | _outcome_json(outcome))


def outcome_line(outcome: Outcome) -> str:
    record, earlier = outcome.record, outcome.status == "done"
    if record is None:
        return f"running in another process: {outcome.run_id}"
    if record.status == "failed":
        again = " (recorded earlier; --force makes it again)" if earlier else ""
        return f"failed: {outcome.run_id}: {record.error}{again}"
    word = "done already" if earlier else "done"
    seconds = "" if earlier or record.total_s is None else f", {record.total_s:.0f} s"
    if record.run_id != outcome.run_id:
        word += f" as {record.run_id}, whose model has the same content under another name"
    return (
        f"{word}: {outcome.run_id}: test {percent(record.test_accuracy, record.test_stderr)}{_loss_text(record)}, "
        f"{record.trained_parameters or 0:,} parameters{seconds}"
    )


def _loss_text(record: RunRecord) -> str:
    if record.test_loss is None:
        return ""
    stderr = "" if record.test_loss_stderr is None else f" ± {record.test_loss_stderr:.4f}"
    return f", loss {record.test_loss:.4f}{stderr} nats a token"


def _outcome_json(outcome: Outcome) -> Json:
    if outcome.record is None:
        return {}
    return row_json(outcome.record) if outcome.status == "done" else outcome.record.to_json()


def print_plan(planned: Sequence[Planned], overview: str, as_json: bool) -> None:
    """A line for each run of a sweep, and how many there are in each state."""
    from ..spec.config import ARM_SETTINGS, RunConfig

    for p in planned:
        if as_json:
            print_json({"run_id": p.run_id, "state": p.state} | ({} if p.lease is None else {"by": p.lease.who}))
        else:
            same = "" if p.requested is None else f"  the same run as {p.requested}: its model has the same content"
            default = {
                name: RunConfig.model_fields[name].default for name in ARM_SETTINGS
            }  # no id can be read for them
            own = "".join(f"  {name}={v}" for name in ARM_SETTINGS if (v := getattr(p.run, name)) != default[name])
            echo(f"{p.state:8}{p.run_id}{own}{same}" + ("" if p.lease is None else f"  {p.lease.who}"))
    if not as_json:
        echo(overview)


# ------------------------------------------------------------------ records


def row_json(record: RunRecord) -> Json:
    """Every column of the table, null where the record has no value; nested ones as objects."""
    from ..store.record import NESTED

    row = record.to_row()
    return {name: json.loads(value) if name in NESTED and value is not None else value for name, value in row.items()}


LISTED = ("variant", "rank", "lr", "seed", "status")  # columns of `list`, before the scores


def print_records(records: Sequence[RunRecord], as_json: bool, columns: Sequence[str] = ()) -> None:
    """A line for each record below a header: what it is, its score or why it failed, and its id.

    Args:
        columns: further ones, by the names of `store/listing.py`.
    """
    from ..core.text_table import terminal_width, text_table
    from ..store.listing import value_of

    if as_json:
        for record in records:
            print_json(row_json(record))
        return
    shown = [*LISTED, *(name for name in columns if name not in (*LISTED, "run_id", "test_accuracy"))]
    rows = [[_cell(value_of(record, name)) for name in shown] for record in records]
    header = [*shown, "test %", "run_id"]
    for row, record in zip(rows, records, strict=True):
        score = "" if record.status == "failed" else percent(record.test_accuracy, record.test_stderr)
        row += [score.removesuffix(" %"), record.run_id]
    if any(record.error for record in records):
        header.append("error")
        rows = [[*row, record.error or ""] for row, record in zip(rows, records, strict=True)]
    text = {"variant", "status", "run_id", "error"}
    echo(text_table(header, rows, left=text, shrinking={"error": 0, "run_id": 8}, width=terminal_width()))


def _cell(value: object) -> str:
    """A recorded value in few characters; empty where there is none."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return "" if value is None else str(value)


def print_record(record: RunRecord, as_json: bool) -> None:
    """All that is recorded of a run, as YAML or JSON."""
    row = row_json(record)
    if as_json:
        print_json(row)
        return
    import yaml

    recorded = {name: value for name, value in row.items() if value is not None}
    if record.valid_curve_text is not None:  # its points are in the JSON
        recorded["valid_curve"] = record.valid_curve_text
    echo(yaml.safe_dump(recorded, sort_keys=False, allow_unicode=True), nl=False)


def percent(value: float | None, stderr: float | None) -> str:
    """A share in percent with its standard error, as in `43.2 ± 1.4 %`."""
    if value is None:
        return "no score"
    return f"{100 * value:.1f} %" if stderr is None else f"{100 * value:.1f} ± {100 * stderr:.1f} %"


# ------------------------------------------------------------------ trained models


def export_notices(exported: MergedExport) -> list[str]:
    """What to know of a merged model: what rounding has lost, and where its own settings change answers."""
    notices = []
    if exported.error is not None:
        better = "" if exported.dtype == "float32" or exported.error < 1e-3 else "; --dtype float32 rounds nothing away"
        notices.append(
            f"merged in {exported.dtype}: outputs are {exported.error:.2g} of the adapter's effect away from the "
            f"trained adapter's{better}"
        )
    if exported.own_settings:
        listed = ", ".join(f"{name}={value}" for name, value in exported.own_settings.items())
        notices.append(f"the generation settings of its base are left out, as in scoring: {listed}")
    return notices


def noise_json(noise: Noise) -> Json:
    """Counts and accuracies of answers by two batch sizes."""
    return noise._asdict() | {"accuracy_difference": noise.accuracy_difference}


def noise_text(noise: Noise) -> str:
    """How many answers and verdicts depend on the batch size."""
    first, second = noise.batch_sizes
    low, high = noise.accuracy
    model = {True: "merged weights", False: "adapter unmerged", None: "untuned model"}[noise.merged]
    return (
        f"{noise.run_id}: {noise.questions} questions, {first} and {second} at once, {noise.dtype}, {model}\n"
        f"answers that differ   {noise.answers_changed}\n"
        f"verdicts that differ  {noise.verdicts_changed}\n"
        f"accuracy              {100 * low:.1f} % and {100 * high:.1f} %: "
        f"{100 * noise.accuracy_difference:+.1f} points"
    )


# ------------------------------------------------------------------ costs


def forgetting_text(before: float | None, after: float | None) -> str:
    """The rise of the loss on general text; where that was not measured, that the excerpts were written.

    Args:
        before, after: nats a token, without and with the adapter.
    """
    if before is None or after is None:
        return "excerpts written"
    return f"{after - before:+.3f} nats a token"


def cache_text(folder: Path | None, sizes: Sequence[int], limit: int, *, cleared: bool) -> str:
    """How many SVDs are on disk, and how large they are.

    Args:
        folder: None where none are kept.
        sizes: of the entries, in bytes.
        limit: of them all, in bytes.
    """
    if folder is None:
        return "ANTIPASTO_CACHE=off: nothing is kept"
    text = f"{folder}: {len(sizes)} SVDs, {sum(sizes) / 1e6:,.1f} MB of at most {limit / 1e6:,.0f} MB"
    return f"{text}; removed" if cleared else text
