"""Claims about what more seeds or questions would decide."""

from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest
from recorded import record
from simulated import benchmark

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.analysis.plan_more import Undecided, loss_says, plan_more, where_noise_comes_from
from antipasto_bench.analysis.power import detectable
from antipasto_bench.analysis.projection import (
    MOST_SEEDS,
    Measured,
    Rule,
    decides,
    projected,
    questions_that_decide,
    seeds_that_decide,
)
from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import compare
from antipasto_bench.analysis.variance import score_means, score_table
from antipasto_bench.analysis.verdicts import LEVEL, Verdict, share_of_level
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

RULE = Rule(margin=0.02, family=3, every_seed=False)


def pair_of(tables, kinds=None, varies=(True, True)) -> Measured:
    """The first two of some arms."""
    trained = (table for table, seeds in zip(tables, [*varies, *[True] * len(tables)], strict=False) if seeds)
    pool = seed_noise(trained, kinds)
    a, b = (score_means(score_table(table), kinds) for table in tables[:2])
    return Measured(compare(tables[0], tables[1], pool, varies, kinds), (a, b), varies, pool)


def drawn(seed, accuracies=(0.7, 0.62, 0.7, 0.7, 0.7, 0.7), seeds=3, questions=300, sd=0.03):
    return benchmark(
        np.random.default_rng(seed), accuracies, [seeds] * len(accuracies), questions, [sd] * len(accuracies)
    )


@pytest.mark.parametrize("seeds", [2, 3, 7])
@pytest.mark.parametrize("kinds", [None, [str(i % 10) for i in range(300)]], ids=["alone", "of kinds"])
@pytest.mark.parametrize("loud", [False, True])
def test_what_is_there_already_is_projected_as_it_is(seeds, kinds, loud):
    tables = drawn(seeds, seeds=seeds)
    if loud:  # an arm whose own noise counts
        tables[0][0] = 1 - tables[0][0]
    pair = pair_of(tables, kinds)
    now, error = projected(pair, pair.seeds, 300), pair.comparison.error
    assert now.questions == pytest.approx(error.questions, rel=1e-12)
    assert (now.seeds, now.question_df) == (error.seeds, error.question_df)


def test_an_arm_with_other_seeds_has_the_error_that_it_is_projected_to_have():
    """From three seeds to nine, and from 300 questions to 900: as a mean over tables, since the parts are estimates."""
    ahead, there = [], []
    for seed in range(100):
        pair = pair_of(drawn(seed))
        ahead.append([projected(pair, (9, 9), 300).variance, projected(pair, (3, 3), 900).variance])
        there.append([
            pair_of(drawn(1000 + seed, seeds=9)).comparison.error.variance,
            pair_of(drawn(2000 + seed, questions=900)).comparison.error.variance,
        ])  # fmt: skip
    seeds, questions = np.mean(ahead, axis=0) / np.mean(there, axis=0)
    assert 0.9 < seeds < 1.3, "what an arm's few seeds overstate is projected with it"
    assert 0.9 < questions < 1.15


def with_kinds(seed, seeds, kinds=10, sd=0.12):
    """Arms that differ, and whose seeds differ, in the kinds that they get right; and the kinds of 300 questions."""
    rng = np.random.default_rng(seed)
    of_arms, of_seeds = 0.1 * rng.normal(size=(6, 1, kinds)), sd * rng.normal(size=(6, seeds, kinds))
    chances = np.clip(0.6 + of_arms + of_seeds, 0, 1).repeat(300 // kinds, axis=2)
    return [*(rng.random(chances.shape) < chances).astype(float)], [str(i * kinds // 300) for i in range(300)]


def test_what_seeds_add_to_kinds_shrinks_with_the_seeds():
    """V of two seeds, projected to eight, is V of eight; with the noise of single answers alone it would be above."""
    ahead, naive, there = [], [], []
    for seed in range(100):
        tables, kinds = with_kinds(seed, 8)
        pair = pair_of([table[:2] for table in tables], kinds)
        ahead.append(projected(pair, (8, 8), 300).questions)
        a, b = (replace(arm, noise=replace(arm.noise, chance=arm.noise.of_answers, of_kinds=0.0)) for arm in pair.arms)
        naive.append(projected(replace(pair, arms=(a, b)), (8, 8), 300).questions)
        there.append(pair_of(tables, kinds).comparison.error.questions)
    assert 0.9 < np.mean(ahead) / np.mean(there) < 1.15
    assert np.mean(naive) > 1.25 * np.mean(there)


def test_questions_shrink_neither_what_seeds_nor_what_kinds_add():
    tables, kinds = drawn(3, sd=0.08), [str(i // 30) for i in range(300)]
    for table in tables:
        table[:, :60] = 1.0
    tables[1][:, :60] = 0.0  # two kinds that one arm has and the other has not
    pair = pair_of(tables, kinds)
    at_most = projected(pair, pair.seeds, inf)
    assert at_most.questions > 0.5 * pair.comparison.error.questions
    of_seeds = [sum(part.variance for part in error.seeds.parts) for error in (at_most, pair.comparison.error)]
    assert 0.7 < of_seeds[0] / of_seeds[1] < 1.1, "questions take off no more than the noise of single answers"
    alone = pair_of(tables)
    assert projected(alone, alone.seeds, inf).questions == 0
    assert projected(alone, alone.seeds, 600).questions == pytest.approx(alone.comparison.error.questions / 2)


def test_the_rule_is_what_the_two_tests_find_with_a_power_of_80_percent():
    error = pair_of(drawn(1)).comparison.error
    both, one = detectable(error, 0.01), detectable(error, 0.02)
    assert decides(both, error, 0.01, 0.02)
    assert decides(-both, error, 0.01, 0.02)
    assert not decides(-both + 1e-9, error, 0.01, 0.02)
    assert decides(one - 0.02 + 1e-9, error, 0.01, 0.02)
    assert not decides(one - 0.02 - 1e-9, error, 0.01, 0.02)


def test_as_many_seeds_as_it_says_decide_four_times_in_five():
    """True difference 8 points; what each pilot of three seeds asks for is then made, and judged at the level."""
    decided, asked = 0, []
    for seed in range(150):
        pilot = pair_of(drawn(seed))
        pilot = replace(pilot, comparison=replace(pilot.comparison, centre=0.08))
        k = next(k for k in range(2, 40) if RULE.decided_by(pilot, (k, k), 300))
        asked.append(k)
        c = pair_of(drawn(5000 + seed, seeds=k)).comparison
        decided += min(c.p, c.p_not_below(-RULE.margin)) < LEVEL / RULE.family
    assert 2 < np.mean(asked) < 10, "else the pilot decides it already, or nothing does"
    assert 0.72 <= decided / 150 <= 0.92


def test_the_fewest_are_named_and_one_fewer_does_not_decide():
    pair = pair_of(drawn(5, sd=0.005))
    pair = replace(pair, comparison=replace(pair.comparison, centre=0.03))
    k, n = seeds_that_decide(pair, RULE), questions_that_decide(pair, RULE)
    assert k is not None
    assert k > 4
    assert RULE.decided_by(pair, (k, k), 300)
    assert not RULE.decided_by(pair, (k - 1, k - 1), 300)
    assert n is not None
    assert n > 300
    assert RULE.decided_by(pair, (3, 3), n)
    assert not RULE.decided_by(pair, (3, 3), n - 1)


def test_no_number_of_questions_decides_what_seeds_alone_exceed():
    pair = pair_of(drawn(1, accuracies=(0.7, 0.69, 0.7, 0.7, 0.7, 0.7), sd=0.05))
    pair = replace(pair, comparison=replace(pair.comparison, centre=-0.001))
    assert questions_that_decide(pair, RULE) is None
    assert seeds_that_decide(pair, RULE) is None, f"{MOST_SEEDS} seeds are not enough"


def test_only_what_varies_gets_seeds_and_what_has_more_keeps_them():
    tables = [table[:k] for table, k in zip(drawn(1, seeds=5), (1, 3, 3, 3, 3, 3), strict=True)]
    untuned = pair_of(tables, varies=(False, True))
    assert untuned.with_seeds(6) == (1, 6)
    error = projected(untuned, (1, 6), 300)
    assert sum(p.variance for p in error.seeds.parts) == pytest.approx(
        sum(p.variance for p in untuned.comparison.error.seeds.parts) / 2, rel=0.05
    )
    uneven = pair_of([drawn(1, seeds=5)[0], *drawn(1)[1:]])
    assert uneven.with_seeds(4) == (5, 4)
    both = pair_of(tables, varies=(False, False))
    assert seeds_that_decide(both, RULE) is None


def test_a_plan_that_looks_after_every_seed_asks_for_more():
    pair = pair_of(drawn(2, sd=0.02))
    every = replace(RULE, every_seed=True)
    assert every.level(pair, (5, 5)) == RULE.level(pair, (5, 5)) * share_of_level(5, 5)
    assert (seeds_that_decide(pair, every) or inf) > (seeds_that_decide(pair, RULE) or inf)


# ------------------------------------------------------------------ of a table


RIGHT = {"lora": (5, 6, 7), "dora": (6, 7, 8), "pissa": (2, 3, 3)}  # of 12 questions, by seed


def results(tmp_path, nats=None) -> Store:
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for variant, of_seeds in RIGHT.items():
        for seed, right in enumerate(of_seeds):
            losses = None if nats is None else [nats[variant] + 0.01 * seed + 0.1 * q for q in range(12)]
            made = record(store, variant, [*range(right)], 12, {"total_s": 40.0, "measure_s": 2.0}, losses, seed=seed)
            append(store.table, made)
    return store


def test_a_table_says_it_of_each_undecided_arm_and_of_no_other(tmp_path):
    (section,) = compared_sections(results(tmp_path))
    more = plan_more(section)
    words = {section.section.arms[i].name: v.word for i, v in section.verdicts.items()}
    assert {each.arm.name for each in more.undecided} == {name for name, word in words.items() if word == "undecided"}
    assert more.undecided, "else nothing is tested"
    for each in more.undecided:
        own, of_reference = each.runs
        assert each.seconds == (None if each.seeds is None else 42.0 * (own + of_reference))
        assert each.from_seeds**2 + each.from_questions**2 == pytest.approx(each.verdict.comparison.error.variance)
    runs = {arm.name: k for arm, k in more.runs}
    assert runs.get("lora r=16", 0) == max(each.runs[1] for each in more.undecided)
    assert plan_more(section, asked={"none of them"}).undecided == []


def test_the_held_out_loss_of_an_undecided_arm_is_told(tmp_path):
    (section,) = compared_sections(results(tmp_path, {"lora": 5.0, "dora": 4.0, "pissa": 6.0}))
    (dora,) = [each for each in plan_more(section).undecided if each.arm.variant == "dora"]
    assert dora.loss is not None
    assert dora.loss.word == "better"
    assert loss_says(dora).startswith("its held-out loss is better (-0.0")
    assert loss_says(replace(dora, loss=None)) == "no held-out loss to go by"


# ------------------------------------------------------------------ the sentence


def of(pair: Measured, section, seeds, questions) -> Undecided:
    lora, other = section.section.arms[0], section.section.arms[1]
    return Undecided(other, lora, Verdict("undecided", pair.comparison, 1.0, 1.0), None, pair, seeds, questions)


@pytest.mark.parametrize(
    ("seeds", "questions", "end"),
    [
        ((9, None), (None, None), ", so more questions do not help."),
        ((9, None), (None, 4000), " (one standard error, at the median)."),
        ((None, None), (None, 4000), ", so up to 20 seeds an arm do not help."),
        ((None, None), (None, None), ", and neither up to 20 seeds an arm nor more questions decide it."),
    ],
)
def test_the_sentence_on_noise_says_what_cannot_help_where_it_cannot_and_only_there(tmp_path, seeds, questions, end):
    (section,) = compared_sections(results(tmp_path))
    pair = pair_of(drawn(1))
    said = where_noise_comes_from([of(pair, section, k, n) for k, n in zip(seeds, questions, strict=True)])
    of_kinds = pair_of(*with_kinds(1, 3))
    of_kinds = where_noise_comes_from([of(of_kinds, section, k, n) for k, n in zip(seeds, questions, strict=True)])
    assert "from questions of 10 kinds (one" in of_kinds
    assert of_kinds.endswith(end.replace("more questions", "more questions of these kinds"))
    error = pair.comparison.error
    of_seeds = 100 * sqrt(sum(part.variance for part in error.seeds.parts))
    assert said is not None
    assert said.endswith(end)
    assert f"{of_seeds:.1f} points come from seeds and {100 * sqrt(error.questions):.1f} from questions" in said
    assert "the 2 arms that are undecided" in said


def test_no_sentence_on_noise_where_nothing_is_undecided_or_seeds_are_unknown(tmp_path):
    (section,) = compared_sections(results(tmp_path))
    assert where_noise_comes_from([]) is None
    alone = pair_of([table[:1] for table in drawn(1)[:2]])
    assert where_noise_comes_from([of(alone, section, None, None)]) is None
    one = where_noise_comes_from([of(pair_of(drawn(1)), section, 5, None)])
    assert one is not None
    assert "that are undecided" not in one
    assert "median" not in one
