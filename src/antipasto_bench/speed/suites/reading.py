"""Commands that only read, each in a process of its own, against importing torch alone; a minute.

Most of such a command's time is imports, and torch's is the largest that a command of this project could do without.
So the measure is a process that imports torch and ends: it meets the same machine and the same disk. The evidence is a
copy of the project's own results, with a report that is up to date.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ...core.child_processes import module_command, module_environment
from ...core.paths import benchmark_dir, project_root
from ...store.table import read_records
from ..measuring import claim_ratio, time_arms
from ..recording import run_suite
from ..suite import ArmFigures, SuiteResult

TURNS = 7
IMPORT = "import torch"
BOUNDS = {
    "list": 1.0,
    "show": 1.0,
    "status": 1.0,
    "results verify": 1.5,
    "compare": 1.5,
    "report": 2.5,
    "cost": 2.5,
    "plan-more": 2.5,
    "show --card": 2.5,
    "status FILE": 2.5,  # it and the next name methods of PEFT, whose answers about settings are kept
    "sweep FILE --dry-run": 2.5,
}


def measure() -> SuiteResult:
    with tempfile.TemporaryDirectory() as home:
        results = Path(home, "results")
        shutil.copytree(project_root() / "results", results)
        runs = [record.run_id for record in read_records(results / "table.ndjson") if record.status == "ok"]
        sweep = str(benchmark_dir() / "sweeps" / "smollm2.yaml")
        words = {
            "list": ["list"],
            "show": ["show", runs[0]],
            "status": ["status"],
            "results verify": ["results", "verify"],
            "compare": ["compare", "lora", "antipasto rotate_basis=V"],
            "plan-more": ["plan-more"],
            "show --card": ["show", runs[0], "--card"],
            "status FILE": ["status", sweep],
            "sweep FILE --dry-run": ["sweep", sweep, "--dry-run"],
            "report": ["report", "--readme", f"{home}/README.md"],
            "cost": ["cost", "lora,antipasto", "rank=32,256", "--meta", "--preset", "qwen3.5-0.8b"],
        }
        reads = {name: each if name == "cost" else [*each, "--results", str(results)] for name, each in words.items()}
        arms = {name: _process([*module_command("antipasto_bench"), *each]) for name, each in reads.items()}
        times = time_arms(arms | {IMPORT: _process([sys.executable, "-P", "-c", IMPORT])}, TURNS, warm_up=1)
    claims = [claim_ratio(times, name, IMPORT, bound) for name, bound in BOUNDS.items()]
    cells = [ArmFigures(name, "s", [ms / 1e3 for ms in values]) for name, values in times.items()]
    setting = f"{len(runs)} runs; `{' '.join(words['cost'])}` reads no results."
    return SuiteResult(setting, cells, claims)


def _process(command: list[str]) -> Callable[[], object]:
    def run() -> object:
        nowhere, environment = subprocess.DEVNULL, module_environment()
        return subprocess.run(command, check=True, env=environment, stdout=nowhere, stderr=nowhere)

    return run


if __name__ == "__main__":
    sys.exit(run_suite("reading", measure))
