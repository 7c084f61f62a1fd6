"""Claims about the page in a real browser without network: it answers, filters, draws, compares, and trusts no text."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from page_store import HOSTILE, MODEL, data_of, page_store
from recorded import PROVENANCE, record

from antipasto_bench.report.write import write_report
from antipasto_bench.spec.config import SCORING_VERSION
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; Debian's package is called chromium"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return page_store(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def slug(store) -> str:
    """Of the table of the embedded model."""
    sections = data_of((store.results / "report.html").read_text())["sections"]
    return next(section["slug"] for section in sections if section["name"].startswith("nano"))


@pytest.fixture
def opened(browser, store):
    """Opens the page at an address as a reader has it; at the end nothing was said, asked of a network, or owned."""
    contexts, said = [], list[str]()

    def open_at(address: str = "", scheme: str = "light", width: int = 1400):
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True, accept_downloads=True
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.goto((store.results / "report.html").as_uri() + address)
        assert said == [], "a script that failed leaves the page as it is: nothing of it is waited for"
        page.wait_for_function("document.documentElement.dataset.ready")
        return page

    yield open_at
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.owned") is None
            assert page.locator("img, main script").count() == 0
        context.close()
    assert said == []


def column(page, name: str) -> list[str]:
    """The cells of the table of rows under a heading, as shown from top to bottom."""
    table = page.locator(".view:visible table").first
    index = [text.strip() for text in table.locator("thead th").all_inner_texts()].index(name)
    rows = table.locator("tbody tr:visible").all()
    return [row.locator("th, td").nth(index).inner_text().strip() for row in rows]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("light", 360)])
def test_every_view_fits_its_width_in_either_scheme(opened, slug, store, scheme, width):
    run = data_of((store.results / "report.html").read_text())["runs"][0]["id"]
    everything = f"#{slug}/explore?open=rates,curves,swept,kinds,pairs"
    for address in ("", f"#{slug}", everything, f"#{slug}/explore?rows=runs", f"#{slug}/compare", f"#run={run}"):
        page = opened(address, scheme, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll sideways"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 384) == (scheme == "light")
        for heading in page.locator("h2:visible, h3:visible").all_inner_texts():
            assert "nano" in heading or MODEL in heading, f"{heading}: names its model"


def test_the_answer_stands_first_with_its_price_and_its_table(opened, slug):
    page = opened(f"#{slug}")
    assert page.locator(".headline:visible").inner_text().startswith("Use ")
    assert page.locator(".headline:visible").bounding_box()["y"] < 200
    assert page.locator(".drawing:visible svg").first.bounding_box()["y"] < 500
    for width in (1400, 768, 360):
        facts = opened(f"#{slug}", width=width).locator(".prices:visible").bounding_box()
        assert facts["y"] + facts["height"] < 900, "answer, price and error are on the first screen"
    table = page.locator(".short:visible .scroll")
    assert table.evaluate("node => node.scrollWidth <= node.clientWidth"), "no column is beyond the edge"
    assert column(page, "adapter")[:2] == ["dora r=16", "lora r=16"]
    assert column(page, "adapter")[-1] == "base"
    for address, cells in (
        (f"#{slug}", ".short td.test b"),
        (f"#{slug}/explore?rows=runs", "tbody tr td:nth-child(3)"),
    ):
        phone = opened(address, width=360)
        for cell in phone.locator(f".view:visible {cells}").locator("visible=true").all():
            box = cell.bounding_box()
            assert box["x"] + box["width"] <= 360, "test % is seen without scrolling sideways"


def test_colours_are_the_readers_until_the_button_says_otherwise(opened, slug):
    page = opened(f"#{slug}", "light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) != light
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(paper) == light
    page.get_by_role("button", name="Switch to dark colours").click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(paper) != light


def boxes(page, selector: str) -> list[dict[str, float]]:
    return [node.bounding_box() for node in page.locator(selector).all()]


def test_the_drawing_names_every_point_and_the_price_that_is_chosen(opened, slug):
    page = opened(f"#{slug}")
    drawing = page.locator(".drawing:visible")
    names = drawing.locator("svg text.name")
    assert sorted(names.all_text_contents()) == sorted(name for name in column(page, "adapter") if name != "base")
    placed = boxes(page, ".drawing:visible svg text.name")
    for i, a in enumerate(placed):
        for b in placed[i + 1 :]:
            apart = a["x"] + a["width"] <= b["x"] + 1 or b["x"] + b["width"] <= a["x"] + 1
            assert apart or a["y"] + a["height"] <= b["y"] + 4 or b["y"] + b["height"] <= a["y"] + 4
    assert "held-out loss, nats a token" in drawing.locator("svg").first.text_content(), "by which dora is better"
    picks = page.locator(".picks:visible")
    picks.get_by_role("combobox", name="Score").focus()
    picks.get_by_role("combobox", name="Score").select_option("accuracy")
    assert page.evaluate("document.activeElement.value") == "accuracy", "the focus stays where it was"
    assert "untuned base: 3.3 %" in drawing.locator("svg").first.text_content()
    assert drawing.locator("path.frontier").count() >= 1
    for price in ("training seconds", "adapter file, kB"):
        picks.get_by_role("combobox", name="Price of drawing and table").select_option(price)
        assert price in drawing.locator("svg text.title").first.text_content()
        (picked,) = page.locator(".short:visible th.picked").all_inner_texts()
        assert picked == {"training seconds": "train s", "adapter file, kB": "adapter kB"}[price], "so in the table"
        shown = page.locator(".price:visible .picked dt").all_inner_texts()
        assert {*shown} == {price}, "and of each recommended arm"
        assert not re.search(r"\de[+-]?\d", " ".join(drawing.locator("text.tick").all_text_contents()))
    assert page.url.endswith("?y=accuracy&x=adapter+kB")
    drawing.locator("svg a.named").first.click()  # a mark can lie under another
    assert "/compare?a=" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_line_crosses_a_name_in_the_drawing(opened, slug, scheme):
    page = opened(f"#{slug}", scheme)
    order = page.locator(".drawing:visible svg").first.evaluate(
        "drawing => [...drawing.querySelectorAll('.whisker, .frontier, text.name')].map(node => node.tagName)"
    )
    assert set(order[order.index("text") :]) == {"text"}, "names on top"
    name = page.locator(".drawing:visible text.name").first
    style = (
        "node => (({ paintOrder, stroke, strokeWidth }) => [paintOrder, stroke, strokeWidth])(getComputedStyle(node))"
    )
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert name.evaluate(style) == ["stroke", paper, "4px"], "the background around each letter"


def test_every_setting_is_asked_for_of_drawing_and_table_together(opened, slug):
    page = opened(f"#{slug}")
    first = column(page, "adapter")
    page.get_by_label("every setting", exact=False).check()
    shown = column(page, "adapter")
    assert len(shown) == len(first) + 1
    names = page.locator(".drawing:visible svg text.name").all_text_contents()
    assert sorted(names) == sorted(name for name in shown if name != "base")
    assert page.locator(".short:visible h3").inner_text().startswith("Every setting: nano")
    page.get_by_label("every setting", exact=False).uncheck()
    assert column(page, "adapter") == first


def test_a_time_is_the_ratio_to_the_untuned_model_wherever_rows_compare_and_milliseconds_stand_beside_it(opened, slug):
    """The runs of lora were timed in a slow minute: as many milliseconds as dora's, and half its ratio."""
    page = opened(f"#{slug}/explore?cols=variant,step+time&sort=step+time")
    assert list(zip(column(page, "variant"), column(page, "step time"), strict=True))[:3] == [
        ("base", "1.00x"), ("lora", "1.25x"), ("dora", "2.50x"),
    ]  # fmt: skip
    head, *lines = saved(page, "CSV").splitlines()
    assert ',step time (1x: untuned model),"step time, ms","step time of the untuned model, ms",' in head
    assert [line.split(",")[1:4] for line in lines[1:3]] == [["1.25", "50", "40"], ["2.5", "50", "20"]]
    rows = json.loads(saved(page, "JSON"))["rows"]
    assert rows[1]["step time"] == {"text": "1.25x", "value": 1.25, "measured": 50, "untuned": 40, "unit": "ms"}
    assert "step time: 1x is 20.0 ms (20.0 to 40.0)" in saved(page, "LaTeX")
    page = opened(f"#{slug}/answer?x=step+time&y=accuracy")
    assert "1x is 20.0 ms (20.0 to 40.0)" in page.locator("figcaption:visible").inner_text()
    said = page.locator(".drawing:visible a[aria-label^='lora r=16:']").get_attribute("aria-label")
    assert "step time (1x: untuned model): 1.25x (50 ms; the untuned model 40)" in said


def test_differences_to_the_reference_are_saved_as_numbers_and_nothing_is_trained_of_the_untuned_model(opened, slug):
    page = opened(f"#{slug}/explore?cols=variant,vs+reference,loss+vs+reference,seeds")
    head, *lines = saved(page, "CSV").splitlines()
    rows = {line["variant"]: line for line in csv.DictReader([head, *lines])}
    name = "difference to the reference, points"
    dora = rows["dora"]
    shown = dict(zip(column(page, "variant"), column(page, "vs reference"), strict=True))["dora"]
    ends = (float(dora[each]) for each in (name, "vs reference low", "vs reference high"))
    assert "{:+.1f} ({:+.1f} to {:+.1f})".format(*ends) == shown
    assert float(dora["difference to the reference's loss, nats a token"]) < float(dora["loss vs reference high"]) < 0
    assert (dora["seeds"], rows["base"]["seeds"], rows["lora"][name]) == ("3", "", "")
    difference = json.loads(saved(page, "JSON"))["rows"][0]["vs reference"]
    assert difference["low"] < difference["value"] < difference["high"]


def test_a_first_click_puts_the_cheapest_first_and_what_has_no_value_last(opened, slug):
    page = opened(f"#{slug}/explore")
    heading = page.locator(".view:visible table").first.locator("thead")
    heading.get_by_role("button", name="params").click()
    shown = [int(text.replace(",", "")) for text in column(page, "params")]
    assert shown == sorted(shown)
    assert heading.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button", name="test %").focus()
    for direction, reverse in (("descending", True), ("ascending", False)):
        page.keyboard.press("Enter")
        shown = [float(text.split()[0]) for text in column(page, "test %")]
        assert shown == sorted(shown, reverse=reverse)
        assert heading.locator("th[aria-sort]").get_attribute("aria-sort") == direction
        assert page.evaluate("document.activeElement.textContent") == "test %", "the focus stays where it was"
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("adapter kB").check()
    for _ in range(2):
        heading.get_by_role("button", name="train s").click()
        assert column(page, "rank")[-1] == "–" or column(page, "variant")[-1] != "base"
    heading.get_by_role("button", name="lr", exact=True).click()
    assert column(page, "variant")[-1] == "base", "what has no value comes last"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("antipasto none", ["antipasto rotate_basis=none"]),
        ("lora r=16", ["lora"]),  # as drawings name it
        ("params < 4200 and rank = 64", ["antipasto rotate_basis=V", "antipasto rotate_basis=none"]),
        ("params < 4.2k and test % > 45", ["antipasto rotate_basis=V", "base"][:1]),
        ("variant = dora or variant = base", ["dora", "base"]),
        ("variant = lora", ["lora"]),
        ("verdict by accuracy = worse and params > 0", ["antipasto rotate_basis=V", "antipasto rotate_basis=none"]),
        ("verdict = worse and params > 0", ["antipasto rotate_basis=V", "antipasto rotate_basis=none"]),
    ],
)
def test_rows_are_filtered_by_words_and_by_comparisons_with_their_count(opened, slug, query, shown):
    page = opened(f"#{slug}/explore")
    page.get_by_label("Filter rows").fill(query)
    assert column(page, "variant") == shown
    assert page.locator("output:visible").inner_text() == f"{len(shown)} of 5 rows"
    assert page.locator("figure[data-plot] .point[data-name]:not([data-name=''])").count() == len(shown)
    again = opened(page.url[page.url.index("#") :])
    assert column(again, "variant") == shown, "the address is the view"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("watts < 5", "no column is called “watts”"),
        ("watts = 5", "no column is called “watts”"),
        ("params <", "nothing follows “<”"),
        ("< 5", "no column stands before “<”"),
        ("params < few", "“few” is no number"),
        ("variant == lora", "“==” is no comparison: these are = != < > <= >= ~"),
        ("(variant = lora", "brackets do not group comparisons"),
        ("(lora or dora) and rank = 16", "brackets do not group words"),
    ],
)
def test_a_filter_that_cannot_be_read_says_why_and_all_rows_stay(opened, slug, query, why):
    page = opened(f"#{slug}/explore")
    page.get_by_label("Filter rows").fill(query)
    assert page.locator("output.problem:visible").inner_text() == (
        f"5 of 5 rows: all are shown, because the filter cannot be read: {why}"
    )
    assert len(column(page, "variant")) == 5


def marks(page, place: str) -> dict[str, str | None]:
    """The verdict that each point of a drawing shows, by its name, from the lowest to the one on top."""
    points = page.locator(f"{place} .chart .point").all()
    return {str(point.get_attribute("data-name")): point.get_attribute("data-verdict") for point in points}


def test_the_marks_of_a_plot_are_verdicts_by_the_score_that_it_shows_and_its_bars_are_explained(opened, slug, store):
    sections = data_of((store.results / "report.html").read_text())["sections"]
    (arms,) = (section["arms"] for section in sections if section["slug"] == slug)
    by = {key: {arm["name"]: arm[key] for arm in arms} for key in ("verdict", "lossVerdict")}
    assert by["verdict"] != by["lossVerdict"]
    plot = "figure[data-plot]"
    for address, key, words in (
        ("y=test+loss", "lossVerdict", "Marks: verdicts by held-out loss. Bars: ± one standard error"),
        ("x=test+loss&y=params", "lossVerdict", "Marks: verdicts by held-out loss."),
        ("y=test+%25", "verdict", "Marks: verdicts by accuracy. Bars: 95 % intervals."),
    ):
        page = opened(f"#{slug}/explore?{address}")
        assert marks(page, plot) == by[key]
        assert words in page.locator(f"{plot} figcaption").inner_text()
        assert (page.locator(f"{plot} .whisker").count() > 0) == ("Bars" in words)
    page = opened(f"#{slug}/explore?x=params&y=adapter+kB")
    assert {name: mark for name, mark in marks(page, plot).items() if mark} == {"lora r=16": "reference"}
    assert "Marks:" not in page.locator(f"{plot} figcaption").inner_text()


def test_the_reference_lies_on_top_of_what_is_drawn_at_its_place(opened, slug):
    for address, place in ((f"#{slug}", ".drawing:visible"), (f"#{slug}/explore", "figure[data-plot]")):
        page = opened(address)
        assert list(marks(page, place).items())[-1] == ("lora r=16", "reference")
        top = page.locator(f"{place} .point[data-verdict=reference]").first
        assert top.evaluate("node => getComputedStyle(node).fill") == "none", "what lies under it is seen"


def test_a_price_of_unlike_machines_has_no_best_and_an_arm_of_one_seed_no_verdict(browser, tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for variant, seeds in (("lora", 3), ("dora", 3), ("pissa", 1)):
        for seed in range(seeds):
            fields: dict[str, object] = {"train_s": 9.0 + seed}
            if variant == "dora":
                fields["provenance"] = PROVENANCE.model_copy(update={"hardware": "another-cpu"})
            append(store.table, record(store, variant, [0, 1, 2 + seed], fields=fields, seed=seed))
    write_report(store, tmp_path / "README.md", store.results / "results.md")
    (section,) = data_of((store.results / "report.html").read_text())["sections"]
    page = browser.new_page()
    for rows in ("arms", "runs"):
        for price, best in (("params", 1), ("train+s", 0)):
            address = f"#{section['slug']}/explore?rows={rows}&x={price}&y=test+%25"
            page.goto("about:blank")
            page.goto((store.results / "report.html").as_uri() + address)
            plot = page.locator("figure[data-plot]")
            assert plot.locator(".chart path.frontier").count() == best
            options = plot.get_by_role("combobox", name="Across").locator("option").all_inner_texts()
            assert "training seconds (unlike machines)" in options
            assert "trained parameters" in options
            legend = " ".join(plot.locator(".legend").all_inner_texts())
            assert ("best at its price" in legend) == bool(best)
            assert ("one seed: no verdict" in legend) == (rows == "arms")
    for price, best in (("params", 1), ("train+s", 0)):
        page.goto("about:blank")
        page.goto((store.results / "report.html").as_uri() + f"#{section['slug']}?x={price}")
        assert page.locator(".drawing:visible .chart path.frontier").count() == best
    page.close()


def test_back_undoes_one_change_at_a_time(opened, slug):
    page = opened(f"#{slug}")
    page.get_by_role("link", name="Explore").locator("visible=true").click()
    heading = page.locator(".view:visible table").first.locator("thead")
    heading.get_by_role("button", name="params").click()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("adapter kB").check()
    page.get_by_label("Filter rows").press_sequentially("dora")
    assert column(page, "variant") == ["dora"]
    page.go_back()
    page.wait_for_function("!document.querySelector('.view:not([hidden]) input[type=search]').value")
    assert len(column(page, "variant")) == 5, "all letters of a filter are one change"
    assert len(column(page, "adapter kB")) == 5
    page.go_back()
    page.wait_for_function("!location.hash.includes('cols=')")
    assert "adapter kB" not in page.locator(".view:visible thead").first.inner_text()
    assert heading.locator("th[aria-sort]").inner_text() == "params"
    page.go_back()
    page.wait_for_function("!location.hash.includes('sort=')")
    assert page.locator(".view:visible th[aria-sort]").count() == 0
    page.go_back()
    page.locator(".headline:visible").wait_for()
    page.go_forward()
    page.go_forward()
    page.locator(".view:visible th[aria-sort]").wait_for()


def test_a_cell_without_a_number_says_why_and_stays_empty_in_files(opened, slug):
    page = opened(f"#{slug}/explore?cols=variant,lr,vs+reference,step+time")
    names = column(page, "variant")
    whys = {
        (names[i], heading): row.locator("td").nth(place).get_by_role("img").get_attribute("aria-label")
        for i, row in enumerate(page.locator(".view:visible table").first.locator("tbody tr").all())
        for place, heading in enumerate(("lr", "vs reference", "step time"))
        if row.locator("td").nth(place).inner_text() == "–"
    }
    assert whys == {
        ("base", "lr"): "trains nothing",
        ("lora", "vs reference"): "is the reference",
        ("antipasto rotate_basis=V", "step time"): "not measured",
        ("antipasto rotate_basis=none", "step time"): "not measured",
    }
    head, *lines = saved(page, "CSV").splitlines()
    rows = {line["variant"]: line for line in csv.DictReader([head, *lines])}
    assert rows["base"]["learning rate"] == rows["lora"]["difference to the reference, points"] == ""
    assert "–" not in saved(page, "JSON") + saved(page, "LaTeX")
    first = opened(f"#{slug}")
    base = first.locator(".short:visible tbody tr", has=first.get_by_role("link", name="base", exact=True))
    assert base.get_by_role("img", name="trains nothing").count() == 1


def test_a_run_leads_to_its_table_and_to_its_other_seeds_and_says_where_its_seconds_went(opened, slug):
    page = opened(f"#{slug}/explore?rows=runs")
    page.locator(".view:visible tbody a", has_text="lora r=16 seed 1").press("Enter")
    article = page.locator("article#run")
    assert article.get_by_role("link", name="Table: nano on nano_metamath").get_attribute("href") == f"#{slug}"
    siblings = article.locator("p").first.get_by_role("link", name=re.compile("^seed "))
    assert siblings.all_inner_texts() == ["seed 0", "seed 2"]
    went = article.locator("h3", has_text="Where its seconds went").locator("xpath=following-sibling::dl").first
    assert went.locator("dd").all_inner_texts()[0] == "99", "of training"
    siblings.last.press("Enter")
    page.locator("article#run h2", has_text="seed2").wait_for()
    assert article.locator(".command code").evaluate("node => getComputedStyle(node).whiteSpace") == "pre"


def test_any_two_quantities_are_drawn_against_each_other_of_arms_and_of_runs(opened, slug):
    page = opened(f"#{slug}/explore?rows=runs&x=train+s&y=test+loss")
    plot = page.locator("figure[data-plot]")
    assert plot.get_attribute("data-plot") == "train s:test loss"
    assert plot.locator("svg .point[data-name^=lora]").count() == 3, "a dot a run"
    plot.get_by_role("combobox", name="Across").select_option("trained parameters")
    assert page.locator("figure[data-plot]").get_attribute("data-plot") == "params:test loss"
    assert "x=params" in page.url


def saved(page, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    return download.value.path().read_text()


def test_what_is_shown_is_saved_as_csv_json_and_latex(opened, slug):
    page = opened(f"#{slug}/explore?q=lora&cols=variant,test %25,params,95 %25")
    head, *lines = saved(page, "CSV").splitlines()
    assert head == "variant,test %,test % standard error,test % as shown,95 %,95 % low,95 % high,trained parameters,id"
    assert all(re.fullmatch("[0-9a-f]{8}", line.split(",")[-1]) for line in lines), "as rows name the arm"
    assert [" - ".join(f"{float(end):.1f}" for end in line.split(",")[5:7]) for line in lines] == column(page, "95 %")
    assert [line.split(",")[0] for line in lines] == column(page, "variant")
    assert lines[0].split(",")[7] == "4250"
    assert [line.split(",")[3] for line in lines] == column(page, "test %"), "with the error beside the number"
    rows = json.loads(saved(page, "JSON"))["rows"]
    assert [row["variant"] for row in rows] == [{"text": text} for text in column(page, "variant")], "no sort key"
    assert rows[0]["params"] == {"text": "4,250", "value": 4250}
    latex = saved(page, "LaTeX")
    assert "variant & test \\% & 95 \\% & params \\\\" in latex
    assert "nano\\_metamath" in latex


def test_two_arms_are_compared_with_the_questions_that_flipped_and_both_answers(opened, slug):
    page = opened(f"#{slug}/compare")
    view = page.locator(".view:visible")
    for side, name in (("A", "lora r=16"), ("B", "antipasto rotate_basis=none r=64")):
        view.get_by_role("combobox", name=side, exact=True).select_option(name)
    said = view.locator(".headline").inner_text()
    assert re.match(r"lora r=16 against antipasto rotate_basis=none r=64: \+5\d\.\d points \(95 % interval ", said)
    assert "Held-out loss" in view.inner_text()
    first = view.locator(".flips").first
    assert re.match(
        r"16\d questions of 300 right in lora r=16 and wrong in antipasto", first.locator("h3").inner_text()
    )
    flip = first.locator("details.flip").first
    assert flip.locator("pre").nth(0).inner_text() == HOSTILE
    assert [flip.locator(".answer.right pre").inner_text(), flip.locator(".answer.wrong pre").inner_text()] == [
        HOSTILE
    ] * 2
    assert view.get_by_role("link", name="seed 2").count() == 2, "the runs of both, with the commands that repeat them"
    view.get_by_role("button", name="Swap").click()
    assert view.locator(".headline").inner_text().startswith("antipasto rotate_basis=none r=64 against lora r=16: −5")
    again = opened(page.url[page.url.index("#") :])
    assert again.locator(".view:visible .headline").inner_text() == view.locator(".headline").inner_text()


def test_the_way_back_leads_to_where_the_reader_was(opened, slug):
    page = opened(f"#{slug}/explore?rows=runs", width=360)
    link = page.locator(".view:visible tbody a").last
    link.scroll_into_view_if_needed()
    left = page.evaluate("scrollY")
    assert left > 100
    link.press("Enter")
    page.locator("article#run h2").wait_for()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    page.locator(".view:visible table").first.wait_for()
    page.wait_for_function("(y) => Math.abs(scrollY - y) < 2", arg=left)
    assert link.evaluate("(node) => node === document.activeElement")
    page.reload()
    page.wait_for_function("(y) => Math.abs(scrollY - y) < 2", arg=left)


def test_a_number_is_rounded_alike_in_tables_and_in_sentences(opened):
    """On the committed page: 86.25 is 86.2 in one language, and 86.3 in another."""
    page = opened()
    page.goto((Path(__file__).parents[3] / "results/report.html").as_uri())
    data = json.loads(page.locator("script#data").text_content())
    looked = 0
    for section in data["sections"]:
        other, *arms = section["arms"]
        ties = [arm for arm in arms if (40 * arm["accuracy"]).is_integer() and (40 * arm["accuracy"]) % 4 == 2]
        for arm in ties:
            page.evaluate(
                "(to) => { location.hash = to; }", f"#{section['slug']}/compare?a={arm['id']}&b={other['id']}"
            )
            page.locator(".view:visible").get_by_text(f"{arm['accuracy']:.1f} % against").wait_for()
            looked += 1
    assert looked > 0


def comparisons(page):
    """Each table's comparison of two arms, opened."""
    for slug in page.evaluate("[...document.querySelectorAll('section.bench')].map((node) => node.id)"):
        page.evaluate("(slug) => { location.hash = `#${slug}/compare`; }", slug)
        page.locator(".view:visible .controls").wait_for()
        yield slug


def test_no_answer_to_a_flipped_question_contradicts_what_is_said_of_it(opened):
    """On the committed page, where runs of one arm answer differently."""
    page = opened()
    page.goto((Path(__file__).parents[3] / "results/report.html").as_uri())
    looked = 0
    for _ in comparisons(page):
        for flips in page.locator(".view:visible .flips").all():
            if " right in " not in flips.locator("h3").inner_text():
                continue  # single runs that differ while most agree
            for side in flips.locator(".answer").filter(has=page.locator("pre")).all():
                heading = side.locator("h4").evaluate("node => node.textContent")
                right, runs = map(int, re.search(r"right in (\d+) of (\d+)", heading).groups())
                assert ("right" if 2 * right > runs else "wrong") in side.get_attribute("class").split(), heading
                looked += 1
    assert looked > 4


@pytest.mark.parametrize("address", ["#nonsense/explore", "#run=nonsense", "#{slug}/nonsense", "#{slug}/compare?a=0"])
def test_an_address_of_nothing_on_the_page_says_so(opened, slug, address):
    assert opened(address.format(slug=slug)).get_by_text("something that is not on this page").is_visible()
    for known in ("", f"#{slug}", f"#{slug}/compare"):
        assert not opened(known).get_by_text("something that is not on this page").is_visible()


def test_a_run_has_its_command_settings_and_answers_which_stay_text(opened, slug):
    page = opened(f"#{slug}/explore?rows=runs")
    page.locator(".view:visible tbody a", has_text="lora r=16 seed 1").press("Enter")
    article = page.locator("article#run")
    run_id = article.locator("h2").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    article.get_by_role("button", name="Copy").click()
    article.get_by_text("copied").wait_for()
    assert article.locator(".command code").inner_text() == f"antipasto-bench reproduce {run_id}"
    assert page.evaluate("navigator.clipboard.readText()") == f"antipasto-bench reproduce {run_id}"
    assert article.locator(".answer").count() == 2
    assert article.locator("pre", has_text="window.owned").first.text_content() == HOSTILE
    article.get_by_text("Configuration").click()
    assert "batch_size: 16" in article.locator("details pre").first.inner_text()
    article.get_by_text("Provenance: ").click()
    assert "hardware: cpu-of-a-test" in article.locator("details pre").nth(1).inner_text()
    assert article.locator("svg path.curve").count() == 2, "training and held-out loss"
    page.go_back()
    page.locator(".view:visible table").first.wait_for()
    assert article.is_hidden()


def test_a_run_of_older_rules_has_no_command_that_would_be_refused(opened, slug, store):
    page = store.results / "report.html"
    text = page.read_text()
    assert text.count(f'"rules":{SCORING_VERSION},"runColumns"') == 1
    try:
        page.write_text(text.replace(f'"rules":{SCORING_VERSION},"runColumns"', '"rules":99,"runColumns"'))
        shown = opened(f"#{slug}/compare")
        shown.get_by_text("Settings and answers of").first.wait_for()
        shown.get_by_role("link", name="seed 1").first.click()
        article = shown.locator("article#run")
        assert f"scored by rules {SCORING_VERSION}, by which no run is made any more" in article.inner_text()
        assert article.locator(".command").count() == 0
    finally:
        page.write_text(text)


def test_the_keyboard_alone_reaches_the_content_the_views_and_a_row(opened):
    page = opened()
    address = page.url
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    assert page.url == address, "which is the view, and stays it"
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
        if reached[-1] == "Explore":
            break
    assert reached[-1] == "Explore"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is seen"
    page.keyboard.press("Enter")
    page.get_by_label("Filter rows").wait_for()
    page.get_by_label("Filter rows").focus()
    page.keyboard.type("dora")
    assert column(page, "variant") == ["dora"]
    assert page.evaluate("document.activeElement.type") == "search", "a filter keeps the focus while it works"


def test_each_model_has_its_own_answer_behind_one_switch(opened, slug):
    page = opened()
    assert page.locator("section.bench:visible").count() == 1
    assert MODEL in page.locator("h2:visible").inner_text(), "the embedded model is not what people ask about"
    page.get_by_role("navigation", name="Model and data").get_by_text("nano on nano_metamath").click()
    page.wait_for_url(f"**#{slug}")
    assert page.locator("h2:visible").inner_text().startswith("nano: ")
    assert page.locator("section.bench:visible").count() == 1


def test_the_points_of_a_drawing_are_reached_by_the_keyboard(opened, slug):
    page = opened(f"#{slug}")
    points = page.locator(".drawing:visible svg a:not(.named)")
    assert points.count() > 2
    stops = [point.get_attribute("tabindex") for point in points.all()]
    assert sorted(stops) == sorted(["0", *["-1"] * (len(stops) - 1)]), "one of them is in the tab order"
    page.locator(".drawing:visible svg a[tabindex='0']").focus()
    said = []
    for _ in range(len(stops)):
        said.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        name, shown = said[-1].partition(":")[0], page.locator(".drawing:visible .tip")
        assert shown.is_visible()
        assert shown.inner_text().startswith(name)
        page.keyboard.press("ArrowRight")
    assert len(set(said)) == len(stops), "every point is reached, and says its name and its quantities"
    assert all("loss: " in text and "parameters: " in text for text in said), said
    page.keyboard.press("Enter")
    assert "/compare?" in page.url


def test_columns_beyond_the_edge_are_named_and_none_where_all_are_seen(opened, slug):
    address = f"#{slug}/explore?cols=variant,test %25"
    assert opened(address).locator(".view:visible .more").first.inner_text() == ""
    narrow = opened(f"#{slug}/explore", width=500)
    said = narrow.locator(".view:visible .more").first.inner_text()
    headings = [text.strip() for text in narrow.locator(".view:visible thead").first.locator("th").all_inner_texts()]
    count, _, names = said.partition(" to the right: ")
    hidden = names.split(", ")
    assert count == f"{len(hidden)} more columns"
    assert hidden == headings[-len(hidden) :]
    narrow.locator(".view:visible .scroll").first.evaluate("node => { node.scrollLeft = node.scrollWidth; }")
    narrow.wait_for_function("!document.querySelector('.view:not([hidden]) .more').textContent")


def test_single_runs_of_several_rates_have_names_that_differ_and_heat_maps_mark_the_rate_of_the_table(
    browser, tmp_path
):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in (0, 1):
        for lr, valid in ((1e-3, 0.4), (1e-2, 0.6), (1e-1, 0.2)):
            append(store.table, record(store, "lora", [0, 1], fields={"valid_accuracy": valid}, lr=lr, seed=seed))
    write_report(store, tmp_path / "README.md", store.results / "results.md")
    page = browser.new_page()
    address = (store.results / "report.html").as_uri()
    (section,) = data_of((store.results / "report.html").read_text())["sections"]
    page.goto(f"{address}#{section['slug']}/explore?rows=runs")
    names = column(page, "run")
    assert len(set(names)) == len(names) == 6
    assert "lora r=16 lr=0.001 seed 0" in names
    page.goto(f"{address}#{section['slug']}/explore?open=rates")
    page.reload()
    cells = page.locator(".view:visible table.map td").all_inner_texts()
    assert [cell for cell in cells if "★" in cell] == [cells[1]], "0.01, the rate of best validation"
    page.close()


def test_the_way_with_a_pair_of_answers_to_read_comes_first(opened, slug):
    page = opened(f"#{slug}/compare")
    view = page.locator(".view:visible")
    flips = view.locator(".flips")
    pairs = [flips.nth(i).locator("details.flip").filter(has=page.locator("pre").nth(1)).count() for i in range(2)]
    assert pairs == sorted(pairs, reverse=True)
    assert "by most of their seeds" in flips.first.locator("h3").inner_text()


def test_a_link_to_another_view_leaves_the_focus_at_its_heading_and_the_page_explains_no_bold_numbers(opened, slug):
    page = opened(f"#{slug}")
    page.locator(".short tbody th a:visible").first.focus()
    page.keyboard.press("Enter")
    page.locator(f"#{slug}-title:focus").wait_for()
    page.go_back()
    assert "Bold: may be first" not in page.locator("body").text_content()


def test_the_title_of_a_question_ends_between_words_and_leaves_off_how_it_is_asked(opened):
    """On the committed page."""
    page = opened()
    page.goto((Path(__file__).parents[3] / "results/report.html").as_uri())
    prompts = {text for text in data_of(page.content())["texts"] if text.startswith("Question: ")}
    lines = {" ".join(prompt.removesuffix("Think step by step.\nAnswer:").split()) for prompt in prompts}
    cut = 0
    for _ in comparisons(page):
        for title in page.locator(".view:visible .flip > summary").all_text_contents():
            shown = title.removesuffix(" …")
            assert len(shown) <= 160
            assert shown in lines if shown == title else any(line.startswith(f"{shown} ") for line in lines), title
            cut += shown != title
    assert cut > 0


def test_an_answer_of_a_single_run_says_how_that_run_answered(opened):
    """On the committed page, where runs of one arm answer differently."""
    page = opened()
    page.goto((Path(__file__).parents[3] / "results/report.html").as_uri())
    looked = 0
    for _ in comparisons(page):
        single = page.locator(".view:visible .flips").filter(has_text="single runs answered differently")
        for side in single.locator(".answer").all():
            judged = "right" if "right" in side.get_attribute("class").split() else "wrong"
            heading = side.locator("h4").evaluate("node => node.textContent")
            assert re.search(rf": this run: {judged}; right in \d+ of \d+ runs?$", heading)
            looked += 1
    assert looked > 0


def test_only_pairs_that_have_a_comparison_are_counted(opened):
    """On the committed page, where an arm of one seed is compared with none."""
    page = opened()
    page.goto((Path(__file__).parents[3] / "results/report.html").as_uri())
    looked = 0
    for section in data_of(page.content())["sections"]:
        counts = {
            measure: sum(pair is not None and pair[3] is not None for pair in pairs or ())
            for measure, pairs in section["pairs"].items()
        }
        page.evaluate("(slug) => { location.hash = `#${slug}/compare`; }", section["slug"])
        page.locator(".view:visible .controls").wait_for()
        said = re.findall(r"corrected for the ([\d,]+) pairs compared by (\w+)", page.locator("main").inner_text())
        for count, measure in said:
            assert int(count.replace(",", "")) == counts[measure]
            looked += 1
    assert looked > 1
