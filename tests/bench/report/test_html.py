"""Claims about the page, in a real browser without network: it draws, sorts, filters, opens runs, trusts no model."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from recorded import failed, record

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.core.files import write_json
from antipasto_bench.report.figures import pareto_explorer
from antipasto_bench.report.write import write_report
from antipasto_bench.store.excerpts import Answer, CurvePoint, Excerpts
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
HOSTILE = "<script>window.owned = true</script></table></pre><img src=x onerror='window.owned=true'> & \"quoted\" ]]>"
EASY = list(range(300))

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; Debian's package is called chromium")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    home = tmp_path_factory.mktemp("page")
    store = Store(home / "results", home / "outputs")
    arms = [("lora", {}, 250), ("dora", {}, 251), ("base", {}, 10)]
    arms += [("antipasto", {"rotate_basis": basis}, count) for basis, count in (("V", 150), ("none", 90))]
    for variant, given, count in arms:
        for seed in range(3 if variant != "base" else 1):
            fields = {"adapter_bytes": 1000 * count, "train_s": 100.0 - seed}
            fields["trained_parameters"] = 4000 + count if variant != "base" else 0
            if variant == "lora":
                fields["valid_curve"] = [(10, 0.75), (20, 0.5 + seed / 8), (30, 0.625)]
            run = record(store, variant, EASY[: count + seed], n=300, fields=fields, seed=seed, **given)
            append(store.table, run)
            answers = [
                Answer(right=right, prompt=HOSTILE, target="#### 7", response=HOSTILE) for right in (True, False)
            ]
            curve = [CurvePoint(step=s, loss=1 / s, grad_norm=1.0) for s in range(1, 30)]
            write_json(store.excerpts(run.run_id), Excerpts(curve=curve, answers=answers).model_dump())
    append(store.table, failed(store, "lora", HOSTILE, lr=1e9))
    write_report(store, home / "README.md", store.results / "results.md")
    return store


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


def opened(browser, store: Store, scheme: str = "light", width: int = 1200):
    """The page as a reader has it, with whatever its console said."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto((store.results / "report.html").as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn")
    return page, said


def column(page, name: str) -> list[str]:
    """The cells of the comparison table under a heading, as shown from top to bottom."""
    table = page.locator("table.sortable").first
    index = [text.strip() for text in table.locator("thead th").all_inner_texts()].index(name)
    return [row.locator("th, td").nth(index).inner_text() for row in table.locator("tbody tr:visible").all()]


@pytest.mark.long
@in_a_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 360)])
def test_it_loads_without_network_or_complaint_in_either_scheme_and_on_a_phone(browser, store, scheme, width):
    page, said = opened(browser, store, scheme, width)
    assert said == []
    assert page.locator(".chart svg").count() == page.locator(".chart").count() >= 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll sideways"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 384) == (scheme == "light")
    page.context.close()


@pytest.mark.long
@in_a_browser
def test_drawings_follow_the_scheme_when_it_changes(browser, store):
    page, said = opened(browser, store)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.drawn === 'dark'")
    ink = page.locator(".chart svg text").first.get_attribute("fill")
    assert ink == "#d7dde3"
    assert said == []
    page.context.close()


@pytest.mark.long
@in_a_browser
def test_columns_sort_by_number_both_ways_with_a_mouse_and_with_keys(browser, store):
    page, _ = opened(browser, store)
    first = page.locator("table.sortable").first
    first.get_by_role("button", name="params").click()
    shown = [int(text.replace(",", "")) for text in column(page, "params")]
    assert shown == sorted(shown, reverse=True)
    assert first.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    first.get_by_role("button", name="test %").focus()
    for direction, reverse in (("descending", True), ("ascending", False)):
        page.keyboard.press("Enter")
        shown = [float(text.split()[0]) for text in column(page, "test %")]
        assert shown == sorted(shown, reverse=reverse)
        assert first.locator("th[aria-sort]").get_attribute("aria-sort") == direction
    first.get_by_role("button", name="adapter kB").click()
    assert column(page, "variant")[-1] == "base", "what has no value comes last"
    page.context.close()


@pytest.mark.long
@in_a_browser
def test_rows_are_filtered_by_every_word(browser, store):
    page, _ = opened(browser, store)
    field = page.get_by_label("Filter rows")
    field.fill("antipasto none")
    assert column(page, "variant") == ["antipasto rotate_basis=none"]
    assert page.locator("output").first.inner_text() == "1 of 5 rows"
    field.fill("")
    assert len(column(page, "variant")) == 5
    page.context.close()


@pytest.mark.long
@in_a_browser
def test_a_run_opens_with_its_answers_which_stay_text(browser, store):
    page, said = opened(browser, store)
    page.get_by_role("link", name="seed 1").first.press("Enter")
    page.wait_for_selector("article.run:visible")
    assert page.locator("main").is_hidden()
    article = page.locator("article.run:visible")
    assert article.locator("polyline").count() == 1
    assert article.locator("pre", has_text="window.owned").count() == 4
    assert article.locator("pre").nth(1).inner_text() == HOSTILE
    assert article.locator("script, img").count() == 0
    assert page.evaluate("window.owned") is None
    article.get_by_text("Configuration").click()
    assert "batch_size: 16" in article.locator("pre").first.inner_text()
    page.go_back()
    page.wait_for_selector("main:visible")
    assert page.locator("article.run:visible").count() == 0
    assert said == []
    page.context.close()


@pytest.mark.long
@in_a_browser
def test_accuracy_is_drawn_against_whichever_cost_is_chosen(browser, store):
    page, said = opened(browser, store)
    menu = page.get_by_role("combobox", name="Cost")
    assert menu.locator("option").all_inner_texts() == ["trained parameters", "adapter file, kB", "training seconds"]
    chart = page.locator(".chart").first
    before = chart.locator("svg").inner_html()
    menu.select_option("adapter file, kB")
    page.wait_for_function("before => document.querySelector('.chart svg').innerHTML !== before", arg=before)
    assert said == []
    page.context.close()


class Tags(HTMLParser):
    """What the page's markup says, as a browser would parse it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.sort_keys: list[str] = []  # of cells
        self.texts: dict[str, list[str]] = {}  # by tag
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset") and value]
        self.sort_keys += [value for name, value in attrs if name == "data-sort"]

    def handle_data(self, data):
        self.texts.setdefault(self.tags[-1] if self.tags else "", []).append(data)


@pytest.fixture(scope="module")
def tags(store) -> Tags:
    return Tags((store.results / "report.html").read_text())


def test_it_is_one_file_that_refers_to_nothing_else(tags):
    assert all(reference.startswith(("#", "data:")) for reference in tags.references)
    assert "img" not in tags.tags, "no model's markup is markup"


def test_what_a_model_answered_is_text_of_the_page_and_no_markup(tags):
    shown = [text for text in tags.texts["pre"] if text == HOSTILE]
    assert len(shown) == 13 * 2 * 2, "prompt and response of two answers of every run"
    assert tags.tags.count("script") == 3, "the charts, Vega, and our own"


def test_held_out_losses_are_drawn_by_step_with_what_is_scored_in_words(store):
    page = (store.results / "report.html").read_text()
    assert page.count("What is scored is the last step, never the best.") == 1
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])["charts"]
    (chart,) = [chart for name, chart in charts.items() if name.endswith("-valid-curves")]
    values = chart["data"]["values"]
    assert [(point["step"], point["loss"]) for point in values] == [(10, 0.75), (20, 0.625), (30, 0.625)]
    assert page.count("<figcaption>Held-out loss by step: 0.75 at most, 0.5") == 1
    assert page.count("best 0.5000 at step 20; last 0.6250 at step 30, which is what is scored") == 1


def test_numbers_that_columns_are_sorted_by_are_not_rounded(store, tags):
    (section,) = compared_sections(store)
    for arm in section.section.arms:
        assert str(float(arm.scores.mean())) in tags.sort_keys
    for run in section.section.records:
        assert str(run.test_accuracy) in tags.sort_keys


def test_the_menu_of_costs_has_those_that_an_arm_was_measured_for(store):
    (section,) = compared_sections(store)
    (menu,) = pareto_explorer(section)["params"]
    assert menu["bind"]["options"] == ["trained parameters", "adapter file, kB", "training seconds"]


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
