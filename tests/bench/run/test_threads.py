"""Claims about the threads of a run: its settings pin them, whatever the process was given."""

import json

import pytest
import torch
from command import QUICK, bench, start
from safetensors.torch import load_file
from small_runs import make, one_layer, result_of, small, store_in

import antipasto
from antipasto_bench.core.device import pinned_threads
from antipasto_bench.run import execute, export
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.table import find

pytestmark = pytest.mark.slow


@pytest.fixture
def three_threads():
    with pinned_threads(3):
        yield


def test_the_nano_preset_pins_one_thread_and_another_number_is_another_run():
    runs = [
        compose("lora", {}, "nano"),
        compose("lora", {"threads": 2}, "nano"),
        compose("lora", {"threads": None}, "nano"),
    ]
    assert [run.threads for run in runs] == [1, 2, None]
    assert len({run.run_id for run in runs}) == len({run.cost_key for run in runs}) == 3


@pytest.mark.long
def test_a_run_of_one_thread_gives_the_same_bits_whatever_the_process_was_given(tmp_path):
    rows, adapters = [], []
    for count in ("1", "2"):
        process = start(
            "run", "lora", "lr=5e-2", *QUICK, "--json", "--results", tmp_path / count / "results",
            "--outputs", tmp_path / count / "outputs", cwd=tmp_path, OMP_NUM_THREADS=count,
        )  # fmt: skip
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        rows.append(json.loads(out.splitlines()[-1]))
        adapters.append(load_file(tmp_path / count / "outputs" / rows[-1]["run_id"] / "adapter.safetensors"))
    assert [row["provenance"]["threads"] for row in rows] == [1, 1]
    for name in ("run_id", "first_loss", "last_loss", "mean_grad_norm", "items_sha256", "general_loss"):
        assert rows[0][name] == rows[1][name], name
    assert all(torch.equal(tensor, adapters[1][name]) for name, tensor in adapters[0].items())


@pytest.mark.long
def test_runs_of_one_process_each_have_their_threads_and_leave_those_of_the_process(
    tmp_path, monkeypatch, three_threads
):
    store, seen = store_in(tmp_path), []
    score = execute.score

    def scored(*arguments):
        seen.append(torch.get_num_threads())
        return score(*arguments)

    monkeypatch.setattr(execute, "score", scored)
    quick = {"model": one_layer(), "steps": 2, "eval.limit": 2, "eval.valid": "none"}
    runs = [small("lora", **quick, threads=threads) for threads in (1, 2, None)]
    for run in runs:
        make(run, store)
        assert torch.get_num_threads() == 3
    assert seen == [1, 2, 3]
    assert [find(store.table, run.run_id).provenance.threads for run in runs] == [1, 2, 3]


def test_a_run_that_fails_leaves_the_threads_of_the_process(tmp_path, three_threads):
    assert make(small("lora", lr=1e30), store_in(tmp_path)).status == "failed"
    assert torch.get_num_threads() == 3


@pytest.mark.long
def test_one_thread_gives_the_same_bits_again(tmp_path, three_threads):
    run, stores = small("lora", threads=1), [store_in(tmp_path / name) for name in "ab"]
    for store in stores:
        make(run, store)
    assert result_of(run, stores[0]) == result_of(run, stores[1])


@pytest.mark.long
def test_costs_are_measured_with_the_threads_of_the_run(tmp_path):
    words = [word for word in QUICK if word != "costs=false"]
    bench("run", "ia3", *words, f"model={one_layer()}", cwd=tmp_path, OMP_NUM_THREADS="2")
    row = json.loads(bench("list", "--json", cwd=tmp_path).stdout)
    assert row["provenance"]["costs"]["threads"] == row["provenance"]["threads"] == 1
    assert row["base_forward_ms"] > 0


def test_an_export_is_computed_with_the_threads_of_the_run(tmp_path, monkeypatch, three_threads):
    run, store, seen = (
        small("lora", model=one_layer(), threads=1, steps=2, **{"eval.limit": 2, "eval.valid": "none"}),
        store_in(tmp_path),
        [],
    )
    make(run, store)
    load_model, save_peft = export.load_model, antipasto.save_peft

    def load(run):
        seen.append(torch.get_num_threads())
        return load_model(run)

    def save(*arguments, **options):
        seen.append(torch.get_num_threads())
        return save_peft(*arguments, **options)

    monkeypatch.setattr(export, "load_model", load)
    monkeypatch.setattr(antipasto, "save_peft", save)
    export.export_merged(run.run_id, tmp_path / "merged", store)
    export.export_peft(run.run_id, tmp_path / "peft", store)
    assert (seen, torch.get_num_threads()) == ([1, 1, 1], 3)
