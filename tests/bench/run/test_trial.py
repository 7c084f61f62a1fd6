"""Claims about a trial: killed ones go on to the same bits, no test question is read, and nothing is left behind."""

import pytest
from small_runs import SMALL, StopAfter, store_in

from antipasto_bench.core.signals import Interrupted, StopRequest
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.progress import Progress
from antipasto_bench.run.trial import make_trial
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.tune import trial_config, trial_id
from antipasto_bench.store.folders import Store
from antipasto_bench.store.trials import read_trials

pytestmark = pytest.mark.slow
MODELS = ModelCache()


def trial(variant, **given):
    return trial_config(compose(variant, SMALL | {"seed": 1000} | given, "nano"), {})


def make(run, store: Store, *, stop=None, goes_on=lambda losses: True):
    context = RunContext(store, Progress(quiet=True), stop or StopRequest(), MODELS)
    return make_trial(run, trial_id(run), goes_on, lambda record: True, context)


def test_a_trial_that_was_stopped_on_the_way_ends_with_the_losses_of_one_that_was_not(tmp_path):
    run = trial("lora")
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    made = make(run, whole)
    for steps in (4, 3):  # behind a rung, and at one
        with pytest.raises(Interrupted, match="at step"):
            make(run, broken, stop=StopAfter(steps))
        assert not broken.trials.exists()
    again = make(run, broken)
    assert [step for step, _ in made.losses] == [0, 3, 6, 12]
    assert again.losses == made.losses
    assert again.last_loss == made.last_loss
    assert not list((broken.outputs / ".workspaces").iterdir())
    assert read_trials(broken) == [again]
    assert make(run, broken) == again  # it is not made twice


def test_a_pause_to_measure_changes_no_bit_of_the_training(tmp_path, monkeypatch):
    run, asked = trial("lora", steps=8), []
    made = make(run, store_in(tmp_path / "paused"), goes_on=lambda losses: asked.append(list(losses)) or True)
    assert asked == [[loss for _, loss in made.losses[:count]] for count in (2, 3)]
    monkeypatch.setattr("antipasto_bench.run.trial.rung_steps", lambda steps: (0, steps))
    unbroken = make(run, store_in(tmp_path / "unbroken"))
    assert (unbroken.losses, unbroken.last_loss) == ([made.losses[0], made.losses[-1]], made.last_loss)


def test_a_trial_that_is_stopped_at_a_rung_is_recorded_and_leaves_the_model_as_it_was(tmp_path):
    store = store_in(tmp_path)
    record = make(trial("lora", lr=2e-3), store, goes_on=lambda losses: len(losses) < 3)
    assert (record.state, record.steps_made, len(record.losses)) == ("stopped", 6, 3)
    assert not list((store.outputs / ".workspaces").iterdir())
    assert MODELS.holds_a_model  # its weights are what they were


def test_a_trial_that_diverges_is_recorded_with_the_reason_and_no_loss_of_its_own(tmp_path):
    record = make(trial("lora", lr=1e30), store_in(tmp_path))
    assert record.state == "diverged"
    assert record.loss is None
    assert "is nan" in record.error or "is inf" in record.error or "not finite" in record.error
    assert len(record.losses) < 4


def test_no_test_question_is_read(tmp_path):
    """A task that is not there refuses a run, and a trial does not ask for it."""
    run = trial("ia3", **{"eval.tasks": "no_such_task"})
    record = make(run, store_in(tmp_path))
    assert record.state == "done"
    assert set(record.provenance.data) == {"train", "valid"}
