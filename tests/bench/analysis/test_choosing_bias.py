"""Claims about the bias of a chosen arm's mean: of equal learning rates, whichever is chosen, its mean is theirs.

Tables are simulated: every rate has the same accuracy, TRUTH; a run's own differs from it by its seed, SEED_SD, and
both its validation and its test questions are answered with that accuracy. What chooses and averages is what reports
use.
"""

import numpy as np
import pytest

from antipasto_bench.analysis.choosing import rate_families
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.record import RunRecord

TRUTH, SEED_SD = 0.73, 0.04
VALID, TEST = 200, 600  # questions
DRAWS = 3000
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@pytest.fixture(scope="module")
def runs() -> dict[tuple[float, int], RunRecord]:
    """A finished run of each learning rate and seed, without scores."""
    made = {}
    for lr in RATES:
        for seed in range(3):
            run = compose("lora", {"lr": lr, "seed": seed}, "nano")
            made[lr, seed] = RunRecord.of(run, run.run_id)
            made[lr, seed].status = "ok"
    return made


def score(runs: list[RunRecord], random: np.random.Generator) -> None:
    """Give each run the scores of a simulated training."""
    accuracy = np.clip(random.normal(TRUTH, SEED_SD, len(runs)), 0, 1)
    valid, test = random.binomial(VALID, accuracy) / VALID, random.binomial(TEST, accuracy) / TEST
    for record, of_valid, of_test in zip(runs, valid.tolist(), test.tolist(), strict=True):
        # Values are set unchecked: setattr would validate all of a record for each of them.
        record.__dict__ |= {"valid_accuracy": of_valid, "test_accuracy": of_test}


def simulated(runs, rates: int, trials: int, random: np.random.Generator) -> tuple[float, float]:
    """The bias of a chosen arm's mean, in points: of the runs that a report averages, and of all runs at that rate.

    Args:
        trials: seeds on which every rate is tried; the others are spent on the best rate alone, where there are some.
    """
    ours, every = [], []
    for _ in range(DRAWS):
        score(list(runs.values()), random)
        tried = [record for (lr, seed), record in runs.items() if lr in RATES[:rates] and seed < trials]
        best = rate_families(tried, [], [])[0].choice.lr
        rest = [record for (lr, seed), record in runs.items() if lr == best and seed >= trials]
        (family,) = rate_families([*tried, *rest], [], [])
        (chosen,) = family.chosen
        at_rate = next(arm.finished for arm in family.arms if arm.finished[0].lr == chosen.finished[0].lr)
        for means, averaged in ((ours, chosen.finished), (every, at_rate)):
            means.append(np.mean([record.test_accuracy for record in averaged]))
    return 100 * (np.mean(ours) - TRUTH), 100 * (np.mean(every) - TRUTH)


@pytest.mark.parametrize(("rates", "flattered"), [(3, 0.85), (4, 1.1), (7, 1.4)])
def test_the_mean_of_an_arm_is_not_flattered_by_the_choice_of_its_rate(runs, rates, flattered):
    """One seed tries every rate, two more are made at the best: the mean of all three would be a point too high."""
    ours, every = simulated(runs, rates, 1, np.random.default_rng(rates))
    assert abs(ours) < 0.2
    assert every == pytest.approx(flattered, abs=0.15)


@pytest.mark.parametrize("rates", [3, 7])
@pytest.mark.parametrize("trials", [2, 3])
def test_nor_where_every_rate_was_tried_on_several_seeds(runs, rates, trials):
    ours, every = simulated(runs, rates, trials, np.random.default_rng(10 * trials + rates))
    assert abs(ours) < 0.2
    assert every > 0.5
