"""Claims about a user's mistakes: one line, exit code 2, no traceback, nothing written."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command import QUICK, bench, files_below
from hostile_models import CANARY, HOSTILE, NEEDS_WEIGHTS, hostile_model
from hostile_yaml import HOSTILE_YAML
from safetensors.torch import load_file, save_file

from antipasto_bench.nano import MODEL_DIR

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "loar"], "unknown variant 'loar'; did you mean 'lora'?"),
        (["run", "lora", "rnak=3"], "unknown key 'rnak'; did you mean 'rank'?"),
        (["run", "lora", "lr=fast"], "lr=fast: expected a number above 0"),
        (["run", "lora", "seed=010"], "seed=010: a whole number has no leading zeros; write 10"),
        (["run", "lora", "seed=true"], "seed=true: expected a whole number"),
        (["run", "lora", "eval.batch_size=0"], "eval.batch_size=0: expected a whole number of at least 1, or auto"),
        (["run", "lora", "rotate_basis=V"], "lora has no setting 'rotate_basis'; leave out rotate_basis="),
        (["cost", "lora", "rotate_basis=V", "--meta"], "lora has no setting 'rotate_basis'; leave out rotate_basis="),
        (["run", "lora", "--preset", "bomb.yaml"], "bomb.yaml: line 4: holds more than 5,000 values"),
        (["sweep", "bomb.yaml"], "bomb.yaml: line 4: holds more than 5,000 values"),
        (["run", "lora", "seed=0,1"], "names 2 runs; write `antipasto-bench sweep`"),
        (["run", "lora", "model=nowhere/at/all"], "model=nowhere/at/all: no such folder, and not a hub id"),
        (["run", "lora", "data.train=gone.jsonl"], "gone.jsonl: no such file"),
        (["run", "lora", "data.train=empty.jsonl"], "empty.jsonl: is empty"),
        (["run", "lora", "data.train=broken.jsonl"], "broken.jsonl, line 2: not JSON"),
        (["run", "lora", "eval.data=gone.parquet"], "gone.parquet: no such file"),
        (["run", "lora", "rank=65"], "r=65 is above min(d_in, d_out)=64"),
        (["run", "lora", "targets=down_porj"], "no linear layer matches target_names ['down_porj']"),
        (["run", "lora", "device=cuda:7"], "device=cuda:7: not available here"),
        (["run", "lora", "--preset", "nanoo"], "unknown preset 'nanoo'; did you mean 'nano'?"),
        (["run", "antipasto", "rank=10"], "r=10 is not a multiple of block_size=4"),
        (["sweep", "rank=4"], "name at least one variant"),
        (["sweep", "nanno.yaml"], "nanno.yaml: no such sweep file; did you mean 'nano.yaml'?"),
        (["demo", "hra"], "demo has variants of its own; write `antipasto-bench sweep hra`"),
        (["speed", "--page-only"], "speed writes its figures into a checkout of the project"),
        (["show", "nothing"], "no run 'nothing'"),
        (["export", "nothing", "--merged", "x"], "no run 'nothing'"),
        (["report"], "holds no finished run yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, words, said):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text(json.dumps({"query": "a", "response": "b"}) + "\n{oops\n")
    (tmp_path / "bomb.yaml").write_bytes(HOSTILE_YAML["billion laughs"][0])
    before = files_below(tmp_path)
    done = bench(*words, cwd=tmp_path, expect=2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert files_below(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    done = bench("run", "lora", *QUICK, cwd=tmp_path, expect=2)
    assert "cannot write to" in done.stderr
    assert "step" not in done.stderr


FILL = """
import resource, sys
from antipasto_bench.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))
sys.argv = ["antipasto-bench", *sys.argv[1:]]
main()
"""


@pytest.mark.long
def test_a_disk_that_fills_during_a_run_costs_one_line_and_leaves_no_row(tmp_path):
    """A file-size limit stands in for the disk: there is room to begin, none for the adapter or the samples."""
    words = ["run", "lora", *QUICK]
    done = subprocess.run(
        [sys.executable, "-c", FILL, *words], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2, done.stderr
    assert "nothing was recorded: free some space" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert files_below(tmp_path) == set()
    bench(*words, cwd=tmp_path)
    assert (tmp_path / "results/table.ndjson").read_bytes().count(b"\n") == 1


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_small_file_system_that_fills_up_loses_nothing(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs")
    words = ["run", "lora", *QUICK, "--results", small / "results", "--outputs", small / "out"]
    try:
        (small / "ballast").write_bytes(b"\0" * 200_000)
        done = bench(*words, cwd=tmp_path, expect=2)
        assert "No space left on device; nothing was recorded" in done.stderr.splitlines()[-1]
        assert files_below(small) == {"ballast"}
        (small / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        bench(*words, cwd=tmp_path)
        assert (small / "results/table.ndjson").read_bytes().count(b"\n") == 1
    finally:
        subprocess.run(["umount", small], check=True)


def test_one_impossible_run_does_not_end_a_sweep(tmp_path):
    done = bench("sweep", "lora", *QUICK, "rank=65,4", cwd=tmp_path, expect=2)
    assert "r=65 is above" in done.stderr
    assert "1 of 2 runs could not be made" in done.stderr.splitlines()[-1]
    assert (tmp_path / "results/table.ndjson").read_bytes().count(b"\n") == 1


def test_a_model_folder_that_lacks_weights_is_refused(tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(MODEL_DIR, broken)
    weights = load_file(broken / "model.safetensors")
    lost = "model.layers.2.mlp.down_proj.weight"
    save_file({k: v for k, v in weights.items() if k != lost}, broken / "model.safetensors", {"format": "pt"})
    done = bench("run", "lora", f"model={broken}", cwd=tmp_path, expect=2)
    assert f"its files lack 1 of its weights, such as {lost}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_that_brings_code_is_one_line_whatever_the_answer_to_a_prompt(tmp_path, name):
    model = hostile_model(tmp_path, name)
    before = files_below(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        f"model: {model}\nsteps: 2\nbatch_size: 2\ndata: {{train: benchmark/data/nano/train.parquet, overlap: allow}}\n"
        "eval: {tasks: [nano_metamath], valid: none}\n"
    )
    commands = [["run", "lora", *QUICK, f"model={model}"]]
    if name not in NEEDS_WEIGHTS:
        commands += [["cost", "lora", f"model={model}", "--meta"]]
    if name == "own_classes":
        commands += [["cost", "lora", f"model={model}"], ["run", "lora", "--preset", "mine.yaml"]]
    for words in commands:
        done = bench_answering_yes(*words, cwd=tmp_path)
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert HOSTILE[name][1] in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    if name == "own_classes":
        bench("variants", "lora", "--preset", "mine.yaml", cwd=tmp_path)
    assert not (tmp_path / CANARY).exists()
    assert files_below(tmp_path) == before | {"mine.yaml"}


def bench_answering_yes(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As `yes y | antipasto-bench WORDS`, which exits with 2."""
    with tempfile.TemporaryFile() as answers:
        answers.write(b"y\n" * 100)
        answers.seek(0)
        stdin = os.dup(0)
        os.dup2(answers.fileno(), 0)
        try:
            return bench(*words, cwd=cwd, expect=2)
        finally:
            os.dup2(stdin, 0)
            os.close(stdin)
