"""Claims about the filter `given-answer`: which number an answer gives, and that it is compared by value."""

import json
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from command import SHARED
from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.tasks import filter_steps, filtered_answers, right_answers
from antipasto_bench.spec.config import EvalConfig

CASES = SHARED / "cases" / "answers.jsonl"
GSM8K = SHARED / "data" / "gsm8k" / "test.jsonl"
TASKS = Path(__file__).parents[3] / "benchmark" / "tasks"

# Evaluation loads the task as a run does: by its YAML, which includes that of gsm8k_metamath with its filter.
TASK = Evaluation(EvalConfig(tasks=("nano_metamath",)), None).test[0]


def right(response: str, reference: str) -> bool:
    return right_answers(TASK, [{"question": "q", "answer": reference}], [response])[0]


def given_text(response: str) -> str:
    """What the filter makes of an answer that is not right."""
    return filtered_answers(TASK, "given-answer", [{"question": "q", "answer": "#### 123454321"}], [response])[0]


@pytest.mark.skipif(not CASES.exists(), reason=f"the cases are not beside this checkout ({CASES})")
def test_the_shared_cases_are_judged_right():
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    assert len(cases) >= 36
    misjudged = [case for case in cases if right(case["said"], case["reference"]) != case["right"]]
    assert misjudged == []


@pytest.mark.skipif(not GSM8K.exists(), reason=f"GSM8K is not beside this checkout ({GSM8K})")
@pytest.mark.parametrize("form", ["as written", "as trained on"])
def test_every_solution_of_gsm8ks_authors_is_right_by_every_filter(form):
    docs = [json.loads(line) for line in GSM8K.read_text().splitlines()]
    assert len(docs) == 1319
    answers = [doc["answer"] for doc in docs]
    if form == "as trained on":
        parts = [answer.rpartition("\n#### ") for answer in answers]
        answers = [f"{without_marks(solution)}\nThe answer is: {number}" for solution, _, number in parts]
    for name in filter_steps(TASK):
        filtered = filtered_answers(TASK, name, docs, answers)
        verdicts = [TASK.process_results(doc, [text])["exact_match"] for doc, text in zip(docs, filtered, strict=True)]
        assert verdicts == [1] * 1319, name


def without_marks(solution: str) -> str:
    """A solution of GSM8K without its calculator marks, as in `9*2 = $<<9*2=18>>18`."""
    pieces = solution.split("<<")
    return pieces[0] + "".join(piece.partition(">>")[2] for piece in pieces[1:])


# ------------------------------------------------------------------ which number is the answer


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("Eight of 20 remain, so 12.\nThe answer is: 12\nThe answer is: 13", "12"),
        ("#### 12\nso \\boxed{13}", "12"),
        ("THE FINAL ANSWER IS 12, not 13", "12"),
        ("**The answer is:** 12", "12"),
        ("The **final answer** is: $12$", "12"),
        ("The answer is\n\n12 apples", "12"),
        ("The final answer is:\n$$\n\\boxed{12}\n$$\nThat took 3 steps.", "12"),
        ("The answer is therefore \\boxed{12}", "12"),
        ("The answer is as follows:\n#### 12", "12"),
        ("#### Final answer: 12", "12"),
        ("The answer is: Mr. Lee has 12 left. He had 20.", "12"),
        ("The answer is: 20 - 8 = 12", "12"),
        ("The answer is: (20 - 8) * $2 = $24", "24"),
        ("The answer is: 24 = 2*12", "24"),
        ("The final answer is 3 crates * 8 jars / crate = 24 jars", "24"),
        ("so the answer is $3 * 8 = $<<3*8=24>>24", "24"),
        ("The answer is: 3 boxes * 8 = 24 and 3 x 8 = 24", "24"),
        ("The answer is: 24 jars - he had 30 - 6 = 24", "24"),
        ("The answer is: 24 or 20 + 5 = 25", "24"),
        ("#### Step 1: add 5 and 7\nThat gives 12", "12"),
        ("##### 5\nin all 12", "12"),
        ("12 are left.\n\n**Question:** Ann has 3. How many", "12"),
        ("12 are left.\nQ2: Ann has 3", "12"),
        ("12 are left.\n### Problem 2: Ann has 3.\nThe answer is: 3", "12"),
        ("12 are left.\n## Problem 2\nAnn has 3.", "12"),
        ("12 are left.\nUser: and if he had 3?", "12"),
        ("12 dollars\n\nProblem: Bob has 3. The answer is: 4", "12"),
        ("Exercise: 30 minutes less 18\nThe answer is: 12", "12"),
        ("User: 12 accounts.\nThe answer is: 12", "12"),
        ("Let us see.\nQuestion 1: how many? 5+7=12\nThe answer is: 12\nQuestion 2: The answer is: 3", "12"),
        ("No question: 5 and 7 are 12", "12"),
        ("It covers 12 m^2", "12"),
        ("It covers 12 cm^{2}.", "12"),
        ("so ... 5 and then...12", "12"),
        ("He has 20-8=12 and no more", "12"),
        ("The answer is: 12,13", "12"),
        ("The answer is: 48/4 = 12", "12"),
        ("The answer isn't 5 but 12", "12"),
    ],
)
def test_the_answer_is_the_first_announced_else_the_last_before_another_problem(response, number):
    assert right(response, f"because\n#### {number}")
    assert not right(response, f"because\n#### {int(number) + 1}")


@pytest.mark.parametrize(
    "response",
    [
        "12 in all. The answer is: unknown",
        "12 in all. The answer is: unclear. She had 12 eggs.",
        "The answer is: none of them\n12",
        "12, so \\boxed{}",
        "12, so \\boxed{x}",
        "#### twelve\n12",
        "Question: Ann has 12",
        "The answer is: 12/0",
        "The answer is: 12e999999999",
        "The answer is:",
        "\x00\ud800",
    ],
)
def test_an_answer_without_a_number_gives_none(response):
    assert given_text(response) == "[invalid]"
    assert not right(response, "#### 12")


# ------------------------------------------------------------------ what it is worth


@pytest.mark.parametrize(
    ("writing", "value"),
    [
        ("1,234,567", 1234567),
        ("12,34,567", 1234567),
        ("1\u202f234\u00a0567", 1234567),
        ("1{,}234", 1234),
        ("1\\,234", 1234),
        ("0018", 18),
        ("18.", 18),
        ("18.000", 18),
        ("-$5", -5),
        ("$-5", -5),
        ("-\\$5.50", Fraction(-11, 2)),
        ("-**5**", -5),
        ("\u22125", -5),
        ("\u20135", -5),
        ("+5", 5),
        ("`5`", 5),
        ("__5__", 5),
        ("$.50", Fraction(1, 2)),
        ("50\\%", 50),
        ("1 / 2", Fraction(1, 2)),
        ("2 1/2", Fraction(5, 2)),
        ("2 and 1/2 hours", Fraction(5, 2)),
        ("2½", Fraction(5, 2)),
        ("-½", Fraction(-1, 2)),
        ("\\frac{-1}{2}", Fraction(-1, 2)),
        ("-\\dfrac{1}{2}", Fraction(-1, 2)),
        ("\\frac{1{,}000 m}{4}", 250),
        ("\\frac12", Fraction(1, 2)),
        ("2\\frac{1}{2}", Fraction(5, 2)),
        ("\\boxed{\\text{about } 18\\text{ eggs}}", 18),
        ("\\boxed{\\frac{1}{2}}", Fraction(1, 2)),
        ("\\boxed{{18}}", 18),
        ("\\boxed 18", 18),
        ("1.8E+1", 18),
        ("180e-1", 18),
        ("1.8 \\times 10^{1}", 18),
        ("1.8 × 10^1", 18),
        ("0e999999999", 0),
        ("-0", 0),
        ("0" * 5000 + "18." + "0" * 5000, 18),
        ("\u0661\u0668", 18),
        ("\uff11\uff18", 18),
        ("18\u00b2", 18),
        ("18km", 18),
        ("€18", 18),
    ],
)
def test_a_number_counts_by_its_value_however_it_is_written_on_either_side(writing, value):
    for response, reference in ((f"The answer is: {writing}", f"#### {value}"), (str(value), f"x\n#### {writing}")):
        assert right(response, reference), (response, reference)
    assert not right(f"The answer is: {writing}", f"#### {value + 1}")
    assert right(f"so it is {writing}", f"#### {value}")


PREFIXES = ["The answer is: ", "the answer is ", "The final answer is: ", "#### ", "####", "so in all "]
PLAIN = ["{}", "+{}", "${}", "\\${}", "**{}**", "__{}__", "`{}`", "${}$", "{}%", "{} dollars", "{}.", "\\boxed{{{}}}",
         "$\\boxed{{{}}}$", "\\boxed{{\\text{{{} eggs}}}}", " {} \r\n", "**${}**", "x = {}"]  # fmt: skip


@st.composite
def written_numbers(draw: st.DrawFn) -> tuple[Fraction, str]:
    """A value, and one of the many ways to write it in an answer."""
    whole, tenths = draw(st.integers(0, 10**9)), draw(st.integers(0, 999))
    kind = draw(st.sampled_from(["whole", "comma", "space", "decimal", "fraction", "latex", "exponent", "zeros"]))
    value = Fraction(whole)
    if kind in ("comma", "space"):
        text = f"{whole:,}".replace(",", "," if kind == "comma" else " ")
    elif kind == "decimal":
        value += Fraction(tenths, 1000)
        text = f"{whole if whole else draw(st.sampled_from(['', '0']))}.{tenths:03}{'0' * draw(st.integers(0, 3))}"
    elif kind in ("fraction", "latex"):
        value = Fraction(whole, tenths + 1)
        text = f"{whole}/{tenths + 1}" if kind == "fraction" else f"\\frac{{{whole}}}{{{tenths + 1}}}"
    elif kind == "exponent":
        shift = draw(st.integers(0, 9))
        value, text = Fraction(whole) / 10**shift, f"{whole}{draw(st.sampled_from('eE'))}-{shift}"
    else:
        text = "0" * (draw(st.integers(1, 5)) if kind == "zeros" else 0) + str(whole)
    minus = draw(st.sampled_from(["", "-", "\u2212"]))
    form = draw(st.sampled_from([form for form in PLAIN if not (minus and form == "+{}")]))
    return (-value if minus else value), draw(st.sampled_from(PREFIXES)) + form.format(minus + text)


@given(written_numbers())
def test_any_writing_of_a_number_is_its_value_and_no_other(written):
    value, response = written
    assert right(response, f"because\n#### {value}"), (response, value)
    assert not right(response, f"because\n#### {value + 1}"), (response, value)


# ------------------------------------------------------------------ any text at all


@given(st.text(st.characters(), max_size=200) | st.text("0123456789.,/-+$%^{}\\*_ #eEx=()fracboxed\n", max_size=80))
def test_no_text_raises_and_what_is_given_is_a_number_or_none(text):
    for response in (text, f"The answer is: {text}", f"\\boxed{{{text}"):
        read = given_text(response)
        assert read in ("[invalid]", "123454321") or Fraction(read).denominator >= 1
    given_reference = filtered_answers(TASK, "given-answer", [{"question": "q", "answer": f"#### {text}"}], ["12"])
    assert isinstance(given_reference[0], str)


HARD = ["9", "1,23", ",234", "1 234 ", "1/", "1 1 ", "1e5", "1e300/", "-", "-$ ", ".", "1.", "0,", "\\frac{1",
        "\\frac{", "\\boxed{", "{", "^{", " ", "\n", "\t", "\n \n", "the ", "the answer is ", "#", "#### ", "# ", "Q",
        "Question", "1+1=", "1 x 10^", "½", "٣", "\\", "*", "**", "_", "(", "\\text{", ". ",
        ".\n", "the" + " " * 50]  # fmt: skip


@pytest.mark.parametrize("start", ["", "The answer is: ", "\\boxed{"])
def test_an_answer_of_100_kb_is_read_in_linear_time(start):
    began = time.process_time()
    for unit in HARD:
        given_text(start + unit * (100_000 // len(unit)))
    # Seconds where time grows with the length; minutes where it grows with its square.
    assert time.process_time() - began < 60


def test_the_filter_needs_nothing_of_this_package():
    code = f"""
import sys
sys.modules["antipasto_bench"] = sys.modules["antipasto"] = None  # importing them fails
sys.path.insert(0, {str(TASKS / "gsm8k_metamath")!r})
import given_answer
print(given_answer.GivenAnswer().apply([["The answer is: 1/2"], ["2"], ["x"]], [{{"answer": "#### 0.5"}}] * 3))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[['0.5'], ['2'], ['[invalid]']]\n"
