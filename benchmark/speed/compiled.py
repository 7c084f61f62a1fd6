"""A training step on nano through torch.compile and without it, and what the first step takes."""

import os
import sys
import tempfile
import time

from peers import Arm, Bench

from antipasto_bench.speed.harness import Cell, duel, in_turns, record

TURNS, DUEL_TURNS = 7, 31


def main() -> int:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing compiled before is found again
    bench = Bench("nano")
    arms: dict[str, Arm] = {}
    cells, claims = [], []
    for name in ("lora", "antipasto"):
        arms[name], arms[f"{name}, compiled"] = bench.ours(name), bench.ours(name, compile=True)
        start = time.perf_counter()
        arms[f"{name}, compiled"]()
        cells.append(Cell(f"{name}, compiled, first step", "s", [time.perf_counter() - start]))
    times = in_turns(arms, TURNS, again=4)
    cells += [Cell(arm, "ms", values) for arm, values in times.items()]
    for name in ("lora", "antipasto"):
        what = f"{name}, compiled / {name}"
        claims.append(duel(arms[f"{name}, compiled"], arms[name], DUEL_TURNS, 0.9, what))
    return record("compiled", "nano, 16 examples; nothing was compiled before.", cells, claims)


if __name__ == "__main__":
    sys.exit(main())
