"""Claims about the words of `tune`: what they name, what is refused, and which settings make two trials two."""

import pytest

from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.sweep import sweep_of
from antipasto_bench.spec.tried import Point
from antipasto_bench.spec.tune import sweep_line, trial_id, tune_of


def tune(words, **given):
    return tune_of(words.split(), None, **{"budget": 12, **given})


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        ("steps=30", {}, "name at least one variant"),
        ("base", {}, "base trains nothing"),
        ("lora lr=1e-3,1e-2", {}, "lr=RATE to say where it begins"),
        ("lora seed=0", {}, "never those of results"),
        ("lora", {"seeds": [5]}, "--seed 5: seeds below 1000 are those of results"),
        ("lora rank=4,16 alpha=8,16", {}, "rank and alpha have several values"),
        ("lora rank=4,16", {"budget": 5}, "write --budget 6"),
        ("lora eval.valid=none", {}, "leave out eval.valid=none"),
        ("lora preset=nano,smollm2-135m", {}, "a tune compares arms of one"),
        ("lora steps=100,300", {}, "several lengths of a run"),
        ("lora rotate_basis=V", {}, "lora has no setting 'rotate_basis'"),
    ],
)
def test_what_a_tune_cannot_mean_is_refused_in_a_line(words, given, said):
    with pytest.raises(UserError, match=said):
        tune(words, **given)


def test_an_axis_that_a_variant_lacks_takes_no_share_of_its_budget():
    both = tune("lora,ia3 rank=4,16,64")
    assert [arm.values for arm in both.arms] == [(4, 16, 64), (None,)]
    searches = [both.search(arm) for arm in both.arms]
    assert [each.budget_by_steps for each in searches] == [{100: 6, 300: 6}] * 2
    assert [len(each.begins) for each in searches] == [3, 1]


def test_trials_as_long_as_the_run_need_no_finals():
    for steps, budgets in ((100, {100: 6, 300: 2}), (300, {300: 8}), (400, {400: 8})):
        whole = tune("lora", budget=8, steps=steps)
        assert whole.search(whole.arms[0]).budget_by_steps == budgets


def test_no_setting_of_the_test_is_part_of_a_trial():
    point = Point(0, -8, 1000, 100)
    plain, other = tune("lora"), tune("lora eval.limit=7 eval.tasks=[no_such_task]")
    trials = [each.trial(each.arms[0], point) for each in (plain, other)]
    assert trials[0] == trials[1]
    assert trials[0].eval.tasks == ("none",)
    assert trials[0].steps == 100
    every = [Point(0, place, seed, steps) for place in (-8, -7) for seed in (1000, 1001) for steps in (100, 300)]
    assert len({trial_id(plain.trial(plain.arms[0], point)) for point in every}) == 8


def test_the_line_of_a_chosen_setting_makes_the_run_at_that_rate_on_the_seeds_of_results():
    arm = tune("antipasto rotate_basis=U steps=60 rank=16").arms[0]
    line, preset = sweep_line(arm.runs[0], 0.02)
    runs = sweep_of(line.split(), preset).runs
    assert [run.seed for run in runs] == [0, 1, 2]
    assert {run.run_id for run in runs} == {
        arm.runs[0].model_copy(update={"lr": 0.02, "seed": seed}).run_id for seed in (0, 1, 2)
    }
