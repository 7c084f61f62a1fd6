"""The claim of scripts/route_gradients.py, smaller: zeroing the quarantine takes back what only one half taught."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.long
def test_zeroing_the_quarantine_takes_back_what_only_the_unwanted_half_taught():
    words = ["--steps", "80", "--questions", "2", "--rows", "200", "--seed", "0"]
    script = [sys.executable, str(ROOT / "scripts/route_gradients.py"), *words]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=280)
    found = json.loads(done.stdout.splitlines()[-1])

    def loss(model: str, half: str) -> float:
        return found[model][half]["loss"]

    zeroed = "routed, quarantine zeroed"
    # Both halves were learnt, ...
    assert loss("routed", "wanted") < 0.5 * loss("base", "wanted")
    assert loss("routed", "unwanted") < 0.5 * loss("base", "unwanted")
    # ... and without the quarantine one of them is still known, the other no better than by a model that never saw it.
    assert loss(zeroed, "wanted") < 0.5 * loss("base", "wanted")
    assert loss(zeroed, "unwanted") > 0.9 * loss("control", "unwanted")
    assert loss(zeroed, "unwanted") > 2 * loss("routed", "unwanted")
