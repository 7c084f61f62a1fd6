"""Claims about text of other people's: nothing in it is obeyed by a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.core.text import printable

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@given(ANY)
def test_no_control_character_is_left_and_the_text_can_be_encoded(text):
    plain = printable(text, keep="")
    plain.encode()
    for character in plain:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.category(character) != "Cf" or character in "\u200c\u200d"


@pytest.mark.parametrize("text", ["", "43.2 ± 1.4 %", "naïve 数学 👩‍🔬", "two\n\tlines"])
def test_text_without_control_characters_stays_as_it_is(text):
    assert printable(text) == text


def test_what_a_terminal_would_obey_is_written_out():
    assert printable("\x1b[2J\r\u202egnp.exe\ud83d", keep="") == "\\x1b[2J\\x0d\\u202egnp.exe\\ud83d"
