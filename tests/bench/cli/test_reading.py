"""Claims about commands that only read: they need no lock, and create no file and no folder."""

import shutil
from pathlib import Path

import pytest
from command import bench

from antipasto_bench.store.table import read_records

pytestmark = pytest.mark.slow
RESULTS = Path(__file__).parents[3] / "results"
RUNS = [record.run_id for record in read_records(RESULTS / "table.ndjson") if record.status == "ok"][:2]
READING = [
    ["list"], ["show", RUNS[0]], ["compare", *RUNS], ["status"], ["results", "verify"],
    ["sweep", "lora", "seed=0,1", "--dry-run"], ["variants"], ["presets"],
]  # fmt: skip


def paths_below(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_commands_that_read_leave_results_as_they_are(tmp_path):
    results = tmp_path / "results"
    (results / "items").mkdir(parents=True)
    lines = [
        line for line in (RESULTS / "table.ndjson").read_bytes().splitlines() if any(r.encode() in line for r in RUNS)
    ]
    (results / "table.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    for run_id in RUNS:
        shutil.copy(RESULTS / "items" / f"{run_id}.parquet", results / "items")
        (results / "runs").mkdir(exist_ok=True)
        shutil.copy(RESULTS / "runs" / f"{run_id}.json", results / "runs")
    before = paths_below(tmp_path)
    for words in READING:
        bench(*words, cwd=tmp_path)
        assert paths_below(tmp_path) == before, words


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list"], 0),
        (["status"], 0),
        (["sweep", "lora", "--dry-run"], 0),
        (["show", "x"], 2),
        (["results", "verify"], 1),
    ],
)
def test_where_there_are_no_results_commands_that_read_create_none(tmp_path, words, code):
    bench(*words, cwd=tmp_path, expect=code)
    assert list(tmp_path.iterdir()) == []
