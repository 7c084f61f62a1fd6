"""Claims about how times are measured: in turns, as ratios within a turn."""

from types import SimpleNamespace

from antipasto_bench.speed import measuring
from antipasto_bench.speed.measuring import claim_ratio, compare_arms, time_arms


def test_arms_take_turns_and_what_warms_up_is_not_counted():
    calls: list[str] = []
    times = time_arms({name: lambda name=name: calls.append(name) for name in "abc"}, turns=5, warm_up=1, repeats=3)
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys("abc", 5)
    assert len(calls) == 6 * 3 * 3
    turns = [calls[i : i + 9 : 3] for i in range(0, len(calls), 9)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1, "each turn has an order of its own"


def test_a_ratio_is_taken_within_turns():
    """Where the machine slows for a while, it slows both."""
    claim = claim_ratio({"a": [1.0, 10.0, 2.0], "b": [2.0, 20.0, 4.0]}, "a", "b", 0.6)
    assert (claim.what, claim.ratio, claim.holds) == ("a / b", 0.5, True)
    assert claim.pairs == [[1.0, 2.0], [10.0, 20.0], [2.0, 4.0]]


def test_two_arms_that_are_compared_follow_each_other_and_lead_in_turn():
    calls: list[str] = []
    claim = compare_arms(lambda: calls.append("a"), lambda: calls.append("b"), 4, 0.5, "x")
    assert ["".join(calls[i : i + 2]) for i in range(0, len(calls), 2)] == ["ba", "ab"] * 3
    assert len(claim.pairs) == 4
    ratios = sorted(a / b for a, b in claim.pairs)
    assert ratios[1] <= claim.ratio <= ratios[2]


def test_the_first_of_a_pair_is_ours_whichever_was_timed_first(monkeypatch):
    clock = [0.0]  # seconds
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0]))

    def takes(seconds):
        def work():
            clock[0] += seconds

        return work

    claim = compare_arms(takes(1.0), takes(4.0), 4, 1.0, "x")
    assert claim.pairs == [[1000.0, 4000.0]] * 4, "milliseconds"
    assert time_arms({"a": takes(1.0)}, turns=2, repeats=3) == {"a": [1000.0, 1000.0]}, "the mean over repeats"
    ends = clock[0] + 4.5
    assert time_arms({"a": takes(1.0)}, turns=9, ends=ends) == {"a": [1000.0] * 3}, (
        "two to warm up, three before the end"
    )
    assert time_arms({"a": takes(1.0)}, turns=9, ends=ends) == {"a": [1000.0]}, "one turn, however late it is"
