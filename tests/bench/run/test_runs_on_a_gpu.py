"""Runs on a real GPU, where there is one: no step of training or of answers waits for it, and answers are the CPU's."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from small_runs import answers_of, make, one_layer, small, store_in

import antipasto
from antipasto_bench.run.examples import IGNORED
from antipasto_bench.run.models import load_model
from antipasto_bench.run.open_rows import OpenRows, Row
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.table import find

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@contextmanager
def no_waits() -> Iterator[None]:
    """Torch raises an error where the host waits for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


PLAIN = compose("lora", {"device": "cuda"}, "nano")
BY_GRAPHS = compose("lora", {"device": "cuda", "cuda_graphs": True}, "nano")
TRAINED = [name for name, cls in antipasto.CONFIGS.items() if cls.trains]


def adapted(name, dtype):
    """A model of one layer, with an adapter."""
    model, _ = load_model(compose("base", {"model": one_layer(), "dtype": dtype, "device": "cuda"}, "nano"))
    default = antipasto.CONFIGS[name]()
    cfg = antipasto.CONFIGS[name](r=None if default.r is None else 32, target_names=("down_proj",))
    data = [{"input_ids": torch.arange(1, 129).view(4, 32)}] if cfg.needs_data() else None
    antipasto.attach(model, cfg, data, generator=torch.Generator().manual_seed(0))
    return model


def batch_of(rows, width):
    ids = torch.arange(rows * width).view(rows, width) % 500
    return {"input_ids": ids, "labels": ids.masked_fill(torch.arange(width) < width // 2, IGNORED)}


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_waits_for_nothing_and_leaves_no_memory_taken(name):
    model = adapted(name, "bfloat16")
    batch = batch_of(2, 12)
    optimizer = AdapterOptimizer(model.train(), PLAIN)
    for _ in range(3):
        optimizer.step([batch], 1e-3).read()
    allocated = torch.cuda.memory_allocated()
    with no_waits():
        metrics = optimizer.step([batch], 1e-3)
    loss, norm = metrics.read()
    assert loss > 0
    assert norm > 0
    del metrics
    assert torch.cuda.memory_allocated() == allocated


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TRAINED)
def test_steps_by_graphs_are_plain_ones_wait_for_nothing_and_leave_no_memory_taken(name, dtype):
    losses, memory = [], []
    steps = [[batch_of(2, 60 + step), batch_of(2, 100 + step)] for step in range(3)]
    for run in (PLAIN, BY_GRAPHS, BY_GRAPHS):
        model = adapted(name, dtype)
        optimizer = AdapterOptimizer(model.train(), run)
        taken = [optimizer.step(batches, 1e-3).read() for batches in steps]
        with no_waits() if run.cuda_graphs else nullcontext():
            metrics = optimizer.step(steps[0], 1e-3)
        losses.append([*taken, metrics.read()])
        if run.cuda_graphs:
            assert optimizer._captured.replayed == 6, "of eight batches of two shapes"
        del optimizer, metrics, model
        gc.collect()
        memory.append(torch.cuda.memory_allocated())
    assert memory[2] <= memory[1], "libraries keep a workspace for the stream of graphs, once"
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    for (loss, norm), (expected, expected_norm) in zip(losses[1], losses[0], strict=True):
        assert loss == pytest.approx(expected, rel=tolerance)
        assert norm == pytest.approx(expected_norm, rel=10 * tolerance)


@pytest.mark.parametrize(("variant", "layer"), [("lora", 0), ("antipasto", -1)])
def test_a_model_that_waits_for_the_gpu_takes_plain_steps(variant, layer):
    """Whatever a capture that fails at the last layer recorded of those before."""
    model = adapted(variant, "float32")
    plain, by_graphs = AdapterOptimizer(model.train(), PLAIN), AdapterOptimizer(model.train(), BY_GRAPHS)
    handle = model.base_model.layers[layer].register_forward_hook(lambda module, args, out: print(float(out.sum())))
    batches = [batch_of(2, 40)]
    expected = plain.step(batches, 0.0).read()
    by_graphs.step(batches, 0.0)
    with pytest.warns(UserWarning, match="cuda_graphs: going on without, and the same step: "):
        assert by_graphs.step(batches, 0.0).read() == pytest.approx(expected, rel=1e-5)
    handle.remove()
    assert by_graphs.step(batches, 0.0).read() == pytest.approx(expected, rel=1e-5)
    torch.cuda.synchronize()


@pytest.mark.parametrize("variant", ["lora", "antipasto", "full"])
def test_a_run_by_graphs_learns_and_answers_as_a_plain_one(variant, tmp_path):
    records = []
    for given in ({}, {"cuda_graphs": True}):
        run, store = small(variant, device="cuda", **given), store_in(tmp_path / str(len(given)))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="cuda_graphs")
            make(run, store)
        records.append((find(store.table, run.run_id), answers_of(run.run_id, store)))
    (plain, answers), (by_graphs, same_answers) = records
    assert plain.status == by_graphs.status == "ok"
    assert by_graphs.run_id == plain.run_id, "as on another device"
    assert by_graphs.last_loss == pytest.approx(plain.last_loss, rel=1e-3)
    assert by_graphs.test_loss == pytest.approx(plain.test_loss, rel=1e-3)
    assert same_answers == answers


def test_the_next_token_of_open_answers_waits_for_nothing():
    model, _ = load_model(compose("base", {"dtype": "bfloat16", "device": "cuda"}, "nano"))
    rows = OpenRows(model.eval(), 4, lambda tokens: False, 0)
    rows._join([Row(place, [5, 6, 7, 8][: place + 1], 32) for place in range(4)])
    rows._step(0)
    with no_waits():
        for unread in range(1, 8):
            rows._step(unread)


@pytest.mark.parametrize("name", ["lora", "antipasto", "pissa"])
def test_a_run_in_float32_answers_as_the_cpu_does(name, tmp_path):
    records = {}
    for device in ("cpu", "cuda"):
        run, store = small(name, device=device), store_in(tmp_path / device)
        make(run, store)
        records[device] = find(store.table, run.run_id)
        assert records[device].status == "ok", records[device].error
    assert records["cuda"].provenance.device == "cuda"
    one, other = (answers_of(record.run_id, store_in(tmp_path / device)) for device, record in records.items())
    assert one == other
    for field in ("first_loss", "last_loss", "mean_grad_norm", "test_loss", "valid_loss"):
        assert getattr(records["cuda"], field) == pytest.approx(getattr(records["cpu"], field), rel=1e-3), field


def test_answers_do_not_depend_on_the_batch_in_float32(tmp_path):
    answers = []
    for size in (1, 3, 16):
        run, store = small("lora", device="cuda", **{"eval.batch_size": size}), store_in(tmp_path / str(size))
        make(run, store)
        answers.append(answers_of(run.run_id, store))
    assert answers[0] == answers[1] == answers[2]
