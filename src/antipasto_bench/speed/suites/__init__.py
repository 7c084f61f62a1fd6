"""The suites, one a module; `python -m antipasto_bench.speed.suites.NAME` runs one and records it."""
