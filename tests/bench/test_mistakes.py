"""Claims about a user's mistakes: one line, exit code 2, no traceback, nothing written."""

import json
import os
import subprocess

import pytest
from command import QUICK, bench, files_below

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "loar"], "unknown variant 'loar'; did you mean 'lora'?"),
        (["run", "lora", "rnak=3"], "unknown key 'rnak'; did you mean 'rank'?"),
        (["run", "lora", "lr=fast"], "lr=fast: "),
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
        (["show", "nothing"], "no run 'nothing'"),
        (["export", "nothing", "--merged", "x"], "no run 'nothing'"),
        (["report"], "holds no finished run yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, words, said):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text(json.dumps({"query": "a", "response": "b"}) + "\n{oops\n")
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


def test_a_disk_that_fills_during_a_run_costs_one_line_and_leaves_no_row(tmp_path):
    """On a real file system of 300 KB: room to begin, not to end."""
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small]).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        (small / "ballast").write_bytes(b"\0" * 200_000)
        done = bench(
            "run", "lora", *QUICK, "--results", small / "results", "--outputs", small / "out", cwd=tmp_path, expect=2
        )
        assert "No space left on device; nothing was recorded" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert not (small / "results/table.ndjson").exists()
        assert not list(small.rglob("*.partial"))
        (small / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        bench(*words, cwd=tmp_path)
        assert (small / "results/table.ndjson").read_bytes().count(b"\n") == 1
    finally:
        subprocess.run(["umount", small], check=True)
