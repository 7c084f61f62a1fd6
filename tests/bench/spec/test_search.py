"""Claims about the search of learning rates: a pure function of its trials, tried on losses that are made up."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antipasto_bench.spec.search import Search, finals_of, goes_on, next_point, place_of, rate_at, replay
from antipasto_bench.spec.tried import Point, Tried, best_of, losses_by_place, rung_steps

PLACES = st.integers(-24, 0)
SHORT, WHOLE = 100, 300


def search_of(budget, begins=(-8,), seeds=(1000,), finals=0):
    return Search(budget, begins, seeds, SHORT, WHOLE, finals)


def at(place, seed=1000, steps=SHORT, value=0):
    return Point(value, place, seed, steps)


def valley(optimum, higher=0):
    """Losses at four rungs; early ones are worse for high rates, as those are not decayed yet.

    Args:
        higher: how many places the best rate of whole runs is above that of short ones.
    """

    def losses_of(point):
        whole = point.steps == WHOLE
        away = point.place - optimum - higher * whole
        end = (0.08 if whole else 0.1) + 0.01 * away**2
        high = 0.05 * max(0, away)
        return [30.0, end + 0.2 + 2 * high, end + 0.1 + high, end], False

    return losses_of


def test_the_ladder_has_four_rates_a_decade_as_people_write_them():
    assert [rate_at(place) for place in range(-8, 1)] == [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
    assert all(place_of(rate_at(place)) == place for place in range(-40, 9))
    assert [rate_at(place_of(rate)) for rate in (1e-4, 4e-3, 7e-3)] == [1e-4, 5e-3, 5e-3]


@given(optimum=PLACES, away=st.integers(-9, 9))
def test_a_search_finds_the_least_loss_wherever_it_begins(optimum, away):
    tried, owed = replay(search_of(12, (optimum + away,)), valley(optimum))
    best = best_of(tried)
    assert owed is None
    assert len(tried) == 12
    assert (best.place, best.inside) == (optimum, True)
    assert {optimum - 1, optimum + 1} <= {trial.point.place for trial in tried}


@settings(max_examples=40)
@given(
    outcomes=st.lists(st.tuples(st.floats(0.01, 10), st.booleans()), min_size=60, max_size=60),
    budget=st.integers(6, 20),
    values=st.integers(1, 2),
)
def test_any_losses_use_the_whole_budget_in_equal_shares_and_no_trial_is_made_twice(outcomes, budget, values):
    def losses_of(point):
        loss, diverged = outcomes[hash(point) % len(outcomes)]
        return ([5.0], True) if diverged else ([5.0, loss, loss, loss], False)

    tried, owed = replay(search_of(budget, (-8,) * values, finals=finals_of(budget, values)), losses_of)
    points = [trial.point for trial in tried]
    assert owed is None
    assert len(set(points)) == len(points) == budget
    shares = [sum(point.value == value for point in points) for value in range(values)]
    assert max(shares) - min(shares) <= 1


@settings(max_examples=50)
@given(optimum=PLACES, room=st.integers(0, 3), away=st.integers(-6, 6))
def test_nothing_above_a_rate_that_diverged_is_tried_and_the_best_below_it_is_found(optimum, room, away):
    smooth, tried_above = valley(optimum), []

    def losses_of(point):
        return ([30.0], True) if point.place > optimum + room else smooth(point)

    tried, _ = replay(search_of(14, (optimum + away,)), losses_of)
    for index, trial in enumerate(tried):
        if trial.state == "diverged":
            tried_above += [later for later in tried[index + 1 :] if later.point.place >= trial.point.place]
    assert not tried_above
    assert best_of(tried).place == optimum


@settings(max_examples=40)
@given(optimum=PLACES, made=st.integers(0, 11), finals=st.sampled_from([0, 3]))
def test_a_search_goes_on_from_its_recorded_trials_alone(optimum, made, finals):
    search, losses_of = search_of(12, finals=finals), valley(optimum, 1)
    whole, _ = replay(search, losses_of)
    recorded = {trial.point for trial in whole[:made]}
    tried, owed = replay(search, lambda point: losses_of(point) if point in recorded else None)
    assert tried == whole[:made]
    assert owed == whole[made].point
    assert next_point(search, tried) == owed


def test_a_rate_is_stopped_by_a_much_higher_one_that_is_ahead_and_by_no_lower_one():
    search = search_of(12)
    before = [Tried(at(-8), (1.0, 0.3, 0.2, 0.1), "done")]
    for place, loss, on in ((-10, 0.31, False), (-10, 0.29, True), (-9, 0.31, True), (-6, 0.9, True)):
        assert goes_on(search, before, at(place), [1.0, loss]) is on
    assert goes_on(search, before, at(-10, value=1), [1.0, 0.31])  # of another rank, say
    assert goes_on(search, before, at(-10, 1001), [1.0, 0.31])  # on another seed
    assert goes_on(search, before, at(-10, steps=WHOLE), [1.0, 0.31])  # of another length
    assert not goes_on(search, before, at(-6), [1.0, 1.3, 1.1])  # worse than the untuned model


def test_a_trial_that_another_search_stopped_too_early_is_owed_again():
    search = search_of(3)
    _, owed = replay(search, lambda point: ([1.0, 0.4], False))
    assert owed == at(-8)


def test_a_lucky_seed_does_not_choose():
    """Seed 1001 is easier for all rates by 0.5; only the worse rate was tried on it."""
    tried = [
        Tried(at(place, seed), (1.0, 0.9, 0.9, loss), "done")
        for place, seed, loss in ((-8, 1000, 0.7), (-7, 1000, 0.8), (-7, 1001, 0.3))
    ]
    assert losses_by_place(tried, 0) == pytest.approx({-8: 0.7, -7: 0.8})
    best = best_of(tried)
    assert (best.place, best.lead) == (-8, pytest.approx(0.1))


def test_diverged_trials_lead_down_and_have_no_best_rate():
    tried, _ = replay(search_of(4, (-4,)), lambda point: ([1.0], True))
    assert [rate_at(trial.point.place) for trial in tried] == [0.1, 0.03, 0.01, 0.003]
    assert best_of(tried) is None
    assert tried[0].at(0) == inf


@pytest.mark.parametrize(("steps", "rungs"), [(100, (0, 25, 50, 100)), (3, (0, 1, 3)), (1, (0, 1))])
def test_rungs_are_of_every_length(steps, rungs):
    assert rung_steps(steps) == rungs


def test_noise_between_neighbours_is_met_by_further_seeds_of_the_best_three():
    tried, _ = replay(search_of(12, seeds=(1000, 1007)), valley(-8))
    again = [trial.point for trial in tried if trial.point.seed != 1000]
    assert {point.place for point in again} == {-9, -8, -7}
    assert {point.seed for point in again} >= {1007, 1008}


@pytest.mark.parametrize(
    ("budget", "values", "finals"),
    [(3, 1, 0), (4, 1, 2), (8, 1, 2), (12, 1, 3), (16, 1, 4), (18, 3, 6), (11, 3, 0), (12, 3, 6), (24, 2, 6)],
)
def test_a_quarter_of_the_budget_has_the_whole_steps_and_two_or_more_of_each_value(budget, values, finals):
    assert finals_of(budget, values) == finals


@settings(deadline=None)
@given(optimum=PLACES, away=st.integers(-3, 3), higher=st.integers(-1, 3))
def test_the_best_rate_of_whole_runs_is_found_where_it_is_higher_than_that_of_short_ones(optimum, away, higher):
    search = search_of(20, (optimum + away,), finals=5)
    tried, _ = replay(search, valley(optimum, higher))
    best = best_of(tried)
    assert (best.place, best.steps, best.inside) == (optimum + higher, WHOLE, True)
    assert best.loss == pytest.approx(0.08)  # that of a whole run: no short one is compared with it
    assert [trial.point.steps for trial in tried] == [SHORT] * 15 + [WHOLE] * 5


@settings(deadline=None)
@given(optimum=PLACES, away=st.integers(-2, 2), higher=st.sampled_from([0, 1]))
def test_eight_trials_are_enough_where_it_is_one_place_higher_or_the_same(optimum, away, higher):
    tried, owed = replay(search_of(8, (optimum + away,), finals=2), valley(optimum, higher))
    assert owed is None
    assert best_of(tried).place == optimum + higher
    assert [trial.point.place - optimum for trial in tried[-2:]] == [0, 1]


def test_finals_are_not_above_a_rate_that_diverged_and_what_is_left_is_further_seeds():
    def losses_of(point):
        return ([30.0], True) if point.place > -8 else valley(-8, 1)(point)

    tried, _ = replay(search_of(20, finals=5), losses_of)
    finals = [(trial.point.place, trial.point.seed) for trial in tried[-5:]]
    assert finals[:2] == [(-8, 1000), (-9, 1000)]
    assert {seed for _, seed in finals[2:]} <= {1001, 1002}
    assert best_of(tried).place == -8


def test_where_every_whole_run_diverges_lower_rates_are_tried_and_no_short_one_is_chosen():
    tried, _ = replay(
        search_of(8, finals=2), lambda point: ([30.0], True) if point.steps == WHOLE else valley(-8)(point)
    )
    assert [trial.point.place for trial in tried[-2:]] == [-8, -10]
    assert best_of(tried) is None


def test_a_larger_budget_makes_only_what_is_new_to_it():
    def points(budget):
        return {t.point for t in replay(search_of(budget, finals=finals_of(budget, 1)), valley(-8, 1))[0]}

    assert len(points(16) - points(8)) == 8
