"""Claims about the library by itself: it needs torch, safetensors, jaxtyping and what those need, and nothing else."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import antipasto

NEEDED = ("torch", "safetensors", "jaxtyping")

CODE = """
import sys

class WithoutRefused:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else self.finder.find_spec(name, path, target)

refused = set(sys.argv[2].split(","))
sys.meta_path[:] = [WithoutRefused(finder) for finder in sys.meta_path]

import torch
import antipasto

torch.manual_seed(0)
model, x = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8)), torch.randn(5, 12)
for cfg in (
    antipasto.AntiPaSTOConfig(r=4, target_modules=["0", "2"]),
    antipasto.LoRAConfig(r=4, target_modules=["0", "2"]),
    antipasto.PiSSAConfig(r=4, target_modules=["0", "2"]),
):
    base = model(x).detach()
    antipasto.attach(model, cfg)
    trained = antipasto.trainable_parameters(model)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    for _ in range(3):
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    y = model(x).detach()
    assert not torch.equal(y, base)
    path = antipasto.save(model, f"{sys.argv[1]}/{cfg.variant}.safetensors")
    antipasto.save_peft(model, f"{sys.argv[1]}/{cfg.variant}-peft", base_model="base")
    antipasto.merge(model)
    assert torch.allclose(model(x), y, atol=1e-5)
    antipasto.detach(model)
    assert torch.equal(model(x), base)
    antipasto.load(model, path)
    assert torch.equal(model(x), y)
    antipasto.detach(model)
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
assert not loaded & refused, loaded & refused
print("done", antipasto.__version__)
"""


def requirements(distribution: str) -> set[str]:
    """A distribution and all that it requires, itself or by another, without extras; those that are installed."""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    try:
        lines = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return set()  # needed on another system or another Python
    names = [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return {name}.union(*(requirements(name) for name in names))


def importable(distributions: set[str]) -> tuple[set[str], set[str]]:
    """The top-level modules of some distributions, and those of all others that are installed."""
    inside, outside = set(), set()
    for module, owners in importlib.metadata.packages_distributions().items():
        normal = {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
        (inside if normal & distributions else outside).add(module)
    return inside, outside - inside - {"antipasto"}


def test_with_torch_safetensors_and_jaxtyping_alone_it_attaches_trains_saves_and_loads(tmp_path):
    """Everything else that is installed is refused, numpy too: torch runs without it."""
    inside, refused = importable(set().union(*(requirements(name) for name in NEEDED)))
    assert set(NEEDED) <= inside
    assert {"transformers", "bitsandbytes", "peft", "polars", "pydantic", "numpy", "yaml", "typer"} <= refused
    env = os.environ | {
        "PYTHONPATH": str(Path(antipasto.__file__).parents[1]),
        "ANTIPASTO_CACHE": str(tmp_path / "svd"),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-c", CODE, str(tmp_path), ",".join(sorted(refused))]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done", antipasto.__version__]
    assert len(list((tmp_path / "svd").glob("*.safetensors"))) == 2, "the SVD cache works without numpy as well"


def test_the_version_is_that_of_the_distribution_that_is_installed():
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    assert antipasto.__version__ == installed["antipasto-adapters"]


def test_without_any_distribution_the_version_says_that_it_is_unknown(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(antipasto, "version", missing)
    assert antipasto._installed_version() == "0+unknown"


def test_type_checkers_are_told_that_the_package_has_types():
    assert (Path(antipasto.__file__).parent / "py.typed").is_file()


def test_every_public_name_exists_once():
    assert len(set(antipasto.__all__)) == len(antipasto.__all__)
    assert {"attach", "detach", "disabled", "merge", "save", "load", "count_parameters"} < set(antipasto.__all__)
    assert all(hasattr(antipasto, name) for name in antipasto.__all__)
