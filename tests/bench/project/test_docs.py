"""Claims about the pages: the worked examples work as printed, and every test that a page names exists."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command import QUICK, bench
from plugin_package import install_into

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def with_bounded(tmp_path_factory) -> Path:
    """A copy of the project with the file of docs/add-a-variant.md in its place."""
    page = (ROOT / "docs/add-a-variant.md").read_text()
    code, _ = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    place = re.search(r"`(src/antipasto/variants/\w+\.py)`", page)
    copy = tmp_path_factory.mktemp("project")
    for folder in ("src", "benchmark", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / place[1]).write_text(code)
    return copy


@pytest.fixture(scope="module")
def with_shared_lora(tmp_path_factory) -> Path:
    """A folder to run in, with the package of docs/add-a-variant.md installed in its `site`."""
    page = (ROOT / "docs/add-a-variant.md").read_text()
    _, code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (project,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    project = tomllib.loads(project)["project"]
    home = tmp_path_factory.mktemp("plugin")
    (name,) = re.findall(r"Save it as `(\w+)\.py`", page)
    install_into(home / "site", name, code, project["version"], project["entry-points"]["antipasto.variants"])
    return home


def run_with_plugin(home: Path, *words: str) -> str:
    return bench(*words, cwd=home, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{home / 'site'}").stdout


def test_the_package_of_the_example_has_the_commands_that_are_printed(with_shared_lora):
    page = (ROOT / "docs/add-a-variant.md").read_text()
    (_, commands) = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    shown, _, sweep = (line.partition("#")[0].split()[1:] for line in commands.splitlines())
    assert shown == ["variants", "shared_lora"]
    assert sweep == ["sweep", "shared_lora,lora", "lr=1e-2,3e-2", "seed=0,1,2", "--dry-run"]
    card = run_with_plugin(with_shared_lora, *shown)
    assert "shared_lora: one low-rank pair, the same in all layers of a name" in card
    assert "y' = y + scale x A^T B^T" in card
    assert "12 runs: 12 owed" in run_with_plugin(with_shared_lora, *sweep)


@pytest.mark.slow
@pytest.mark.long
def test_the_package_of_the_example_trains_gets_its_row_and_merges(with_shared_lora):
    home, words = with_shared_lora, ["run", "shared_lora", "rank=2", "lr=1e-2", "--preset", "nano", "--json", *QUICK]
    row = json.loads(run_with_plugin(home, *words).splitlines()[-1])
    assert row["config"]["adapter"]["package"] == "shared-lora 0.1.0"
    assert row["rank"] == 2
    assert row["trained_parameters"] == 2 * (128 + 384)
    assert row["added_macs_per_token"] == 4 * 2 * (128 + 384)
    assert row["scored_merged"]
    assert 0 < row["merge_error"] < 1e-4
    assert re.search(r"\| shared_lora\s+\| +2 \|", bench("report", "--readme", "page.md", cwd=home).stdout)
    run_with_plugin(home, "export", row["run_id"], "--merged", "merged")
    assert (home / "merged/model.safetensors").exists()


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


def linked(page: Path) -> set[Path]:
    """The files that a page links to."""
    return {(page.parent / target).resolve() for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())}


def test_every_file_that_a_page_links_to_exists():
    for page in PAGES:
        for target in linked(page):
            assert target.exists(), f"{page.name}: {target}"


def test_the_readme_is_short_and_leads_to_every_other_page():
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 150
    seen, left = {readme}, [readme]
    while left:
        new = {target for target in linked(left.pop()) if target.suffix == ".md"} - seen
        seen |= new
        left += new
    others = {ROOT / "CHANGELOG.md", *(ROOT / "benchmark").rglob("README.md")}
    assert {*PAGES, *others} <= seen
    assert {page for page in PAGES if page.parent.name == "docs"} <= linked(readme), "in one step"
