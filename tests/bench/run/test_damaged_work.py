"""Claims about damage to what an interrupted run left: it is noticed, and becomes no part of a result."""

import dataclasses
import json
import random
import warnings

import pytest
import torch
from small_runs import small

import antipasto
from antipasto_bench.run.answer_log import AnswerLog, log_line
from antipasto_bench.run.checkpoints import Checkpoints
from antipasto_bench.run.train import Step
from antipasto_bench.run.training_log import cut_log, leave_out_damaged_steps, log_step
from antipasto_bench.run.workspace import Workspace
from antipasto_bench.store.record import Size, Timing, Training
from antipasto_bench.store.run_folder import RunFolder


def test_flipped_bits_in_checkpoints_and_in_what_was_trained_are_noticed(tmp_path, model):
    draw, run = random.Random(0), small("lora")
    antipasto.attach(model, run.adapter_config)
    try:
        optimizer = torch.optim.AdamW(antipasto.trainable_parameters(model).values())
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        checkpoints.write(
            1, model, optimizer, {"step": 1, "losses": [2.5], "norms": [0.5], "tokens": 9, "seconds": 1.0}
        )
        workspace = Workspace(RunFolder(tmp_path / "work"), run)
        workspace.begin()
        workspace.save_trained(model, Size(trained_parameters=1), Training(first_loss=2.5), Timing(train_s=1.5))
    finally:
        antipasto.detach(model)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    state, trained = checkpoints.latest().state, workspace.trained()
    for path, unread in (
        *((path, lambda: checkpoints.latest() is None) for path in sorted(folder.iterdir())),
        (workspace.folder.training, lambda: workspace.trained() is None),
        (workspace.folder.adapter, lambda: workspace.trained() is None),
    ):
        content = path.read_bytes()
        for number in range(30):
            place = draw.randrange(len(content))
            flipped = content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
            path.write_bytes(flipped if number % 4 else content[:place])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                harmless = checkpoints.latest() is not None and checkpoints.latest().state == state
                assert unread() or (harmless and workspace.trained() == trained), (path, place)
        path.write_bytes(content)
    assert checkpoints.latest().state == state


def test_a_flipped_bit_in_the_log_becomes_no_answer(tmp_path):
    path, draw = tmp_path / "a.jsonl", random.Random(0)
    lines = ["adapter", [["k1", "18"], ["k2", "72"]], [["k3", "5"]], {"batch_size": 2}, [["k4", "11"], ["k5", "3"]]]
    content = "".join(map(log_line, lines)).encode()
    path.write_bytes(content)
    whole = AnswerLog(path, "adapter")
    assert (whole._answers, whole.batch_size) == ({"k4": "11", "k5": "3"}, 2)
    for _ in range(200):
        place = draw.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            log = AnswerLog(path, "adapter")
        last = place == len(content) - 1  # as a kill would have left it
        assert (log._answers, log.batch_size) == ({}, 2 if last else None), place
        assert last or said


@pytest.mark.parametrize("damaged", ['"adapter"', '[["k1", "18"]]', '{"batch_size": 2}'])
def test_a_first_line_of_answers_that_comes_twice_or_is_another_kind_of_line_is_damage(damaged, tmp_path):
    path, value = tmp_path / "a.jsonl", json.loads(damaged)
    place = 1 if isinstance(value, str) else 0
    lines = ["adapter", [["k1", "18"], ["k2", "72"]], [["k3", "5"]]]
    path.write_text("".join(map(log_line, [*lines[:place], value, *lines[place:]])))
    with pytest.warns(UserWarning, match=rf"a.jsonl, line {place + 1} is damaged: all is answered again"):
        assert AnswerLog(path, "adapter")._answers == {}


def test_what_was_trained_is_trained_again_with_a_word_where_it_is_damaged(tmp_path, model):
    workspace = Workspace(RunFolder(tmp_path / "nano__lora"), small("lora"))
    workspace.begin()
    antipasto.attach(model, workspace.run.adapter_config)
    try:
        workspace.save_trained(model, Size(trained_parameters=1), Training(first_loss=2.5), Timing(train_s=1.5))
    finally:
        antipasto.detach(model)
    assert workspace.trained() is not None
    for path in (workspace.folder.training, workspace.folder.adapter):
        content = path.read_bytes()
        path.write_bytes(content[:-9])
        with pytest.warns(UserWarning, match=rf"nano__lora: {path.name} is damaged, and the adapter is trained again"):
            assert workspace.trained() is None
        path.write_bytes(content)


@pytest.mark.parametrize("damage", [lambda text: text.replace("torch", "torcg"), lambda text: text[:-9], None])
def test_work_whose_origin_is_damaged_begins_anew_with_a_word(damage, tmp_path):
    folder, run = RunFolder(tmp_path / "nano__lora"), small("lora")
    Workspace(folder, run).begin()
    folder.answers("test").write_text(log_line("adapter"))
    if damage is None:
        folder.versions.unlink()
    else:
        folder.versions.write_text(damage(folder.versions.read_text()))
    with pytest.warns(UserWarning, match="nano__lora: made_by.json is damaged, and the run begins anew"):
        Workspace(folder, run)
    assert not folder.path.exists()


# ------------------------------------------------------------------ log.jsonl

STEPS = [Step(number, loss, 0.01, 1.0, 90, 0.5) for number, loss in ((1, 2.5), (2, 2.0), (3, 1.5), (4, 1.0))]
LINES = [log_step(step) for step in STEPS]
STATE = {"step": 3, "losses": [2.5, 2.0, 1.5], "norms": [1.0, 1.0, 1.0]}


def test_training_goes_on_with_the_logged_steps_before_its_checkpoint(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(LINES) + LINES[3][:20])
    cut_log(log, STATE)
    assert log.read_text() == "".join(LINES[:3])
    cut_log(log, {})
    assert log.read_text() == ""


def test_a_line_of_the_training_log_that_is_damaged_or_that_its_checkpoint_contradicts_is_left_out(tmp_path):
    log = tmp_path / "log.jsonl"
    other = log_step(dataclasses.replace(STEPS[2], loss=9.5))
    junk = ['{"step": 4, "loss": 1.0, "grad_norm": 1.0}\n', "[]\n", '{"st']
    for lines in (
        [LINES[0], LINES[1], other],
        [LINES[0], LINES[1], LINES[2].replace('"lr": 0.01', '"lr": 0.81')],
        [LINES[0], LINES[1], *junk],
        [LINES[0], LINES[1]],
    ):
        log.write_text("".join(lines))
        with pytest.warns(UserWarning, match="log.jsonl is damaged; 1 of its 3 steps are left out"):
            cut_log(log, STATE)
        assert log.read_text() == "".join(LINES[:2])


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (LINES, [1, 2, 3, 4]),
        ([*LINES[:2], *LINES[1:]], [1, 2, 3, 4]),
        ([LINES[0], LINES[1].replace("90", "91"), *LINES[2:]], [1, 3, 4]),
        ([*LINES[:3], LINES[3][:-20]], [1, 2, 3]),
        ([], []),
        (None, []),
    ],
)
def test_once_trained_a_damaged_line_of_the_log_is_left_out_with_a_word_and_the_adapter_stays(content, left, tmp_path):
    log = tmp_path / "log.jsonl"
    if content is not None:
        log.write_text("".join(content))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        leave_out_damaged_steps(log, len(LINES))
    assert log.read_text() == "".join(LINES[step - 1] for step in left)
    missing = len(LINES) - len(left)
    expected = [f"log.jsonl is damaged; {missing} of its 4 steps are left out"] if missing else []
    assert [str(warning.message).partition(": ")[2] for warning in said] == expected


def test_a_run_without_training_has_no_log(tmp_path):
    leave_out_damaged_steps(tmp_path / "log.jsonl", 0)
    assert not (tmp_path / "log.jsonl").exists()
