"""Both wheels, built once a session, and an environment outside the checkout for each."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import BENCH, LIBRARY, build, environment

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def library_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(LIBRARY, tmp_path_factory.mktemp("library-wheel"))


@pytest.fixture(scope="session")
def bench_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(BENCH, tmp_path_factory.mktemp("bench-wheel"))


@pytest.fixture(scope="session")
def library_python(tmp_path_factory: pytest.TempPathFactory, library_wheel: Path) -> Path:
    return environment(tmp_path_factory.mktemp("library") / "venv", library_wheel)


@pytest.fixture(scope="session")
def bench_python(tmp_path_factory: pytest.TempPathFactory, library_wheel: Path, bench_wheel: Path) -> Path:
    return environment(tmp_path_factory.mktemp("bench") / "venv", library_wheel, bench_wheel)


@pytest.fixture
def outside(tmp_path: Path) -> Run:
    """Run a command in an empty folder with no checkout above, in a user's environment that is empty, too."""
    for name in ("work", "home", "tmp", "svd"):
        (tmp_path / name).mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "ANTIPASTO_CACHE": str(tmp_path / "svd"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",  # other tests take the other cores
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*words: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(word) for word in words]
        done = subprocess.run(command, cwd=tmp_path / "work", env=env, capture_output=True, text=True)
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
