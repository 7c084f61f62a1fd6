"""Claims about CONTRIBUTING.md: the folders, layers, recipes and hooks that it names are those of the code."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = ROOT / "src/antipasto_bench"


def recipes() -> dict[str, str]:
    """The text of each recipe of the justfile."""
    parts = re.split(r"(?m)^(\w[\w-]*)(?: \*?\w+)*:", (ROOT / "justfile").read_text())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_folders_of_the_bench_are_those_that_contributing_explains():
    explained = set(re.findall(r"(?m)^    (\w+)/ ", TEXT))
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert explained == folders - {"nano"}, "nano holds the embedded model"


def test_the_layers_are_those_that_the_lint_step_enforces():
    written = [line.split(" < ") for line in re.findall(r"(?m)^    (core < .*)$", TEXT)]
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    enforced = [contract["layers"][::-1] for contract in contracts if contract["type"] == "layers"]
    named = [[layer.split(" | ")[-1] for layer in layers if layer != "nano"] for layers in enforced]
    assert written == named
    assert "lint-imports" in recipes()["lint"]


def test_every_recipe_that_a_page_names_exists():
    pages = [TEXT, (ROOT / "README.md").read_text(), *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"scripts/just ([\w-]+)", page)}
    assert {"demo", "test", "lock", "lint"} <= named
    assert named <= set(recipes())


def test_the_test_recipe_leaves_out_long_tests_alone_and_ci_runs_all():
    assert '-m "not long"' in recipes()["test"]
    markers = {marker.partition(":")[0] for marker in SETTINGS["tool"]["pytest"]["ini_options"]["markers"]}
    assert {"slow", "long"} <= markers
    assert (ROOT / ".ci/run").read_text().endswith("exec scripts/just test all\n")


def test_set_up_is_one_command_that_installs_library_and_bench_at_locked_versions_and_notices_each_change():
    command = "pip install -c requirements.lock -e ./src -e '.[dev]'"
    assert command in TEXT
    setup = recipes()["setup"]
    assert "-c requirements.lock -e ./src -e '.[dev]'" in setup
    stamp = "cat src/pyproject.toml pyproject.toml requirements.lock"
    assert f"{stamp} | cmp -s - .venv/installed" in setup
    assert f"{stamp} > .venv/installed" in setup
    assert command in (ROOT / "requirements.lock").read_text()
    assert "\nantipasto" not in (ROOT / "requirements.lock").read_text()


def test_the_hooks_before_a_commit_are_commands_of_the_lint_step():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local", "nothing is fetched"
    commands = {line.strip().split()[0] for line in recipes()["lint"].splitlines() if ".venv/bin/" in line}
    assert {hook["entry"].split()[0] for hook in repo["hooks"]} == commands


def test_ci_tries_every_python_from_the_lowest_that_is_required():
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    versions = jobs["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert SETTINGS["project"]["requires-python"] == f">={versions[0]}"
    library = tomllib.loads((ROOT / "src/pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [line for line in library if line.startswith("torch")]
    lowest, developed = jobs["wheel"]["strategy"]["matrix"]["torch"]
    assert torch.startswith(f"torch>={lowest.removesuffix('.*')},")
    assert f"torch=={developed}" in SETTINGS["project"]["dependencies"]
