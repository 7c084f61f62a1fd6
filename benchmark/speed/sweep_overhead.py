"""What of a sweep is neither training nor scoring: `python benchmark/speed/sweep_overhead.py`; some five minutes.

A sweep of six full nano runs in one process; of each run, what is neither training nor scoring:

    harness = sum over runs of (total - train - eval),  as a share of sum over runs of total

That is loading (with all imports, in the first run), attaching, tokenising, merging, checks, locks, writing. What the
sweep takes before its first run, once however many there are, is in the share of the whole, which is told beside it.
Forgetting and costs, which settings ask for, are not measured here. Bound: 5 % of the runs.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from antipasto_bench.speed.harness import Cell, Claim, record
from antipasto_bench.store.table import read_table

BOUND = 0.05
WORDS = ["lora,antipasto", "seed=0,1,2", "costs=false", "eval.general=none", "--preset", "nano"]
COUNTED = ("train_s", "eval_s")
SHOWN = ("load_s", "attach_s", *COUNTED, "total_s")


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        folders = ["--results", f"{home}/results", "--outputs", f"{home}/outputs"]
        command = [sys.executable, "-m", "antipasto_bench", "sweep", *WORDS, *folders, "--workers", "1"]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([*command, "--dry-run"], check=True, stdout=subprocess.DEVNULL)
        started = time.perf_counter() - start
        rows = read_table(Path(home, "results", "table.ndjson")).to_dicts()
    counted = sum(row[name] for row in rows for name in COUNTED)
    total = sum(row["total_s"] for row in rows)
    cells = [
        Cell(f"{row['run_id'].rpartition('__')[0]}, {name[:-2]}", "s", [row[name]]) for row in rows for name in SHOWN
    ]
    cells += [Cell("whole sweep", "s", [wall]), Cell("of it start and plan", "s", [started])]
    cells.append(Cell("of it outside training and scoring", "%", [100 * (wall - counted) / wall]))
    claims = [Claim("of the six runs: outside training and scoring / all", (total - counted) / total, BOUND)]
    return record("sweep_overhead", f"antipasto-bench sweep {' '.join(WORDS)}, one worker.", cells, claims)


if __name__ == "__main__":
    sys.exit(main())
