"""Claims about how to install an optional dependency: the command that is printed is the one for this environment."""

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from antipasto_bench.core import install
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.install import install_hint
from antipasto_bench.run import backends, tracking
from antipasto_bench.spec.compose import compose
from antipasto_bench.speed import running

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """As if this code ran from a checkout at `tmp_path`, in its .venv."""
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(install, "package_checkout", lambda: tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    return tmp_path


def test_in_a_checkout_the_hint_installs_library_and_extra_at_the_locked_versions(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    assert install_hint("ray") == ".venv/bin/pip install -c requirements.lock -e ./src -e '.[ray]'"
    assert install_hint("vllm") == ".venv/bin/pip install -e ./src -e '.[vllm]'", "the lock has another numpy"


def test_from_another_folder_the_hint_goes_to_the_checkout_first(checkout, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert install_hint("ray").startswith(f"cd {shlex.quote(str(checkout))} && .venv/bin/pip install ")


def test_without_a_checkout_or_outside_its_venv_the_hint_names_no_venv(checkout, monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert install_hint("quant") == "pip install 'antipasto-bench[quant]'"
    monkeypatch.setattr(install, "package_checkout", lambda: None)
    assert install_hint("quant") == "pip install 'antipasto-bench[quant]'"


def test_every_missing_extra_is_an_error_that_ends_in_a_hint_for_a_declared_one(monkeypatch):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module in (backends, running, tracking):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    for name in ("ray", "bitsandbytes"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises ImportError

    def connect():
        from antipasto_bench.sweeps.ray_cluster import RayCluster

        RayCluster(None, None)

    def quantised():
        from antipasto_bench.run.models import _quantised

        _quantised(compose("lora", {"quant": "4bit"}, "nano"), None)

    def without_kernels():
        from antipasto_bench.run.models import _note_missing_kernels

        with pytest.warns(UserWarning, match="linear attention") as said:
            _note_missing_kernels(compose("lora", {}, "nano"))
        raise UserError(str(said[0].message))

    for extra, missing in {
        "fla": without_kernels,
        "vllm": lambda: backends.check_backend(compose("lora", {"eval.backend": "vllm"}, "nano")),
        "peft": lambda: running.run_suites(["memory"], Path("unused"), False),
        "ray": connect,
        **{
            name: lambda name=name: tracking.check_tracker(compose("lora", {"track": name}, "nano"))
            for name in ("tensorboard", "trackio", "wandb")
        },
        "quant": quantised,
    }.items():
        assert extra in extras
        with pytest.raises(UserError) as raised:
            missing()
        assert str(raised.value).endswith(f" with: {install_hint(extra)}")
