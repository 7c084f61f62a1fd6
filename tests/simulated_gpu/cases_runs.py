"""Claims about runs on a GPU: they give the CPU's results, whatever stops them, comes before them or lacks memory.

The model has one layer: an operation takes some twenty times as long on the simulated GPU.
"""

import gc
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lm_eval.evaluator  # noqa: F401  # before there is a GPU, as all that looks up torch's functions
import pytest
import torch
from safetensors.torch import load_file
from small_runs import StopAfter, answers_of, make, one_layer, result_of, small, store_in
from torch.nn.attention import SDPBackend, sdpa_kernel

import antipasto_bench.run.evaluate
import antipasto_bench.run.generate  # noqa: F401
from antipasto_bench.core.device import pick_device
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.attach import attach
from antipasto_bench.run.costs import measure_here
from antipasto_bench.run.examples import drawn_examples
from antipasto_bench.run.export import export_merged, export_peft
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.models import load_model
from antipasto_bench.run.step import StepMetrics
from antipasto_bench.store.record import Costs, RunRecord
from antipasto_bench.store.table import find, read_records
from simulated_gpu import gpu

QUICK: dict[str, object] = {
    "model": one_layer(), "steps": 3, "checkpoint": 2, "eval.limit": 4, "eval.valid": "none",
}  # fmt: skip
BOTH_SPLITS = {"eval.valid": "benchmark/data/nano/valid.jsonl", "eval.valid_limit": 2}
MIB = 2**20


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    load_model(small("base"))


def record_of(name: str, folder: Any, **given: object) -> RunRecord:
    run, store = small(name, **QUICK | given), store_in(folder)
    make(run, store)
    record = find(store.table, run.run_id)
    assert record is not None
    assert record.status == "ok", record.error
    return record


def answers(record: RunRecord, folder: Path) -> tuple[object, object]:
    """Right or wrong of every question, and the words of every answer."""
    store = store_in(folder)
    samples = (store.run_folder(record.run_id).path / "samples.jsonl").read_text().splitlines()
    return answers_of(record.run_id, store), [json.loads(line)["response"] for line in samples]


@pytest.mark.parametrize("name", ["lora", "antipasto", "pissa", "sspace"])
def test_a_run_gives_the_scores_of_the_cpu(name, tmp_path):
    given = BOTH_SPLITS | {"eval.general": "benchmark/data/nano/general.jsonl", "eval.general_limit": 4}
    if name == "lora":
        given["model"] = "nano"  # all of its layers, and answers that can be right
    with sdpa_kernel(SDPBackend.MATH):  # attention as the simulation computes it
        expected = record_of(name, tmp_path / "cpu", **given)
    with gpu() as device:
        record = record_of(name, tmp_path / "cuda", **given)
        assert device.launches.total() > 1000
    assert record.provenance.device == "cuda"
    assert record.provenance.hardware == "NVIDIA H200 (simulated)"
    assert answers(record, tmp_path / "cuda") == answers(expected, tmp_path / "cpu")
    assert record.test_accuracy == expected.test_accuracy
    of_training = ("first_loss", "last_loss", "mean_grad_norm")
    for field in (*of_training, "general_loss_base", "general_loss", "test_loss", "valid_loss"):
        if getattr(expected, field) is not None:
            assert getattr(record, field) == pytest.approx(getattr(expected, field), rel=1e-4), field
    assert record.general_loss > 0


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])  # `auto` is how all others name it
def test_a_gpu_can_be_named_with_and_without_its_number(name, tmp_path):
    with gpu():
        assert pick_device(name).type == "cuda"
        assert record_of("lora", tmp_path, device=name).provenance.device == "cuda"


@pytest.mark.parametrize("name", ["lora", "antipasto", "pissa", "eva"])
def test_a_run_that_is_stopped_in_training_ends_with_the_bits_of_one_that_was_not(name, tmp_path):
    run, whole, stopped = (
        small(name, **QUICK | {"steps": 6}),
        store_in(tmp_path / "whole"),
        store_in(tmp_path / "stopped"),
    )
    with gpu():
        make(run, whole)
        with pytest.raises(Interrupted, match="at step"):
            make(run, stopped, stop=StopAfter(3))
        assert make(run, stopped).status == "ok"
    assert result_of(run, stopped) == result_of(run, whole)


def test_runs_of_a_sweep_share_one_base_and_give_the_bits_of_runs_alone(tmp_path):
    runs = [small(name, **QUICK) for name in ("lora", "pissa", "antipasto")]
    alone, shared, models = store_in(tmp_path / "alone"), store_in(tmp_path / "shared"), ModelCache()
    with gpu() as device:
        for run in runs:
            make(run, alone)
        gc.collect()
        before, allocated, bases = device.allocated, [], []
        for run in runs:
            make(run, shared, models=models)
            gc.collect()
            allocated.append(device.allocated)
            bases.append(models._loaded.model)
        assert before == 0
        assert allocated[0] > 0
        assert len(set(allocated)) == 1, "an adapter leaves nothing on the device"
        assert bases[0] is bases[1] is bases[2]
    for run in runs:
        assert result_of(run, shared) == result_of(run, alone)


@pytest.mark.parametrize("backend", ["hf", "static"])  # continuous captures CUDA graphs, vllm brings kernels
def test_a_backend_gives_the_answers_of_the_cpu(backend, tmp_path):
    with sdpa_kernel(SDPBackend.MATH):
        expected = record_of("lora", tmp_path / "cpu", **BOTH_SPLITS)
    with gpu(), torch._dynamo.config.patch(disable=True):  # compiled code is not simulated
        record = record_of("lora", tmp_path / "cuda", **BOTH_SPLITS, **{"eval.backend": backend})
    assert answers(record, tmp_path / "cuda") == answers(expected, tmp_path / "cpu")
    for name in ("test_accuracy", "valid_accuracy"):
        assert getattr(record, name) == getattr(expected, name)


def test_questions_that_do_not_fit_are_answered_in_smaller_batches(tmp_path):
    given = {"eval.limit": 60, "eval.batch_size": 100}
    with gpu(limit=12 * MIB) as device:
        record = record_of("lora", tmp_path, **given)
        assert device.peak <= 12 * MIB
    assert 1 <= record.provenance.eval_batch_size < 60
    with gpu():
        expected = record_of("lora", tmp_path / "large", **given)
    assert answers(record, tmp_path) == answers(expected, tmp_path / "large")


def test_an_export_made_on_the_gpu_holds_the_tensors_of_one_made_on_the_cpu(tmp_path):
    run, store = small("lora", **QUICK), store_in(tmp_path)
    make(run, store)
    for place, device in (("cpu", nullcontext()), ("cuda", gpu())):
        with device:
            export_merged(run.run_id, tmp_path / place / "merged", store)
            export_peft(run.run_id, tmp_path / place / "peft", store)
    for name in ("merged/model.safetensors", "peft/adapter_model.safetensors"):
        expected, exported = (load_file(tmp_path / place / name) for place in ("cpu", "cuda"))
        assert exported.keys() == expected.keys()
        assert all(torch.equal(tensor, exported[key]) for key, tensor in expected.items())


def test_costs_are_measured_on_the_gpu_and_its_memory_is_that_of_the_device():
    run = small("antipasto", **QUICK)
    model, tokenizer = load_model(run)
    examples = drawn_examples(run, tokenizer, ModelCache().splits(run))
    del model
    with gpu() as device:
        costs = measure_here(run, examples)
        assert 0 < costs.peak_bytes <= device.peak
    for field in ("attach_cold_s", "attach_warm_s", "merge_s"):
        assert getattr(costs, field) > 0, field


def test_costs_that_another_process_measured_leave_the_base_where_it_is(tmp_path, monkeypatch):
    measured = Costs(**dict.fromkeys(Costs.model_fields)).model_copy(update={"base_forward_ms": 3.0})
    monkeypatch.setattr("antipasto_bench.run.measured_costs.measure", lambda *_: measured)
    runs = [small("lora", **QUICK | {"costs": True, "seed": seed}) for seed in range(3)]
    store, models = store_in(tmp_path), ModelCache()
    with gpu():
        make(runs[0], store)
        make(runs[1], store, models=models)
        base = models._loaded.model
        make(runs[2], store, models=models)
        assert models._loaded.model is base
    assert [record.base_forward_ms for record in read_records(store.table)] == [3.0] * 3


def test_linear_attention_without_its_kernels_is_said_and_recorded(tmp_path, monkeypatch):
    for module in ("models", "origin"):
        monkeypatch.setattr(f"antipasto_bench.run.{module}.has_linear_attention", lambda model: True)
    with gpu():
        expected = (
            "nano has linear attention, which runs on plain torch without flash-linear-attention and causal-conv1d"
        )
        with pytest.warns(UserWarning, match=expected):
            record = record_of("lora", tmp_path)
    assert record.provenance.kernels == {"flash-linear-attention": None, "causal-conv1d": None}


def test_the_event_of_a_step_is_recorded_on_the_stream_of_its_values(monkeypatch):
    recorded: list[object] = []
    with gpu():
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: ("stream", device))
        monkeypatch.setattr(torch.cuda.Event, "record", lambda self, stream=None: recorded.append(stream))
        StepMetrics(torch.ones((), device="cuda"), torch.ones((), device="cuda"), None)
    assert recorded == [("stream", torch.device("cuda", 0))]


def test_an_adapter_that_is_taken_off_leaves_the_base_and_its_memory():
    run = small("antipasto", **QUICK)
    with gpu() as device:
        models = ModelCache()
        model, tokenizer = models.model(run)
        gc.collect()
        allocated = device.allocated
        attach(run, model, tokenizer, models.examples(run, tokenizer))
        assert device.allocated > allocated
        models.give_back(run, model)
        gc.collect()
        assert models.holds_a_model
        assert device.allocated == allocated
