"""Claims about the choice of a learning rate: which seed chooses, which rate is best there, and what is not chosen."""

from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.spec.selection import DIVERGED, Choice, Validation, choose_rate


def of(values: dict[float, dict[int, float]]) -> dict[float, dict[int, Validation]]:
    return {lr: {seed: Validation(value) for seed, value in by_seed.items()} for lr, by_seed in values.items()}


@given(st.dictionaries(st.floats(1e-5, 1), st.floats(0, 1), min_size=1, max_size=6))
def test_the_chosen_rate_is_the_best_one_and_the_lowest_of_equals(valid):
    lr, seed = choose_rate(of({rate: {0: value} for rate, value in valid.items()}))
    assert seed == 0
    assert valid[lr] == max(valid.values())
    assert all(other >= lr for other in valid if valid[other] == valid[lr])


def test_the_lowest_seed_that_every_rate_was_tried_on_chooses():
    assert choose_rate(of({1e-2: {1: 0.5, 0: 0.9, 2: 0.9}, 1e-1: {1: 0.6}})) == Choice(1e-1, 1)
    assert choose_rate(of({1e-2: {2: 0.9, 1: 0.9, 0: 0.5}, 1e-1: {0: 0.6, 1: 0.1, 2: 0.1}})) == Choice(1e-1, 0)
    assert choose_rate(of({1e-2: {0: 0.5}, 1e-1: {1: 0.6}})) is None
    assert choose_rate({}) is None


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=2, max_size=5), st.integers(1, 3))
def test_more_seeds_at_the_chosen_rate_leave_the_choice_as_it_is(valid, trials):
    """So a sweep that spends its other seeds on its choice ends with the choice that it began with."""
    every = dict(zip((1e-4, 1e-3, 1e-2, 1e-1, 1.0), valid, strict=False))
    tried = {lr: dict(enumerate(values[:trials])) for lr, values in every.items()}
    choice = choose_rate(of(tried))
    assert choose_rate(of(tried | {choice.lr: dict(enumerate(every[choice.lr]))})) == choice


def test_equal_accuracies_are_told_apart_by_the_loss_where_every_one_of_them_has_it():
    tried = {1e-3: {0: Validation(0.5, 0.7)}, 1e-2: {0: Validation(0.5, 0.6)}, 1e-1: {0: Validation(0.4, 0.1)}}
    assert choose_rate(tried) == Choice(1e-2, 0)
    assert choose_rate(tried | {1.0: {0: Validation(0.5)}}) == Choice(1e-3, 0)
    assert choose_rate(tried | {1e-1: {0: Validation(0.4)}}) == Choice(1e-2, 0), "a worse rate's loss is not asked for"


def test_a_rate_that_diverged_on_the_choosing_seed_is_not_chosen_whatever_it_did_on_others():
    assert choose_rate(of({1e-2: {0: 0.2, 1: 0.2}}) | {1e-1: {0: DIVERGED, 1: Validation(0.9)}}) == Choice(1e-2, 0)
    assert choose_rate({1e-2: {0: DIVERGED}, 1e-1: {0: Validation(0.0)}}) == Choice(1e-1, 0), "nothing right, but a run"


def test_rates_and_seeds_on_which_everything_diverged_choose_nothing():
    assert choose_rate({1e-2: {0: DIVERGED}, 1e-1: {0: DIVERGED}}) is None
    only_elsewhere = of({1e-2: {0: 0.2}, 1e-1: {0: 0.3}}) | {1.0: {7: DIVERGED}}
    assert choose_rate(only_elsewhere) == Choice(1e-1, 0), "a rate without a result does not keep others from a choice"
    first_lost = {1e-2: {0: DIVERGED, 1: Validation(0.5)}, 1e-1: {0: DIVERGED, 1: Validation(0.6)}}
    assert choose_rate(first_lost) == Choice(1e-1, 1)


def test_a_run_that_was_not_validated_is_not_chosen():
    assert choose_rate({1e-2: {0: Validation(None)}, 1e-1: {0: Validation(0.1)}}) == Choice(1e-1, 0)
    assert choose_rate({1e-2: {0: Validation(None)}}) is None
