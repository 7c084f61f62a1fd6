"""Claims about what reading commands import: what takes seconds to import, and they have no use for, is left out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "transformers", "datasets", "lm_eval", "scipy.stats", "statsmodels", "pandas", "peft", "ray"}

COMMAND = """
import json, sys
from antipasto_bench.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def imported(words, folder):
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "lora", "lr=1e-2", "rank=16", "eval.limit=null", "rotate_basis=V", "--sort", "-test_accuracy"],
        ["show", "nano__base__afcc2b38"],
        ["compare", "nano__base__afcc2b38", "nano__base__afcc2b38"],
        ["compare", "lora", "antipasto rotate_basis=V"],
        ["results", "verify"],
        ["status"],
        ["status", "benchmark/sweeps/nano.yaml"],
        ["sweep", "antipasto,lora", "rank=8,16", "--dry-run"],
        ["sweep", "benchmark/sweeps/nano.yaml", "--dry-run"],
        ["presets"],
        ["plan-more"],
        ["show", "nano__base__afcc2b38", "--card"],
        ["report", "--readme", "README.md"],
    ],
    ids=" ".join,
)
def test_a_reading_command_imports_nothing_that_trains(words, tmp_path):
    if "benchmark/sweeps/nano.yaml" in words:
        imported(words, ROOT)  # the first one asks PEFT, whose answers are kept
    if words[0] == "report":
        words = [words[0], "--readme", str(tmp_path / "README.md")]
    assert not imported(words, ROOT) & HEAVY


@pytest.mark.parametrize(
    "words",
    [["cost", "antipasto", "--meta", "--preset", "qwen3.5-0.8b"], ["variants"]],
    ids=" ".join,
)
def test_what_asks_what_variants_compute_imports_torch_and_no_model_code(words):
    modules = imported(words, ROOT)
    assert not modules & (HEAVY - {"torch"})
    assert words[0] != "cost" or "polars" not in modules, "what is counted on shapes has no rows"
