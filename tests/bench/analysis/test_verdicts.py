"""Claims about what is said of arms: when, in which word, and what may not be said of tables of one seed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import record

from antipasto_bench.analysis.arms import Arm, Runs, arm_of
from antipasto_bench.analysis.comparisons import accuracy_pairs, loss_pairs
from antipasto_bench.analysis.error import Error
from antipasto_bench.analysis.multiplicity import holm
from antipasto_bench.analysis.plan import Plan
from antipasto_bench.analysis.seed_noise import SeedError, SeedPart, seed_noise
from antipasto_bench.analysis.stats import Comparison, compare
from antipasto_bench.analysis.verdicts import LEVEL, Look, judge, share_of_level
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.folders import Store
from antipasto_bench.store.record import RunRecord

N = 200


@st.composite
def comparisons(draw):
    seeds = SeedError(
        (SeedPart(draw(st.floats(1e-6, 1e-2)), draw(st.floats(1.0, 60.0))),), draw(st.sampled_from([0.0, 0.01])), 0.01
    )
    difference = draw(st.floats(-0.4, 0.4))
    return Comparison(difference, difference, Error(draw(st.floats(1e-6, 1e-3)), seeds), N, 0.1)


families = st.lists(comparisons(), min_size=1, max_size=12).map(lambda family: dict(enumerate(family)))
margins = st.floats(1e-4, 0.3)


@given(families, margins)
def test_words_say_what_their_p_say(family, margin):
    for verdict in judge(family, margin).values():
        pair, different = verdict.comparison, verdict.p < LEVEL
        assert verdict.p >= pair.p * (1 - 1e-12)
        if verdict.word == "better":
            assert different
            assert pair.low > 0
            assert pair.p_not_below(-margin) <= pair.p
        elif verdict.word == "worse":
            assert different
            assert pair.high < 0
            assert verdict.p_no_worse >= LEVEL
        elif verdict.word == "no worse":
            assert verdict.p_no_worse < LEVEL
            assert pair.p_not_below(-margin) <= verdict.p_no_worse * (1 + 1e-12)
            assert verdict.slightly_worse == different
            assert not (different and pair.centre > 0)
        else:
            assert not different
            assert verdict.p_no_worse >= LEVEL


@given(families, margins)
def test_p_are_holms_over_the_family(family, margin):
    verdicts = judge(family, margin)
    assert [each.p for each in verdicts.values()] == holm([pair.p for pair in family.values()]).tolist()
    one_sided = holm([pair.p_not_below(-margin) for pair in family.values()]).tolist()
    assert [each.p_no_worse for each in verdicts.values()] == one_sided
    assert judge({}, margin) == {}


@given(families, margins)
def test_losses_are_judged_by_the_same_rule_with_the_sign_turned(family, margin):
    mirrored = judge({arm: pair.reversed() for arm, pair in family.items()}, margin, sign=-1)
    for arm, verdict in judge(family, margin).items():
        assert (verdict.word, verdict.p, verdict.p_no_worse) == (
            mirrored[arm].word,
            mirrored[arm].p,
            mirrored[arm].p_no_worse,
        )
        assert mirrored[arm].comparison.difference == -verdict.comparison.difference


@given(families, margins, margins)
def test_a_wider_margin_takes_no_word_back(family, one, other):
    narrow, wide = (judge(family, margin) for margin in sorted([one, other]))
    for arm in family:
        assert wide[arm].p == narrow[arm].p
        assert wide[arm].p_no_worse <= narrow[arm].p_no_worse + 1e-9
        assert wide[arm].word == narrow[arm].word or wide[arm].word == "no worse"


@given(comparisons(), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_a_one_sided_p_rises_with_its_limit_and_mirrors(pair, one, other):
    low, high = sorted([one, other])
    assert pair.p_not_below(low) <= pair.p_not_below(high) + 1e-9
    assert pair.p_not_below(low) + pair.reversed().p_not_below(-low) == pytest.approx(1)
    assert pair.p_not_below(pair.centre) == 0.5
    if abs(pair.low) < 1:
        assert pair.p_not_below(pair.low) == pytest.approx(0.025, rel=1e-5)


@given(st.lists(st.booleans(), max_size=200))
def test_looks_spend_no_more_than_the_level(added_to_the_arm):
    """A look after every seed that either arm gets, from two each."""
    seeds, other, spent = 2, 2, [share_of_level(2, 2)]
    for to_the_arm in added_to_the_arm:
        seeds, other = seeds + to_the_arm, other + (not to_the_arm)
        spent.append(share_of_level(seeds, other))
    assert sum(spent) <= 1
    assert sum(spent) == pytest.approx(1 - 1 / (len(spent) + 1))
    assert spent == sorted(spent, reverse=True)


@given(families, margins, st.integers(2, 6))
def test_a_look_with_a_share_of_the_level_says_no_more_than_one_with_all_of_it(family, margin, seeds):
    share = share_of_level(seeds, 3)
    shared = judge(family, margin, looks={arm: [Look(pair, share)] for arm, pair in family.items()})
    for arm, verdict in judge(family, margin).items():
        assert shared[arm].p >= verdict.p
        assert shared[arm].p_no_worse >= verdict.p_no_worse
        assert shared[arm].p == pytest.approx(min(1, verdict.p / share)) or verdict.p == 1 or shared[arm].p == 1


# tables


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def arm(store, variant, rights, **given) -> Arm:
    """An arm of seeds that answered so many of N questions right; each gets others wrong, and losses say the same."""
    records = []
    for seed, right in enumerate(rights):
        own = {} if variant == "base" else {"seed": seed}
        answered = [(i + 7 * seed) % N for i in range(right)]
        nats = [(3.0 if i in set(answered) else 5.0) + 0.01 * (i * (seed + 3) % 11) for i in range(N)]
        records.append(record(store, variant, answered, n=N, nats=nats, **own, **given))
    return arm_of(Runs(records, []), records, store)


def test_nothing_is_concluded_on_tables_of_one_seed(store):
    """However far apart: the runs differ, and of the methods nothing is known."""
    arms = [arm(store, "lora", [190]), arm(store, "dora", [20]), arm(store, "pissa", [100])]
    for pairs in (accuracy_pairs(arms), loss_pairs(arms)):
        assert pairs[0, 1].p < 1e-10
        assert pairs.conclusive == pairs.members == pairs.separated_pairs() == []
        assert not pairs.separated(0, 1)
        assert pairs.ranks == [None] * 3
        assert pairs.against(0, Plan()) == {}
        assert pairs.smallest is None


def test_an_arm_of_one_seed_is_in_no_conclusion_of_a_table_of_more(store):
    arms = [arm(store, "lora", [180, 182]), arm(store, "dora", [20, 22]), arm(store, "pissa", [10])]
    for pairs in (accuracy_pairs(arms), loss_pairs(arms)):
        assert pairs.conclusive == [(0, 1)]
        assert pairs.ranks == [(1, 1), (2, 2), None]
        assert set(pairs.against(0, Plan())) == {1}
        assert pairs.against(2, Plan()) == {}, "nothing is set against an arm of one seed"


def test_the_untuned_model_needs_no_second_seed(store):
    arms = [arm(store, "base", [30]), arm(store, "lora", [180, 182, 181]), arm(store, "dora", [179, 182, 180])]
    pairs = accuracy_pairs(arms)
    assert pairs.conclusive == [(0, 1), (0, 2), (1, 2)]
    words = {arms[i].variant: verdict.word for i, verdict in pairs.against(1, Plan(margin=10.0)).items()}
    assert words == {"base": "worse", "dora": "no worse"}
    assert pairs.ranks == [(3, 3), (1, 2), (1, 2)]


@given(families, margins)
def test_where_the_margin_is_not_small_no_arm_is_no_worse_and_no_other_word_changes(family, margin):
    small, large = judge(family, margin), judge(family, margin, margin_is_small=False)
    for arm, verdict in large.items():
        now = small[arm].word
        assert (verdict.p, verdict.p_no_worse) == (small[arm].p, small[arm].p_no_worse)
        assert verdict.word == (("worse" if verdict.p < LEVEL else "undecided") if now == "no worse" else now)


@pytest.mark.parametrize(("untuned", "margin", "small"), [(40, 10.0, True), (178, 10.0, False), (150, 20.0, False)])
def test_no_worse_needs_a_reference_that_gained_more_than_the_margin(store, untuned, margin, small):
    """Of 200 questions lora has 181 right: 1.5 points more than a model that has 178, and 15 more than one with 150."""
    arms = [arm(store, "lora", [181, 182, 180]), arm(store, "dora", [180, 183, 181]), arm(store, "base", [untuned])]
    pairs, plan = accuracy_pairs(arms), Plan(margin=margin)
    assert pairs.margin_is_small(0, plan) is small
    assert pairs.against(0, plan)[1].word == ("no worse" if small else "undecided")
    assert pairs.margin_is_small(2, plan), "to be no worse than the untuned model needs nothing else"
    assert accuracy_pairs(arms[:2]).margin_is_small(0, plan), "nothing is known of a model that was not scored untuned"


def test_the_table_says_what_its_statistics_say(store):
    """`Pairs` adds nothing of its own to `compare`, `holm` and `judge`."""
    rights = {"lora": [150, 160, 155], "dora": [120, 135, 130], "pissa": [158, 150, 152], "eva": [20, 35, 30]}
    arms = [arm(store, variant, of_seeds) for variant, of_seeds in rights.items()]
    pairs, pool = accuracy_pairs(arms), seed_noise([each.scores for each in arms])
    family = {i: compare(arms[i].scores, arms[0].scores, pool) for i in (1, 2, 3)}
    assert pairs.against(0, Plan(margin=3.0)) == judge(family, 0.03)
    assert pairs.noise == pool
    assert list(pairs.p.values()) == holm([pairs[pair].p for pair in pairs.conclusive]).tolist()
    assert pairs[2, 0] == pairs[0, 2].reversed()
    later = pairs.against(0, Plan(margin=3.0, looks="every seed"))
    first = [each.scores[:2] for each in arms]
    looks = {
        i: [
            Look(compare(first[i], first[0], seed_noise(first)), share_of_level(2, 2)),
            Look(family[i], share_of_level(3, 3)),
        ]
        for i in family
    }
    assert later == judge(family, 0.03, looks=looks)
    assert math.isfinite(pairs.smallest)


def test_what_a_look_decided_stands_when_the_reference_gets_more_seeds(store):
    """At the 8th look the same pair of two seeds and nine is held to 1/56 of the level."""
    rights = {"lora": [150, 151, *range(146, 153)], "dora": [133, 135], "pissa": [150, 151]}
    arms = [arm(store, variant, of_seeds) for variant, of_seeds in rights.items()]
    now, first = accuracy_pairs(arms), accuracy_pairs(arms, first=2)
    assert judge({1: now[1, 0]}, 0.02, looks={1: [Look(now[1, 0], share_of_level(2, 9))]})[1].word == "undecided"
    assert judge({i: first[i, 0] for i in (1, 2)}, 0.02)[1].word == "worse"
    verdict = now.against(0, Plan(looks="every seed"))[1]
    assert verdict.word == "worse"
    assert verdict.comparison == now[1, 0], "the interval is that of all seeds"


def test_the_first_seeds_of_an_arm_are_the_lowest_and_those_that_diverged_among_them(store):
    records = [record(store, "lora", [*range(10 * seed)], n=N, seed=seed) for seed in (3, 1, 4)]
    lost = [RunRecord.of(compose("lora", {"seed": seed}, "nano"), "lost") for seed in (5, 2)]
    made = arm_of(Runs(records, lost), records, store)
    assert made.scores.sum(1).tolist() == [10, 30, 40, 0, 0], "of seeds 1, 3, 4, 2 and 5"
    assert [made.scores[made.rows(k)].sum(1).tolist() for k in (2, 3)] == [[10, 0], [10, 30, 0]]
    assert made.rows().tolist() == made.rows(9).tolist() == [0, 1, 2, 3, 4]


def test_an_arm_with_lower_losses_is_better(store):
    arms = [arm(store, "lora", [100, 104]), arm(store, "dora", [170, 174])]
    by_accuracy, by_loss = accuracy_pairs(arms), loss_pairs(arms)
    assert by_accuracy.against(0, Plan())[1].word == by_loss.against(0, Plan())[1].word == "better"
    assert by_loss[1, 0].difference < 0 < by_accuracy[1, 0].difference
