"""The time of a sweep that is neither training nor scoring; some five minutes.

A sweep of six full nano runs in one process; of each run, what is neither training nor scoring:

    harness = sum over runs of (total - train - eval),  as a share of sum over runs of total

That is loading (with all imports, in the first run), attaching, tokenising, merging, checks, locks, writing. Before its
first run the sweep spends some time once, however many runs there are; a cell of its own shows it, and the cell of the
whole sweep includes it. Forgetting and costs are switched off and not measured here. Bound: 5 % of the runs.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ...core.child_processes import end_with_parent, module_command, module_environment
from ...store.table import read_records
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult

BOUND = 0.05
WORDS = ["lora,antipasto", "seed=0,1,2", "costs=false", "eval.general=none", "--preset", "nano"]
WORK = ("train_s", "eval_s")
SHOWN = ("load_s", "attach_s", *WORK, "total_s")


def measure() -> SuiteResult:
    with tempfile.TemporaryDirectory() as home:
        folders = ["--results", f"{home}/results", "--outputs", f"{home}/outputs"]
        command = [*module_command("antipasto_bench"), "sweep", *WORDS, *folders, "--workers", "1"]
        start = time.perf_counter()
        subprocess.run(command, check=True, env=module_environment(), preexec_fn=end_with_parent)
        wall = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([*command, "--dry-run"], check=True, stdout=subprocess.DEVNULL)
        start_and_plan = time.perf_counter() - start
        records = read_records(Path(home, "results", "table.ndjson"))
    work = sum(getattr(record, name) for record in records for name in WORK)
    total = sum(record.total_s or 0.0 for record in records)
    cells = [
        ArmFigures(f"{record.run_id.rpartition('__')[0]}, {name[:-2]}", "s", [getattr(record, name)])
        for record in records
        for name in SHOWN
    ]
    cells += [ArmFigures("whole sweep", "s", [wall]), ArmFigures("of it start and plan", "s", [start_and_plan])]
    cells.append(ArmFigures("of it outside training and scoring", "%", [100 * (wall - work) / wall]))
    claims = [Claim("of the six runs: outside training and scoring / all", (total - work) / total, BOUND)]
    return SuiteResult(f"antipasto-bench sweep {' '.join(WORDS)}, one worker.", cells, claims)


if __name__ == "__main__":
    sys.exit(run_suite("sweep_overhead", measure))
