"""Claims about the committed page in a browser: what a reader meets first is seen, and explained where it is met."""

import shutil
from pathlib import Path

import pytest
from page_store import data_of

PAGE = Path(__file__).parents[3] / "results/report.html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES_ON_DASHES = """drawing => {
  const path = drawing.querySelector(".frontier");
  const at = (i) => path.getPointAtLength((path.getTotalLength() * i) / 1999);
  const points = path ? Array.from({ length: 2000 }, (_, i) => at(i)) : [];
  const boxes = [...drawing.querySelectorAll("text.name")].map((node) => node.getBBox());
  const within = (x, start, size, rim) => x > start + rim && x < start + size - rim;
  const isOn = (box) => points.some((p) => within(p.x, box.x, box.width, 0) && within(p.y, box.y, box.height, 3));
  return [boxes.filter(isOn).length, boxes.length];
}"""
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; Debian's package is called chromium"),
]


@pytest.fixture(scope="module")
def data():
    return data_of(PAGE.read_text())


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser):
    """Opens the page at an address; at the end no script said anything."""
    pages, said = [], list[str]()

    def open_at(address: str = "", width: int = 1400):
        page = browser.new_page(viewport={"width": width, "height": 900}, offline=True)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(PAGE.as_uri() + address)
        page.wait_for_function("document.documentElement.dataset.ready")
        return page

    yield open_at
    for page in pages:
        page.close()
    assert said == []


def test_a_phone_shows_name_score_verdicts_and_parameters_without_scrolling_sideways(opened, data):
    for section in data["sections"]:
        table = opened(f"#{section['slug']}", width=360).locator(".short:visible table")
        wanted = {"adapter", "test %", "params"}
        wanted |= set() if section["oneSeed"] else {"verdict by accuracy", "verdict by loss"}
        for heading in table.locator("thead th:visible").all():
            box, name = (
                heading.bounding_box(),
                heading.locator("button").evaluate("node => node.firstChild.textContent"),
            )
            if name.strip() in wanted:
                wanted.remove(name.strip())
                assert box["x"] + box["width"] <= 348.5, f"{name} of {section['name']}"
        assert not wanted


def test_the_words_of_a_table_are_explained_before_it(opened, data):
    for section in data["sections"]:
        page = opened(f"#{section['slug']}")
        said = dict(
            zip(*(page.locator(f".terms:visible {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True)
        )
        assert "arm" in said
        assert ("reference" in said) == (section["reference"] is not None)
        assert ("forgets" in said) == any(column["name"] == "forgets" for column in section["columns"])
        assert "singular vectors" in said["rotate_basis"]
        assert page.locator(".terms:visible").bounding_box()["y"] < 500
        assert page.locator(".beforehand:visible li").count() > 0


def test_no_drawn_line_lies_under_a_name_that_has_room_elsewhere(opened, data):
    """Of all names one in twenty at most is on the dashes of the frontier."""
    crossed, names = 0, 0
    for section in data["sections"]:
        drawing = opened(f"#{section['slug']}").locator(".drawing:visible svg").first
        found = drawing.evaluate(NAMES_ON_DASHES)
        crossed, names = crossed + found[0], names + found[1]
    assert names > 20
    assert crossed <= names / 20


def test_a_table_of_one_seed_says_so_once_and_explains_its_dots(opened, data):
    for section in data["sections"]:
        if not section["oneSeed"]:
            continue
        page = opened(f"#{section['slug']}")
        assert page.locator(".said:visible").inner_text().count("one seed") == 1
        assert "one seed" not in page.locator(".short:visible").inner_text()
        assert "one seed: no verdict" in page.locator(".legend:visible").inner_text()
        drawing, table = (
            page.locator(each).bounding_box() for each in (".drawing:visible svg >> nth=0", ".short:visible")
        )
        assert drawing["height"] < table["height"] + 150, "a short table has no blank space under it"
        return
    pytest.fail("no table of one seed")


def test_a_price_in_seconds_of_unlike_machines_says_that_it_is_no_fair_one(opened, data):
    looked = 0
    for section in data["sections"]:
        for column in section["columns"]:
            if column["name"] == "train s" and column["unlike"]:
                page = opened(f"#{section['slug']}/answer?x=train+s")
                assert "no fair one" in page.locator("figcaption:visible").inner_text()
                assert "training seconds (unlike machines)" in page.locator(".picks:visible select").first.inner_text()
                assert (
                    "(unlike machines)" not in opened(f"#{section['slug']}").locator("svg .title").first.text_content()
                )
                looked += 1
    assert looked


def test_a_difference_is_not_shown_beside_equal_shares(opened, data):
    looked = 0
    for section in data["sections"]:
        reference = section["reference"]
        for arm in section["arms"] if reference is not None else []:
            other = section["arms"][reference]
            apart = abs(arm["accuracy"] - other["accuracy"])
            if arm is not other and f"{arm['accuracy']:.1f}" == f"{other['accuracy']:.1f}" and apart > 0.051:
                view = opened(f"#{section['slug']}/compare?a={arm['id']}&b={other['id']}").locator(
                    ".view:visible .said"
                )
                assert f"{arm['accuracy']:.2f} % against {other['accuracy']:.2f} %" in view.inner_text()
                looked += 1
    assert looked


def test_control_characters_of_an_answer_are_seen_as_such(opened, data):
    for run in data["runs"]:
        texts = [data["texts"][answer[3]] for answer in run["answers"]]
        if any("\\x01" in text for text in texts):
            page = opened(f"#run={run['id']}")
            assert page.locator(".control-character").first.inner_text() == "\\x01"
            return
    pytest.fail("no answer with a control character")


def test_generated_sentences_hold_no_raw_backticks(opened, data):
    for section in data["sections"]:
        assert "`" not in opened(f"#{section['slug']}").locator(f"section#{section['slug']}").text_content()


def test_help_on_a_column_speaks_of_brackets_only_where_there_are_some(data):
    looked = 0
    for section in data["sections"]:
        for place, column in enumerate(section["columns"]):
            shown = any("(" in arm["cells"][place] for arm in section["arms"])
            assert shown or "brackets" not in column["meaning"], column["name"]
            looked += "in brackets" in column["meaning"]
    assert looked
