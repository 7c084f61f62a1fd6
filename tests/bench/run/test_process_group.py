"""Claims about a run that several processes make together: it is the run that one process makes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from accelerate import dispatch_model
from command import start
from safetensors.torch import load_file
from small_runs import SMALL, answers_of, make, small, store_in

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.models import _check_held, load_model
from antipasto_bench.store.items import LOSS_FILTER
from antipasto_bench.store.table import read_table

pytestmark = pytest.mark.slow

OF_LOSS = pl.col("filter") == LOSS_FILTER


def words_of(variant, given, store):
    words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in given.items()]
    return ["run", variant, *words, "--results", store.results, "--outputs", store.outputs]


def under_torchrun(variant, given, store):
    """`run` in two processes, as torchrun starts and watches them."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "antipasto_bench", *words_of(variant, given, store)),
        ],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def forked(variant, given, store, module="antipasto_bench"):
    """The same two processes with torchrun's variables, from the fork server: three times less to import.

    Returns:
        the greater exit code, and what both printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    store.results.parent.mkdir(exist_ok=True)
    processes = [
        start(
            *words_of(variant, given, store),
            cwd=store.results.parent,
            module=module,
            RANK=str(index),
            LOCAL_RANK=str(index),
            **group,
        )
        for index in range(2)
    ]
    out, err = map("".join, zip(*(process.communicate(timeout=200) for process in processes), strict=True))
    return max(process.returncode for process in processes), out, err


def assert_the_same_run(run, alone, parted):
    rows = [read_table(store.table).filter(run_id=run.run_id).row(0, named=True) for store in (alone, parted)]
    assert [row["processes"] for row in rows] == [1, 2]
    assert rows[0]["train_tokens"] == rows[1]["train_tokens"]
    logs = [
        [json.loads(line) for line in (store.run_folder(run.run_id).log).read_text().splitlines()]
        for store in (alone, parted)
    ]
    assert [step["step"] for step in logs[1]] == list(range(1, run.steps + 1))
    for key in ("loss", "grad_norm", "tokens", "lr"):
        assert [step[key] for step in logs[1]] == pytest.approx([step[key] for step in logs[0]], rel=2e-3), key
    one, two = (load_file(store.run_folder(run.run_id).adapter) for store in (alone, parted))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=2e-2, atol=2e-3)
    items = [pl.read_parquet(store.items(run.run_id)) for store in (alone, parted)]
    assert items[1].drop("score").equals(items[0].drop("score")), "every question once, in the same order"
    answers, losses = ([part.filter(condition)["score"] for part in items] for condition in (~OF_LOSS, OF_LOSS))
    assert (answers[1] == answers[0]).mean() > 0.9
    assert losses[1].to_list() == pytest.approx(losses[0].to_list(), rel=2e-2), "the adapters differ by as much"
    assert rows[1]["test_loss"] == pytest.approx(rows[0]["test_loss"], rel=2e-3)
    for name, row in zip(("alone", "parted"), rows, strict=True):
        own = items[name == "parted"].filter(pl.col("split") == "test", pl.col("filter") == "given-answer")
        assert row["test_accuracy"] == pytest.approx(own["score"].mean())
        assert row["test_n"] == SMALL["eval.limit"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("launcher", "variant", "given"),
    [
        ("torchrun", "lora", {"batch_size": 5, "lr": 1e-3}),
        ("fork", "antipasto", {"batch_size": 1, "grad_accum": 3, "rank": 16}),
    ],
)
def test_two_processes_make_the_run_that_one_makes(launcher, variant, given, tmp_path):
    """Of five rows one takes three; of a batch of one row a process has none at all."""
    run = small(variant, **given | {"eval.limit": 15})
    alone, parted = store_in(tmp_path / "alone"), store_in(tmp_path / "parted")
    make(run, alone)
    given = SMALL | given | {"eval.limit": 15}
    if launcher == "torchrun":
        process = under_torchrun(variant, given, parted)
        out, err = process.communicate(timeout=200)
        code = process.returncode
    else:
        code, out, err = forked(variant, given, parted)
    assert code == 0, err
    assert out.count("done:") == 1, "one of them speaks"
    assert err.count("load ...") == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SMALL, "eval.limit", 15)
        assert_the_same_run(run, alone, parted)
    assert not list((parted.outputs / ".workspaces").iterdir())
    assert not [path.name for path in parted.run_folder(run.run_id).path.iterdir() if "answers" in path.name]


@pytest.mark.long
def test_the_loss_of_a_process_costs_the_steps_since_the_last_checkpoint(tmp_path):
    given = {"steps": 24, "lr": 1e-3}
    run = small("lora", **given)
    alone, parted = store_in(tmp_path / "alone"), store_in(tmp_path / "parted")
    make(run, alone)
    process = under_torchrun("lora", SMALL | given, parted)
    checkpoints = parted.workspace(run.run_id).path / "checkpoints"
    deadline = time.time() + 100
    while not list(checkpoints.glob("step-*")) and time.time() < deadline:
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(max(map(int, children.stdout.split())), signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "the same command goes on from what is kept of it" in err
    assert not parted.table.exists()
    assert list(checkpoints.glob("step-*"))
    code, _, err = forked("lora", SMALL | given, parted)
    assert code == 0, err
    assert "go on from step" in err
    assert_the_same_run(run, alone, parted)


@pytest.mark.long
def test_a_run_that_fails_in_two_processes_is_recorded_once_with_its_reason(tmp_path):
    store = store_in(tmp_path)
    code, out, err = forked("lora", SMALL | {"lr": 1e30, "eval.limit": 4}, store)
    assert code == 1, err
    assert out.count("failed:") == 1
    (row,) = read_table(store.table).to_dicts()
    assert "at step" in row["error"]
    assert row["processes"] == 2


@pytest.mark.long
def test_the_batch_sizes_of_all_processes_are_recorded(tmp_path):
    """Where memory of one of them did not hold its batch; validation begins with the smallest in all."""
    store = store_in(tmp_path)
    settings = {
        "eval.limit": 20,
        "eval.valid_limit": 4,
        "eval.batch_size": 10,
        "eval.general": "none",
        "costs": False,
    }
    code, _, err = forked("base", settings, store, module="little_memory")
    assert code == 0, err
    (row,) = read_table(store.table).to_dicts()
    assert json.loads(row["provenance"])["eval_batch_size"] == "10 (process 1: 5) (valid: 5)"


PROBLEM = """
import sys
import torch
from antipasto_bench.run.process_group import join_group
group = join_group()
parameter = torch.nn.Parameter(torch.ones(3))
parameter.grad = torch.full((3,), 1.0 + group.index)
idle = torch.nn.Parameter(torch.ones(2))
assert group.sum_gradients([parameter, idle], 0.5, None, None) == (1.0, None)
assert parameter.grad.tolist() == [3.0] * 3
assert idle.grad is None
assert group.gather(None if group.index else 3) == [3, None]
assert group.sum_gradients([parameter], 0.5, None, 2 if group.index else None)[1] == (2 if group.index else 15)
try:
    group.sum_gradients([parameter], 0.0, MemoryError("no room") if group.index else None, None)
except Exception as error:
    sys.stdout.write(f"{group.index}: {type(error).__name__}: {error}\\n")  # at once, whatever buffers
"""


def test_an_error_in_one_process_ends_the_step_in_all(tmp_path):
    (tmp_path / "problem.py").write_text(PROBLEM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, tmp_path / "problem.py"],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert sorted(line for line in done.stdout.splitlines() if line) == [
        "0: RuntimeError: process 1: MemoryError: no room",
        "1: RunFailure: process 1: MemoryError: no room",
    ], done.stderr


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:nano is not as it was")  # this test sets hooks on a model that is lent already
def test_an_adapter_works_beside_layers_that_accelerate_places(tmp_path):
    """With the hooks that move inputs to each layer's device, as device_map=auto sets them where there are several."""
    runs = [small("antipasto", rank=16), small("antipasto", rank=16, device_map="auto")]
    assert runs[0].run_id == runs[1].run_id
    stores = [store_in(tmp_path / name) for name in ("plain", "mapped")]
    make(runs[0], stores[0])
    models = ModelCache()
    model, _ = models.model(runs[1])
    names = ["model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"]
    names += [f"model.layers.{i}" for i in range(model.config.num_hidden_layers)]
    dispatch_model(model, dict.fromkeys(names, "cpu"), main_device="cpu", force_hooks=True)
    assert hasattr(model.model.layers[0], "_hf_hook")
    make(runs[1], stores[1], models=models)
    one, two = (load_file(store.run_folder(runs[0].run_id).adapter) for store in stores)
    # Between placed layers every token goes the whole way, so that sums are taken in another order.
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-6)
    assert answers_of(runs[0].run_id, stores[0]) == answers_of(runs[1].run_id, stores[1])
    losses = [read_table(store.table)["test_loss"][0] for store in stores]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("variant", ["lora", "ia3", "hra", "pissa"])
def test_an_adapter_lies_beside_each_of_its_layers(variant):
    """The meta device stands in for a second card."""
    model = torch.nn.ModuleDict({"here": torch.nn.Linear(8, 8), "there": torch.nn.Linear(8, 8, device="meta")})
    cfg = antipasto.AdapterConfig.from_dict(
        {"variant": variant, "target_names": ["here", "there"]} | ({} if variant == "ia3" else {"r": 4})
    )
    antipasto.attach(model, cfg, generator=torch.Generator().manual_seed(0))
    for layer in model.values():
        tensors = [*layer.named_parameters(), *layer.named_buffers()]
        assert len(tensors) > 2
        assert {tensor.device.type for _, tensor in tensors} == {layer.weight.device.type}


def test_a_model_that_no_device_holds_is_refused(monkeypatch):
    run = small("lora", device_map="auto")
    places = SimpleNamespace(hf_device_map={"model.layers.0": 0, "model.layers.1": "cpu", "lm_head": "disk"})
    with pytest.raises(UserError, match=r"do not hold it: 2 of its 3 parts, such as model\.layers\.1"):
        _check_held(run, places, torch.device("cuda"))
    with pytest.raises(UserError, match="1 of its 3 parts, such as lm_head"):
        _check_held(run, places, torch.device("cpu"))
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="start it without torchrun"):
        load_model(run)
