"""Claims about both wheels outside the checkout: presets and sweeps are there, and files go where they were sent."""

import json
from pathlib import Path

import pytest
from wheels import ROOT, files_of

pytestmark = [pytest.mark.slow, pytest.mark.long]


def files_below(*folders: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, but for what Python compiled."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_the_bench_wheel_holds_every_module_and_all_of_benchmark_and_no_library(bench_wheel):
    shipped = files_of(bench_wheel)
    tracked = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/antipasto_bench").rglob("*.py")}
    assert tracked <= shipped
    data = [path for path in (ROOT / "benchmark").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {f"antipasto_bench/{path.relative_to(ROOT).as_posix()}" for path in data} <= shipped
    assert not any(name.startswith("antipasto/") for name in shipped)


def test_the_command_of_the_wheels_is_imported_from_outside_the_checkout(bench_python, outside):
    where = "import antipasto, antipasto_bench; print(antipasto.__file__); print(antipasto_bench.__file__)"
    for line in outside(bench_python, "-c", where).stdout.splitlines():
        assert Path(line).is_relative_to(bench_python.parents[1])
        assert not Path(line).is_relative_to(ROOT)


def test_presets_and_sweeps_are_read_by_name_from_the_wheel(bench_python, outside, tmp_path):
    bench = bench_python.parent / "antipasto-bench"
    shown = [json.loads(line)["preset"] for line in outside(bench, "presets", "--json").stdout.splitlines()]
    assert {path.stem for path in (ROOT / "benchmark/presets").glob("*.yaml")} == set(shown)
    plans = [outside(bench, "sweep", name, "--dry-run").stdout for name in ("nano.yaml", "benchmark/sweeps/nano.yaml")]
    assert plans[0] == plans[1]
    assert "owed    nano__lora__r16__lr0.01__s300__seed0__" in plans[0]
    said = outside(bench, "sweep", "nanno.yaml", expect=2).stderr
    assert said.startswith("error: nanno.yaml: no such sweep file; did you mean 'nano.yaml'?")
    assert not any((tmp_path / "work").iterdir()), "a plan writes nothing"


def test_an_extra_that_is_missing_is_installed_by_the_name_of_the_package(bench_python, outside):
    said = outside(bench_python.parent / "antipasto-bench", "sweep", "lora", "engine=ray", expect=2).stderr
    assert said.endswith("install it with: pip install 'antipasto-bench[ray]'\n")


@pytest.mark.timeout(900)
def test_the_demo_of_the_wheels_writes_where_it_was_told_to_and_nowhere_else(bench_python, outside, tmp_path):
    """Seven short runs, their report, and the same once more."""
    bench, site = bench_python.parent / "antipasto-bench", bench_python.parents[1]
    places = [tmp_path / name for name in ("work", "home", "tmp")]
    before = files_below(site, *places)
    folders = ["--results", tmp_path / "told/results", "--outputs", tmp_path / "told/outputs"]
    short = ["steps=8", "batch_size=4", "eval.limit=40", "eval.valid_limit=10", "eval.general_limit=8", "costs=false"]
    demo = [bench, "demo", *short, *folders]
    said = outside(*demo).stdout
    assert said.count("done: ") == 7, "the base, and two seeds of three arms"
    assert "| antipasto rotate_basis=V" in said
    assert files_below(site, *places) == before
    results = tmp_path / "told/results"
    assert {path.name for path in (tmp_path / "told").iterdir()} == {"results", "outputs"}
    there = {path.name for path in results.iterdir()}
    assert {"table.ndjson", "README.md", "report.html", "items", "runs", "figures"} <= there
    made = files_below(results)
    assert outside(*demo).stdout.count("done already: ") == 7
    outside(bench, "report", "--results", results)
    assert files_below(results) == made
    assert files_below(site, *places) == before
    assert outside(bench, "results", "verify", "--results", results).stdout.endswith("whole\n")
