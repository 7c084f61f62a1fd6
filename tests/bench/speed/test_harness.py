"""Claims about how speed is measured: in turns, as ratios, kept whole; and that the page is what was kept."""

import json
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from command import bench

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.speed.harness import (
    NOT_HELD,
    SUITES,
    Cell,
    Claim,
    by_turns,
    duel,
    in_turns,
    page,
    record,
    write_page,
)

ROOT = Path(__file__).parents[3]


def test_arms_take_turns_and_what_warms_up_is_not_counted():
    made: list[str] = []
    times = in_turns({name: lambda name=name: made.append(name) for name in "abc"}, turns=5, warm_up=1, again=3)
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys("abc", 5)
    assert len(made) == 6 * 3 * 3
    turns = [made[i : i + 9 : 3] for i in range(0, len(made), 9)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1, "each turn has an order of its own"


def test_a_ratio_is_taken_within_turns():
    """Where the machine slows for a while, it slows both."""
    claim = by_turns({"a": [1.0, 10.0, 2.0], "b": [2.0, 20.0, 4.0]}, "a", "b", 0.6)
    assert (claim.what, claim.ratio, claim.holds) == ("a / b", 0.5, True)
    assert claim.pairs == [[1.0, 2.0], [10.0, 20.0], [2.0, 4.0]]


def test_two_arms_that_are_compared_follow_each_other_and_lead_in_turn():
    made: list[str] = []
    claim = duel(lambda: made.append("a"), lambda: made.append("b"), 4, 0.5, "x")
    assert ["".join(made[i : i + 2]) for i in range(0, len(made), 2)] == ["ba", "ab"] * 3
    assert len(claim.pairs) == 4
    ratios = sorted(a / b for a, b in claim.pairs)
    assert ratios[1] <= claim.ratio <= ratios[2]


def test_a_claim_that_does_not_hold_is_told_by_the_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = [Cell("ours", "ms", [1.0, 3.0, 2.0])]
    assert record("memory", "x.", cells, [Claim("a / b", 0.5, 0.6)]) == 0
    assert record("memory", "x.", cells, [Claim("a / b", 0.7, 0.6)]) == NOT_HELD
    assert "a / b: 0.700, bound 0.6  NOT HELD" in capsys.readouterr().out
    (kept,) = Path("results/speed").glob("*/memory.json")
    found = json.loads(kept.read_text())
    assert found["cells"][0]["values"] == [1.0, 3.0, 2.0], "every turn"
    assert found["provenance"]["threads"] > 0
    assert "| a / b | 0.700 | 0.6 | **no** |  |" in page(Path("results"))
    assert "| ours | 2 | 1 | 3 | ms |" in page(Path("results"))


def test_the_suite_for_a_gpu_is_whole_on_any_machine(monkeypatch, capsys):
    """What it does there is done here with little models; without a GPU it says so and keeps nothing."""
    monkeypatch.syspath_prepend(ROOT / "benchmark/speed")
    gpu, shapes = import_module("gpu"), import_module("shapes")
    monkeypatch.setattr(gpu, "TURNS", 1)
    monkeypatch.setattr(gpu, "ANSWER_TOKENS", 4)
    monkeypatch.setattr(gpu.torch.cuda, "max_memory_allocated", lambda: 2**20)
    monkeypatch.setattr(gpu.torch.cuda, "memory_allocated", lambda: 0)
    monkeypatch.setattr(gpu.torch.cuda, "reset_peak_memory_stats", lambda: None)
    peers = import_module("peers")
    monkeypatch.setattr(peers, "FROZEN_RANK", 32)
    monkeypatch.setattr(peers, "RANK", 4)
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 700}

    def too_large():
        raise torch.OutOfMemoryError("a square matrix for each reflection")

    make = partial(shapes.shaped, "Qwen3-0.6B", **small)
    names = peers.arms_of(make, shapes.random_batch(2, 16, 700))
    monkeypatch.setattr(gpu, "arms_of", lambda *given: names | {"peft hra": too_large})
    cells, claims, absent = gpu.steps("Qwen3.5-0.8B", make, shapes.random_batch(2, 16, 700))
    assert absent == ["Qwen3.5-0.8B, peft hra"]
    assert {cell.unit for cell in cells} == {"ms", "tokens/s", "MiB at its peak"}
    bounds = {claim.what.removeprefix("Qwen3.5-0.8B: "): claim.bound for claim in claims}
    assert bounds["lora / peft lora, time"] == bounds["antipasto / peft psoft, time"] == 1 / 3
    for name, variant in antipasto.REGISTRY.items():
        if variant.trains:
            assert bounds.pop(f"floor / {name}") == 1.0
    assert bounds.pop("arms of ours that do not fit") == 0.0
    assert {*bounds.values()} == {1 / 3, 1.0}
    arms = {cell.arm.removeprefix("Qwen3.5-0.8B, ") for cell in cells}
    assert arms == set(names) - {"peft hra"}, "every variant, and all of peft's that fit"
    made = []
    model = make().eval()
    model.lm_head.register_forward_hook(lambda module, args, out: made.append(len(out)))
    gpu.answering(model, 5, 5)
    assert made == [5] * 4, "all at once, four tokens each"
    if not torch.cuda.is_available():
        assert gpu.main() == 0
        assert "nothing was measured here" in capsys.readouterr().out


def test_the_page_is_made_of_what_was_measured():
    assert (ROOT / "docs/speed.md").read_text() == page(ROOT / "results")


def test_every_suite_is_a_script_and_what_is_kept_was_measured_with_committed_code():
    for name in SUITES:
        assert (ROOT / "benchmark/speed" / f"{name}.py").exists(), name
    kept = list((ROOT / "results/speed").glob("*/*.json"))
    assert len(kept) >= 5
    for path in kept:
        assert path.stem in SUITES
        where = json.loads(path.read_text())["provenance"]["git"]
        assert where["commit"], path
        assert where["dirty"] is False, path


def test_no_page_is_written_where_nothing_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="results/speed holds no figures"):
        write_page()
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_measures_a_suite_and_writes_the_page(tmp_path):
    found = json.loads(bench("speed", "--suite", "memory", "--json", cwd=tmp_path).stdout)
    assert all(claim["holds"] for claim in found["claims"]), found["claims"]
    assert "### memory: bytes kept" in (tmp_path / "results/speed/README.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"results"}, "outside a project there is no docs/speed.md"
    said = bench("speed", "--suite", "memroy", cwd=tmp_path, expect=2).stderr
    assert said.startswith("error: --suite memroy: no such suite; there are step, ")
