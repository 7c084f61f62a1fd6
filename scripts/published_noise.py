"""Write docs/published-noise.md anew: what the published tables of benchmark/reference can tell.

.venv/bin/python scripts/published_noise.py
"""

from pathlib import Path

from antipasto_bench.core.files import write_bytes
from antipasto_bench.core.paths import benchmark_dir
from antipasto_bench.report.published_noise import render_page

if __name__ == "__main__":
    page = Path(__file__).resolve().parents[1] / "docs" / "published-noise.md"
    write_bytes(page, render_page(benchmark_dir() / "reference").encode())
