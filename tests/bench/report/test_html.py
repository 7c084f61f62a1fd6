"""Claims about the page as a file: it refers to nothing, takes no text for markup, and holds what was recorded."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_store import HOSTILE, MODEL, RUNS, data_of, page_store
from recorded import record

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.report.page_data import names_of_tables
from antipasto_bench.report.write import write_report
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return page_store(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def text(store) -> str:
    return (store.results / "report.html").read_text()


@pytest.fixture(scope="module")
def data(text):
    return data_of(text)


class Tags(HTMLParser):
    """What the page's markup says, as a browser would parse it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset") and value]


def test_it_is_one_small_file_that_refers_to_nothing_else(text):
    tags = Tags(text)
    assert all(reference.startswith(("#", "data:")) for reference in tags.references)
    assert len(text.encode()) < MOST_BYTES
    assert tags.tags.count("script") == 2, "the data, and our own"
    assert "img" not in tags.tags, "no model's markup is markup"


def test_the_committed_page_is_small_enough():
    assert (Path(__file__).parents[3] / "results/report.html").stat().st_size < MOST_BYTES


def test_texts_of_models_are_data_and_shared_ones_are_there_once(text, data):
    assert data["texts"].count(HOSTILE) == 1
    assert HOSTILE not in text
    assert "<img" not in text
    assert any(section["title"].startswith(MODEL) for section in data["sections"])
    assert len(data["runs"]) == RUNS + 4
    for run in data["runs"]:
        assert [answer[0] for answer in run["answers"]] == [True, False]
        assert {data["texts"][place] for answer in run["answers"] for place in answer[1:]} == {HOSTILE, "#### 7"}


def test_each_table_is_a_section_that_names_its_model_and_its_data(text, data):
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert len(headings) == 2
    assert all("scored on nano_metamath, n = 300" in heading for heading in headings)
    for section in data["sections"]:
        assert f'id="{section["slug"]}"' in text
    assert data["sections"][-1]["name"].startswith("nano on nano_metamath"), "the embedded model comes last"


def test_the_answer_and_the_first_table_stand_in_the_markup_for_readers_without_scripts(text):
    assert text.count('<p class="headline">Use ') == 2
    body = text.partition('<script type="application/json"')[0]
    rows = re.findall("<tr[^>]*>", body)
    assert len(rows) == 2 + 2 + 5, "two headings, two arms, and five"
    assert [row for row in rows if " hidden" in row] == [row for row in rows if "data-more" in row], "until asked for"
    assert len([row for row in rows if "data-more" not in row]) == 2 + 2 + 4, "one a variant"


def test_tables_of_one_model_and_data_are_told_apart_by_their_steps(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for steps in (20, 30):
        append(store.table, record(store, "lora", [0, 1], steps=steps))
    names = names_of_tables(compared_sections(store))
    assert sorted(names) == [f"nano on nano_metamath, {steps} steps, 8 questions" for steps in (20, 30)]


def test_a_table_names_another_of_its_model_and_data_that_answers_otherwise_and_puts_the_verdict_it_rests_on_first(
    tmp_path,
):
    """By accuracy alone nothing is shown after 20 steps; after 30 the loss speaks for the smaller arm."""
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for steps, nats in ((20, None), (30, [20.0 + i % 5 / 4 for i in range(400)])):
        for variant, first, size in (("lora", 0, 1000), ("dora", 100, 900)):
            for seed in range(3):
                right = list(range(first, first + 200 + seed))
                fields = {"trained_parameters": size}
                made = record(store, variant, right, n=400, nats=nats, seed=seed, steps=steps, fields=fields)
                append(store.table, made)
    write_report(store, tmp_path / "README.md", tmp_path / "results.md")
    after_30, after_20 = (store.results / "report.html").read_text().split('<section class="bench"')[1:]
    if "20 steps" in after_30.partition("</h2>")[0]:
        after_30, after_20 = after_20, after_30
    assert (
        "The table of nano on nano_metamath, 30 steps, 400 questions says: Use dora r=16 if held-out loss" in after_20
    )
    assert "The table of nano on nano_metamath, 20 steps, 400 questions says: Use lora r=16: nothing" in after_30
    assert 0 < after_30.index(">verdict by loss</th>") < after_30.index(">verdict by accuracy</th>"), (
        "a phone shows it, too"
    )


def test_held_out_losses_by_step_are_the_means_of_the_seeds(data):
    (curve,) = [arm["valid"] for section in data["sections"] for arm in section["arms"] if arm["valid"]]
    assert (data["steps"][curve[0]], curve[1]) == ([10, 20, 30], [0.75, 0.625, 0.625])


def test_numbers_that_rows_are_sorted_by_are_not_rounded(store, data):
    runs = {run["id"]: run for run in data["runs"]}
    place = next(i for i, column in enumerate(data["runColumns"]) if column["name"] == "test %")
    for section in compared_sections(store):
        (shown,) = [each for each in data["sections"] if each["slug"] == section.slug]
        column = [each["name"] for each in shown["columns"]].index("test %")
        for arm, own in zip(section.section.arms, shown["arms"], strict=True):
            assert own["values"][column] == 100 * float(arm.scores.mean())
        for run in section.section.records:
            assert run.test_accuracy is not None
            assert runs[run.run_id]["values"][place] == 100 * run.test_accuracy


def test_settings_of_a_run_are_those_of_the_first_with_what_it_changes(store, data):
    runs = {run["id"]: run for run in data["runs"]}
    for section in compared_sections(store):
        for run in section.section.records:
            changes, lacking = runs[run.run_id]["config"]
            settings = {key: value for key, value in data["firstConfig"].items() if key not in lacking} | changes
            config = run.config_as_shown()
            assert settings["seed"] == config["seed"]
            assert settings["eval.batch_size"] == config["eval"]["batch_size"]
            own = {key.removeprefix("adapter.") for key in settings if key.startswith("adapter.")}
            assert own == set(config["adapter"])


def test_the_questions_an_arm_has_right_are_bits_in_the_order_of_their_hashes(store, data):
    for section in compared_sections(store):
        (shown,) = [each for each in data["sections"] if each["slug"] == section.slug]
        for arm, digits in zip(section.section.arms, shown["questions"]["right"], strict=True):
            for scores, own in zip(arm.scores, digits, strict=True):
                bits = [int(bit) for digit in own for bit in f"{int(digit, 16):04b}"]
                assert bits[: len(scores)] == scores.astype(int).tolist()
        for arm, kept in zip(section.section.arms, shown["questions"]["kept"], strict=True):
            for question, run, _ in kept:
                first = min(i for i, score in enumerate(arm.scores[run]) if score == arm.scores[run, question])
                assert question == first, "a kept answer is of the first question that was answered so"


def test_a_second_report_changes_no_byte_and_takes_what_is_stale_away(store):
    home = store.results.parent
    figures = store.results / "figures"
    stale, foreign = figures / "nano-0123abcd-pareto.svg", figures / "a-reader's-own.svg"
    stale.write_text(next(figures.glob("*-pareto.svg")).read_text())
    foreign.write_text("<svg/>")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and path != stale}
    _, changed = write_report(store, home / "README.md", store.results / "results.md")
    assert changed == [stale]
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    drawn = {str(path.relative_to(home)) for path in before if path.suffix == ".svg" and path != foreign}
    shown = set(re.findall(r'(?:src|srcset)="([^"]+)"', (store.results / "results.md").read_text()))
    assert {f"results/{name}" for name in shown} == drawn


def test_the_readme_names_drawings_from_where_it_lies(store, tmp_path):
    page = tmp_path / "elsewhere" / "table.md"
    page.parent.mkdir()
    write_report(store, page, store.results / "results.md")
    (first, *_) = re.findall(r'src="([^"]+)"', page.read_text())
    assert (page.parent / Path(first)).resolve().is_file()
