"""Runs on a real GPU, where there is one: no step of training or of answers waits for it, and answers are the CPU's."""

from collections.abc import Iterator
from contextlib import contextmanager

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


@pytest.mark.parametrize("name", [name for name, cls in antipasto.CONFIGS.items() if cls.trains])
def test_a_training_step_waits_for_nothing_and_leaves_no_memory_taken(name):
    run = compose("base", {"model": one_layer(), "dtype": "bfloat16", "device": "cuda"}, "nano")
    model, _ = load_model(run)
    ids = torch.arange(24).view(2, 12)
    batch = {"input_ids": ids, "labels": ids.masked_fill(ids % 12 < 6, IGNORED)}
    default = antipasto.CONFIGS[name]()
    cfg = antipasto.CONFIGS[name](r=None if default.r is None else 32, target_names=("down_proj",))
    data = [{"input_ids": torch.arange(1, 129).view(4, 32)}] if cfg.needs_data() else None
    antipasto.attach(model, cfg, data)
    optimizer = AdapterOptimizer(model.train(), run)
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


def test_the_next_token_of_open_answers_waits_for_nothing():
    model, _ = load_model(compose("base", {"dtype": "bfloat16", "device": "cuda"}, "nano"))
    rows = OpenRows(model.eval(), 4, lambda tokens: False, 0)
    rows._join([Row(place, [5, 6, 7, 8][: place + 1], 32) for place in range(4)])
    rows._step()
    with no_waits():
        for _ in range(8):
            rows._step()


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
