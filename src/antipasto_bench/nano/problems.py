"""Generated word problems for the embedded `nano` world.

Two families. What the base model is pretrained on: arithmetic lines and one- or two-step stories of
gaining, losing and counting. What adapters are trained and scored on: ten kinds of story that the base
has not seen (change, sharing, ages, fractions, ...), each told in several ways, each with a worked
solution. The arithmetic is the same in both, so an adapter has to teach structure, not sums.

A question belongs to exactly one split, because the split is a function of its text (`split_of`): no
seed and no sample size can make two splits overlap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

NAMES = (
    "Ann Ben Cara Dan Ella Finn Gwen Hugo Iris Jack Kate Liam Mia Noah Olga Paul Rosa Sam Tess Uma Vera Will Zoe"
).split()
THINGS = "apples pears coins books cards shells stamps pens stickers beads cookies plums nuts stones".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday".split()

# Which tenths of all questions, by their sha256 modulo ten, each split may draw from.
SPLITS = {"pretrain": range(0, 5), "train": range(5, 8), "valid": range(8, 9), "test": range(9, 10)}


@dataclass(frozen=True)
class Problem:
    """A question, the lines of its worked solution, and its integer answer."""

    kind: str
    question: str
    steps: tuple[str, ...]
    answer: int

    @property
    def solution(self) -> str:
        """GSM8K's form: the steps, then `#### N`."""
        return "\n".join((*self.steps, f"#### {self.answer}"))

    @property
    def response(self) -> str:
        """MetaMathQA's form: the solution, then `The answer is: N`."""
        return f"{self.solution}\nThe answer is: {self.answer}"


def split_of(question: str) -> str:
    """The one split that a question may appear in, decided by the hash of its text."""
    tenth = int(hashlib.sha256(question.encode()).hexdigest(), 16) % 10
    return next(name for name, tenths in SPLITS.items() if tenth in tenths)


def _two_names(rng: Random) -> tuple[str, str]:
    first, second = rng.sample(NAMES, 2)
    return first, second


# ---------------------------------------------------------------- kinds that adapters learn


def _compare(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n, d = rng.choice(THINGS), rng.randint(12, 60), rng.randint(2, 11)
    sign, word = rng.choice([("+", "more"), ("-", "fewer")])
    m = n + d if sign == "+" else n - d
    question = rng.choice(
        [
            f"{a} has {n} {thing}. {b} has {d} {word} than {a}. How many {thing} do they have together?",
            f"{b} owns {d} {word} {thing} than {a}, who owns {n}. What is the number of {thing} of both?",
        ]
    )
    return Problem("compare", question, (f"{b} has {n}{sign}{d}={m}.", f"Both have {n}+{m}={n + m}."), n + m)


def _times(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n = rng.choice(THINGS), rng.randint(6, 25)
    k, word = rng.choice([(2, "twice"), (3, "three times"), (4, "four times")])
    m = n * k
    if rng.random() < 0.5:
        ask, last, total = f"How many {thing} do they have together?", f"Both have {n}+{m}={n + m}.", n + m
    else:
        ask, last, total = f"How many more {thing} does {b} have than {a}?", f"That is {m}-{n}={m - n} more.", m - n
    question = rng.choice(
        [
            f"{a} has {n} {thing}. {b} has {word} as many as {a}. {ask}",
            f"{b} collected {word} as many {thing} as {a}, who collected {n}. {ask}",
        ]
    )
    return Problem("times", question, (f"{b} has {n}*{k}={m}.", last), total)


def _half(rng: Random) -> Problem:
    a = rng.choice(NAMES)
    first, second = rng.sample(DAYS, 2)
    thing, h = rng.choice(THINGS), rng.randint(6, 45)
    n = 2 * h
    question = rng.choice(
        [
            f"{a} sold {n} {thing} on {first} and half as many on {second}. How many {thing} did {a} sell in all?",
            f"On {first} {a} sold {n} {thing}, then on {second} half of that. What was the total of both days?",
        ]
    )
    return Problem("half", question, (f"On {second} {n}/2={h}.", f"In all {n}+{h}={n + h}."), n + h)


def _change(rng: Random) -> Problem:
    a, thing = rng.choice(NAMES), rng.choice(THINGS)
    n, p = rng.randint(2, 9), rng.randint(2, 9)
    cost = n * p
    q = cost + rng.randint(2, 40)
    question = rng.choice(
        [
            f"{a} buys {n} {thing} at ${p} each and pays with ${q}. How much change does {a} get?",
            f"One of the {thing} costs ${p}. {a} has ${q} and buys {n}. How much money is left?",
        ]
    )
    return Problem("change", question, (f"The cost is {n}*{p}={cost}.", f"Left is {q}-{cost}={q - cost}."), q - cost)


def _reading(rng: Random) -> Problem:
    a = rng.choice(NAMES)
    p, d = rng.randint(4, 15), rng.randint(2, 7)
    done = p * d
    total = done + rng.randint(5, 70)
    question = rng.choice(
        [
            f"A book has {total} pages. {a} reads {p} pages a day for {d} days. How many pages are left?",
            f"For {d} days {a} reads {p} pages each day of a book of {total} pages. How many are still to read?",
        ]
    )
    return Problem(
        "reading", question, (f"{a} reads {p}*{d}={done}.", f"Left is {total}-{done}={total - done}."), total - done
    )


def _share(rng: Random) -> Problem:
    thing = rng.choice(THINGS)
    while True:
        boxes, each, friends = rng.randint(2, 9), rng.randint(4, 12), rng.randint(2, 9)
        total = boxes * each
        if total % friends == 0 and friends != boxes:
            break
    part = total // friends
    question = rng.choice(
        [
            f"{boxes} boxes with {each} {thing} each are shared equally by {friends} friends. "
            f"How many {thing} does each friend get?",
            f"{friends} friends split {boxes} boxes of {each} {thing} evenly. What is the share of one friend?",
        ]
    )
    return Problem(
        "share", question, (f"There are {boxes}*{each}={total}.", f"Each gets {total}/{friends}={part}."), part
    )


def _age(rng: Random) -> Problem:
    a, b = _two_names(rng)
    d, k, now = rng.randint(2, 20), rng.randint(2, 12), rng.randint(5, 40)
    question = rng.choice(
        [
            f"{a} is {d} years older than {b}. In {k} years {b} will be {now + k}. How old is {a} now?",
            f"In {k} years {b} will be {now + k} years old. {b} is {d} years younger than {a}. What is the age of {a}?",
        ]
    )
    return Problem("age", question, (f"{b} is {now + k}-{k}={now}.", f"{a} is {now}+{d}={now + d}."), now + d)


def _earn(rng: Random) -> Problem:
    a = rng.choice(NAMES)
    first, second = rng.sample(DAYS, 2)
    rate, x, y = rng.randint(4, 15), rng.randint(2, 5), rng.randint(2, 4)
    hours = x + y
    question = rng.choice(
        [
            f"{a} earns ${rate} an hour and works {x} hours on {first} and {y} hours on {second}. "
            f"How much does {a} earn?",
            f"At ${rate} an hour, what does {a} get for {x} hours on {first} plus {y} hours on {second}?",
        ]
    )
    return Problem(
        "earn",
        question,
        (f"The hours are {x}+{y}={hours}.", f"The pay is {hours}*{rate}={hours * rate}."),
        hours * rate,
    )


def _fraction(rng: Random) -> Problem:
    a, b = _two_names(rng)
    k, word = rng.choice([(2, "half"), (3, "a third"), (4, "a quarter")])
    part, found = rng.randint(3, 20), rng.randint(2, 30)
    thing, n = rng.choice(THINGS), part * k
    left = n - part
    question = rng.choice(
        [
            f"{a} has {n} {thing}, gives {word} of them to {b} and then finds {found}. How many {thing} has {a} now?",
            f"Of {n} {thing}, {a} loses {word} and later gets {found} new ones. How many are there at the end?",
        ]
    )
    steps = (f"Gone are {n}/{k}={part}.", f"Left is {n}-{part}={left}.", f"Now {left}+{found}={left + found}.")
    return Problem("fraction", question, steps, left + found)


def _saving(rng: Random) -> Problem:
    a = rng.choice(NAMES)
    rate, weeks, had = rng.randint(3, 12), rng.randint(2, 7), rng.randint(5, 30)
    saved = rate * weeks
    have = had + saved
    price = have + rng.randint(3, 40)
    question = rng.choice(
        [
            f"{a} has ${had} and saves ${rate} a week for {weeks} weeks. A bike costs ${price}. "
            f"How much more does {a} need?",
            f"A bike costs ${price}. {a} starts with ${had} and puts aside ${rate} every week. "
            f"After {weeks} weeks, how much is missing?",
        ]
    )
    steps = (
        f"Saved {rate}*{weeks}={saved}.",
        f"In all {had}+{saved}={have}.",
        f"Missing {price}-{have}={price - have}.",
    )
    return Problem("saving", question, steps, price - have)


TUNING_KINDS: tuple[Callable[[Random], Problem], ...] = (
    _compare,
    _times,
    _half,
    _change,
    _reading,
    _share,
    _age,
    _earn,
    _fraction,
    _saving,
)


# ---------------------------------------------------------------- kinds that the base is pretrained on
# Each is one step of reasoning, so that the base can read a story, copy its numbers and do the sum; what it has
# hardly seen is how the steps of the kinds above follow from one another.


def _single(kind: str, question: str, before: str, a: int, op: str, b: int) -> Problem:
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[op]
    return Problem(kind, question, (f"{before} {a}{op}{b}={value}.",), value)


def _gain(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n, d = rng.choice(THINGS), rng.randint(3, 80), rng.randint(2, 40)
    event = rng.choice([f"{a} {rng.choice(['buys', 'finds', 'gets'])} {d} more.", f"Then {b} gives {d} to {a}."])
    ask = rng.choice([f"How many {thing} does {a} have now?", f"How many {thing} has {a} in all?"])
    before = rng.choice([f"{a} has", "Now", "In all"])
    return _single("gain", f"{a} has {n} {thing}. {event} {ask}", before, n, "+", d)


def _lose(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n = rng.choice(THINGS), rng.randint(8, 120)
    d = rng.randint(2, n - 2)
    verb = rng.choice(["loses", "sells", "eats"])
    event = rng.choice([f"{a} {verb} {d} of them.", f"Then {a} gives {d} to {b}."])
    ask = rng.choice([f"How many {thing} are left?", f"How many {thing} does {a} have now?"])
    return _single("lose", f"{a} has {n} {thing}. {event} {ask}", rng.choice(["Left is", f"{a} has"]), n, "-", d)


def _together(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n, m = rng.choice(THINGS), rng.randint(2, 80), rng.randint(2, 80)
    ask = rng.choice(["do they have together?", f"do {a} and {b} own in all?"])
    question = f"{a} has {n} {thing} and {b} has {m}. How many {thing} {ask}"
    return _single("together", question, rng.choice(["Both have", "In all"]), n, "+", m)


def _difference(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, d, m = rng.choice(THINGS), rng.randint(1, 60), rng.randint(2, 60)
    n = m + d
    question = f"{a} has {n} {thing} and {b} has {m}. How many more {thing} has {a} than {b}?"
    return _single("difference", question, "That is", n, "-", m)


def _more(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n, d = rng.choice(THINGS), rng.randint(12, 80), rng.randint(2, 11)
    op, word = rng.choice([("+", "more"), ("-", "fewer")])
    return _single("more", f"{a} has {n} {thing}. {b} has {d} {word} than {a}. How many has {b}?", f"{b} has", n, op, d)


def _boxes(rng: Random) -> Problem:
    thing, n, k = rng.choice(THINGS), rng.randint(2, 12), rng.randint(2, 9)
    question = rng.choice(
        [
            f"There are {k} boxes with {n} {thing} in each. How many {thing} are there?",
            f"How many {thing} are in {k} boxes of {n} {thing}?",
        ]
    )
    return _single("boxes", question, "There are", k, "*", n)


def _multiple(rng: Random) -> Problem:
    a, b = _two_names(rng)
    thing, n = rng.choice(THINGS), rng.randint(3, 30)
    k, word = rng.choice([(2, "twice"), (3, "three times"), (4, "four times")])
    return _single("multiple", f"{a} has {n} {thing}. {b} has {word} as many. How many has {b}?", f"{b} has", n, "*", k)


def _part(rng: Random) -> Problem:
    a = rng.choice(NAMES)
    k, word = rng.choice([(2, "Half"), (3, "A third"), (4, "A quarter")])
    thing, part = rng.choice(THINGS), rng.randint(3, 40)
    n = part * k
    question = f"{a} has {n} {thing}. {word} of them are gone. How many are gone?"
    return _single("part", question, "Gone are", n, "/", k)


def _split(rng: Random) -> Problem:
    thing, each, k = rng.choice(THINGS), rng.randint(2, 15), rng.randint(2, 9)
    question = f"{each * k} {thing} are split evenly by {k} friends. How many does each get?"
    return _single("split", question, "Each gets", each * k, "/", k)


def _cost(rng: Random) -> Problem:
    a, thing = rng.choice(NAMES), rng.choice(THINGS)
    n, p = rng.randint(2, 9), rng.randint(2, 12)
    return _single("cost", f"{a} buys {n} {thing} at ${p} each. What is the cost?", "The cost is", n, "*", p)


def _pay(rng: Random) -> Problem:
    a, rate, hours = rng.choice(NAMES), rng.randint(3, 15), rng.randint(2, 9)
    return _single("pay", f"{a} works {hours} hours on {rng.choice(DAYS)} for ${rate} an hour. What is the pay?",
                   "The pay is", hours, "*", rate)  # fmt: skip


def _pages(rng: Random) -> Problem:
    a, p, d = rng.choice(NAMES), rng.randint(3, 15), rng.randint(2, 9)
    return _single("pages", f"{a} reads {p} pages a day for {d} days. How many pages is that?", f"{a} reads", p, "*", d)


def _years(rng: Random) -> Problem:
    a, now, k = rng.choice(NAMES), rng.randint(5, 50), rng.randint(2, 20)
    if rng.random() < 0.5:
        return _single("years", f"{a} is {now} years old. How old will {a} be in {k} years?", f"{a} is", now, "+", k)
    return _single("years", f"{a} is {now + k} years old. How old was {a} {k} years ago?", f"{a} is", now + k, "-", k)


def _gain_and_lose(rng: Random) -> Problem:
    a, thing = rng.choice(NAMES), rng.choice(THINGS)
    n, d = rng.randint(8, 60), rng.randint(2, 30)
    e = rng.randint(2, n)
    question = f"{a} has {n} {thing}. {a} finds {d} more and then sells {e}. How many {thing} does {a} have now?"
    return Problem(
        "gain_and_lose", question, (f"{a} has {n}+{d}={n + d}.", f"Left is {n + d}-{e}={n + d - e}."), n + d - e
    )


PRETRAINING_KINDS: tuple[Callable[[Random], Problem], ...] = (
    _gain,
    _lose,
    _together,
    _difference,
    _more,
    _boxes,
    _multiple,
    _part,
    _split,
    _cost,
    _pay,
    _pages,
    _years,
    _gain_and_lose,
)


def _sum_line(rng: Random) -> str:
    """One arithmetic fact, in the ranges that the stories need; sums and differences are the hardest to learn."""
    op = rng.choice("+++---*/")
    if op == "+":
        a, b = rng.randint(1, 120), rng.randint(1, 80)
        return f"{a}+{b}={a + b}"
    if op == "-":
        a, b = rng.randint(1, 120), rng.randint(1, 80)
        return f"{a + b}-{b}={a}"
    # Products up to 15*9 and 60*4, and their inverses; one factor is a single digit.
    a, b = rng.randint(2, 15), rng.randint(2, 9)
    if rng.random() < 0.4:
        a, b = rng.randint(16, 60), rng.randint(2, 4)
    if op == "*":
        return rng.choice([f"{a}*{b}={a * b}", f"{b}*{a}={a * b}"])
    return rng.choice([f"{a * b}/{b}={a}", f"{a * b}/{a}={b}"])


def pretraining_text(rng: Random, split: str = "pretrain") -> Iterator[str]:
    """An endless stream of pretraining documents: lines of sums, and stories of one step.

    One story in eight wears the benchmark's own prompt, so that the untuned base answers in a form that can be
    scored; one in two hundred is of a tuning kind, bare. Every question is of the given split: of another than
    `pretrain`, it is one that pretraining never saw.
    """
    while True:
        if rng.random() < 0.3:
            yield "\n".join(_sum_line(rng) for _ in range(rng.randint(3, 8)))
            continue
        unusual = rng.random() < 0.005
        problem = rng.choice(TUNING_KINDS if unusual else PRETRAINING_KINDS)(rng)
        if split_of(problem.question) != split:
            continue
        if not unusual and rng.random() < 0.125:
            yield f"Question: {problem.question} Think step by step.\nAnswer: {problem.response}"
        else:
            yield f"{problem.question}\n{problem.solution}"


def generate(split: str, n: int, rng: Random) -> list[Problem]:
    """`n` distinct tuning problems of a split (`train`, `valid` or `test`), every kind equally likely.

    The generator is owned by the caller: the same seed gives the same list.
    """
    problems: dict[str, Problem] = {}
    while len(problems) < n:
        problem = rng.choice(TUNING_KINDS)(rng)
        if split_of(problem.question) == split:
            problems.setdefault(problem.question, problem)
    return list(problems.values())
