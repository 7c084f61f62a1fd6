"""Claims about looking after every seed: the share of the level that each look is given keeps the false rate."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from simulated import benchmark

from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import compare
from antipasto_bench.analysis.verdicts import Look, judge, share_of_level

TABLES = 400
MOST = 10  # seeds
MARGIN = 0.02


def false_rates(arms: int, accuracies: list[float], seed_sd: float, wrong: set[str]) -> tuple[float, float]:
    """Shares of tables in which any look calls an arm wrongly: by the shares of the level, and by the whole of it.

    By the shares, each look repeats those before it, as a report does; so none takes back what one before it said.
    """
    rng = np.random.default_rng(17)
    spent = naive = 0
    for _ in range(TABLES):
        tables = benchmark(rng, accuracies, [MOST] * arms, 100, [seed_sd] * arms)
        called, decided = (set[str](), set[str]()), set[int]()
        looks: dict[int, list[Look]] = {i: [] for i in range(1, arms)}
        for k in range(2, MOST + 1):
            now = [table[:k] for table in tables]
            pool = seed_noise(now)
            family = {i: compare(now[i], now[0], pool) for i in range(1, arms)}
            for i, pair in family.items():
                looks[i].append(Look(pair, share_of_level(k, k)))
            verdicts = judge(family, MARGIN, looks=looks), judge(family, MARGIN)
            for words, of_look in zip(called, verdicts, strict=True):
                words |= {verdict.word for verdict in of_look.values()}
            now = {i for i, verdict in verdicts[0].items() if verdict.word != "undecided"}
            assert decided <= now
            decided = now
        spent += bool(called[0] & wrong)
        naive += bool(called[1] & wrong)
    return spent / TABLES, naive / TABLES


def test_equal_arms_are_seldom_called_different_however_often_one_looks():
    spent, naive = false_rates(3, [0.7] * 3, 0.03, {"better", "worse"})
    assert spent <= 0.05
    assert naive > 0.08, "without the shares, nine looks call equal arms different too often: this can fail"


def test_an_arm_at_the_margin_is_seldom_called_no_worse_however_often_one_looks():
    spent, naive = false_rates(2, [0.7, 0.7 - MARGIN], 0.03, {"better", "no worse"})
    assert spent <= 0.05
    assert naive > 0.08


@given(st.lists(st.booleans(), max_size=60))
def test_in_whatever_order_seeds_are_added_the_shares_sum_to_at_most_one(of_first):
    looks = [(2, 2)]
    for first in of_first:
        looks.append((looks[-1][0] + first, looks[-1][1] + (not first)))
    assert sum(share_of_level(*look) for look in looks) <= 1
