"""The card of a result: README.md of a model that is pushed to a hub, front matter in the hub's schema.

It says what was measured of this very run, and beside it what its arm has over all seeds. What the record does not know
to be on a hub (a local model, a file of data) is named in the text alone: the front matter holds ids that resolve.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..analysis.compared_sections import ComparedArm, compared_sections, scored_by
from ..analysis.next_runs import command_words
from ..core.errors import UserError
from ..core.packaged_models import PACKAGED
from ..core.paths import benchmark_dir
from ..core.places import shown_name
from ..store.folders import Store
from ..store.items import headline_task
from ..store.quantities import QUANTITIES
from ..store.record import RunRecord
from .columns import COLUMNS
from .markdown import trained_on
from .markup import code, escaped

Form = Literal["peft", "merged"]
CARD = "README.md"  # in the folder of an export
_LIBRARY: Mapping[Form | None, str | None] = {"peft": "peft", "merged": "transformers", None: None}
_RELATION: Mapping[Form | None, str] = {"peft": "adapter", "merged": "finetune", None: "adapter"}


def card(record: RunRecord, store: Store, form: Form | None = None) -> str:
    """The card of a finished run.

    Args:
        store: whose results its arm's other seeds are in.
        form: in which the model is exported; None where it is not, so that no library is named.

    Raises:
        UserError: the run has no result.
    """
    if record.status != "ok":
        raise UserError(f"{record.run_id} failed ({record.error}); there is nothing to say of its model")
    parts = [
        f"# {escaped(_title(record))}",
        _introduction(record),
        f"## What it scores\n\n{_scores(record)}\n\n{_of_arm(record, store)}",
        f"## How it was trained\n\n{_settings(record)}",
        *([f"## How to load it\n\n{_loading(record, form)}"] if form is not None else []),
        f"## What it costs\n\n{_costs(record)}",
        f"## Make it again\n\n{_repeating(record)}",
        f"## Where it comes from\n\n{_origin(record)}",
    ]
    front = _front_matter(record, form).to_yaml()
    return str(ModelCard(f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n"))


def _title(record: RunRecord) -> str:
    rank = "" if record.rank is None else f" r={record.rank}"
    what = "untuned" if record.untuned else f"{record.variant}{rank}, seed {record.seed},"
    return f"{what} on {shown_name(record.model)}"


# ------------------------------------------------------------------ front matter


def _front_matter(record: RunRecord, form: Form | None) -> ModelCardData:
    base, train = _hub_model(record), _hub_set(record, "train", record.config.data.train)
    more: dict[str, Any] = {} if base is None else {"base_model_relation": _RELATION[form]}
    return ModelCardData(
        base_model=base,
        datasets=None if train is None or record.untuned else [train],
        library_name=_LIBRARY[form],
        tags=["antipasto-bench", *([] if record.untuned else [record.variant])],
        pipeline_tag="text-generation",
        model_name=record.run_id,
        eval_results=_results(record),
        **more,
    )


def _results(record: RunRecord) -> list[EvalResult]:
    """Accuracy and held-out loss of the headline task."""
    task = headline_task(record)
    tested = _hub_set(record, f"test:{task}", record.config.eval.data or _own_data(task))
    digest = None if record.provenance is None else record.provenance.data.get(f"test:{task}")
    shared: dict[str, Any] = {
        "task_type": "text-generation",
        "dataset_type": tested or shown_name(record.config.eval.data or task),
        "dataset_name": task,
        "dataset_split": "test",
        "dataset_revision": None if digest is None else digest.commit,
    }
    measured = [
        ("accuracy", f"accuracy over {record.test_n} questions{_error(record.test_stderr)}", record.test_accuracy),
        ("loss", f"held-out loss, nats a completion token{_error(record.test_loss_stderr)}", record.test_loss),
    ]
    return [
        EvalResult(metric_type=kind, metric_name=name, metric_value=value, **shared)
        for kind, name, value in measured
        if value is not None
    ]


def _error(stderr: float | None) -> str:
    return "" if stderr is None else f", ± {stderr:.4f} (one standard error, over questions)"


def _hub_model(record: RunRecord) -> str | None:
    """The hub id of the base model; None where it was a folder or a file."""
    if record.model in PACKAGED:
        return PACKAGED[record.model].hub_id
    source = None if record.provenance is None else record.provenance.model
    on_hub = source is not None and source.commit is not None and source.source == record.config.model
    return record.config.model if on_hub else None


def _hub_set(record: RunRecord, kind: str, reference: str | None) -> str | None:
    """The hub id of some data; None where they were files, of which no commit is recorded."""
    digest = None if record.provenance is None else record.provenance.data.get(kind)
    return None if digest is None or digest.commit is None or not reference else reference.partition(":")[0]


def _own_data(task: str) -> str | None:
    """The hub set that a task of this project names."""
    path = benchmark_dir() / "tasks" / task / f"{task}.yaml"
    if not path.is_file():
        return None
    found = re.search(r"^dataset_path:\s*(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return None if found is None else found[1]


# ------------------------------------------------------------------ text


def _introduction(record: RunRecord) -> str:
    config = record.config
    model = _model_in_words(record)
    if record.untuned:
        return f"{model}, without an adapter, as a reference. Measured by antipasto-bench."
    return (
        f"An adapter of the kind {code(record.variant)} on {model}, trained for {config.steps} steps of "
        f"{config.batch_size * config.grad_accum} examples on {code(shown_name(config.data.train))}. Made and measured "
        "by antipasto-bench; the numbers below are of this run."
    )


def _model_in_words(record: RunRecord) -> str:
    packaged = PACKAGED.get(record.model)
    if packaged is None:
        return code(shown_name(record.model))
    return (
        f"{code(record.model)}, that is {escaped(packaged.hub_id)} as the package {escaped(packaged.requirement)} has "
        "it: quantised to 4 bits, and dequantised again"
    )


def _scores(record: RunRecord) -> str:
    lines = [
        f"| {label} | {value} |"
        for label, value in (
            (f"{escaped(headline_task(record))}, {record.test_n} questions: % right", _percent(record)),
            ("held-out loss, nats a completion token", _plus_minus(record.test_loss, record.test_loss_stderr)),
            ("rise of the loss on general text, nats a token", _signed(record.forgetting)),
        )
        if value
    ]
    merged = {True: "merged weights were scored", False: "the adapter was scored unmerged", None: ""}
    how = "; ".join(filter(None, [scored_by(record), merged[record.scored_merged]]))
    return "\n".join(
        ["| measured | ± one standard error, over questions |", "|---|---:|", *lines, "", f"It was {escaped(how)}."]
    )


def _percent(record: RunRecord) -> str:
    accuracy = record.test_accuracy
    return "" if accuracy is None else _plus_minus(100 * accuracy, record.test_stderr and 100 * record.test_stderr, 1)


def _plus_minus(value: float | None, stderr: float | None, digits: int = 4) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if stderr is None else f"{value:.{digits}f} ± {stderr:.{digits}f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


class _Place(NamedTuple):
    """Where a run stands in the tables."""

    row: ComparedArm | None
    problem: str


def _place(record: RunRecord, store: Store) -> _Place:
    try:
        rows = [row for section in compared_sections(store) for row in section.arms]
    except UserError as error:
        return _Place(None, f"The results that it is part of cannot be compared: {error}.")
    own = (row for row in rows if any(other.run_id == record.run_id for other in row.arm.records))
    return _Place(
        next(own, None),
        "It is in no row of the table: its learning rate is not the chosen one, or its seed was kept for choosing.",
    )


SHOWN = ("test %", "95 %", "vs reference", "verdict", "test loss", "loss vs reference", "verdict by loss")


def _of_arm(record: RunRecord, store: Store) -> str:
    """What its arm has over all seeds: one run says nothing of the method."""
    row, problem = _place(record, store)
    if record.untuned:
        return ""
    if row is None:
        return escaped(problem)
    seeds = ", ".join(str(other.seed) for other in row.arm.records)
    told = (
        "The same settings have this one seed: nothing follows for the method."
        if row.arm.seeds == 1
        else f"This is one of {row.arm.seeds} seeds of the same settings: {seeds}"
        f"{f'; {row.arm.diverged} diverged' if row.arm.diverged else ''}. Over all of them:"
    )
    cells = [(column.name, column.cell(row).text) for column in COLUMNS if column.name in SHOWN]
    lines = [f"| {escaped(name)} | {escaped(text)} |" for name, text in cells if text]
    reference = row.section.reference
    against = "" if reference is None else f"The reference is {row.section.arms[reference].arm.name}."
    table = "\n".join(["| over questions and seeds | |", "|---|---:|", *lines])
    return "\n\n".join(filter(None, [escaped(told), table, escaped(against)]))


def _settings(record: RunRecord) -> str:
    config = record.config_as_shown()
    adapter, rest = config.pop("adapter"), config
    parts = [] if record.untuned else [f"The adapter:\n\n{_fenced(adapter)}"]
    return "\n\n".join([*parts, f"The protocol {code(record.protocol)}:\n\n{_fenced(rest)}"])


def _fenced(value: object) -> str:
    return _fence(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), "yaml")


def _fence(text: str, language: str) -> str:
    """A block of code that no text in it ends."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _loading(record: RunRecord, form: Form) -> str:
    base = _hub_model(record) or "BASE"
    load = {
        "peft": "model = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained("
        f"{base!r}), FOLDER)",
        "merged": "model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER)",
    }[form]
    return _fence(f"import {'peft, ' if form == 'peft' else ''}transformers\n\n{load}", "python")


def _costs(record: RunRecord) -> str:
    lines = []
    for entry in QUANTITIES:
        value = getattr(record, entry.own(record.untuned), None)
        if entry.column is None or entry.column.table != "costs" or value is None:
            continue
        base = None if entry.base is None or record.untuned else getattr(record, entry.base)
        lines.append(f"| {escaped(entry.label)} | {escaped(entry.text(value, None, base))} |")
    return "\n".join(["| cost (its ratio to the base) | |", "|---|---:|", *lines])


def _repeating(record: RunRecord) -> str:
    words, problem = command_words(record)
    if problem:
        return escaped(f"No command makes it here: {problem}.")
    check = ["antipasto-bench", "reproduce", record.run_id]  # makes it again and compares
    return _fence("\n".join(map(shlex.join, (["antipasto-bench", "run", *words], check))), "sh")


def _origin(record: RunRecord) -> str:
    """Machine, code, versions and the digests of what went in and came out."""
    origin = record.provenance
    if origin is None:
        return "Not recorded."
    versions = ", ".join(f"{name} {number}" for name, number in (origin.packages or {}).items() if number)
    data = [f"{kind}: {digest.rows} rows, sha256 {digest.sha256}" for kind, digest in sorted(origin.data.items())]
    lines = [
        trained_on([record]),
        f"Versions: {versions}" if versions else "",
        "" if origin.model is None else f"Base model: {origin.model.source}",
        *(f"Data, {line}" for line in data),
        f"Adapter: sha256 {record.adapter_sha256}" if record.adapter_sha256 else "",
        f"Finished: {record.finished_at}" if record.finished_at else "",
    ]
    return "\n".join([f"- Run: {code(record.run_id)}", *(f"- {escaped(line)}" for line in lines if line)])
