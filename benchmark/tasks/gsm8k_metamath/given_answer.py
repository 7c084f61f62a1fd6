"""The filter `given-answer` of gsm8k_metamath.yaml: the number that an answer gives, compared by its value.

An answer gives the number that it announces first: behind `The answer is`, `The final answer is` or `####`, or within
`\\boxed{}`. If it announces nothing, it gives its last number. The heading of another problem ends the answer; but a
heading before the first number does not hide an announcement. An announcement without a number gives none, whatever
stands before it. Digits of any script count by value.

It needs lm-eval and Python's standard library alone, and takes time in proportion to an answer's length.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

from lm_eval.api.filter import Filter

INVALID = "[invalid]"  # as lm-eval's own filters say that there is no answer
NO_REFERENCE = "[the reference holds no number]"
MOST_DIGITS = 300  # of a number, and the largest exponent of ten: beyond that it is no answer of a word problem


class GivenAnswer(Filter):  # type: ignore[misc]  # lm-eval has no types
    """Each response's number: in the reference's own writing where both are equal in value, so that `exact_match` says
    right; else as a fraction in lowest terms; INVALID where there is none."""

    def __init__(self, field: str = "answer") -> None:
        """
        Args:
            field: of a question, that holds the reference: a solution that ends in `#### N`.
        """
        super().__init__()
        self.field = field

    def apply(self, resps: Iterable[Sequence[Any]], docs: Iterable[dict[str, Any]]) -> list[list[str]]:
        pairs = zip(resps, docs, strict=True)
        return [_in_reference_writing(responses, str(doc[self.field])) for responses, doc in pairs]


def _in_reference_writing(responses: Sequence[Any], reference: str) -> list[str]:
    right = reference_number(reference)
    if right is None:
        return [NO_REFERENCE] * len(responses)
    writing = reference.rpartition("#### ")[2]  # what the metric cuts the reference to
    given = [given_number(response) if isinstance(response, str) else None for response in responses]
    return [INVALID if number is None else writing if number == right else str(number) for number in given]


def reference_number(reference: str) -> Fraction | None:
    """The one number behind the last `####` of a reference, or of one without that mark the number that it gives.

    None where there is no number, or another one beside it: `1,2` may be 1.2, 12, or 1 and 2.
    """
    if "####" not in reference:
        return given_number(reference)
    text = _plain(reference.rpartition("####")[2])
    numbers = [value for value, _, _ in islice(_numbers(text), 2)]
    return numbers[0] if len(numbers) == 1 else None


def given_number(response: str) -> Fraction | None:
    """The number that an answer gives; None where it gives none."""
    text = _plain(response)
    announcement = _ANNOUNCEMENT.search(text)
    number = next((start for _, start, _ in _numbers(text)), len(text))
    said = min(number, announcement.start() if announcement else len(text))
    # An answer that comes to an announcement may repeat the question first, under such a heading.
    other = _OTHER_PROBLEM.search(text, said)
    if announcement and (other is None or announcement.start() < other.start()):
        return _announced(text[: other.start()] if other else text, announcement)
    other = _OTHER_PROBLEM.search(text)
    last = deque(_numbers(text[: other.start()] if other else text), maxlen=1)
    return last[0][0] if last else None


# ------------------------------------------------------------------ where the answer stands

_OTHER_PROBLEM = re.compile(
    r"^[ \t>#*_]{0,12}(?:question|problem|exercise|instruction|user|human|q)[ \t]{0,3}[0-9]{0,4}[ \t*_]{0,4}:"
    r"|^#{1,6}[ \t*_]{1,6}(?:question|problem|exercise)(?![^\W_])",
    re.IGNORECASE | re.MULTILINE,
)
_GAP = r"[\s*_`]"  # Markdown may stand between the words
_ANNOUNCEMENT = re.compile(
    rf"(?<![^\W_])the{_GAP}+(?:final{_GAP}+)?answer{_GAP}+is(?![^\W_])"
    # Four # are also a heading of Markdown.
    rf"|(?<!\#)\#{{4}}(?!\#)(?!{_GAP}*(?:step|part|case|solution|explanation|calculation)s?(?![^\W_]))"
    rf"(?:{_GAP}*(?:the\s+)?(?:final\s+)?answer(?![^\W_]))?"
    r"|\\f?boxed(?![A-Za-z])",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!Mr)(?<!Mrs)(?<!Ms)(?<!Dr)(?<!St)(?<![A-Z])[.!?][*_`)\]}$\"']{0,4}\s{1,4}[*_`$]{0,4}[A-Z]"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def _announced(text: str, announcement: re.Match[str]) -> Fraction | None:
    """The first number behind an announcement, in its sentence; where its line holds no word, in the next line."""
    if announcement[0].startswith("\\"):
        return _first(_boxed(text, announcement.end()))[1]
    for line in text[announcement.end() :].split("\n"):
        if not any(map(str.isalnum, line)):
            continue
        end = _SENTENCE_END.search(line)
        sentence = line[: end.start()] if end else line
        there, value = _first(sentence)
        if there or not sentence.rstrip(" \t*_`$").endswith(":"):
            return value
    return None


def _boxed(text: str, start: int) -> str:
    """What stands in the braces that open at `start`; the rest of the line where none open or close."""
    line = text[start:].partition("\n")[0]
    if not line.lstrip().startswith("{"):
        return line
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0 and brace[0] == "}":
            return text[start : brace.start()]
    return line


def _first(text: str) -> tuple[bool, Fraction | None]:
    """Whether there is a number, and the value of the first: of `16 eggs - 7 = 9`, what it comes to."""
    first = next(_numbers(text), None)
    if first is None:
        return False, None
    value, _, end = first
    computed = False
    while (sign := _OPERATOR.match(text, end)) and (number := _NUMBER.match(text, sign.end())):
        result, end = _value(text, number)
        if sign[1] == "=" and not computed:
            break
        value = result if sign[1] == "=" else value
        computed = sign[1] != "="
    return True, value


# ------------------------------------------------------------------ what a number is

_CURRENCY = r"\\?[$€£¥₹][ ]?"
_DIGITS = (
    r"(?P<whole>0*[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])"  # 1,234,567
    r"|[1-9][0-9]?(?:,[0-9]{2}){1,9},[0-9]{3}(?![0-9])"  # 12,34,567
    r"|[1-9][0-9]{0,2}(?:[ ][0-9]{3})+(?![0-9])"  # 1 234 567
    r"|[0-9]+)(?P<part>\.[0-9]+)?"
    r"|(?<![0-9A-Za-z.])(?P<dot>\.[0-9]+)"
)
_UNSIGNED = re.compile(rf"(?:{_DIGITS})(?:[eE](?P<exponent>[-+]?[0-9]+)(?![0-9A-Za-z]))?")
# A sign stands where nothing stands before it that a minus could be taken from.
_SIGN = rf"(?:(?<![^\W_])(?<![)\]}}%.])(?P<sign>[-+])(?:{_CURRENCY}|\*\*|__|`)?)?"
_NUMBER = re.compile(rf"{_SIGN}(?:(?P<fraction>\\[cdt]?frac(?![A-Za-z]))|{_UNSIGNED.pattern})")
_POWER_OR_NUMBER = re.compile(rf"(?P<power>\^[ ]?\{{?[-+]?[0-9]+)|{_NUMBER.pattern}")  # m^2 holds no number
_OVER = re.compile(r"[ ]?/[ ]?(?=[0-9.])")
_MIXED = re.compile(r"[ ](?:and[ ])?([0-9]{1,9})[ ]?/[ ]?([0-9]{1,9})(?![0-9.,])")
_TIMES_TEN_TO = re.compile(r"[ ]?(?:\\times|\\cdot|\*|x)[ ]?10[ ]?\^[ ]?(?:\{[ ]?([-+]?[0-9]+)[ ]?\}|([-+]?[0-9]+))")
_MARK = r"(?:<<[^<>\n]{0,200}>>)?"  # GSM8K's calculator's, as in 9*2 = <<9*2=18>>18
_WORD = r"[A-Za-z]{1,20}(?![A-Za-z])"
_UNIT = rf"(?:[ ]?{_WORD}(?:[ ]?/[ ]?{_WORD})?){{0,3}}?"
_SYMBOL = r"[-+*/=]|(?<![A-Za-z])x(?![A-Za-z])|\\times|\\cdot|\\div"
_OPERATOR = re.compile(rf"{_UNIT}[ )%]{{0,3}}({_SYMBOL})[ (]{{0,3}}(?:{_CURRENCY})?{_MARK}")
_ARGUMENT = re.compile(r"[ ]?(?:\{[ ]?(?P<braced>)|(?P<digit>[0-9]))")


def _numbers(text: str) -> Iterator[tuple[Fraction | None, int, int]]:
    """Every number of a text, from the left: its value, None where that is undefined or too long, and its place."""
    position = 0
    while match := _POWER_OR_NUMBER.search(text, position):
        if match["power"]:
            position = match.end()
            continue
        value, position = _value(text, match)
        yield value, match.start(), position


def _value(text: str, match: re.Match[str]) -> tuple[Fraction | None, int]:
    """The value of a number that begins with a match, and where it ends: fractions, 2 1/2 and 1.8 * 10^1 are one."""
    end = match.end()
    if match["fraction"]:
        value, end = _latex_fraction(text, end)
    else:
        value = _decimal(match)
        mixed = _MIXED.match(text, end)
        if mixed and int(mixed[1]) < int(mixed[2]) and match["part"] is match["dot"] is match["exponent"] is None:
            value, end = _plus(value, Fraction(int(mixed[1]), int(mixed[2]))), mixed.end()
        elif fraction := _LATEX_FRACTION.match(text, end):
            added, end = _latex_fraction(text, fraction.end())
            value = _plus(value, added)
        elif (over := _OVER.match(text, end)) and (below := _UNSIGNED.match(text, over.end())):
            value, end = _ratio(value, _decimal(below)), below.end()
    if ten := _TIMES_TEN_TO.match(text, end):
        power = _power_of_ten(ten[1] or ten[2])
        value, end = (None if value is None or power is None else value * power), ten.end()
    return _signed(value, match), end


_BRACE_CLOSED = re.compile(r"[^{}0-9+*/-]{0,40}\}")  # a unit may stand before it
_LATEX_FRACTION = re.compile(r"[ ]?\\[cdt]?frac(?![A-Za-z])")


def _latex_fraction(text: str, end: int) -> tuple[Fraction | None, int]:
    """`{1}{2}` or `12` behind `\\frac`; its end is that of what could be read."""
    parts: list[Fraction | None] = []
    for _ in range(2):
        argument = _ARGUMENT.match(text, end)
        if argument and argument["digit"]:
            parts.append(Fraction(argument["digit"]))
            end = argument.end()
        elif argument and (number := _NUMBER.match(text, argument.end())) and not number["fraction"]:
            parts.append(_signed(_decimal(number), number))
            if (close := _BRACE_CLOSED.match(text, number.end())) is None:
                return None, number.end()
            end = close.end()
        else:
            return None, end
    return _ratio(*parts), end


def _decimal(match: re.Match[str]) -> Fraction | None:
    """The value of digits with their separators, point and exponent."""
    whole = re.sub("[, ]", "", match["whole"] or "").lstrip("0")
    part = (match["part"] or match["dot"] or "")[1:].rstrip("0")
    power = _power_of_ten(match["exponent"] or "0")
    if not whole and not part:
        return Fraction(0)
    if power is None or len(whole) + len(part) > MOST_DIGITS:
        return None
    return Fraction(int(whole + part), 10 ** len(part)) * power


def _power_of_ten(exponent: str) -> Fraction | None:
    digits = exponent.lstrip("+-").lstrip("0") or "0"
    if len(digits) > len(str(MOST_DIGITS)) or int(digits) > MOST_DIGITS:
        return None
    return Fraction(10) ** (-int(digits) if exponent.startswith("-") else int(digits))


def _ratio(above: Fraction | None, below: Fraction | None) -> Fraction | None:
    return above / below if above is not None and below else None


def _plus(value: Fraction | None, added: Fraction | None) -> Fraction | None:
    return None if value is None or added is None else value + added


def _signed(value: Fraction | None, match: re.Match[str]) -> Fraction | None:
    return -value if value is not None and match["sign"] == "-" else value


# ------------------------------------------------------------------ characters

_SAME = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
    "\uff0b": "+", "\u066b": ".", "\u066c": ",", "\u2044": "/", "\u2215": "/", "\u00d7": "*", "\u00f7": "/",
}  # fmt: skip
_LATEX_SPACING = {"\\,": " ", "\\;": " ", "\\:": " ", "\\ ": " ", "\\!": "", "{,}": ","}
_LATEX_SPACE = re.compile("|".join(map(re.escape, _LATEX_SPACING)))
_OTHER_CHARACTER = re.compile(r"([0-9])?([\u00bc-\u00be\u2150-\u215e])|[^\x00-\x7f]")


def _plain(text: str) -> str:
    """ASCII in place of minus signs, spaces and digits of any script, and 2 1/2 in place of 2½; LaTeX's spaces too."""
    text = text.replace("\r", "\n")
    if not text.isascii():
        text = _OTHER_CHARACTER.sub(_plain_character, text)
    return _LATEX_SPACE.sub(lambda space: _LATEX_SPACING[space[0]], text)


def _plain_character(match: re.Match[str]) -> str:
    if match[2]:
        return f"{match[1]} " * bool(match[1]) + unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
    character = match[0]
    return str(int(character)) if character.isdecimal() else _SAME.get(character, character)
