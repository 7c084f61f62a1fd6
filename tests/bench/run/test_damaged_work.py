"""Claims about what an interrupted run goes on from: a flipped bit there costs work, never a number."""

import json

import pytest
from small_runs import StopAfter, make, result_of, small, store_in

from antipasto_bench.core.errors import Damaged
from antipasto_bench.core.signals import Interrupted, StopRequest
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.workspace import Workspace

pytestmark = pytest.mark.slow


def flip(path, place: bytes) -> None:
    """Flip the lowest bit of the first digit behind a text."""
    content = bytearray(path.read_bytes())
    start = content.index(place) + len(place)
    digit = next(i for i in range(start, len(content)) if chr(content[i]) in "123456789")
    content[digit] ^= 1
    path.write_bytes(bytes(content))


class StopBehindTraining(StopRequest):
    """As if a signal came while the last step was taken."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        super().__init__()

    @property
    def signum(self) -> int | None:
        self.left -= 1
        return 15 if self.left < 0 else None

    @signum.setter
    def signum(self, value: int | None) -> None:
        pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = store_in(tmp_path_factory.mktemp("whole"))
    make(small("lora"), store)
    return result_of(small("lora"), store)


def test_a_digit_of_a_checkpoints_state_costs_some_steps_and_changes_no_loss(tmp_path, whole):
    run, store = small("lora"), store_in(tmp_path)
    with pytest.raises(Interrupted):
        make(run, store, stop=StopAfter(7))
    newest = max(store.workspace(run.run_id).checkpoints.iterdir())
    flip(newest / "state.json", b'"losses"')
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged and left out: not what was written"):
        make(run, store)
    assert result_of(run, store) == whole


def test_a_digit_of_the_training_log_leaves_its_lines_out_and_the_rest_as_it_was(tmp_path, whole):
    run, store = small("lora"), store_in(tmp_path)
    with pytest.raises(Interrupted):
        make(run, store, stop=StopAfter(7))
    done = json.loads((max(store.workspace(run.run_id).checkpoints.iterdir()) / "state.json").read_text())["step"]
    flip(store.workspace(run.run_id).log, b'"loss"')
    with pytest.warns(Damaged, match=r"log\.jsonl is damaged; the curve of .* begins anew"):
        make(run, store)
    result = result_of(run, store)
    assert result["log"] == whole["log"][done:]
    assert {**result, "log": whole["log"]} == whole


def test_a_digit_of_what_training_measured_has_it_trained_again(tmp_path, whole):
    run, store = small("lora"), store_in(tmp_path)
    with pytest.raises(Interrupted, match="after training"):
        make(run, store, stop=StopBehindTraining(11))
    folder = store.workspace(run.run_id)
    assert Workspace(folder, run).trained() is not None
    flip(folder.training, b'"last_loss"')
    with pytest.warns(Damaged, match=r"trained\.json is damaged; the run is trained again: not what was written"):
        make(run, store)
    assert result_of(run, store) == whole


def test_an_answer_of_another_letter_is_generated_again(tmp_path):
    log = AnswerLog(tmp_path / "answers.jsonl", "adapter")
    log._append([["question 1", "#### 42"], ["question 2", "#### 7"]])
    log._append([["question 3", "#### 5"]])
    assert len(AnswerLog(tmp_path / "answers.jsonl", "adapter")._answers) == 3
    flip(tmp_path / "answers.jsonl", b"#### ")
    with pytest.warns(UserWarning, match=r"answers\.jsonl, line 2 is damaged: all is answered again"):
        assert AnswerLog(tmp_path / "answers.jsonl", "adapter")._answers == {}
    assert AnswerLog(tmp_path / "answers.jsonl", "adapter")._answers == {}, "and it is whole again"


def test_a_torn_last_line_of_answers_is_no_damage(tmp_path, recwarn):
    log = AnswerLog(tmp_path / "answers.jsonl", "adapter")
    log._append([["question 1", "#### 42"]])
    with open(tmp_path / "answers.jsonl", "ab") as file:
        file.write(b'[["question 2", "##')
    assert AnswerLog(tmp_path / "answers.jsonl", "adapter")._answers == {"question 1": "#### 42"}
    assert not recwarn.list
