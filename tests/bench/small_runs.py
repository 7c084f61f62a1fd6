"""Runs of seconds on the embedded model, and all of their outcome that must not depend on what happened on the way."""

import json
import shutil
import signal
from functools import cache
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import load_file, save_file
from temporary import temporary_folder
from torch import Tensor

from antipasto_bench.core.signals import StopRequest
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.execute import Outcome, execute
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.progress import Progress
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.folders import Store
from antipasto_bench.store.items import LOSS_FILTER
from antipasto_bench.store.table import read_table

SMALL: dict[str, object] = {
    "steps": 12, "batch_size": 4, "checkpoint": 3, "eval.limit": 16, "eval.valid_limit": 6, "eval.batch_size": 8,
    "eval.general": "none", "costs": False, "data.calibration": 8,
}  # fmt: skip


SAME = ("first_loss", "last_loss", "mean_grad_norm", "train_tokens", "test_accuracy", "valid_accuracy", "items_sha256")


class StopAfter(StopRequest):
    """As if a signal came in the middle of a step."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        super().__init__()

    @property
    def signum(self) -> int | None:
        self.left -= 1
        return signal.SIGTERM if self.left < 0 else None

    @signum.setter
    def signum(self, value: int | None) -> None:
        pass


def small(variant: str, **given: object) -> RunConfig:
    return compose(variant, SMALL | given, "nano")


@cache
def one_layer() -> str:
    """The folder of the embedded model cut to its first layer, which makes a run in less than half the time.

    For claims that hold of any model: it answers in few words, none of them right.
    """
    folder = Path(temporary_folder("one-layer-")) / "nano"
    shutil.copytree(MODEL_DIR, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 1, "layer_types": config["layer_types"][:1]}
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(weights).items() if _layer_of(name) in (None, 0)}
    save_file(kept, weights, {"format": "pt"})
    return str(folder)


def _layer_of(name: str) -> int | None:
    after = name.partition("layers.")[2]
    return int(after.split(".")[0]) if after else None


def store_in(folder: Path) -> Store:
    return Store(folder / "results", folder / "outputs")


def make(
    run: RunConfig,
    store: Store,
    *,
    stop: StopRequest | None = None,
    models: ModelCache | None = None,
    force: bool = False,
    retry_before: str | None = None,
) -> Outcome:
    """Execute a run in this process, silently."""
    context = RunContext(store, Progress(quiet=True), stop or StopRequest(), models or ModelCache())
    return execute(run, context, force=force, retry_before=retry_before)


def result_of(run: RunConfig, store: Store) -> dict[str, object]:
    """All that must not depend on what happened on the way."""
    (row,) = read_table(store.table).filter(run_id=run.run_id).to_dicts()
    folder = store.run_folder(run.run_id).path
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {
        **{name: row[name] for name in SAME},
        "adapter": {k: (v.dtype, bytes_of(v)) for k, v in load_file(folder / "adapter.safetensors").items()},
        "samples": (folder / "samples.jsonl").read_text(),
        "log": [{name: step[name] for name in ("step", "loss", "grad_norm", "lr", "tokens")} for step in log],
        "files": sorted(path.name for path in folder.iterdir()),
    }


def bytes_of(tensor: Tensor) -> bytes:
    """A tensor's memory; numpy has no bfloat16."""
    memory: bytes = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    return memory


def answers_of(run_id: str, store: Store) -> list[tuple[object, ...]]:
    """Right or wrong of every question, without the losses: these depend on the order in which sums are taken."""
    items = pl.read_parquet(store.items(run_id))
    return items.filter(pl.col("filter") != LOSS_FILTER).rows()
