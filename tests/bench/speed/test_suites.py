"""Claims about the suites: each is a module that can be started, and the one for GPUs runs whole with little models."""

import copy
import json
import signal
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import psutil
import pytest
import torch

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.run.heldout_loss import reference_losses, reference_solution
from antipasto_bench.spec.compose import compose
from antipasto_bench.speed import peers, shapes
from antipasto_bench.speed.questions import Questions, score_answers
from antipasto_bench.speed.recording import run_suite
from antipasto_bench.speed.running import run_suites
from antipasto_bench.speed.suite import REAL, SUITES, ArmFigures
from antipasto_bench.speed.suites import answers, answers_tuned, cards, gpu, real_run, real_step
from antipasto_bench.speed.whole_runs import plain_losses

ROOT = Path(__file__).parents[3]


def test_the_suite_for_a_gpu_gives_what_it_has_after_each_part(monkeypatch):
    """And no part is begun once time is up: what is left out is named. Models share the time that is left for them."""
    # Seconds, when it is looked at.
    clock = iter([0.0, 0.0, 60.0, 100.0, 300.0, 300.0, 410.0, 430.0, 500.0, 700.0, 700.0])
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(gpu, "build_model", lambda *given: None)
    monkeypatch.setattr(gpu, "random_batch", lambda *given: {})
    ends = []

    def measure_steps(name, build, batch, until):
        ends.append(until)
        return [ArmFigures(name, "ms", [1.0])], [], [f"{name}, hra (no time)", f"{name}, peft hra"]

    monkeypatch.setattr(gpu, "measure_steps", measure_steps)
    monkeypatch.setattr(gpu, "seconds_to_train", lambda name, arm: 2.0 + ("peft" in arm))
    monkeypatch.setattr(gpu, "_answer", lambda name, backend, ends: [2.0])
    parts = list(gpu.measure(10.0))
    counts = [len(part.cells) for part in parts]
    assert counts == [1, 2, 3, 4, 5, 6, 7, 7], "three batches in the first 270 seconds, four more parts in 600"
    (trained,) = [claim for claim in parts[-1].claims if "rows of unlike length" in claim.what]
    assert trained.ratio == pytest.approx(2 / 3)
    begun = [name for name in gpu.BATCHES if name != "Llama-3.2-3B"]
    fitted = ", ".join(f"{name}, peft hra" for name in begun)
    left = "Llama-3.2-3B; answers of Qwen3-0.6B, static; answers of Qwen3-0.6B, continuous; "
    left += "; ".join(f"1 arms of {name}" for name in begun)
    assert parts[-1].setting.endswith(f"Did not fit: {fitted}. No time for: {left}.")
    assert [len(part.setting.split("; answers of")) - 1 for part in parts[4:]] == [5, 4, 3, 3]
    assert ends == [67.5, 130.0, 185.0], "a quarter of 270 seconds, a third of the 210 left, half of the 170 left"


@pytest.mark.long
def test_the_suite_for_a_gpu_is_whole_on_any_machine(monkeypatch, tmp_path, capsys):
    """What it does there is done here with little models; without a GPU it says so and records nothing."""
    monkeypatch.setattr(gpu, "TURNS", 1)
    monkeypatch.setattr(gpu, "REPEATS", 1)
    monkeypatch.setattr(gpu, "ANSWER_TOKENS", 4)
    monkeypatch.setattr(gpu.torch.cuda, "max_memory_allocated", lambda: 2**20)
    monkeypatch.setattr(gpu.torch.cuda, "memory_allocated", lambda: 0)
    monkeypatch.setattr(gpu.torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(peers, "FROZEN_RANK", 32)
    monkeypatch.setattr(peers, "RANK", 4)
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 700}

    def too_large():
        raise torch.OutOfMemoryError("a square matrix for each reflection")

    build = partial(copy.deepcopy, shapes.build_model("Qwen3-0.6B", **small))
    builders = peers.down_proj_arms(build, shapes.random_batch(2, 16, 700))
    if not torch.cuda.is_available():
        assert not any(arm.endswith(peers.BY_GRAPHS) for arm in builders)
        builders |= {arm + peers.BY_GRAPHS: builders[arm] for arm in ("lora", "antipasto", "road")}
    monkeypatch.setattr(gpu, "down_proj_arms", lambda *given: builders | {"peft hra": too_large})
    cells, claims, absent = gpu.measure_steps("Qwen3.5-0.8B", build, shapes.random_batch(2, 16, 700))
    assert absent == ["Qwen3.5-0.8B, peft hra"]
    assert {cell.unit for cell in cells} == {"ms", "tokens/s", "MiB at its peak"}
    bounds = {claim.what.removeprefix("Qwen3.5-0.8B: "): claim.bound for claim in claims}
    assert bounds["lora / peft lora, time"] == bounds["antipasto / peft psoft, time"] == 1 / 3
    assert bounds["lora by CUDA graphs / peft lora, time"] == 1 / 3
    assert bounds["road by CUDA graphs / peft road, time"] == 1.0
    for name, variant in antipasto.REGISTRY.items():
        if variant.config.trains:
            assert bounds.pop(f"floor / {name}") == 1.0
    assert bounds.pop("arms of ours that do not fit") == 0.0
    assert {*bounds.values()} == {1 / 3, 1.0}
    arms = {cell.arm.removeprefix("Qwen3.5-0.8B, ") for cell in cells}
    assert arms == set(builders) - {"peft hra"}, "every variant, and all of peft's that fit"
    monkeypatch.setattr(gpu, "down_proj_arms", peers.down_proj_arms)
    monkeypatch.setattr(gpu, "TRAINING_STEPS", 3)
    monkeypatch.setattr(gpu, "build_model", lambda name, dtype, device: build())
    monkeypatch.setitem(shapes.SHAPES, "Qwen3-0.6B", ("qwen3", {"vocab_size": 700}))
    monkeypatch.setattr(gpu.torch.cuda, "synchronize", lambda: None)
    assert gpu.seconds_to_train("Qwen3-0.6B", "lora") > 0
    assert gpu.seconds_to_train("Qwen3-0.6B", "peft lora") > 0
    rows = []
    model = build().eval()
    model.lm_head.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    gpu.seconds_to_answer(model, 5, 5)
    assert rows == [5] * 4, "all at once, four tokens each"
    if not torch.cuda.is_available():
        assert run_suite("gpu", gpu.measure, ["--results", str(tmp_path)]) == 0
        assert "nothing was measured here" in capsys.readouterr().out
        assert list(tmp_path.iterdir()) == []


NANO = ROOT / "benchmark/data/nano"
ON_NANO = {  # questions in the place of GSM8K's
    "data.train": str(NANO / "train.parquet"), "data.overlap": "allow",
    "eval.data": str(NANO / "valid.jsonl"),
}  # fmt: skip


@pytest.fixture
def little_model(monkeypatch):
    for module in (answers, real_run, real_step):
        monkeypatch.setattr(module, "PRESET", "nano")
    for module in (real_run, real_step):
        monkeypatch.setattr(module, "RANK", 4)
        monkeypatch.setattr(module, "FROZEN_RANK", 4)


@pytest.fixture
def few_answers(monkeypatch, little_model):
    for name, value in {"QUESTIONS": 6, "NEW_TOKENS": 24, "SIZES": (3, 1), "PAIRS": 1}.items():
        monkeypatch.setattr(answers, name, value)
    for name in ("STEPS", "BATCH"):
        monkeypatch.setattr(answers_tuned, name, 2)


@pytest.mark.long
def test_the_suite_of_answers_is_whole_with_a_little_model(monkeypatch, few_answers):
    """Ours and lm-eval's own model are asked the same; a size that takes too long is given up, and has no figure."""
    *_, last = answers.measure(ON_NANO)
    assert [claim.bound for claim in last.claims] == [0.35, 0]
    assert last.claims[1].ratio == 0, "in float32 every answer is lm-eval's own"
    assert {"untuned, lm-eval, 3 a batch", "untuned, ours"} <= {cell.arm for cell in last.cells}
    monkeypatch.setattr(answers, "LATE", 1e-9)
    *_, last = answers.measure(ON_NANO)
    assert not any("1 a batch" in cell.arm for cell in last.cells)
    assert "untuned: ours / lm-eval's hf at its best batch, 3" in [claim.what for claim in last.claims]


@pytest.mark.long
def test_the_suite_of_a_tuned_models_answers_asks_the_model_with_its_adapter(few_answers):
    *_, last = answers_tuned.measure(ON_NANO)
    assert [claim.bound for claim in last.claims] == [0.50]
    by_arm = {cell.arm: cell for cell in last.cells}
    assert {"lora, lm-eval, 3 a batch", "lora, lm-eval", "lora, ours"} <= {*by_arm}
    of_ours, of_lm_eval = (by_arm[f"lora, {way}, tokens of all answers"].median for way in ("ours", "lm-eval"))
    assert of_ours == of_lm_eval > 6, "on nano, in float32"
    assert "trained by 2 steps of 2" in last.setting


@pytest.mark.long
def test_the_suite_of_steps_of_a_real_model_has_every_variant(monkeypatch, little_model):
    monkeypatch.setattr(real_step, "PAIRS", 1)
    *_, last = real_step.measure(ON_NANO)
    against_base = [claim.what.split(" / ")[0] for claim in last.claims if "base, to its first" in claim.what]
    assert against_base == [name for name, variant in antipasto.REGISTRY.items() if variant.config.trains]
    assert all(len(claim.pairs) == 1 for claim in last.claims), "each beside its own floor"
    assert {claim.bound for claim in last.claims[:-3]} == {1 / 0.85}
    assert [claim.what for claim in last.claims[-3:]] == [
        "lora / peft lora",
        "dora / peft dora",
        "antipasto / peft psoft",
    ]


@pytest.mark.long
def test_the_suite_of_runs_of_a_real_model_times_the_same_work(little_model):
    *_, last = real_run.measure(ON_NANO | {"steps": 2, "eval.limit": 3, "eval.max_new_tokens": 8})
    assert [claim.what for claim in last.claims] == ["lora / peft lora", "antipasto / peft psoft"]
    assert "2 steps of 8, 3 questions" in last.setting
    phases = ("load", "train", "answers", "loss")
    assert {f"{arm}, {phase}" for arm in ("lora", "peft psoft") for phase in phases} <= {
        cell.arm for cell in last.cells
    }


@pytest.mark.long
def test_peers_losses_are_of_the_same_solutions_as_ours():
    preset = peers.PresetArms("nano", **ON_NANO, **{"eval.tasks": ["gsm8k_metamath"], "eval.limit": 5})
    run = preset.config("base")
    model, questions = preset.model(run).eval(), Questions(run, 5)
    theirs = plain_losses(model, preset.tokenizer, questions, 1)
    rows = [(doc["question"], reference_solution(doc["answer"])) for doc in questions.docs]
    nats, tokens = reference_losses(model, preset.tokenizer, pl.DataFrame(rows, ["query", "response"], orient="row"))
    assert theirs == pytest.approx([*(nats / tokens)], rel=1e-5)


def test_settings_are_for_the_suites_of_a_real_model_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("antipasto_bench.speed.running.subprocess", None)  # nothing is begun
    for names in (None, ["step"], ["answers", "step"]):
        with pytest.raises(UserError, match="only suites of a real model take settings"):
            run_suites(names, tmp_path, settings=["data.train=x"])
    refused = {
        "data.train": "data.train is no setting; write KEY=VALUE",
        "step": "write --suite step",
        "data.train=a,b": "has 2 values",
        "steps=30": "--suite answers takes no steps",
        "preset=nano": "takes no preset",
    }
    for word, why in refused.items():
        with pytest.raises(UserError, match=why):
            run_suites(["answers"], tmp_path, settings=[word])
    assert run_suite("step", lambda: None, ["--results", str(tmp_path), "data.train=x"]) == 2
    assert "--suite step takes no data.train; it takes no settings" in capsys.readouterr().err
    words = ["--results", str(tmp_path), "eval.data=/nowhere.jsonl", "data.train=/nowhere.jsonl"]
    assert run_suite("answers", answers.measure, words) == 2
    assert "/nowhere.jsonl" in capsys.readouterr().err.splitlines()[-1], "one line, and no traceback"


def test_suites_of_a_real_model_run_only_where_they_are_named(tmp_path, monkeypatch):
    started = []

    def run(command, **options):
        started.append(command[command.index("--results") - 1].rpartition(".")[2])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("antipasto_bench.speed.running.subprocess.run", run)
    assert run_suites(None, tmp_path)
    assert started == [name for name in SUITES if name not in REAL]
    assert run_suites(["real_run"], tmp_path, settings=["steps=25"])
    assert started[-1] == "real_run"


def test_launches_are_of_operations_that_compute():
    x = torch.ones(4, 4)
    assert cards.count_launches(lambda: x.view(16)[2:].t()) == 0, "views"
    assert cards.count_launches(lambda: torch.empty(5)) == 0, "memory without values"
    assert cards.count_launches(lambda: (x @ x).add_(1.0)) == 2
    linear = torch.nn.Linear(4, 4)
    assert cards.count_launches(lambda: linear(x).sum().backward()) > cards.count_launches(lambda: linear(x).sum()) > 1


def test_processes_that_share_a_card_launch_side_by_side_and_share_the_rest():
    card = cards.Card("a card", 10e9, operations=2e12, bandwidth=1e12)
    bound_by_launches = cards.Work(launches=100, operations=0.1e9, moved=0)
    alone = bound_by_launches.seconds(card)
    assert alone == pytest.approx(100 * cards.LAUNCH)
    assert bound_by_launches.seconds(card, 10) == alone, "5 ms of launches, and ten times 0.1 ms of products"
    assert cards.Work(0, 1e9, 0).seconds(card, 3) == pytest.approx(3 * 1e-3), "1e9 of 1e12 a second, three times"
    assert cards.Work(1, 0, 3e12).seconds(card) == pytest.approx(3.0), "by what it moves"


def test_a_table_is_priced_by_as_many_processes_as_the_memory_holds():
    """Steps of three seeds and of 0.8 runs of searching, and three times the answers, of 14 rows."""
    run = cards.RunWork(1000, cards.Work(2000, 0, 0), 50, cards.Work(400, 0, 0), held=4e9)
    assert run.answer_seconds(cards.CARDS[0]) == pytest.approx(50 * 400 * 50e-6)
    hours = 14 * (3.8 * 1000 * 2000 * 50e-6 + 3 * 1.0) / 3600
    assert [run.table_hours(card) for card in cards.CARDS] == pytest.approx([hours / 5, hours / 12, hours / 12])
    too_large = cards.RunWork(1000, run.step, 50, run.one_pass, held=23e9)
    assert too_large.table_hours(cards.CARDS[0]) is None
    assert [too_large.table_hours(card) for card in cards.CARDS[1:]] == pytest.approx([hours / 3, hours / 5])


@pytest.mark.long
def test_what_is_derived_follows_from_the_models_shapes(monkeypatch):
    """Of Qwen3.5's 24 layers 6 hold keys and values; a larger batch holds more and passes less."""
    monkeypatch.setattr(cards, "PRESETS", {"peft-llama-3.2-3b": "Llama-3.2-3B"})
    result = cards.measure()
    assert result.setting.startswith("**Derived, not measured**")
    assert result.claims == []
    assert all("(derived)" in cell.arm for cell in result.cells if " on " in cell.arm)
    protocol = cards.Protocol("lora-lite-qwen3.5-0.8b", "Qwen3.5-0.8B")
    assert protocol._cache_bytes() == (2 * 6 * 2 * 2 * 256, 4 * 18 * 16 * 128 * 128)
    own, many = protocol.work(16), protocol.work(256)
    assert own.passes == 16 * many.passes == 1319 * 160 / 16
    assert many.held > own.held
    assert own.step == many.step
    of_llama = cards.Protocol("peft-llama-3.2-3b", "Llama-3.2-3B")
    macs = 28 * (3072 * (3072 * 2 + 2 * 1024) + 3 * 3072 * 8192) + 3072 * 128256
    assert of_llama.work(1).step.operations == 4 * 4 * 171 * macs, "its loss is of every token"
    assert of_llama.step_launches > 2 * of_llama.pass_launches


def test_every_suite_is_a_module_that_measures_and_records_under_its_own_name():
    folder = ROOT / "src/antipasto_bench/speed/suites"
    assert {path.stem for path in folder.glob("*.py")} == {*SUITES, "__init__"}
    for name in SUITES:
        module = import_module(f"antipasto_bench.speed.suites.{name}")
        assert callable(module.measure)
        assert f'sys.exit(run_suite("{name}", measure))' in (folder / f"{name}.py").read_text()


def test_every_record_was_measured_with_committed_code():
    paths = list((ROOT / "results/speed").glob("*/*.json"))
    assert len(paths) >= 5
    for path in paths:
        assert path.stem in SUITES
        git = json.loads(path.read_text())["provenance"]["git"]
        assert git["commit"], path
        assert git["dirty"] is False, path


def test_peers_answers_are_judged_by_the_rules_of_runs():
    questions = Questions(compose("lora", {}, "nano"), 3)
    numbers = [int(doc["answer"].rpartition("#### ")[2]) for doc in questions.docs]
    said = [f"The answer is: {numbers[0]}.0\nProblem: 7", f"It is {numbers[1]:,}, of 5", f"so {numbers[2]}"]
    assert score_answers(said, questions) == [True, False, True]


def test_benchmark_holds_data_and_code_that_its_tasks_name():
    """Each module in it belongs to an lm-eval task, which names it."""
    modules = {str(path.relative_to(ROOT / "benchmark")) for path in (ROOT / "benchmark").rglob("*.py")}
    assert modules == {"tasks/nano_metamath/questions.py", "tasks/gsm8k_metamath/given_answer.py"}
    for module in map((ROOT / "benchmark").joinpath, modules):
        assert f"!function {module.stem}." in module.with_name(f"{module.parent.name}.yaml").read_text()


@pytest.mark.parametrize(("asked", "after_s"), [("SIGTERM", 0), ("SIGTERM", 2), ("SIGKILL", 2)])
def test_a_suite_ends_with_the_command_that_started_it(tmp_path, asked, after_s):
    """Else it would go on measuring, and slow whatever is measured next; also where it has hardly been started."""
    command = [sys.executable, "-m", "antipasto_bench", "speed", "--suite", "run", "--results", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("--- run")
        while not (children := psutil.Process(process.pid).children()):
            pass
        time.sleep(after_s)
        process.send_signal(signal.Signals[asked])
        code, said = process.wait(), process.stderr.read()
    assert (code, "interrupted" in said) == ((128 + 15, True) if asked == "SIGTERM" else (-9, False))
    gone, left = psutil.wait_procs(children, timeout=10)
    assert (len(gone), left) == (1, [])
