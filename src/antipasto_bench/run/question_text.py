"""What makes two questions one: their normal form, their words, and the signs that their meaning depends on."""

from __future__ import annotations

import re
import string
import unicodedata

Words = tuple[str, ...]

_PUNCTUATION = re.compile(r"[^\w\s]|_")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)  # the same, of ASCII, in a tenth of the time
# Punctuation that two questions can differ in: 3 - 4 and 3 + 4, 1.5 and 15, 5! and 5, (2 + 3) * 4 and 2 + 3 * 4, a
# derivative. A hyphen within a word is none, nor is ** around bold text.
_SIGNS = re.compile(
    r"(?<![^\W\d_])-|-(?![^\W\d_])|[+/^=<>%×÷−√]|(?<!\*)\*(?!\*)|\.(?=\d)|(?<=\d)!|\((?=[\d+-])|'(?=\()"
)


def normal_form(text: str) -> str:
    """A text without differences that no reader sees: of Unicode form (NFKC), case, white space, and characters
    without a width of their own (category Cf, such as U+200B)."""
    if text.isascii():  # most are, and their Unicode form is one
        return " ".join(text.lower().split())
    visible = "".join(each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    return " ".join(visible.casefold().split())


def copy_key(text: str) -> tuple[Words, tuple[str, ...]]:
    """What two copies of a question have in common: words, and the signs that a question's meaning depends on.

    A text without words stands for itself.
    """
    normal = normal_form(text)
    return words_of(text) or (normal,), tuple(_SIGNS.findall(normal))


def words_of(text: str) -> Words:
    """The words of a text's normal form, without punctuation."""
    if text.isascii():
        return tuple(text.lower().translate(_WITHOUT_PUNCTUATION).split())
    return tuple(_PUNCTUATION.sub("", normal_form(text)).split())
