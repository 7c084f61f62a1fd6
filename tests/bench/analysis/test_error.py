"""Claims about intervals and p values made of variances: against other sources, and as laws."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm, t

from antipasto_bench.analysis.error import Error
from antipasto_bench.analysis.seed_noise import SeedError, SeedPart

variances = st.floats(1e-8, 1e-2)
parts = st.builds(SeedPart, variances, st.floats(1.0, 100.0))


@st.composite
def errors(draw):
    """With and without seeds, with few kinds of question or many, with arms that may hide a loud one."""
    seeds = draw(st.lists(parts, max_size=2).map(tuple))
    total = sum(part.variance for part in seeds)
    hidden, ratio = draw(st.sampled_from([0.0, 0.002, 0.02, 0.2])), draw(st.floats(2.0, 30.0))
    error = SeedError(seeds, hidden, ratio * total) if seeds else SeedError(())
    return Error(draw(variances), error, draw(st.sampled_from([math.inf, 9.0, 1.0])))


@given(errors(), st.sampled_from([0.5, 0.8, 0.95, 0.99, 1 - 0.05 / 32]))
def test_half_and_p_invert_each_other(error, level):
    assert error.p(error.half(level)) == pytest.approx(1 - level, rel=1e-6)


@given(errors(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_p_falls_with_the_distance_and_the_interval_grows_with_the_level(error, one, other):
    near, far = sorted([one, other])
    assert 1 >= error.p(near) >= error.p(far) * (1 - 1e-9) > 0  # neighbouring distances: equal but for rounding
    assert error.p(0.0) == error.p(-1.0) == 1
    assume(0.01 < near < far < 0.999)
    assert error.half(near) <= error.half(far) * (1 + 1e-9)


@given(errors(), st.floats(1e-6, 1.0))
def test_an_arm_that_may_hide_adds_its_probability_to_p(error, distance):
    """p of a contaminated normal: w times that of the loud variance, over what the parts alone give."""
    seeds = error.seeds
    plain = Error(error.questions, SeedError(seeds.parts), error.question_df)
    loud = seeds.hidden * 2 * norm.sf(distance / math.sqrt(error.questions + seeds.loud))
    assert error.p(distance) == pytest.approx(min(1.0, plain.p(distance) + loud))
    assert error.half() >= plain.half() * (1 - 1e-9)


@pytest.mark.parametrize("z", [0.5, 1.96, 4.0])
def test_one_part_alone_has_the_textbooks_p(z):
    assert Error(0.0004, SeedError(())).p(z * 0.02) == pytest.approx(2 * norm.sf(z))
    assert Error(0.0004, SeedError(()), 9.0).p(z * 0.02) == pytest.approx(2 * t.sf(z, 9))
    assert Error(0.0, SeedError((SeedPart(0.0004, 2.0),))).p(z * 0.02) == pytest.approx(2 * t.sf(z, 2))


def test_parts_are_weighed_by_their_variances():
    error = Error(0.0003, SeedError((SeedPart(0.0002, 2.0), SeedPart(0.0001, 26.0))))
    expected = (norm.ppf(0.975) * 3 + t.ppf(0.975, 2) * 2 + t.ppf(0.975, 26)) / 6 * math.sqrt(0.0006)
    assert error.stderr == pytest.approx(math.sqrt(0.0006))
    assert error.half() == pytest.approx(expected)


def test_no_variance_is_certainty():
    exact = Error(0.0, SeedError(()))
    assert (exact.half(), exact.p(0.0)) == (0.0, 1.0)
    assert 0 < exact.p(1e-9) < 1e-30
