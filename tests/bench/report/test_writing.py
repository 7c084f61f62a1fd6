"""Claims about where a report writes: to what it was told to, and over nothing else."""

import os
from pathlib import Path

import pytest
from command import bench
from recorded import record

from antipasto_bench.core.errors import UserError
from antipasto_bench.core.text import printable
from antipasto_bench.report.markdown import BEGIN, END
from antipasto_bench.report.write import write_report
from antipasto_bench.speed.page import write_page
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for variant, right in (("lora", [0, 1, 2]), ("base", [0])):
        append(store.table, record(store, variant, right))
    return store


def report(*words: object, cwd: Path, expect: int = 0) -> str:
    """What the command says on stderr."""
    return bench("report", *words, cwd=cwd, expect=expect).stderr


def project(folder):
    (folder / "benchmark" / "presets").mkdir(parents=True)
    (folder / "README.md").write_text(f"ours\n{BEGIN}\n{END}\n")
    return folder


def test_other_results_are_written_beside_themselves_and_not_into_the_project(store, tmp_path):
    root = project(tmp_path / "project")
    before = (root / "README.md").read_bytes()
    report("--results", store.results, cwd=root)
    assert (root / "README.md").read_bytes() == before
    assert "lora" in (store.results / "README.md").read_text()
    assert not (store.results.parent / "README.md").exists()


def test_the_projects_own_results_go_into_its_readme_however_they_are_named(store, tmp_path):
    root = project(tmp_path)  # whose results the store's are
    for words in ([], ["--results", "results"]):
        (root / "README.md").write_text(f"ours\n{BEGIN}\n{END}\n")
        report(*words, cwd=root)
        assert "lora" in (root / "README.md").read_text()
    assert not (store.results / "README.md").exists()


def test_a_linked_readme_stays_a_link(store, tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "page.md", tmp_path / "README.md"
    real.write_text(f"mine\n{BEGIN}\n{END}\n")
    link.symlink_to(real)
    write_report(store, link, store.results / "results.md")
    assert link.is_symlink()
    assert "lora" in real.read_text()


def test_only_drawings_of_a_report_are_removed(store, tmp_path):
    write_report(store, tmp_path / "README.md", store.results / "results.md")
    figures = store.results / "figures"
    drawn = next(figures.glob("*-pareto.svg"))
    stale = figures / "model-01234567-lr.svg"
    stale.write_bytes(drawn.read_bytes())
    mine = {"logo.svg": "<svg/>", "model-01234567-rank.svg": "<svg><!-- mine --></svg>"}
    for name, text in mine.items():
        (figures / name).write_text(text)
    (figures / "model-76543210-lr.svg").symlink_to(drawn)
    write_report(store, tmp_path / "README.md", store.results / "results.md")
    assert not stale.exists()
    assert {name: (figures / name).read_text() for name in mine} == mine
    assert (figures / "model-76543210-lr.svg").is_symlink()


@pytest.mark.parametrize(
    "content", [b"no markers", f"{END}\n{BEGIN}".encode(), b"\xff\xfe\x00", b"# mine\n" + BEGIN.encode()]
)
def test_a_readme_without_a_place_for_tables_stays_as_it_is(store, tmp_path, content):
    readme = tmp_path / "README.md"
    readme.write_bytes(content)
    with pytest.raises(UserError) as error:
        write_report(store, readme, store.results / "results.md")
    assert "\n" not in printable(str(error.value), keep="")
    assert readme.read_bytes() == content


def test_a_readme_that_cannot_be_replaced_is_one_line(store, tmp_path):
    for name, block in (("folder", os.mkdir), ("link", lambda path: os.symlink(tmp_path / "no" / "where", path))):
        block(tmp_path / name)
        said = report("--results", store.results, "--readme", tmp_path / name, cwd=tmp_path, expect=2)
        assert len(said.splitlines()) == 1
        assert str(tmp_path / name) in said


def test_a_page_of_speed_takes_the_place_of_an_earlier_one_alone(tmp_path):
    page = tmp_path / "notes.md"
    page.write_text("my notes")
    with pytest.raises(UserError, match="is no page of speed, and stays as it is"):
        write_page(tmp_path, page)
    assert page.read_text() == "my notes"
    page.unlink()
    write_page(tmp_path, page)
    write_page(tmp_path, page)
    assert page.read_text().startswith("# Speed\n")
