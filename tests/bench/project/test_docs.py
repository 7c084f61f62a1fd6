"""Claims about the pages: the worked example works as printed, and every test that a page names exists."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import QUICK

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def with_bounded(tmp_path_factory) -> Path:
    """A copy of the project with the file of docs/add-a-variant.md in its place."""
    page = (ROOT / "docs/add-a-variant.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    place = re.search(r"`(src/antipasto/variants/\w+\.py)`", page)
    copy = tmp_path_factory.mktemp("project")
    for folder in ("src", "benchmark", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / place[1]).write_text(code)
    return copy


def run(project: Path, *words: str) -> str:
    env = os.environ | {"PYTHONPATH": str(project / "src"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_worked_example_is_short(with_bounded):
    assert len((with_bounded / "src/antipasto/variants/bounded.py").read_text().splitlines()) <= 40


def test_the_worked_example_is_in_the_catalogue_and_the_sweeps(with_bounded):
    entry = json.loads(run(with_bounded, "antipasto_bench", "variants", "bounded", "--json"))
    assert entry["equation"].startswith("core(h) = S * (1 + bound tanh(g)) * h")
    assert entry["identity"] == "exact, since g = 0"
    assert entry["counts"]["128x384"]["trained_parameters"] == 64
    words = ["sweep", "bounded,antipasto_gain", "lr=5e-2,1e-1", "seed=0,1,2", "--dry-run"]
    assert "12 runs: 12 owed" in run(with_bounded, "antipasto_bench", *words)


@pytest.mark.slow
@pytest.mark.long
def test_the_worked_example_trains_gets_its_row_and_exports(with_bounded):
    words = ["run", "bounded", "bound=0.3", "basis=wanda", "--preset", "nano", "--json", *QUICK]
    row = json.loads(run(with_bounded, "antipasto_bench", *words).splitlines()[-1])
    assert row["status"] == "ok"
    assert row["config"]["adapter"]["bound"] == 0.3
    assert row["trained_parameters"] == 28 * 64
    table = run(with_bounded, "antipasto_bench", "report", "--readme", "page.md")
    assert re.search(r"\| bounded\s+\| +64 \|", table)
    run(with_bounded, "antipasto_bench", "export", row["run_id"], "--peft", "lora")
    assert (with_bounded / "lora/adapter_model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.long
def test_the_worked_example_is_under_every_law(with_bounded):
    said = run(with_bounded, "pytest", "tests/antipasto", "-k", "bounded", "-q", "-p", "no:cacheprovider")
    assert int(re.search(r"(\d+) passed", said)[1]) >= 25, said


def test_every_test_that_a_page_names_exists():
    named = {m for page in PAGES for m in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text())}
    assert len(named) > 30
    for path, function in named:
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), flags=re.MULTILINE), f"{path}::{function}"


def test_the_fidelity_page_has_a_section_for_every_variant():
    import antipasto

    headings = re.findall(r"^#+ `(\w+)`", (ROOT / "docs/fidelity.md").read_text(), flags=re.MULTILINE)
    assert {*antipasto.CONFIGS} <= {*headings}


def test_every_file_that_a_page_links_to_exists():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
