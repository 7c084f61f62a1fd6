"""Claims about the library's wheel: it needs torch, safetensors and jaxtyping, and nothing else."""

from pathlib import Path

import pytest
from wheels import files_of, requirements

pytestmark = [pytest.mark.slow, pytest.mark.long]

SCRIPT = Path(__file__).parent / "attach_train_save_load.py"


def test_the_library_requires_three_distributions_and_torch_as_a_range(library_wheel):
    needed = {requirement.name: requirement.specifier for requirement in requirements(library_wheel)}
    assert set(needed) == {"torch", "safetensors", "jaxtyping"}
    torch = needed["torch"]
    assert "2.13.0" in torch
    assert {"2.9.0", "2.99.0"} <= set(torch.filter(["2.8.0", "2.9.0", "2.99.0", "3.0.0"]))
    assert not {"2.8.0", "3.0.0"} & set(torch.filter(["2.8.0", "2.9.0", "2.99.0", "3.0.0"]))


def test_the_library_wheel_holds_every_module_of_the_library_and_no_bench(library_wheel):
    shipped = {name for name in files_of(library_wheel) if name.endswith(".py")}
    source = Path(__file__).parents[2] / "src"
    assert shipped == {path.relative_to(source).as_posix() for path in (source / "antipasto").rglob("*.py")}
    assert any(name.endswith("licenses/LICENSE") for name in files_of(library_wheel))


def test_with_its_three_dependencies_alone_the_library_attaches_trains_saves_and_loads(
    library_python, outside, tmp_path
):
    there = "from importlib.util import find_spec; import sys; print([n for n in sys.argv[1:] if find_spec(n)])"
    absent = ("transformers", "peft", "yaml", "pydantic", "antipasto_bench")
    assert outside(library_python, "-c", there, "torch", *absent).stdout == "['torch']\n"
    said = outside(library_python, "-W", "ignore", SCRIPT, tmp_path).stdout
    assert said.split("\n")[:-1] == ["lora: ok", "antipasto: ok", "hra: ok"]
    assert len(list((tmp_path / "svd").iterdir())) == 2, "the SVD of each weight"
