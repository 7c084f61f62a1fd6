"""Claims about the layout: imports go down only, folders and files stay small, values from outside are typed early."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BENCH = ROOT / "src/antipasto_bench"
LONGEST = 320  # lines of a file
STORIES = "nano/problems.py"  # the generator of stories: longer, and mostly texts


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=project, env=os.environ | {"PYTHONPATH": str(project / "src")}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "model"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_imports_keep_to_the_layers(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "6 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("report/columns.py", "from antipasto_bench.run.execute import execute", "What reports reads results/ alone"),
        ("store/table.py", "from antipasto_bench.analysis import stats", "From evidence to report"),
        ("run/execute.py", "from antipasto_bench.sweeps import plan", "From a request to a record"),
        ("core/errors.py", "from antipasto_bench.spec import config", "From a request to a record"),
        ("run/train.py", "from antipasto_bench.run import execute", "No cycle between the modules of a package"),
        ("../antipasto/config.py", "import antipasto_bench.core.errors", "The library knows nothing of the bench"),
    ],
)
def test_an_import_against_the_layers_fails_the_lint_step_inside_a_function_too(copy, file, line, broken):
    path = copy / "src/antipasto_bench" / file
    path.write_text(path.read_text() + f"\n\ndef late() -> None:\n    {line}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    assert any(text.startswith(broken) and text.endswith("BROKEN") for text in done.stdout.splitlines()), done.stdout


def test_the_packages_top_folder_has_eight_modules_at_most():
    assert len(list(BENCH.glob("*.py"))) <= 8


def test_no_file_is_too_long_to_be_read_at_a_sitting():
    long = {
        str(path.relative_to(ROOT / "src")): lines
        for path in (ROOT / "src").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert {path for path in long if not path.endswith(STORIES)} == set(), long


def test_untyped_objects_are_few_and_no_record_is_one():
    sources = {path: path.read_text() for path in (ROOT / "src").rglob("*.py")}
    assert sum(text.count("dict[str, Any]") for text in sources.values()) <= 45
    for path, text in sources.items():
        assert not re.search(r"\brow\[\"|\brecord\[\"", text), f"{path}: a record is read by its fields"


def test_every_folder_of_tests_mirrors_a_folder_of_the_code():
    stages = {path.name for path in BENCH.iterdir() if (path / "__init__.py").exists()}
    tested = {path.name for path in (ROOT / "tests/bench").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert tested - {"project", "attacks"} <= stages  # the project as a whole, and attacks on every stage at once
    assert stages - tested == {"nano"}
