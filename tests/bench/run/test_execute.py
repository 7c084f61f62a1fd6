"""Claims about a whole run, each on real processes: what it leaves behind, and what interruptions do not."""

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from command import QUICK, bench, files_below, row_of, start

from antipasto_bench.store.table import read_table

pytestmark = pytest.mark.slow
GENTLE = ["lr=5e-2", *QUICK]  # eight steps are warm-up alone: the preset's rate would still be climbing away


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One short antipasto run, asked for as a script would."""
    home = tmp_path_factory.mktemp("made")
    return home, row_of(bench("run", "antipasto", *GENTLE, "--json", cwd=home))


def test_a_run_leaves_a_row_its_questions_and_all_that_rebuilds_them(made):
    home, row = made
    run_id = row["run_id"]
    assert files_below(home) == {
        "results/table.ndjson",
        f"results/items/{run_id}.parquet",
        f"results/runs/{run_id}.json",
        *(f"results/kinds/{path.name}" for path in (home / "results/kinds").iterdir()),
        *(f"outputs/{run_id}/{name}" for name in
          ("config.yaml", "log.jsonl", "adapter.safetensors", "samples.jsonl", "items.parquet", "kinds.json",
           "record.json")),
    }  # fmt: skip
    line = json.loads((home / "results/table.ndjson").read_text())
    record = json.loads((home / "outputs" / run_id / "record.json").read_text())
    assert line == record
    assert record["status"] == "ok"
    assert record["trained_parameters"] == 28 * (64 + 16 * 6)
    assert (record["test_n"], record["valid_n"]) == (12, 6)
    assert record["first_loss"] > record["last_loss"] > 0
    assert record["mean_grad_norm"] > 0
    assert record["adapter_bytes"] > 4 * record["trained_parameters"]

    items = pl.read_parquet(home / "results/items" / f"{run_id}.parquet")
    assert items.equals(pl.read_parquet(home / "outputs" / run_id / "items.parquet"))
    given = items.filter((pl.col("split") == "test") & (pl.col("filter") == "given-answer"))
    assert given.height == 12
    assert given["score"].mean() == pytest.approx(record["test_accuracy"])
    strict = items.filter((pl.col("split") == "test") & (pl.col("filter") == "strict-match"))
    assert strict["score"].mean() == pytest.approx(record["test_strict"])
    assert items.filter(pl.col("split") == "valid")["doc_id"].n_unique() == 6

    log = [json.loads(line) for line in (home / "outputs" / run_id / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, 9))
    assert log[0]["loss"] == record["first_loss"]

    provenance = record["provenance"]
    assert {"git", "packages", "device", "hardware", "threads", "data"} <= provenance.keys()
    assert provenance["packages"]["lm_eval"] == "0.4.13"
    assert provenance["data"]["train"]["rows"] == 8000
    assert len(provenance["data"]["test:nano_metamath"]["sha256"]) == 64


def test_asking_again_says_so_and_force_gives_identical_numbers(made):
    home, row = made
    before = (home / "results/table.ndjson").read_bytes()
    again = bench("run", "antipasto", *GENTLE, cwd=home)
    assert "done already" in again.stdout
    assert (home / "results/table.ndjson").read_bytes() == before
    forcing = bench("run", "antipasto", *GENTLE, "--force", "--json", cwd=home)
    kinds = ", ".join(f"4 {kind}_proj" for kind in ("down", "gate", "k", "o", "q", "up", "v"))
    assert f"adapt 28 layers: {kinds}" in forcing.stderr.splitlines()
    forced = row_of(forcing)
    for key in ("first_loss", "last_loss", "mean_grad_norm", "test_accuracy", "valid_accuracy", "items_sha256"):
        assert forced[key] == row[key], key
    assert (home / "results/table.ndjson").read_bytes().count(b"\n") == 1, "in the place of the first"
    listed = bench("list", "--json", cwd=home).stdout.splitlines()
    assert [json.loads(line)["run_id"] for line in listed] == [row["run_id"]]


def test_show_and_list_name_the_run(made):
    home, row = made
    assert row["run_id"] in bench("list", cwd=home).stdout
    shown = bench("show", row["run_id"], cwd=home).stdout
    assert f"run_id: {row['run_id']}" in shown
    assert "rotate_basis: V" in shown


@pytest.mark.long
def test_a_sweep_makes_what_is_owed_and_its_dry_run_tells_what_that_is(made):
    home, row = made
    words = ["base,antipasto", "basis=svd,wanda", *GENTLE]
    plan = [json.loads(line) for line in bench("sweep", *words, "--dry-run", "--json", cwd=home).stdout.splitlines()]
    assert [p["state"] for p in plan] == ["owed", "done", "owed"]
    assert plan[1]["run_id"] == row["run_id"]
    before = files_below(home)
    bench("sweep", *words, cwd=home)
    new = {f.rpartition("/")[2] for f in files_below(home) - before if f.startswith("results/items")}
    assert new == {f"{plan[0]['run_id']}.parquet", f"{plan[2]['run_id']}.parquet"}
    again = bench("sweep", *words, cwd=home)
    assert "3 runs: 3 done" in again.stderr
    rendered = bench("report", cwd=home)
    assert "| antipasto basis=wanda rotate_basis=V" in rendered.stdout
    assert "| base" in rendered.stdout
    page = (home / "results/README.md").read_bytes()
    assert "already up to date" in bench("report", cwd=home).stderr
    assert (home / "results/README.md").read_bytes() == page
    assert {path.name for path in home.iterdir()} == {"results", "outputs"}, "outside a project, nothing but these"


def test_a_diverging_run_is_recorded_as_failed_and_not_as_a_result(tmp_path):
    words = ["run", "lora", *QUICK, "lr=1e30"]
    failed = row_of(bench(*words, "--json", cwd=tmp_path, expect=1))
    assert failed["status"] == "failed"
    assert "at step" in failed["error"]
    assert failed.get("test_accuracy") is None
    again = bench(*words, cwd=tmp_path, expect=1)
    assert again.stdout.startswith("failed: ")
    assert "--force makes it again" in again.stdout
    plan = bench("sweep", "lora", *QUICK, "lr=1e30", "--dry-run", cwd=tmp_path).stdout
    assert plan.startswith("failed ")
    assert "no finished run yet" in bench("report", cwd=tmp_path, expect=2).stderr


@pytest.mark.long
def test_two_processes_with_the_same_id_one_runs_and_the_other_says_so(tmp_path):
    words = ["run", "lora", *QUICK]
    first, second = start(*words, cwd=tmp_path), start(*words, cwd=tmp_path)
    outputs = [process.communicate(timeout=200) for process in (first, second)]
    assert first.returncode == second.returncode == 0, outputs
    said = sorted(out.split(":")[0] for out, _ in outputs)
    assert said in (["done", "running in another process"], ["done", "done already"])
    assert (tmp_path / "results/table.ndjson").read_bytes().count(b"\n") == 1


@pytest.mark.long
def test_a_run_killed_in_training_leaves_the_table_valid_and_starts_clean(made, tmp_path):
    _, undisturbed = made
    process = start("run", "antipasto", *GENTLE, cwd=tmp_path)
    log = tmp_path / "outputs" / ".workspaces" / undisturbed["run_id"] / "log.jsonl"
    deadline = time.time() + 120
    while not log.exists() and time.time() < deadline:
        time.sleep(0.02)
    assert log.exists(), process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "results/table.ndjson").exists()
    assert "holds no run yet" in bench("list", cwd=tmp_path).stdout
    row = row_of(bench("run", "antipasto", *GENTLE, "--json", cwd=tmp_path))
    assert row["items_sha256"] == undisturbed["items_sha256"]
    assert row["last_loss"] == undisturbed["last_loss"]
    assert not [name for name in files_below(tmp_path) if "partial" in name or ".workspaces" in name]


@pytest.mark.long
def test_an_interrupt_ends_in_one_line(tmp_path):
    process = start("run", "lora", *QUICK, "lr=1e-3", cwd=tmp_path)
    deadline = time.time() + 120
    while not list(tmp_path.glob("outputs/.workspaces/nano*/log.jsonl")) and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err


NARROW = """
import resource, sys
from pathlib import Path
import antipasto_bench.run.execute, lm_eval.evaluator, lm_eval.models.huggingface
from antipasto_bench.cli import app as cli
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2_500_000_000,) * 2)
sys.argv = ["antipasto-bench", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.long
def test_a_run_for_which_memory_does_not_suffice_is_recorded_with_its_peak_and_the_sweep_goes_on(tmp_path):
    """All examples of the larger batch stand in one row, which no smaller micro-batch can halve."""
    words = ["sweep", "lora", "batch_size=1024,4", "pack=true", "data.max_length=200000", *QUICK]
    words = [word for word in words if word != "batch_size=4"]
    done = subprocess.run(
        [sys.executable, "-c", NARROW, *words], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1, done.stderr
    failed, ok = read_table(tmp_path / "results/table.ndjson").to_dicts()
    assert ok["status"] == "ok"
    assert failed["error"].startswith("out of memory: ")
    assert 100e6 < failed["peak_bytes"] < 10e9
