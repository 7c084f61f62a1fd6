"""One run, from a resolved config to a row in the table: load, attach, train, score, measure costs, record.

A run knows nothing of the sweep it is in. Only its last act writes to the table, so a run that dies on the way leaves
the table as it was, and can be started again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import torch

from ..core.device import device_is_dead, pinned_threads
from ..core.errors import RunFailure, UserError
from ..core.files import write_bytes
from ..core.locks import HeldElsewhere, locked
from ..core.paths import locate
from ..core.places import shown_name
from ..core.signals import Interrupted
from ..spec.config import BASE, RunConfig
from ..spec.methods.external import load_variant
from ..store.file_digests import file_digests
from ..store.items import items_digest, items_frame, write_items
from ..store.kinds import write_kinds
from ..store.leases import leased
from ..store.origins import DataDigest, Provenance
from ..store.record import RunRecord
from ..store.recording import is_unstored, store_result, write_record
from ..store.table import find_same, recorded_id
from .active_run import ActiveRun
from .adapt import adapt
from .backends import check_backend
from .context import RunContext
from .data import Splits, read_texts
from .evaluate import Evaluation, SplitScores
from .failures import record_failure
from .forgetting import measure_general_loss, texts_digest
from .heldout_loss import measure_heldout_losses, with_losses
from .measured_costs import set_costs
from .origin import provenance_of
from .overlap import validation_in_words, validation_without_test_questions
from .score import score, set_scores
from .tracking import check_tracker
from .workspace import Workspace

Status = Literal["ok", "failed", "done", "running"]


@dataclass(frozen=True)
class Outcome:
    """What came of a request for a run: it ran (`ok`, `failed`), was `done` before, or is `running` elsewhere.

    The record of a run that was done before can have another id: that of the same content, where the model's folder
    had another name.
    """

    status: Status
    run_id: str
    record: RunRecord | None = None
    device_is_dead: bool = False  # for this process, which can make no further run on it


def execute(run: RunConfig, context: RunContext, *, force: bool = False, retry_before: str | None = None) -> Outcome:
    """Make a run unless it was made before or is being made; an interrupted one goes on from its last checkpoint.

    Args:
        context: its group's first process is this one; the others `follow`.
        force: make it again, whatever came of it before.
        retry_before: make it again if it failed before this time (UTC, ISO 8601).

    Raises:
        UserError: it cannot be made as asked; nothing was recorded.
        Interrupted: a signal asked to stop. Checkpoints and answers stay for the next try.
    """
    store, group = context.store, context.group
    load_variant(run.variant)
    requested = run.run_id  # once: it digests files, and those may change while the run goes on
    begun = False
    try:
        earlier = find_same(store.table, requested)
        run_id = requested if earlier is None else earlier.run_id  # of the row, which can name the model otherwise
        if _is_settled(earlier, force, retry_before):
            return Outcome("done", requested, earlier)
        store.check_writable()
        with locked(store.lock(run_id), wait=False), leased(run_id, store):
            earlier = find_same(store.table, run_id)  # another process may have made it meanwhile
            if _is_settled(earlier, force, retry_before):
                return Outcome("done", requested, earlier)
            if not force and is_unstored(store.run_folder(run_id)):
                return Outcome("ok", run_id, store_result(run_id, store))
            workspace = Workspace(store.workspace(run_id), run)
            if force and earlier is None:  # beside a row, what lies there can only be an earlier try of this very kind
                workspace.clear()
            record = RunRecord.of(run, run_id, None if earlier is None else shown_name(earlier.model))
            record.processes = group.size
            begun = group.broadcast(True)
            return _make(ActiveRun(run, context, workspace, record, force))
    except HeldElsewhere:
        return Outcome("running", requested)
    finally:
        if not begun and not isinstance(sys.exception(), Interrupted):
            group.broadcast(False)
        context.models.free_memory()


def follow(run: RunConfig, context: RunContext) -> None:
    """Take part in a run that the first process of a group makes, and return when it is made.

    This process writes nothing but the answers that it generates.

    Raises:
        UserError: this process cannot take part.
        RunFailure: the run failed, and the first process knows of it.
        RuntimeError: this process failed alone.
    """
    store, group = context.store, context.group
    load_variant(run.variant)
    if group.broadcast(False):
        run_id = recorded_id(store.table, run.run_id)
        if not store.lock(run_id).exists():
            raise UserError(f"{store.outputs} is not that of the first process; on several machines it must be shared")
        workspace = Workspace(store.workspace(run_id), run, group.index)
        _make(ActiveRun(run, context, workspace, RunRecord.of(run, run_id)))


def _is_settled(earlier: RunRecord | None, force: bool, retry_before: str | None) -> bool:
    """Whether the table's record makes another try unnecessary."""
    if earlier is None or force:
        return False
    failed = earlier.status == "failed" and retry_before is not None
    return not (failed and (earlier.finished_at or "") < (retry_before or ""))


def _make(active: ActiveRun) -> Outcome:
    with pinned_threads(active.run.threads):
        return _make_in_these_threads(active)


def _make_in_these_threads(active: ActiveRun) -> Outcome:
    began = time.perf_counter()
    context, workspace, record = active.context, active.workspace, active.record
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        try:
            scores = _train_and_score(active, began)
        except (RunFailure, RuntimeError, MemoryError) as error:  # torch tells of devices and LAPACK by RuntimeErrors
            if not context.group.is_first:
                raise
            _finish_timing(record, began)
            dead = device_is_dead(active.run.device, every=active.run.device_map == "auto")
            return Outcome("failed", record.run_id, record_failure(active, error), dead)
        if not context.group.is_first:
            return Outcome("ok", record.run_id)
        context.progress.phase("record")
        _write_answers(active, scores)
        set_scores(scores, record)
        record.status = "ok"
        write_record(workspace.folder, record)
        workspace.finish(context.store.run_folder(record.run_id))
        return Outcome("ok", record.run_id, store_result(record.run_id, context.store))
    except BaseException:
        if context.group.is_first and not workspace.holds_work:
            workspace.clear()
        raise
    finally:
        context.models.drop_lent()


def _train_and_score(active: ActiveRun, began: float) -> dict[str, SplitScores]:
    """All stages of a run but its recording. What they measure is in the record then, but for the scores.

    Returns:
        the scores by split; empty in all processes of a group but the first.
    """
    run, context, workspace, record = active.run, active.context, active.workspace, active.record
    context.progress.phase("load")
    check_backend(run, context.group.size)
    check_tracker(run)
    splits = context.models.splits(run)
    evaluation = Evaluation(run.eval, splits.valid)
    splits, overlap = _without_test_questions(active, splits, evaluation)
    model, tokenizer = context.models.model(run)
    texts = _general_texts(run)
    record.load_s = time.perf_counter() - began
    origin = record.provenance = _provenance(run, model, splits, evaluation)
    origin.test_overlap = overlap
    measuring = time.perf_counter()
    if texts:
        context.progress.phase("general loss before training")
        origin.data["general"] = texts_digest(texts)
        record.general_loss_base, record.general_tokens = _untuned_general_loss(active, model, tokenizer, texts)
    measured_s = time.perf_counter() - measuring
    evaluation.try_backend(model, tokenizer)
    adapted = model if run.variant == BASE else adapt(active, model, tokenizer, splits.valid)
    workspace.begin()
    context.group.barrier()  # until the folder that answers are written to is there
    measuring = time.perf_counter()
    if texts and run.variant == BASE:
        record.general_loss = record.general_loss_base
    elif texts:
        context.progress.phase("general loss after training")
        record.general_loss, record.general_tokens = measure_general_loss(run, adapted, tokenizer, texts)
    losses = measure_heldout_losses(active, adapted, tokenizer, evaluation, splits.valid)
    measured_s += time.perf_counter() - measuring
    scores = with_losses(score(active, adapted, tokenizer, evaluation), losses)
    if not context.group.is_first:
        return {}
    context.models.give_back(run, model)
    del model, adapted
    _finish_timing(record, began)
    measuring = time.perf_counter()
    if run.costs:
        context.progress.phase("measure costs")
        set_costs(active, tokenizer, splits)
    record.measure_s = measured_s + time.perf_counter() - measuring
    return scores


def _write_answers(active: ActiveRun, scores: dict[str, SplitScores]) -> None:
    """Write the items and the samples of all splits, and the kinds of the test questions, into the workspace."""
    workspace, record = active.workspace, active.record
    items = items_frame(item for split in scores.values() for item in split.items)
    record.items_sha256 = items_digest(items)
    samples = "".join(json.dumps(sample) + "\n" for split in scores.values() for sample in split.samples)
    write_bytes(workspace.folder.samples, samples.encode())
    write_items(workspace.folder.items, items)
    if (kinds := scores["test"].kinds) is not None:
        write_kinds(workspace.folder.kinds, kinds)
    record.file_sha256 = file_digests(workspace.folder)


def _without_test_questions(active: ActiveRun, splits: Splits, evaluation: Evaluation) -> tuple[Splits, dict[str, int]]:
    """The splits as `data.overlap` allows them, and how many of their rows held test questions, by kind.

    `evaluation` scores the validation questions that are left.
    """
    run, questions = active.run, evaluation.test_questions
    valid, copies = validation_without_test_questions(splits.valid, questions, run)
    counts, notes = {"validation": copies}, [validation_in_words(copies)] if copies else []
    trains = run.variant != BASE
    if trains or run.data.overlap == "drop":  # costs of the base are measured on the rows that the adapters' are
        splits, overlap = active.context.models.splits_to_train(run, questions)
        counts |= overlap.counts if trains else {}
        notes += [overlap.in_words()] if trains and any(overlap.counts.values()) else []
        if splits.held_out and run.eval.valid != "holdout":
            counts["validation_rows"] = splits.held_out
            active.context.progress.note(f"{splits.held_out} training rows ask a validation question and are left out")
    for note in notes:
        active.context.progress.note(f"data.overlap={run.data.overlap}: {note}")
    if copies:
        evaluation.validate_on(valid)
        splits = replace(splits, valid=valid)
    return splits, counts


def _general_texts(run: RunConfig) -> list[str] | None:
    """Texts to measure forgetting on; None, with a warning, if the hub cannot be reached."""
    if run.eval.general == "none":
        return None
    try:
        return read_texts(run.eval.general, run.eval.general_limit)
    except UserError as error:
        if locate(run.eval.general) is not None:
            raise
        warnings.warn(f"forgetting is not measured, give eval.general=PATH or none: {error}", stacklevel=2)
        return None


def _untuned_general_loss(active: ActiveRun, model: Any, tokenizer: Any, texts: list[str]) -> tuple[float | None, int]:
    run, digest = active.run, texts_digest(texts).sha256
    return active.context.models.untuned_general_loss(
        run, digest, lambda: measure_general_loss(run, model, tokenizer, texts)
    )


def _finish_timing(record: RunRecord, began: float) -> None:
    record.total_s = time.perf_counter() - began
    record.finished_at = datetime.now(UTC).isoformat(timespec="seconds")


def _provenance(run: RunConfig, model: Any, splits: Splits, evaluation: Evaluation) -> Provenance:
    """Code and machine, and digests of the very model and data that were used, whatever the hub calls them."""
    scoring_packages = ("vllm",) if run.eval.backend == "vllm" else ()
    origin = provenance_of(run, model, splits, scoring_packages)
    for task in evaluation.test:
        name, count = task.task_name, len(task.eval_docs)
        documents = json.dumps(list(task.eval_docs), sort_keys=True, default=str).encode()
        digest, commit = hashlib.sha256(documents).hexdigest(), evaluation.commits[name]
        tested = DataDigest(rows=count, sha256=digest, commit=commit, repeated=evaluation.repeated[name])
        origin.data[f"test:{name}"] = tested
    return origin
