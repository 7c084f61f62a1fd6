"""Speed and memory of training and scoring, measured as ratios within one run.

A suite is a module of `suites/` that measures one thing in a process of its own, with all arms taking turns. On a
machine that does nothing else, CPU or GPU:

    antipasto-bench speed                  # every suite: about an hour on two cores
    antipasto-bench speed --suite step     # one of them
    antipasto-bench speed --json           # each suite's record as a line of JSON
    python -m antipasto_bench.speed.suites.step --results DIR   # one suite without the command

Every turn of every arm goes to `results/speed/<hardware>/<suite>.json` with its provenance, and from there into
docs/speed.md. Bounds are set on ratios alone, never on seconds, and no test is timed.
"""
