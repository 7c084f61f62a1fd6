"""One run, from a resolved config to a row in the table: load, attach, train, evaluate, record.

A run knows nothing of the sweep it is in. Only its last act writes to the table, so a run that dies on the way
leaves the table as it was, and can be started again.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from filelock import FileLock, Timeout
from torch import Generator, nn

import antipasto

from ..core.device import peak_bytes, pick_device
from ..core.errors import RunFailure, UserError, disk_is_full, out_of_memory
from ..core.files import write_bytes
from ..core.fingerprint import model_fingerprint
from ..core.paths import locate
from ..core.provenance import provenance
from ..core.signals import Interrupted, Stop
from ..spec.config import BASE, RunConfig
from ..store.folders import Store
from ..store.items import ITEMS_SCHEMA, items_digest, write_parquet
from ..store.leases import claimed, lock_of, making_of
from ..store.recording import record, unrecorded, write_record
from ..store.table import ITEMS, find, put
from .attach import attach
from .checkpoints import Checkpoint
from .costs import measure
from .data import Example, Splits, read_texts
from .evaluate import Evaluation, Scores, check_backend
from .forgetting import mean_token_loss
from .model_cache import Bases
from .model_probes import packs
from .process_group import ALONE, Group
from .progress import Progress
from .train import Step, Training, train
from .workspace import Making

Status = Literal["ok", "failed", "done", "running"]


@dataclass(frozen=True)
class Outcome:
    """What came of asking for a run: it ran (`ok`, `failed`), was `done` before, or is `running` elsewhere."""

    status: Status
    run_id: str
    row: dict[str, Any] | None = None


def execute(
    run: RunConfig,
    store: Store,
    progress: Progress,
    *,
    force: bool = False,
    retry_before: str | None = None,
    stop: Stop | None = None,
    bases: Bases | None = None,
    group: Group = ALONE,
) -> Outcome:
    """Make a run unless it was made before or is being made; one that was stopped on the way is gone on with.

    Args:
        force: make it again, whatever came of it before.
        retry_before: make it again if it failed before this time (UTC, ISO 8601).
        stop: asked after each training step whether to stop there.
        bases: what earlier runs of this process loaded.
        group: of processes that make the run together, of which this is the first; the others `follow`.

    Raises:
        UserError: it cannot be made as asked; nothing was recorded.
        Interrupted: somebody asked to stop. What was trained and answered is kept for the next try.
    """
    bases = bases or Bases()
    run_id = run.run_id  # once: it digests files, and those may change while the run goes on
    begun = False
    try:
        earlier = find(store.table, run_id)
        if _stands(earlier, force, retry_before):
            return Outcome("done", run_id, earlier)
        store.check_writable()
        lock = lock_of(run_id, store)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0), claimed(run_id, store):
            earlier = find(store.table, run_id)  # made by another process since we looked
            if _stands(earlier, force, retry_before):
                return Outcome("done", run_id, earlier)
            if not force and unrecorded(store.run_dir(run_id)):
                return Outcome("ok", run_id, record(run_id, store))
            making = Making(making_of(run_id, store), run)
            if force and earlier is None:  # beside a row, it could only be an earlier try of this very kind
                making.clear()
            row = _identity_row(run, run_id) | {"processes": group.size}
            begun = group.agree(True)
            return _make(run, row, making, store, progress, stop or Stop(), bases, group)
    except Timeout:
        return Outcome("running", run_id)
    finally:
        if not begun and not isinstance(sys.exception(), Interrupted):
            group.agree(False)
        _free(bases)


def follow(run: RunConfig, store: Store, stop: Stop, group: Group) -> None:
    """Take part in a run that the first process of a group makes, and return when it is made.

    Nothing is written but the answers that this process gives.

    Raises:
        UserError: this process cannot take part.
        RunFailure: the run failed, and the first process knows of it.
        RuntimeError: this process failed alone.
    """
    if group.agree(False):
        if not lock_of(run.run_id, store).exists():
            raise UserError(f"{store.outputs} is not that of the first process; on several machines it must be shared")
        making = Making(making_of(run.run_id, store), run, group.index)
        _make(run, _identity_row(run, run.run_id), making, store, Progress(quiet=True), stop, Bases(), group)


def _stands(earlier: dict[str, Any] | None, force: bool, retry_before: str | None) -> bool:
    """Whether what the table has of a run is what it shall have."""
    if earlier is None or force:
        return False
    failed = earlier["status"] == "failed" and retry_before is not None
    return not (failed and (earlier["finished_at"] or "") < (retry_before or ""))


def _free(bases: Bases) -> None:
    if torch.cuda.is_available() or not bases.keep_a_model:
        gc.collect()  # hooks and layers point at each other: without this the model would outlive its use
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # a GPU that has gone wrong says so where it is used next
            torch.cuda.empty_cache()


def _make(
    run: RunConfig,
    row: dict[str, Any],
    making: Making,
    store: Store,
    progress: Progress,
    stop: Stop,
    bases: Bases,
    group: Group,
) -> Outcome:
    began = time.perf_counter()
    run_id = row["run_id"]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        try:
            progress.phase("load")
            check_backend(run, group.size)
            splits = bases.splits(run)
            evaluation = Evaluation(run.eval, splits.valid)
            model, tokenizer = bases.model(run)
            texts = _texts(run)
            row |= {"load_s": time.perf_counter() - began, "provenance": _provenance(run, model, splits, evaluation)}
            measuring = time.perf_counter()
            if texts:
                row["provenance"]["data"]["general"] = general_texts(texts)
                row |= general_loss(run, model, tokenizer, texts, "general_loss_base")
            measured = time.perf_counter() - measuring
            evaluation.try_backend(model, tokenizer)
            if run.variant != BASE:
                row |= _adapt(run, model, tokenizer, bases, making, progress, stop, group)
            making.begin()
            group.wait()  # for the folder that answers are kept in
            measuring = time.perf_counter()
            if texts:
                row |= general_loss(run, model, tokenizer, texts, "general_loss")
            measured += time.perf_counter() - measuring
            scores = _evaluate(run, model, tokenizer, evaluation, making, progress, group)
            if not group.leads:
                return Outcome("ok", run_id)
            bases.give_back(run, model)
            del model
            row |= _finish(began)
            measuring = time.perf_counter()
            if run.costs:
                progress.phase("measure costs")
                row |= _costs(run, tokenizer, splits, bases)
            row["measure_s"] = measured + time.perf_counter() - measuring
        except (RunFailure, RuntimeError, MemoryError) as error:  # torch tells of devices and LAPACK by RuntimeErrors
            if not group.leads:
                raise
            return _record_failure(row | _finish(began), error, making, store)
        progress.phase("record")
        items = pl.DataFrame([i for s in scores.values() for i in s.items], schema=ITEMS_SCHEMA)
        row |= {"status": "ok", **_score_row(scores), "items_sha256": items_digest(items)}
        row["provenance"]["eval_batch_size"] = scores["test"].at_once
        samples = "".join(json.dumps(sample) + "\n" for s in scores.values() for sample in s.samples)
        (making.folder / "samples.jsonl").write_text(samples, encoding="utf-8")
        write_parquet(making.folder / ITEMS, items)
        write_record(making.folder, row)
        making.finish(store.run_dir(run_id))
        return Outcome("ok", run_id, record(run_id, store))
    except BaseException:
        if group.leads and not making.holds_work:
            making.clear()
        raise
    finally:
        bases.drop_lent()


def _adapt(
    run: RunConfig,
    model: nn.Module,
    tokenizer: Any,
    bases: Bases,
    making: Making,
    progress: Progress,
    stop: Stop,
    group: Group,
) -> dict[str, Any]:
    """Put the trained adapter onto the model: as an earlier try left it, or trained here, from wherever that one came.

    Returns:
        columns of the row.
    """
    found = making.trained()
    begun = making.checkpoints.latest() if found is None and run.trains else None
    group.wait()  # all have seen the same, before the first writes
    if found is not None:
        progress.phase("attach what was trained")
        antipasto.load(model, making.adapter)
        return found
    if run.pack and not packs(model):
        raise UserError(f"pack=true: {run.model} carries one example on into the next of its row; write pack=false")
    progress.phase("attach")
    examples = bases.examples(run, tokenizer)
    if begun is None:
        found = {"attach_s": attach(run, model, tokenizer, examples)}
    else:
        antipasto.load(model, begun.adapter)
        found = {"attach_s": begun.state["attach_s"]}
        progress.phase(f"go on from step {begun.state['step']} of {run.steps}")
    group.give_adapter(model)
    # All that the user could have got wrong was checked; from here on the run leaves traces.
    making.begin()
    making.checkpoints.carried = dict(found)
    found |= _size(run, model)
    if run.trains:
        found |= _train(run, model, tokenizer, examples, making, begun, progress, stop, group)
    found = making.keep_trained(model, found)
    if stop.asked is not None:
        raise Interrupted(stop.asked, "after training")
    return found


def _costs(run: RunConfig, tokenizer: Any, splits: Splits, bases: Bases) -> dict[str, Any]:
    """What the adapter costs. Whatever keeps that from being measured is a warning: the run itself is whole."""
    key = run.cost_key
    if key in bases.costs:
        return bases.costs[key]
    if torch.cuda.is_available():  # both would have to fit
        bases.forget()
        _free(bases)
    try:
        found = measure(run, tokenizer, splits)
        if found:
            bases.costs[key] = found
        return found
    except (UserError, OSError) as error:
        warnings.warn(f"costs of {run.variant} are not measured: {error}", stacklevel=2)
        return {}


def record_loss(run: RunConfig, error: Exception, store: Store) -> Outcome:
    """Record as failed a run that could not tell of it itself: what made it has died, or had nowhere to write.

    To be used under the run's lock. What was trained and answered is kept for a retry.

    Raises:
        OSError: that cannot be written either; the table is as it was.
    """
    run_id = run.run_id
    if unrecorded(store.run_dir(run_id)):  # it was made, and only its row is wanting
        return Outcome("ok", run_id, record(run_id, store))
    try:
        device = pick_device(run.device)
    except UserError:  # it was to be made on another machine
        device = torch.device("cpu")
    row = _identity_row(run, run_id) | {"provenance": provenance(device)}
    finished = {"finished_at": datetime.now(UTC).isoformat(timespec="seconds")}
    return _record_failure(row | finished, error, Making(making_of(run_id, store), run), store, keep=True)


def _record_failure(row: dict[str, Any], error: Exception, making: Making, store: Store, keep: bool = False) -> Outcome:
    """Record why, in place of no result. What was made stays for a retry, unless it is what failed."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    if out_of_memory(error):
        reason = f"out of memory: {reason}"
        row |= {"peak_bytes": peak_bytes(pick_device(making.run.device))}
    elif disk_is_full(error):
        reason = "the disk is full"
    elif not isinstance(error, RunFailure):
        reason = f"{type(error).__name__}: {reason}"
    row |= {"status": "failed", "error": reason}
    run_id, earlier = row["run_id"], find(store.table, row["run_id"])
    try:
        if making.holds_work and (keep or not isinstance(error, RunFailure)):
            if earlier is None or earlier["status"] != "ok":
                write_record(store.run_dir(run_id), row)
        else:
            making.folder.mkdir(parents=True, exist_ok=True)
            write_record(making.folder, row)
            if earlier is None or earlier["status"] != "ok":
                making.finish(store.run_dir(run_id))
            else:
                making.clear()
    except OSError as unwritten:
        if not disk_is_full(unwritten):  # the table may lie on another disk
            raise
    put(store.table, row)
    return Outcome("failed", run_id, row)


def _identity_row(run: RunConfig, run_id: str) -> dict[str, Any]:
    size = {"trained_parameters": 0, "added_macs_per_token": 0} if run.variant == BASE else {}
    return size | {
        "run_id": run_id,
        "model": run.model,
        "variant": run.variant,
        "rank": run.adapter["r"] if run.rank else None,
        "lr": run.lr if run.trains else None,
        "seed": None if run.variant == BASE else run.seed,
        "steps": run.steps if run.trains else None,
        "protocol": run.protocol,
        "scoring": run.scoring,
        "arm": run.arm,
        "config": run.model_dump(mode="json"),
    }


def _size(run: RunConfig, model: nn.Module) -> dict[str, int]:
    cfg, targets = run.adapter_config, antipasto.attachment(model).targets.values()
    macs = sum(antipasto.added_macs(cfg, int(t.in_features), int(t.out_features)) for t in targets)
    trained = sum(p.numel() for p in antipasto.trainable_parameters(model).values())
    return {"trained_parameters": trained, "added_macs_per_token": macs}


def _train(
    run: RunConfig,
    model: nn.Module,
    tokenizer: Any,
    examples: list[Example],
    making: Making,
    begun: Checkpoint | None,
    progress: Progress,
    stop: Stop,
    group: Group,
) -> dict[str, Any]:
    if group.leads:
        write_bytes(making.log, b"".join(_logged(making.log, begun)))
    with (
        open(making.log if group.leads else os.devnull, "a", encoding="utf-8") as log,
        progress.training(run.steps) as show,
        stop.after_this(),
    ):

        def on_step(step: Step) -> None:
            log.write(json.dumps(asdict(step)) + "\n")
            log.flush()
            show(step)

        generator = Generator().manual_seed(run.seed)
        pad = tokenizer.pad_token_id
        checkpoints = making.checkpoints if group.leads else None
        done: Training = train(
            model, run, examples, pad, generator, on_step, checkpoints=checkpoints, begun=begun, stop=stop, group=group
        )
    return {
        "first_loss": done.first_loss,
        "last_loss": done.last_loss,
        "mean_grad_norm": done.mean_grad_norm,
        "train_tokens": done.tokens,
        "train_tokens_per_s": done.tokens_per_second,
        "train_s": done.seconds,
    }


def _logged(log: Path, begun: Checkpoint | None) -> Iterator[bytes]:
    """The lines of the steps up to a checkpoint."""
    if begun is not None and log.exists():
        for line in log.read_bytes().splitlines(keepends=True):
            with suppress(ValueError, KeyError, TypeError):  # one that was cut short
                if json.loads(line)["step"] <= begun.state["step"]:
                    yield line


def _evaluate(
    run: RunConfig,
    model: nn.Module,
    tokenizer: Any,
    evaluation: Evaluation,
    making: Making,
    progress: Progress,
    group: Group,
) -> dict[str, Scores]:
    """Test and validation scores, with the adapter folded into the weights where it can be, and taken out again.

    Empty in all processes of a group but the first.
    """
    splits = ["test", *(["valid"] if evaluation.valid else [])]
    fold = run.variant != BASE and antipasto.merge_refusal(model) is None
    before = antipasto.bits_of(dict(model.named_parameters())) if fold else {}
    if fold:
        antipasto.merge(model)
    scores = {}
    for split in splits:
        progress.phase(f"score {split}")
        with group.interrupted_by_loss():
            found = evaluation.run(model, tokenizer, split, making.answers(split), group)
        if found is not None:
            scores[split] = found
    if fold:
        antipasto.unmerge(model)
        if antipasto.bits_of(dict(model.named_parameters())) != before:
            raise RunFailure("the weights after scoring are not those before it; unmerging was not exact")
    return scores


def general_loss(run: RunConfig, model: nn.Module, tokenizer: Any, texts: list[str], name: str) -> dict[str, Any]:
    """The mean token loss on general text, with the model as it stands."""
    loss, tokens = mean_token_loss(model, tokenizer, texts, run.data.max_length)
    return {name: loss if math.isfinite(loss) else None, "general_tokens": tokens}


def _texts(run: RunConfig) -> list[str] | None:
    """What forgetting is measured on. A hub's texts that cannot be had cost that measure, and not the run."""
    if run.eval.general == "none":
        return None
    try:
        return read_texts(run.eval.general, run.eval.general_limit)
    except UserError as error:
        if locate(run.eval.general) is not None:
            raise
        warnings.warn(f"forgetting is not measured, give eval.general=PATH or none: {error}", stacklevel=2)
        return None


def general_texts(texts: list[str]) -> dict[str, Any]:
    """Which texts those were: for the provenance."""
    return {"rows": len(texts), "sha256": hashlib.sha256(json.dumps(texts).encode()).hexdigest()}


def _score_row(scores: dict[str, Scores]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "eval_s": sum(s.seconds for s in scores.values()),
        "metrics": {split: s.metrics for split, s in scores.items()},
    }
    for split, s in scores.items():
        row[f"{split}_n"] = next(iter(s.questions.values()))
        row[f"{split}_accuracy"], row[f"{split}_stderr"] = s.headline()
        strict, stderr = s.headline(strict=True)
        row[f"{split}_strict"] = strict
        if split == "test":
            row["test_strict_stderr"] = stderr
    return row


def _finish(began: float) -> dict[str, Any]:
    return {"total_s": time.perf_counter() - began, "finished_at": datetime.now(UTC).isoformat(timespec="seconds")}


def _provenance(run: RunConfig, model: Any, splits: Splits, evaluation: Evaluation) -> dict[str, Any]:
    """Code and machine, and digests of the very model and data that were used, whatever the hub calls them."""
    data = {"train": {"rows": len(splits.train), "sha256": items_digest(splits.train)}}
    if splits.valid is not None:
        data["valid"] = {"rows": len(splits.valid), "sha256": items_digest(splits.valid)}
    for task in evaluation.test:
        documents = json.dumps(list(task.eval_docs), sort_keys=True, default=str).encode()
        digest = hashlib.sha256(documents).hexdigest()
        data[f"test:{task.task_name}"] = {"rows": len(task.eval_docs), "sha256": digest}
    base = {"source": model_fingerprint(run.model), "commit": getattr(model.config, "_commit_hash", None)}
    return provenance(model.device) | {"model": base, "data": data}
