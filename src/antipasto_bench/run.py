"""One run, from a resolved config to a row in the table: load, attach, train, evaluate, record.

A run knows nothing of the sweep it is in. Only its last act writes to the table, so a run that dies on the way
leaves the table as it was, and can be started again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
import yaml
from filelock import FileLock, Timeout
from torch import Generator, nn

import antipasto

from .config import BASE, RunConfig
from .data import Splits, collate, draw_examples, load_splits
from .errors import RunFailure, UserError
from .evaluate import ITEMS_SCHEMA, Evaluation, Scores
from .load import load_model
from .paths import Store
from .progress import Progress
from .provenance import provenance
from .results import append, atomically, find, write_json
from .train import Step, Training, train, weights_digest

Status = Literal["ok", "failed", "done", "running"]


@dataclass(frozen=True)
class Outcome:
    """What came of asking for a run: it ran (`ok`, `failed`), was `done` before, or is `running` elsewhere."""

    status: Status
    run_id: str
    row: dict[str, Any] | None = None


def execute(run: RunConfig, store: Store, progress: Progress, *, force: bool = False) -> Outcome:
    """Make a run unless it was made before or is being made.

    Raises:
        UserError: it cannot be made as asked; nothing was recorded.
    """
    earlier = find(store.table, run.run_id)
    if earlier is not None and not force:
        return Outcome("done", run.run_id, earlier)
    store.check_writable()
    lock = store.outputs / ".locks" / f"{run.run_id}.lock"
    lock.parent.mkdir(exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            earlier = find(store.table, run.run_id)  # made by another process since we looked
            if earlier is not None and not force:
                return Outcome("done", run.run_id, earlier)
            return _make(run, store, progress)
    except Timeout:
        return Outcome("running", run.run_id)


def _make(run: RunConfig, store: Store, progress: Progress) -> Outcome:
    began = time.perf_counter()
    progress.phase("load")
    splits = load_splits(run.data, run.eval)
    evaluation = Evaluation(run.eval, splits.valid)
    model, tokenizer = load_model(run)
    row = _identity_row(run) | {"load_s": time.perf_counter() - began}

    torch.manual_seed(run.seed)
    if run.variant != BASE:
        progress.phase("attach")
        examples, attach_s = _attach(run, model, tokenizer, splits)
        row |= {"attach_s": attach_s, **_size(run, model)}
    # From here on the run leaves traces: everything that the user could have got wrong was checked.
    folder = store.run_dir(run.run_id)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    made_by = provenance(next(model.parameters()).device) | {"data": _data_digests(splits, evaluation)}
    row["provenance"] = made_by
    try:
        if run.variant != BASE:
            row |= _train(run, model, tokenizer, examples, folder, progress)
        scores = _evaluate(run, model, tokenizer, evaluation, progress)
    except (RunFailure, torch.OutOfMemoryError) as error:
        reason = str(error) if isinstance(error, RunFailure) else f"out of memory: {str(error).splitlines()[0]}"
        row |= {"status": "failed", "error": reason, **_finish(began)}
        write_json(folder / "record.json", row)
        append(store.table, row)
        return Outcome("failed", run.run_id, row)
    progress.phase("record")
    items = pl.DataFrame([i for s in scores.values() for i in s.items], schema=ITEMS_SCHEMA)
    row |= {"status": "ok", **_score_row(scores), "items_sha256": items_digest(items), **_finish(began)}
    with atomically(folder / "samples.jsonl") as partial:
        partial.write_text("".join(json.dumps(x) + "\n" for s in scores.values() for x in s.samples), encoding="utf-8")
    write_json(folder / "record.json", row)
    with atomically(store.items(run.run_id)) as partial:
        items.write_parquet(partial, compression="zstd")
    append(store.table, row)
    return Outcome("ok", run.run_id, row)


def _identity_row(run: RunConfig) -> dict[str, Any]:
    trained = run.variant != BASE
    size = {} if trained else {"trained_parameters": 0, "added_macs_per_token": 0}
    return size | {
        "run_id": run.run_id,
        "model": run.model,
        "variant": run.variant,
        "rank": run.rank,
        "lr": run.lr if trained else None,
        "seed": run.seed if trained else None,
        "steps": run.steps if trained else None,
        "protocol": run.protocol,
        "scoring": run.scoring,
        "arm": run.arm,
        "config": run.model_dump(mode="json"),
    }


def _attach(run: RunConfig, model: nn.Module, tokenizer: Any, splits: Splits) -> tuple[list[Any], float]:
    # Two generators, so that every variant sees the same examples in the same order under one seed.
    order, init = Generator().manual_seed(run.seed), Generator().manual_seed(run.seed + 2**32)
    count = run.steps * run.batch_size * run.grad_accum
    examples = draw_examples(tokenizer, splits.train, count, run.data.max_length, order)
    cfg = run.adapter_config
    calibration = None
    if antipasto.REGISTRY[cfg.variant].needs_data(cfg):
        shown = examples[: run.data.calibration]
        batches = (shown[i : i + run.batch_size] for i in range(0, len(shown), run.batch_size))
        calibration = ({k: v for k, v in collate(b, tokenizer.pad_token_id).items() if k != "labels"} for b in batches)
    start = time.perf_counter()
    try:
        antipasto.attach(model, cfg, calibration, generator=init)
    except antipasto.AdapterError as error:
        raise UserError(f"{run.variant}: {error}") from error
    return examples, time.perf_counter() - start


def _size(run: RunConfig, model: nn.Module) -> dict[str, int]:
    cfg, targets = run.adapter_config, antipasto.attachment(model).targets.values()
    macs = sum(antipasto.added_macs(cfg, int(t.in_features), int(t.out_features)) for t in targets)
    trained = sum(p.numel() for p in antipasto.trainable_parameters(model).values())
    return {"trained_parameters": trained, "added_macs_per_token": macs}


def _train(
    run: RunConfig, model: nn.Module, tokenizer: Any, examples: list[Any], folder: Path, progress: Progress
) -> dict[str, Any]:
    with open(folder / "log.jsonl", "w", encoding="utf-8") as log, progress.training(run.steps) as show:

        def on_step(step: Step) -> None:
            log.write(json.dumps(asdict(step)) + "\n")
            show(step)

        generator = Generator().manual_seed(run.seed)
        done: Training = train(model, run, examples, tokenizer.pad_token_id, generator, on_step)
    adapter = antipasto.save(model, folder / "adapter.safetensors")
    return {
        "first_loss": done.first_loss,
        "last_loss": done.last_loss,
        "mean_grad_norm": done.mean_grad_norm,
        "train_tokens": done.tokens,
        "train_tokens_per_s": done.tokens_per_second,
        "train_s": done.seconds,
        "adapter_bytes": adapter.stat().st_size,
    }


def _evaluate(
    run: RunConfig, model: nn.Module, tokenizer: Any, evaluation: Evaluation, progress: Progress
) -> dict[str, Scores]:
    """Test and validation scores, with the adapter folded into the weights where it can be, and taken out again."""
    splits = ["test", *(["valid"] if evaluation.valid else [])]
    fold = run.variant != BASE and antipasto.attachment(model).variant.mergeable
    weights = list(model.parameters())
    before = weights_digest(weights)
    if fold:
        antipasto.merge(model)
    scores = {}
    for split in splits:
        progress.phase(f"score {split}")
        scores[split] = evaluation.run(model, tokenizer, split)
    if fold:
        antipasto.unmerge(model)
    if weights_digest(weights) != before:
        raise RunFailure("the weights after scoring are not those before it; unmerging was not exact")
    return scores


def _score_row(scores: dict[str, Scores]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "eval_s": sum(s.seconds for s in scores.values()),
        "metrics": {split: s.metrics for split, s in scores.items()},
    }
    for split, s in scores.items():
        row[f"{split}_n"] = next(iter(s.questions.values()))
        row[f"{split}_accuracy"], row[f"{split}_stderr"] = s.headline() or (None, None)
        strict, stderr = s.headline(strict=True) or (None, None)
        row[f"{split}_strict"] = strict
        if split == "test":
            row["test_strict_stderr"] = stderr
    return row


def _finish(began: float) -> dict[str, Any]:
    return {"total_s": time.perf_counter() - began, "finished_at": datetime.now(UTC).isoformat(timespec="seconds")}


def _data_digests(splits: Splits, evaluation: Evaluation) -> dict[str, Any]:
    """Rows and a digest of the very data that were used, whatever the hub calls them."""
    found = {"train": {"rows": len(splits.train), "sha256": items_digest(splits.train)}}
    if splits.valid is not None:
        found["valid"] = {"rows": len(splits.valid), "sha256": items_digest(splits.valid)}
    for task in evaluation.test:
        documents = json.dumps(list(task.eval_docs), sort_keys=True, default=str).encode()
        found[f"test:{task.task_name}"] = {
            "rows": len(task.eval_docs),
            "sha256": hashlib.sha256(documents).hexdigest(),
        }
    return found


def items_digest(frame: pl.DataFrame) -> str:
    """sha256 of a frame's content, independent of how parquet packs it."""
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()
