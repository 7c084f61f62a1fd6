"""Claims about tables of text: aligned, never wider than the terminal, and with nothing that steers it."""

from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.core.text import one_line, printable
from antipasto_bench.core.text_table import text_table

HEADER = ("name", "n", "run_id")
ROWS = [["a long name of a variant", "5", "nano__lora__r16__seed0__0123abcd"], ["b", "1,024", "x"]]


def table(width: int | None = None) -> list[str]:
    shrinking = {"absent": 0, "name": 0, "run_id": 8}
    return text_table(HEADER, ROWS, left={"name", "run_id"}, shrinking=shrinking, width=width).splitlines()


def test_text_begins_and_numbers_end_below_each_other():
    assert table() == [
        "name                          n  run_id",
        "a long name of a variant      5  nano__lora__r16__seed0__0123abcd",
        "b                         1,024  x",
    ]


def test_the_first_shrinking_column_is_cut_first_and_an_id_keeps_its_last_digits():
    assert table(60)[1] == "a long name of a v…      5  nano__lora__r16__seed0__0123abcd"
    assert table(40)[1] == "a long …      5  nano__lora__r1…0123abcd"


@given(st.integers(min_value=8 + 2 + 5 + 2 + 8, max_value=100))
def test_no_line_is_wider_than_the_terminal_where_the_columns_can_be_cut_so_far(width):
    assert max(map(len, table(width))) <= width


@given(st.text())
def test_a_cell_is_one_line_of_characters_that_are_shown(text):
    shown = one_line(text)
    assert shown == printable(shown, keep="")
    assert len(text_table(["a"], [[text]], left={"a"}).splitlines()) == 2 - (not shown.strip())


def test_what_would_steer_a_terminal_is_written_out_as_everywhere():
    table = text_table(["a"], [["red \x1b[31m\ncell\t\u202e"]], left={"a"})
    assert table.splitlines()[1] == "red \\x1b[31m cell \\u202e"
