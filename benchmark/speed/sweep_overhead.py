"""What of a sweep is neither training nor scoring: `python benchmark/speed/sweep_overhead.py`; some five minutes.

A sweep of full nano runs in one process, from its start to its end, against the seconds of training and scoring:

    harness = wall - sum over runs of (train + eval)

What is left is start-up, loading, attaching, batching up, merging, checks, locks, writing. Forgetting and costs, which
settings ask for, are not measured here. Bound: 5 % of the whole.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from antipasto_bench.provenance import provenance
from antipasto_bench.results import read_table

BOUND = 0.05
WORDS = ["lora,antipasto", "seed=0,1,2", "costs=false", "eval.general=none", "--preset", "nano"]
COUNTED = ("train_s", "eval_s")
SHOWN = ("load_s", "attach_s", *COUNTED, "total_s")


def main() -> None:
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
    share = (wall - counted) / wall
    where = provenance(torch.device("cpu"))
    found = {
        "what": "seconds of a sweep outside training and scoring",
        "command": "antipasto-bench sweep " + " ".join(WORDS),
        "wall_s": round(wall, 2),
        "counted_s": round(counted, 2),
        "start_and_plan_s": round(started, 2),
        "harness_share": round(share, 4),
        "bound": BOUND,
        "runs": [{"run_id": row["run_id"]} | {name: round(row[name], 3) for name in SHOWN} for row in rows],
        "provenance": where,
    }
    hardware = re.sub(r"[^A-Za-z0-9]+", "-", f"{where['hardware']} {where['cores']} cores").strip("-")
    place = Path(__file__).resolve().parents[2] / "results" / "speed" / hardware / "sweep_overhead.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{len(rows)} runs in {wall:.0f} s: {100 * share:.1f} % is the harness's own; bound {100 * BOUND:.0f} %")
    print(place)
    sys.exit(share >= BOUND)


if __name__ == "__main__":
    main()
