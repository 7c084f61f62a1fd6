"""Claims about trackers: each step is sent once, also where a run was stopped, and nothing of it touches the run."""

import json
import signal
import subprocess
import sys

import pytest
from small_runs import make, result_of, small, store_in
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run import tracking

pytestmark = pytest.mark.slow


def without_files(result):
    """A tracked run has one more folder."""
    return {name: value for name, value in result.items() if name != "files"}


def test_a_run_that_died_behind_its_checkpoint_sends_each_step_once_and_is_the_untracked_one(tmp_path, monkeypatch):
    plain, run = small("lora"), small("lora", track="tensorboard", valid_every=4)
    alone, store = store_in(tmp_path / "alone"), store_in(tmp_path / "tracked")
    make(plain, alone)
    send = tracking._Tracked.step

    def die_at_8(self, step):
        send(self, step)
        if step.step == 8:
            raise Interrupted(signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(tracking._Tracked, "step", die_at_8)
        with pytest.raises(Interrupted):
            make(run, store)
    checkpoints = store.workspace(run.run_id).checkpoints
    assert max(path.name for path in checkpoints.iterdir()) == "step-00000006", "two steps are taken again"
    make(run, store)
    folder = store.run_folder(run.run_id)
    assert without_files(result_of(run, store)) == without_files(result_of(plain, alone))
    assert not folder.tracking.exists()
    events = EventAccumulator(str(folder.tracked), purge_orphaned_data=False)
    events.Reload()
    log = [json.loads(line) for line in folder.log.read_text().splitlines()]
    for name in ("loss", "lr", "grad_norm", "tokens", "valid_loss"):
        sent = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in sent] == [step["step"] for step in log if name in step]
        assert [value for _, value in sent] == pytest.approx([step[name] for step in log if name in step])
    assert len(events.Scalars("valid_loss")) == 3


@pytest.mark.parametrize("fails", ["at its start", "at a step", "at its end"])
def test_an_error_of_a_tracker_is_one_warning_and_the_run_goes_on(fails, tmp_path, monkeypatch, capsys):
    class Failing:
        def __init__(self, *given) -> None:
            print("a banner")
            self.fail("at its start")

        def fail(self, where: str) -> None:
            if where == fails:
                raise ConnectionError("the server is gone\nwith a second line")

        def log(self, step, values) -> None:
            self.fail("at a step")

        def end(self, whole) -> None:
            assert whole
            self.fail("at its end")

    monkeypatch.setitem(tracking._TRACKERS, "tensorboard", Failing)
    run, store = small("lora", track="tensorboard", steps=3), store_in(tmp_path)
    with pytest.warns(UserWarning, match=r"^track=tensorboard: ConnectionError: the server is gone; the run") as said:
        assert make(run, store).status == "ok"
    assert len([warning for warning in said if "track=" in str(warning.message)]) == 1
    assert "a banner" not in capsys.readouterr().out, "stdout is for results"


def test_no_tracker_is_imported_where_none_is_named():
    names = "tensorboard", "trackio", "wandb"
    code = f"import sys, antipasto_bench.run.execute; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
