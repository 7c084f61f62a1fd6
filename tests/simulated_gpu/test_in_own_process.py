"""Runs the claims of `cases_*.py`, each file in a process of its own.

Why: torch can register one PrivateUse1 backend, under one name, for a whole process and for good. From then on
`torch.accelerator` says that this machine has an accelerator, which optimizers, autocast and pinned memory ask, and
`torch.device` and `torch.library` know its name. A test that happens to come later in the same worker would run on
another torch than a user's. Files that do not begin with `test_` are collected only where they are named, so that no
worker imports them; `pytest tests/simulated_gpu/cases_runs.py` runs one alone.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CASES = sorted(path.name for path in FOLDER.glob("cases_*.py"))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CASES)
def test_every_case_of_a_file_passes(name):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", FOLDER / name],
        cwd=FOLDER.parents[1], env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"\d+ passed(, \d+ warnings?)? in .*", done.stdout.splitlines()[-1]), done.stdout


def test_this_process_has_no_simulated_gpu():
    assert len(CASES) == 4
    assert "device_tensor" not in sys.modules
