"""Claims about whole tables, by simulation: intervals hold the truth, and equal arms are not called different.

Every factor that a table may have is varied: arms, seeds, questions, accuracy, and how much the seeds of each arm vary.
The reference is an arm drawn at random. The ordinary tests draw TABLES of each of SETTINGS, the long ones
PRODUCT_TABLES of each setting of the whole product.

Measured with 800 to 1,500 tables a setting, 14 arms, 600 questions, 73%, beyond what is asserted here:

- 95% is held by the average of the arms' intervals, and not by each arm's. Those of one loud arm (sd 8 points among 1)
  hold the truth in 93 to 94% with three seeds and with five, but in 88 to 92% with two: one pair of loud seeds in seven
  differs by no more than the others', and looks quiet. Intervals wide enough for that would be too wide for the 13
  others.
- Two seeds are cautious, 97 to 98% where arms vary little: an arm whose own two differ by more than the pool's has the
  interval of one degree of freedom. No weaker guard brings them to 97% and keeps false differences to 5 in 100 tables.
  Of 400 tables of 14 arms and two seeds, coverage of differences, and tables that call arms different:

                                          one point        one loud, 600    lognormal, 600   lognormal, 200
      as it is                            97.9%,  0.5%     96.3%,  2.0%     95.1%,  5.2%     96.5%,  6.8%
      without arms that hide              97.2%,  3.7%     95.2%, 12.0%     93.4%, 20.0%     95.3%, 12.8%
      own seeds from 2.5 times the pool   97.7%,  2.0%     95.8%,  3.0%     93.8%,  6.2%     95.9%,  9.0%
      own seeds from 4 times the pool     97.6%,  2.0%     95.5%,  3.0%     93.1%,  8.3%     95.4%,  9.8%
- Where the loud arm is the reference, equal arms are called different in 2% of tables with two seeds or five, and in
  4% with three.
- At 3%, seeds with an sd of 4.6 points, most near 0 and a few far above, are beyond what three or five of them show:
  the loud arm's interval holds the truth in 76 and 79%, and 11 to 13% of tables call arms different. `room_for` keeps
  the sd to half the distance to the edge.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom
from simulated import benchmark, room_for

from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import compare, summarise
from antipasto_bench.analysis.verdicts import LEVEL, judge

TABLES, PRODUCT_TABLES = 80, 6
MARGIN = 0.02
NOISES = ("1 point", "3 points", "one loud", "three loud", "lognormal")


@dataclass(frozen=True)
class Setting:
    arms: int
    seeds: int
    questions: int
    accuracy: float
    noise: str

    def seed_sds(self) -> list[float]:
        """Of each arm, the loudest first."""
        drawn = 0.02 * np.exp(0.7 * np.random.default_rng(3).normal(size=self.arms))
        sds = {
            "1 point": [0.01] * self.arms,
            "3 points": [0.03] * self.arms,
            "one loud": [0.08] + [0.01] * (self.arms - 1),
            "three loud": [0.08] * 3 + [0.01] * (self.arms - 3),
            "lognormal": sorted(drawn.tolist(), reverse=True),
        }
        return [room_for(sd, self.accuracy) for sd in sds[self.noise]]


SETTINGS = [
    Setting(14, 2, 200, 0.50, "1 point"),
    Setting(14, 2, 600, 0.73, "one loud"),
    Setting(33, 2, 200, 0.03, "lognormal"),
    Setting(14, 2, 1319, 0.90, "three loud"),
    Setting(14, 3, 600, 0.73, "1 point"),
    Setting(14, 3, 600, 0.73, "one loud"),
    Setting(14, 3, 200, 0.10, "three loud"),
    Setting(33, 3, 600, 0.50, "lognormal"),
    Setting(14, 3, 1319, 0.97, "3 points"),
    Setting(14, 5, 200, 0.73, "three loud"),
    Setting(14, 5, 600, 0.50, "lognormal"),
    Setting(14, 5, 600, 0.03, "one loud"),
]  # every value of every factor

PRODUCT = [
    Setting(*values) for values in product((14, 33), (2, 3, 5), (200, 600, 1319), (0.03, 0.1, 0.5, 0.73, 0.97), NOISES)
]


@dataclass
class Outcome:
    """What some tables of equal arms gave."""

    intervals: list[float]  # of each table, the share of arms whose interval holds the truth
    differences: list[float]  # of each table, the share of intervals of differences that hold 0
    loudest: list[bool]  # whether the interval of the loudest arm holds the truth
    false: list[bool]  # of each table, whether any arm is said to differ from the reference


def drawn(setting: Setting, tables: int, rng: np.random.Generator) -> Outcome:
    """Tables of arms that are equally accurate, each against a reference drawn among them."""
    truth, outcome = setting.accuracy, Outcome([], [], [], [])
    for _ in range(tables):
        arms = benchmark(
            rng, [truth] * setting.arms, [setting.seeds] * setting.arms, setting.questions, setting.seed_sds()
        )
        pool = seed_noise(arms)
        holds = [arm.low <= truth <= arm.high for arm in (summarise(table, pool) for table in arms)]
        reference = int(rng.integers(setting.arms))
        family = {i: compare(arms[i], arms[reference], pool) for i in range(setting.arms) if i != reference}
        outcome.intervals.append(float(np.mean(holds)))
        outcome.differences.append(float(np.mean([pair.low <= 0 <= pair.high for pair in family.values()])))
        outcome.loudest.append(holds[0])
        outcome.false.append(any(verdict.p < LEVEL for verdict in judge(family, MARGIN).values()))
    return outcome


def most(seeds: int) -> float:
    """The largest coverage that is not too cautious."""
    return 0.98 if seeds == 2 else 0.97


@cache
def simulated(setting: Setting, tables: int) -> Outcome:
    return drawn(setting, tables, np.random.default_rng((*PRODUCT, *SETTINGS).index(setting)))


def test_the_settings_have_every_value_of_every_factor():
    for factor, values in (
        ("arms", {14, 33}),
        ("seeds", {2, 3, 5}),
        ("questions", {200, 600, 1319}),
        ("noise", set(NOISES)),
    ):
        assert {getattr(setting, factor) for setting in SETTINGS} == values
    assert {0.03, 0.97} < {setting.accuracy for setting in SETTINGS}


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_setting_is_within_what_its_tables_can_show(setting):
    """80 tables measure a coverage to a point, and show a rate of 5% only where it is far above."""
    outcome = simulated(setting, TABLES)
    assert 0.92 <= np.mean(outcome.intervals) <= most(setting.seeds) + 0.01
    assert 0.92 <= np.mean(outcome.differences) <= 0.99
    assert sum(outcome.false) <= binom.ppf(0.99, TABLES, LEVEL)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_truth_95_times_in_100(seeds):
    of_seeds = [simulated(setting, TABLES) for setting in SETTINGS if setting.seeds == seeds]
    assert 0.93 <= np.mean([outcome.intervals for outcome in of_seeds]) <= most(seeds)
    assert 0.93 <= np.mean([outcome.differences for outcome in of_seeds]) <= 0.98


def test_equal_arms_are_called_different_in_at_most_5_of_100_tables():
    assert np.mean([simulated(setting, TABLES).false for setting in SETTINGS]) <= LEVEL


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_loud_arm_is_covered_by_its_own_seeds(seeds):
    """89% of 150 tables is two standard errors below the 93 to 94% that 1,000 gave."""
    outcome = drawn(Setting(14, seeds, 200, 0.73, "one loud"), 150, np.random.default_rng(40))
    assert np.mean(outcome.loudest) >= 0.89


@pytest.mark.parametrize(
    "setting",
    [
        Setting(14, 2, 600, 0.73, "one loud"),
        Setting(14, 3, 200, 0.50, "three loud"),
        Setting(14, 3, 600, 0.10, "1 point"),
        Setting(14, 5, 600, 0.73, "lognormal"),
    ],
    ids=str,
)
def test_an_arm_that_is_worse_by_the_margin_is_hardly_ever_said_to_be_no_worse(setting):
    """Of the whole family: the reference is better than each arm by exactly the margin."""
    rng, false, tables = np.random.default_rng(50), 0, 60
    accuracies = [setting.accuracy + MARGIN] + [setting.accuracy] * (setting.arms - 1)
    sds = setting.seed_sds()
    for _ in range(tables):
        arms = benchmark(rng, accuracies, [setting.seeds] * setting.arms, setting.questions, rng.permutation(sds))
        pool = seed_noise(arms)
        family = {i: compare(table, arms[0], pool) for i, table in enumerate(arms) if i}
        false += any(verdict.word in ("no worse", "better") for verdict in judge(family, MARGIN).values())
    assert false <= binom.ppf(0.99, tables, LEVEL)


@pytest.mark.long
@pytest.mark.parametrize(
    ("factor", "value"),
    sorted({(factor, value) for setting in PRODUCT for factor, value in vars(setting).items()}, key=str),
)
def test_coverage_and_false_rate_hold_at_every_value_of_every_factor(factor, value):
    """6 tables of each of the 450 settings: 540 or more of each value, which measure 5% to ±1 point."""
    chosen = [simulated(setting, PRODUCT_TABLES) for setting in PRODUCT if getattr(setting, factor) == value]
    two = factor == "seeds" and value == 2
    assert 0.93 <= np.mean([outcome.intervals for outcome in chosen]) <= most(2 if two else 3)
    assert 0.93 <= np.mean([outcome.differences for outcome in chosen]) <= 0.98
    assert np.mean([outcome.false for outcome in chosen]) <= LEVEL


@pytest.mark.long
@pytest.mark.parametrize(("seeds", "least"), [(2, 0.88), (3, 0.91), (5, 0.92)])
def test_the_loudest_arm_is_covered_less_with_few_seeds(seeds, least):
    chosen = [simulated(setting, PRODUCT_TABLES).loudest for setting in PRODUCT if setting.seeds == seeds]
    assert np.mean(chosen) >= least
