"""Claims about what is recorded of code and machine."""

import os
import subprocess
import sys

import pytest
import torch

from antipasto_bench.core import provenance as module
from antipasto_bench.core.provenance import git_state_of, provenance

PRINT = """
import torch
from antipasto_bench.core.provenance import provenance
print(provenance(torch.device("cpu")).instructions)
"""


def test_the_instructions_are_those_that_torch_uses_and_not_those_that_the_processor_has():
    here = provenance(torch.device("cpu"))
    assert here.instructions.split(",")[0].split()[0] == torch.backends.cpu.get_cpu_capability()
    lowered = os.environ | {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", PRINT], env=lowered, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("DEFAULT")
    assert done.stdout.endswith(", oneDNN up to AVX2\n")


def test_a_cpu_has_no_versions_of_cuda_and_a_model_without_linear_attention_no_kernels():
    here = provenance(torch.device("cpu"))
    assert here.cuda is here.kernels is None
    assert provenance(torch.device("cpu"), linear_attention=True).kernels.keys() == {
        "flash-linear-attention",
        "causal-conv1d",
    }


@pytest.mark.parametrize("driver", ["NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n", None])
def test_of_a_gpu_the_versions_that_the_machine_tells_are_recorded(driver, tmp_path, monkeypatch):
    if driver is not None:
        (tmp_path / "version").write_text(driver)
    monkeypatch.setattr(module, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    recorded = provenance(torch.device("cuda", 0)).cuda
    assert recorded == {"cuda": "13.0", "cudnn": "91002"} | ({} if driver is None else {"driver": "550.54.15"})


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("src/package/code.py", True),
        ("src/package/new.py", True),
        ("benchmark/presets/new.yaml", True),
        ("requirements.lock", True),
        ("results/table.ndjson", False),
        ("docs/new.md", False),
        ("questions.jsonl", False),
        ("data/my.jsonl", False),
    ],
)
def test_a_checkout_differs_from_its_commit_by_what_makes_numbers_alone(changed, dirty, tmp_path):
    def git(*words):
        subprocess.run(("git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words), check=True)

    code = tmp_path / "src/package/code.py"
    assert git_state_of(code).commit is None
    git("init", "--quiet")
    for name in ("src/package/code.py", "results/table.ndjson", "requirements.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("committed")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    assert git_state_of(code).dirty is False
    (tmp_path / changed).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / changed).write_text("changed")
    assert git_state_of(code).dirty is dirty
