"""Claims about damage to what an interrupted run left: it is noticed, and becomes no part of a result."""

import random
import warnings

import torch
from small_runs import small

import antipasto
from antipasto_bench.run.answer_log import AnswerLog, log_line
from antipasto_bench.run.checkpoints import Checkpoints
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


def test_a_line_of_the_training_log_that_its_checkpoint_contradicts_is_left_out(tmp_path):
    workspace = Workspace(RunFolder(tmp_path / "work"), small("lora"))
    workspace.begin()
    lines = [f'{{"step": {step}, "loss": {loss}, "grad_norm": 1.0}}\n' for step, loss in ((1, 2.5), (2, 9.5), (3, 1.5))]
    workspace.folder.log.write_text(
        "".join(lines) + '{"step": 4, "loss": 1.0, "grad_norm": 1.0}\n{"step": 0}\n[]\n{"st'
    )
    state = {"step": 3, "losses": [2.5, 2.0, 1.5], "norms": [1.0, 1.0, 1.0]}
    assert list(workspace.logged_until(state)) == [lines[0].encode(), lines[2].encode()]
    assert list(workspace.logged_until({})) == []


def test_versions_of_nested_brackets_are_those_of_other_code(tmp_path):
    workspace = Workspace(RunFolder(tmp_path / "work"), small("lora"))
    workspace.begin()
    begun = workspace.folder.versions.read_bytes()
    workspace.folder.versions.write_bytes(b"[" * 200_000)
    workspace.begin()
    assert workspace.folder.versions.read_bytes() == begun
