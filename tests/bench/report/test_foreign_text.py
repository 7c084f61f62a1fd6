"""Claims about text of a row, a model or a file: it is text in Markdown, SVG, HTML and on a terminal alike."""

import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pytest
from hostile_rows import ANY, ATTACKS, store_of
from hypothesis import HealthCheck, example, given, settings
from recorded import failed
from temporary import temporary_folder

from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.cli.output import print_record, print_records
from antipasto_bench.core.text import printable
from antipasto_bench.report.figures import drawings
from antipasto_bench.report.html import page
from antipasto_bench.report.markdown import BEGIN, END, markdown, write_into
from antipasto_bench.report.markup import escaped
from antipasto_bench.report.rendering import svg
from antipasto_bench.report.svg import plain, theme_config
from antipasto_bench.store.folders import Store

QUICK = settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def handle_starttag(self, tag, attrs):
        self.elements[tag, tuple(name for name, _ in attrs)] += 1


def elements(text: str) -> Counter[tuple[str, tuple[str, ...]]]:
    parser = _Elements()
    parser.feed(text)
    del parser.elements["wbr", ()]  # as many as a name has places to break
    return parser.elements


@cache
def harmless() -> tuple[str, str, list[str]]:
    """What a report of the same rows is with a text that means nothing."""
    return rendered("text")


def rendered(text: str) -> tuple[str, str, list[str]]:
    store = store_of(text)
    sections, lost = compared_sections(store), failures(store)
    tables, html = markdown(sections, lost), page(sections, lost, store)
    drawn = {name: drawing for section in sections for name, drawing in drawings(section).items()}
    files = {name: svg(drawing, store.results / name) for name, drawing in drawn.items()}
    for name, content in files.items():
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.svg", name)
        ElementTree.fromstring(content)
    return tables, html, sorted(files)


@pytest.mark.slow
@QUICK
@given(ANY)
@example(ATTACKS[0])
@example("".join(ATTACKS[2:12]))
def test_a_report_of_any_text_has_the_same_lines_columns_and_elements(text):
    tables, html, files = rendered(text)
    tables.encode()
    html.encode()
    plain_tables, plain_html, plain_files = harmless()
    shape, expected = ([line.count("|") for line in each.splitlines()] for each in (tables, plain_tables))
    assert [count for count in shape if count] == [count for count in expected if count]
    assert len(files) == len(plain_files)
    assert BEGIN not in tables
    assert END not in tables
    if text.isascii():  # the page shows answers of those alone
        assert elements(html) == elements(plain_html)


@given(ANY)
@example("\\|")
def test_escaped_text_is_one_line_that_says_the_text_and_holds_no_markup(text):
    line = escaped(text)
    assert "\n" not in line
    assert not re.search(r"[|*`\\~$]|<\S|\]\(|\]\[|^[\[>=]|^\d+[.)]\s|^[-+#]\s", line)
    assert unescape(line) == printable(" ".join(text.split()), keep="")


@pytest.mark.slow
@settings(max_examples=10)
@given(ANY)
@example("<&>\"'")
@example("a long text, shortened in the middle of 𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀")
@example("\\x1b[2J")
def test_a_drawing_of_any_text_is_xml(text):
    chart = alt.layer(
        alt.Chart(alt.InlineData(values=[{"a": text, "b": 1}, {"a": "x", "b": 2}]))
        .mark_point()
        .encode(x=alt.X("a:N", title=text), y="b:Q")
    )
    ElementTree.fromstring(svg(plain(chart.to_dict()) | {"config": theme_config("light")}, Path("none")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY)
def test_printed_lines_hold_no_control_character(capsys, text):
    made = _FAILED.model_copy(update={"run_id": "a", "error": text, "variant": text})
    print_records([made], as_json=False)
    lines = capsys.readouterr().out
    assert lines.count("\n") == 2, "a header and the row"
    readable = text.encode("utf-8", "replace").decode()
    print_record(made.model_copy(update={"error": readable, "variant": readable}), as_json=False)
    for character in lines + capsys.readouterr().out:
        category = unicodedata.category(character)
        assert character in "\n\t\u200c\u200d" or category not in ("Cc", "Cf", "Cs", "Zl", "Zp")


_FAILED = failed(Store(Path(temporary_folder("failed-")), Path(temporary_folder("failed-"))), "lora", "x")


def test_a_text_of_rows_does_not_end_the_tables_early(tmp_path):
    store = store_of(END)
    readme = tmp_path / "README.md"
    readme.write_bytes(f"mine\r\n{BEGIN}\n{END}\r\nmine too\r\n".encode())
    write_into(readme, markdown(compared_sections(store), failures(store)))
    write_into(readme, "short")
    assert readme.read_bytes() == f"mine\r\n{BEGIN}\n\nshort\n{END}\r\nmine too\r\n".encode()
