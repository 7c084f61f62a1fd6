"""Claims about the tables for papers and programs: they say what README says, and names in them stay text."""

import csv
import io
import re

import pytest
from command import bench
from hostile_rows import ANY, ATTACKS, store_of
from hypothesis import given
from recorded import failed, record

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.core.text import printable
from antipasto_bench.report.columns import COLUMNS
from antipasto_bench.report.csv_table import csv_table
from antipasto_bench.report.latex_table import latex_tables
from antipasto_bench.report.markup import latex
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


@pytest.fixture
def store(tmp_path) -> Store:
    """Two models, of one of them two arms of two seeds and the base, with losses."""
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in (0, 1):
        append(store.table, record(store, "lora", range(20 + seed), n=40, nats=[5.0 + seed] * 40, seed=seed))
        append(store.table, record(store, "dora", range(12 - seed), n=40, nats=[6.0 + seed] * 40, seed=seed))
        append(store.table, record(store, "lora", [0], model="org/other", seed=seed))
    append(store.table, record(store, "base", [0], n=40, nats=[9.0] * 40))
    return store


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_has_the_numbers_behind_every_cell_of_every_table(store):
    sections = compared_sections(store)
    rows = rows_of(csv_table(sections))
    arms = [row for section in sections for row in section.arms]
    assert [row["arm"] for row in rows] == [row.arm.label for row in arms]
    assert {row["model"] for row in rows} == {"nano", "org/other"}
    shown = {column.name: column for column in COLUMNS}
    for plain, arm in zip(rows, arms, strict=True):
        names = [name for column in COLUMNS for name in column.numbers(arm)]
        assert len(set(names)) == len(names)
        assert set(names) <= set(plain)
        for column in COLUMNS:
            if column.cell(arm).text:
                assert any(plain[name] for name in column.numbers(arm)), column.name
        text = f"{100 * float(plain['test_accuracy']):.1f}"
        text += f" ± {100 * float(plain['test_stderr']):.1f}" if plain["test_stderr"] else ""
        assert shown["test %"].cell(arm).text == text
        assert shown["verdict"].cell(arm).text == plain["verdict"]
        if plain["accuracy_difference"]:
            words = ("accuracy_difference", "accuracy_difference_low", "accuracy_difference_high")
            value, low, high = (100 * float(plain[name]) for name in words)
            assert shown["vs reference"].cell(arm).text == f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
        if plain["test_loss_stderr"]:
            loss = f"{float(plain['test_loss']):.4f} ± {float(plain['test_loss_stderr']):.4f}"
            assert shown["test loss"].cell(arm).text == loss
    of_nano = {row["arm"]: row for row in rows if row["model"] == "nano"}
    assert of_nano["dora"]["verdict_p"] == f"{sections[0].arms[1].verdict.p:.10g}"
    assert (of_nano["dora"]["questions"], of_nano["dora"]["comparisons"]) == ("40", "2")


def test_an_arm_of_which_every_run_diverged_is_in_both(store):
    """As in the tables of README and the page: what failed is an outcome, and is not left out."""
    for seed in (0, 1):
        lost = failed(store, "pissa", "why", seed=seed, lr=1.0).model_copy(update={"failed_by": "run"})
        append(store.table, lost)
    sections = compared_sections(store)
    (row,) = [row for row in rows_of(csv_table(sections)) if row["variant"] == "pissa"]
    known = {name: row[name] for name in ("arm", "rank", "lr", "test_accuracy", "verdict", "seeds", "diverged")}
    assert known == {
        "arm": "pissa", "rank": "16", "lr": "1", "test_accuracy": "0", "verdict": "every run diverged", "seeds": "2",
        "diverged": "2",
    }  # fmt: skip
    assert row["model"] == "nano"
    assert row["test_stderr"] == "", "no statistics are made of it"
    assert row["accuracy_difference"] == ""
    assert len(row["runs"].split()) == 2
    (line,) = [line for line in latex_tables(sections).splitlines() if line.startswith("pissa & ")]
    assert "& 0.0 &" in line
    assert "every run diverged" in line


def test_each_latex_table_stands_alone_with_questions_seeds_family_and_correction(store):
    text = latex_tables(compared_sections(store))
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 2
    first, _ = text.split(r"\end{table*}")[:2]
    caption = re.search(r"\\caption\{(.*)\}\n", first)[1]
    for said in ("nano: 300 steps x 16", r"nano\_metamath, n = 40", "2 seeds an arm", "corrected for 2 comparisons",
                 "(Holm, 0.05)", "The reference is lora r=16.", "train.parquet"):  # fmt: skip
        assert said in caption, said
    assert "dora & 16 & 1,234 & " in first
    assert re.search(r"& \$-\$\d+\.\d \(\$-\$\d+\.\d to ", first)
    widths = {line.count(" & ") for line in first.splitlines() if line.endswith(r" \\")}
    assert widths == {len(re.search(r"tabular\}\{([lr]+)\}", first)[1]) - 1}


@given(ANY)
def test_text_in_latex_is_text(text):
    line = latex(text)
    assert "\n" not in line
    left = re.sub(r"\\text[a-z]+\{\}|\\char34\{\}|\\[&%$#_{}]|-\{\}(?=-)|\$\\pm\$", "", line)
    assert not re.search(r"[\\&%$#_{}~^\"<>|`]", left)
    assert "--" not in line, "which is a dash"
    if "±" not in text:
        assert _read(line) == printable(" ".join(text.split()), keep="")


def _read(line: str) -> str:
    """What LaTeX prints for escaped text."""
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
             "textbar": "|", "char34": '"', "textasciigrave": "`"}  # fmt: skip
    line = line.replace("-{}", "-")
    return re.sub(r"\\(?:([a-z]+\d*)\{\}|([&%$#_{}]))", lambda found: names[found[1]] if found[1] else found[2], line)


def test_a_table_of_any_names_has_the_same_rows_and_columns():
    for attack in ("".join(ATTACKS[2:12]), r"\end{table*} & \\ \input{x}", '=HYPERLINK("x")', 'a,b\n"c'):
        sections = compared_sections(store_of(attack))
        expected = compared_sections(store_of("text"))
        shape, plain = ([line.count(" & ") for line in latex_tables(each).splitlines() if line.endswith(r" \\")]
                        for each in (sections, expected))  # fmt: skip
        assert shape == plain
        rows, usual = rows_of(csv_table(sections)), rows_of(csv_table(expected))
        assert [list(row) for row in rows] == [list(row) for row in usual]
        assert None not in [value for row in rows for value in row.values()]
        assert not any(value.startswith(("=", "@")) for row in rows for value in row.values())


def test_the_command_writes_the_files_that_it_is_given_and_no_page(store, tmp_path):
    said = bench("report", "--results", store.results, "--csv", "a.csv", "--latex", "-", cwd=tmp_path)
    assert said.stdout == latex_tables(compared_sections(store))
    assert (tmp_path / "a.csv").read_text() == csv_table(compared_sections(store))
    made = {path.name for path in tmp_path.iterdir()} | {path.name for path in store.results.iterdir()}
    assert made == {"a.csv", "results", "items", "table.ndjson", "table.lock"}
    refused = bench("report", "--results", store.results, "--csv", "-", "--latex", "-", cwd=tmp_path, expect=2)
    assert refused.stderr.strip() == "error: --csv and --latex both name -; give each a file of its own"
