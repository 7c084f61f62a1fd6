"""What an adapter costs, measured beside its base in a process of its own, so that no earlier work is counted.

One batch of the run's training data; base and adapter take turns, so that what slows the machine slows both. The base
is timed with gradients flowing from its loss to its embeddings: the work that no adapter of its layers can avoid.

    python -m antipasto_bench.run.costs < job.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from antipasto.quantised import evaluating

from ..core.child_processes import end_with_parent, module_command, module_environment
from ..core.device import peak_bytes, synchronise
from ..core.errors import UserError
from ..core.launcher import LAUNCHER_VARIABLES
from ..spec.config import BASE, RunConfig
from ..store.record import Costs
from .attach import attach
from .checkpointing import checkpointed
from .completion_loss import CompletionLoss
from .data import Splits
from .examples import Example, collate, drawn_examples
from .methods.adapter import Adapter
from .methods.registry import adapter_on, called, require_adapter
from .models import load_model

WARM_UP = 2  # untimed turns
MOST_TURNS, LEAST_TURNS = 21, 5
TURNS_S = 4.0  # no more turns are begun after this
NEW_TOKENS = 32  # generated greedily for each prompt
RESULT = "measured: "


def measure(run: RunConfig, tokenizer: Any, splits: Splits) -> Costs:
    """The costs of a run's adapter. A measurement that fails is a warning, and no cost.

    Args:
        splits: of the run's data; the first examples of its training make the batch and the calibration.

    Raises:
        UserError: the run cannot be made as asked.
    """
    examples = drawn_examples(run, tokenizer, splits, max(run.batch_size, run.data.calibration))
    job = {"run": run.model_dump(mode="json"), "examples": [asdict(example) for example in examples]}
    threads = run.threads or torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="antipasto-cost-") as cache:
        done = subprocess.run(
            module_command("antipasto_bench.run.costs"),
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env={name: value for name, value in module_environment().items() if name not in LAUNCHER_VARIABLES}
            | {"ANTIPASTO_CACHE": cache, "OMP_NUM_THREADS": str(threads)},
            preexec_fn=end_with_parent,
        )
    results = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if done.returncode == 2:
        raise UserError(done.stderr.strip().removeprefix("error: "))
    if done.returncode or not results:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1][:300]
        warnings.warn(f"costs of {run.variant} are not measured: {reason}", stacklevel=2)
        return Costs()
    return Costs.model_validate_json(results[-1].removeprefix(RESULT))


def measure_here(run: RunConfig, examples: list[Example]) -> Costs:
    """The costs, measured in this process; its resident set is the adapter's only if it did nothing else before."""
    model, tokenizer = load_model(run)
    batch = collate(examples[: run.batch_size], tokenizer.pad_token_id)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    adapted = run.variant != BASE
    costs = Costs(**dict.fromkeys(Costs.model_fields))
    costs.priced_tokens = batch["input_ids"].numel()
    if adapted:
        costs.attach_cold_s = attach(run, model, tokenizer, examples)
    else:
        model.requires_grad_(False)
    adapter, model = adapter_on(model), called(model)
    with checkpointed(run, model):
        _measure_training(costs, run, model, batch)
    if adapter is not None:
        base = adapter.base
        adapter.detach()
        costs.attach_warm_s = attach(run, base, tokenizer, examples)
        adapter = require_adapter(base)
        model = adapter.model
        if adapter.merge_refusal() is None:
            costs.merge_s = _seconds(model, adapter.merge)
            adapter.unmerge()
    _measure_generation(costs, model, tokenizer, examples[: run.batch_size], adapter)
    return costs


def _measure_training(costs: Costs, run: RunConfig, model: nn.Module, batch: dict[str, Tensor]) -> None:
    """Peak memory, bytes saved for the backward pass, and times."""
    model.train()
    adapter = adapter_on(model)
    still = run.model_copy(update={"lr": 0.0, "weight_decay": 0.0})
    trains = adapter is not None and bool(adapter.trainable_parameters())
    optimizer = adapter.optimizer(still) if adapter is not None and trains else None  # its moments take memory too
    loss_of = CompletionLoss(model)

    def work() -> Tensor:
        return loss_of(batch)

    for _ in range(WARM_UP):
        _turn(model, work, from_inputs=adapter is None, optimizer=optimizer)
    costs.peak_bytes = peak_bytes(next(model.parameters()).device)
    del optimizer
    _measure_steps(costs, model, work, adapter, trains)


def _measure_steps(
    costs: Costs, model: nn.Module, work: Callable[[], Tensor], adapter: Adapter | None, trains: bool
) -> None:
    """Forward and backward of the base and, in turns with it, of the adapter."""
    times: dict[str, list[float]] = {}
    with _base_alone(adapter):
        costs.base_saved_bytes = saved_bytes(model, work, from_inputs=True)
    if trains:
        costs.saved_bytes = saved_bytes(model, work)
    began = time.perf_counter()
    for turn in range(MOST_TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() - began > TURNS_S:
            break
        with _base_alone(adapter):
            spent = {"base_": _turn(model, work, from_inputs=True)}
        if adapter is not None:
            spent[""] = _turn(model, work)
        for arm, seconds in spent.items():
            for name, value in zip(("forward_ms", "backward_ms"), seconds, strict=True):
                if value is not None:
                    times.setdefault(arm + name, []).append(1e3 * value)
    for name, values in times.items():
        setattr(costs, name, median(values[1:] if len(values) > 1 else values))


def _base_alone(adapter: Adapter | None) -> AbstractContextManager[Any]:
    return nullcontext() if adapter is None else adapter.disabled()


def _turn(
    model: nn.Module,
    work: Callable[[], Tensor],
    from_inputs: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
) -> tuple[float, float | None]:
    """Seconds of one forward with its loss, and of its backward; None where nothing is trained."""
    with _gradients_from_embeddings(model) if from_inputs else nullcontext():
        synchronise(model)
        start = time.perf_counter()
        loss = work()
        synchronise(model)
        middle = time.perf_counter()
        if not loss.requires_grad:
            return middle - start, None
        loss.backward()
        synchronise(model)
        end = time.perf_counter()
    if optimizer is not None:
        optimizer.step()
    model.zero_grad(set_to_none=True)
    return middle - start, end - middle


@contextmanager
def _gradients_from_embeddings(model: Any) -> Iterator[None]:
    """Let gradients flow through the whole of a frozen model."""
    handle = model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_())
    try:
        yield
    finally:
        handle.remove()


def saved_bytes(model: nn.Module, work: Callable[[], Tensor], from_inputs: bool = False) -> int:
    """Bytes that autograd saves of `work` for its backward pass, the model's own tensors left out."""
    with _gradients_from_embeddings(model) if from_inputs else nullcontext():
        return bytes_saved_for_backward(work, [*model.parameters(), *model.buffers()])


def bytes_saved_for_backward(work: Callable[[], Any], owned: Iterable[Tensor] = ()) -> int:
    """Bytes of the storages that autograd saves while `work` runs, each once, and none of those that are `owned`."""
    own = {part.untyped_storage().data_ptr() for tensor in owned for part in _dense_parts(tensor)}
    storages: dict[int, int] = {}
    alive = []  # so that no storage is freed and its address given to another

    def pack(tensor: Tensor) -> Tensor:
        for part in _dense_parts(tensor):
            storage = part.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()
                alive.append(part)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(storages.values())


def _dense_parts(tensor: Tensor) -> list[Tensor]:
    """The tensors that hold a sparse one's values and places; a dense one itself."""
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]  # of one that is not coalesced, too
    if tensor.layout == torch.sparse_csr:
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor]


def _seconds(model: nn.Module, work: Callable[[], Any]) -> float:
    synchronise(model)
    start = time.perf_counter()
    work()
    synchronise(model)
    return time.perf_counter() - start


def _measure_generation(
    costs: Costs, model: Any, tokenizer: Any, examples: list[Example], adapter: Adapter | None
) -> None:
    """Tokens a second of greedy answers to the batch's prompts, the adapter unmerged, in turns with the base."""
    longest = max(example.prompt_length for example in examples)
    rows = [[tokenizer.pad_token_id] * (longest - e.prompt_length) + e.ids[: e.prompt_length] for e in examples]
    ids = torch.tensor(rows, device=model.device)
    mask = torch.tensor(
        [[0] * (longest - e.prompt_length) + [1] * e.prompt_length for e in examples], device=model.device
    )
    options = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS, "do_sample": False}

    def generate() -> None:
        model.generate(ids, attention_mask=mask, pad_token_id=tokenizer.pad_token_id, **options)

    times: dict[str, list[float]] = {}
    with evaluating(model):
        for _ in range(4):
            with _base_alone(adapter):
                times.setdefault("base_generated_tokens_per_s", []).append(_seconds(model, generate))
            if adapter is not None:
                times.setdefault("generated_tokens_per_s", []).append(_seconds(model, generate))
    for name, values in times.items():
        setattr(costs, name, len(examples) * NEW_TOKENS / median(values[1:]))


def main() -> None:
    job = json.load(sys.stdin)
    run = RunConfig.model_validate(job["run"])
    try:
        costs = measure_here(run, [Example(**example) for example in job["examples"]])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(RESULT + costs.model_dump_json())


if __name__ == "__main__":
    main()
