"""Claims about where a suite's record goes, what it holds, and that the page is what the records hold."""

import json
from pathlib import Path

import pytest
from command import bench, files_below

from antipasto_bench.core.errors import UserError
from antipasto_bench.speed.page import render_page
from antipasto_bench.speed.places import choose_places
from antipasto_bench.speed.recording import NOT_HELD, record_suite, run_suite
from antipasto_bench.speed.suite import ArmFigures, Claim, SuiteResult
from antipasto_bench.store.checked_json import without_digest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "checkout/benchmark/presets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


def test_a_claim_that_does_not_hold_is_told_by_the_exit_code(tmp_path, capsys):
    cells = [ArmFigures("ours", "ms", [1.0, 3.0, 2.0])]
    assert record_suite("memory", SuiteResult("x.", cells, [Claim("a / b", 0.5, 0.6)]), tmp_path) == 0
    assert record_suite("memory", SuiteResult("x.", cells, [Claim("a / b", 0.7, 0.6)]), tmp_path) == NOT_HELD
    printed = capsys.readouterr().out
    assert "a / b: 0.700, bound 0.6  NOT HELD" in printed
    (path,) = (tmp_path / "speed").glob("*/memory.json")
    assert printed.splitlines()[-1] == str(path), "the path comes last, for the command that started the suite"
    record = json.loads(path.read_text())
    assert record["cells"][0]["values"] == [1.0, 3.0, 2.0], "every turn"
    assert record["provenance"]["threads"] > 0
    assert "| a / b | 0.700 | 0.6 | **no** |  |" in render_page(tmp_path)
    assert "| ours | 2 | 1 | 3 | ms |" in render_page(tmp_path)


def test_a_suite_that_is_killed_has_recorded_what_it_had_measured(tmp_path):
    """What comes before the kill is in the file, and all of it."""

    def measure():
        cells = [ArmFigures("ours", "ms", [1.0])]
        yield SuiteResult("x.", [*cells], [])
        cells.append(ArmFigures("theirs", "ms", [2.0]))
        yield SuiteResult("x.", [*cells], [])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite("memory", measure, ["--results", str(tmp_path)])
    (path,) = (tmp_path / "speed").glob("*/memory.json")
    assert [cell["arm"] for cell in json.loads(path.read_text())["cells"]] == ["ours", "theirs"]


def test_a_record_has_its_details_and_five_digits(tmp_path):
    record_suite(
        "run", SuiteResult("x.", [ArmFigures("ours", "s", [1.23456789])], [], {"right": {"a": ["01"]}}), tmp_path
    )
    (path,) = (tmp_path / "speed").glob("*/run.json")
    record = json.loads(path.read_text())
    assert record["right"] == {"a": ["01"]}
    assert record["cells"] == [{"arm": "ours", "unit": "s", "values": [1.2346], "median": 1.2346}]


@pytest.mark.parametrize(
    "damage",
    [lambda text: text.replace("1.5", "1.6"), lambda text: text[:50], lambda text: "", lambda text: "[]"],
)
def test_a_damaged_record_is_one_line_that_names_it(damage, tmp_path):
    record_suite("memory", SuiteResult("x.", [ArmFigures("ours", "ms", [1.5, 3.0, 2.0])], []), tmp_path)
    (path,) = (tmp_path / "speed").glob("*/memory.json")
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"memory\.json is damaged: .*; restore it, or measure the suite again$"):
        render_page(tmp_path)


def test_the_committed_records_hold_digests():
    for path in (ROOT / "results/speed").glob("*/*.json"):
        without_digest(json.loads(path.read_text()), required=True)


def test_the_page_is_made_of_what_was_measured():
    assert (ROOT / "docs/speed.md").read_text() == render_page(ROOT / "results")


def test_in_a_checkout_the_places_are_its_own_from_any_folder_of_it(checkout, monkeypatch):
    (checkout / "docs").mkdir()
    monkeypatch.chdir(checkout / "docs")
    places = choose_places(None, None)
    assert (places.results, places.page) == (checkout / "results", checkout / "docs/speed.md")


def test_figures_that_go_elsewhere_leave_the_page_of_the_checkout_as_it_is(checkout, tmp_path):
    assert choose_places(tmp_path / "mine", None).page is None
    assert choose_places(tmp_path / "mine", Path("mine.md")).page == checkout / "mine.md"
    assert choose_places(Path("results"), None).page == checkout / "docs/speed.md", "the same folder, named"


def test_outside_a_checkout_there_is_no_place_but_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--results DIR, .* --page FILE$"):
        choose_places(None, Path("page.md"))
    places = choose_places(Path("mine"), None)
    assert (places.results, places.page) == (tmp_path / "mine", None)
    with pytest.raises(UserError, match="--page-only has no page to write; name it with --page FILE"):
        choose_places(ROOT / "results", None, page_only=True)
    with pytest.raises(UserError, match=r"no figures in .*mine/speed; measure some with: antipasto-bench speed$"):
        choose_places(Path("mine"), Path("page.md"), page_only=True)


def test_a_suite_with_no_place_for_its_record_measures_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    measured = []

    def measure() -> SuiteResult:
        measured.append(1)
        return SuiteResult("x.", [], [])

    assert run_suite("memory", measure, []) == 2
    assert "--results DIR" in capsys.readouterr().err
    assert (measured, files_below(tmp_path)) == ([], set())
    assert run_suite("memory", measure, ["--results", "mine"]) == 0
    assert (len(measured), len(files_below(tmp_path / "mine/speed"))) == (1, 1)


@pytest.mark.slow
def test_the_command_writes_nothing_outside_a_checkout_but_where_it_was_told_to(tmp_path):
    for words in ([], ["--page-only"], ["--suite", "memory"], ["--page-only", "--page", "page.md"]):
        lines = bench("speed", *words, cwd=tmp_path, expect=2).stderr.splitlines()
        assert [line[:7] for line in lines] == ["error: "], "one line"
        assert "--results DIR" in lines[0]
    assert list(tmp_path.iterdir()) == []
    bench("speed", "--page-only", "--results", ROOT / "results", "--page", "page.md", cwd=tmp_path)
    assert files_below(tmp_path) == {"page.md"}
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs/speed.md").read_text()


@pytest.mark.long
@pytest.mark.slow
def test_the_command_measures_a_suite_and_writes_the_page(tmp_path):
    (tmp_path / "benchmark/presets").mkdir(parents=True)
    record = json.loads(bench("speed", "--suite", "memory", "--json", cwd=tmp_path).stdout)
    assert all(claim["holds"] for claim in record["claims"]), record["claims"]
    assert "### memory: bytes kept" in (tmp_path / "docs/speed.md").read_text()
    assert {name.rpartition("/")[2] for name in files_below(tmp_path)} == {"memory.json", "speed.md"}
    printed = bench("speed", "--suite", "memroy", cwd=tmp_path, expect=2).stderr
    assert printed.startswith("error: --suite memroy: no such suite; there are step, ")
