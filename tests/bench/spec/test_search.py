"""Claims about the search of learning rates: a pure function of its trials, tried on losses that are made up."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antipasto_bench.spec.search import (
    Point,
    Search,
    Tried,
    best_of,
    goes_on,
    losses_by_place,
    next_point,
    place_of,
    rate_at,
    replay,
    rung_steps,
)

PLACES = st.integers(-24, 0)


def valley(optimum):
    """Losses at four rungs; early ones are worse for high rates, as those are not decayed yet."""

    def losses_of(point):
        end = 0.1 + 0.01 * (point.place - optimum) ** 2
        high = 0.05 * max(0, point.place - optimum)
        return [30.0, end + 0.2 + 2 * high, end + 0.1 + high, end], False

    return losses_of


def test_the_ladder_has_four_rates_a_decade_as_people_write_them():
    assert [rate_at(place) for place in range(-8, 1)] == [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
    assert all(place_of(rate_at(place)) == place for place in range(-40, 9))
    assert [rate_at(place_of(rate)) for rate in (1e-4, 4e-3, 7e-3)] == [1e-4, 5e-3, 5e-3]


@given(optimum=PLACES, away=st.integers(-9, 9))
def test_a_search_finds_the_least_loss_wherever_it_begins(optimum, away):
    tried, owed = replay(Search(12, (optimum + away,), (1000,)), valley(optimum))
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

    tried, owed = replay(Search(budget, (-8,) * values, (1000,)), losses_of)
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

    tried, _ = replay(Search(14, (optimum + away,), (1000,)), losses_of)
    for at, trial in enumerate(tried):
        if trial.state == "diverged":
            tried_above += [later for later in tried[at + 1 :] if later.point.place >= trial.point.place]
    assert not tried_above
    assert best_of(tried).place == optimum


@settings(max_examples=40)
@given(optimum=PLACES, made=st.integers(0, 11))
def test_a_search_goes_on_from_its_recorded_trials_alone(optimum, made):
    search, losses_of = Search(12, (-8,), (1000,)), valley(optimum)
    whole, _ = replay(search, losses_of)
    recorded = {trial.point for trial in whole[:made]}
    tried, owed = replay(search, lambda point: losses_of(point) if point in recorded else None)
    assert tried == whole[:made]
    assert owed == whole[made].point
    assert next_point(search, tried) == owed


def test_a_rate_is_stopped_by_a_much_higher_one_that_is_ahead_and_by_no_lower_one():
    search = Search(12, (-8,), (1000,))
    before = [Tried(Point(0, -8, 1000), (1.0, 0.3, 0.2, 0.1), "done")]
    for place, loss, on in ((-10, 0.31, False), (-10, 0.29, True), (-9, 0.31, True), (-6, 0.9, True)):
        assert goes_on(search, before, Point(0, place, 1000), [1.0, loss]) is on
    assert goes_on(search, before, Point(1, -10, 1000), [1.0, 0.31])  # of another rank, say
    assert goes_on(search, before, Point(0, -10, 1001), [1.0, 0.31])  # on another seed
    assert not goes_on(search, before, Point(0, -6, 1000), [1.0, 1.3, 1.1])  # worse than the untuned model


def test_a_trial_that_another_search_stopped_too_early_is_owed_again():
    search = Search(3, (-8,), (1000,))
    _, owed = replay(search, lambda point: ([1.0, 0.4], False))
    assert owed == Point(0, -8, 1000)


def test_a_lucky_seed_does_not_choose():
    """Seed 1001 is easier for all rates by 0.5; only the worse rate was tried on it."""
    tried = [
        Tried(Point(0, place, seed), (1.0, 0.9, 0.9, loss), "done")
        for place, seed, loss in ((-8, 1000, 0.7), (-7, 1000, 0.8), (-7, 1001, 0.3))
    ]
    assert losses_by_place(tried, 0) == pytest.approx({-8: 0.7, -7: 0.8})
    best = best_of(tried)
    assert (best.place, best.lead) == (-8, pytest.approx(0.1))


def test_diverged_trials_lead_down_and_have_no_best_rate():
    tried, _ = replay(Search(4, (-4,), (1000,)), lambda point: ([1.0], True))
    assert [rate_at(trial.point.place) for trial in tried] == [0.1, 0.03, 0.01, 0.003]
    assert best_of(tried) is None
    assert tried[0].at(0) == inf


@pytest.mark.parametrize(("steps", "rungs"), [(100, (0, 25, 50, 100)), (3, (0, 1, 3)), (1, (0, 1))])
def test_rungs_are_of_every_length(steps, rungs):
    assert rung_steps(steps) == rungs


def test_noise_between_neighbours_is_met_by_further_seeds_of_the_best_three():
    tried, _ = replay(Search(12, (-8,), (1000, 1007)), valley(-8))
    again = [trial.point for trial in tried if trial.point.seed != 1000]
    assert {point.place for point in again} == {-9, -8, -7}
    assert {point.seed for point in again} >= {1007, 1008}
