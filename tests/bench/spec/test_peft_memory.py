"""Claims about what is kept of PEFT's answers on settings: one that is kept is the one that PEFT gives."""

import json
import os
import subprocess
import sys

import pytest

from antipasto_bench.spec.methods import peft_memory, peft_settings
from antipasto_bench.spec.methods.peft_memory import remembered, spelled, type_of
from antipasto_bench.spec.methods.peft_types import REFUSED, TYPES

KINDS = sorted(TYPES.keys() - REFUSED.keys())

COMPOSE = """
import json, sys
from antipasto_bench.spec.compose import compose
from antipasto_bench.core.errors import UserError
try:
    run = compose(sys.argv[1], json.loads(sys.argv[2]), "nano")
    print(json.dumps([run.run_id, run.model_dump(mode="json"), "peft" in sys.modules], sort_keys=True))
except UserError as error:
    print(json.dumps([str(error), None, "peft" in sys.modules]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of answers, in a process that takes PEFT for not imported."""
    monkeypatch.setenv("ANTIPASTO_PEFT_CACHE", str(tmp_path))
    for each in (peft_memory._file, peft_memory._read):
        each.cache_clear()
    kept = {name: module for name, module in sys.modules.items() if name == "peft"}
    monkeypatch.setattr(peft_memory.sys, "modules", {k: v for k, v in sys.modules.items() if k not in kept})
    yield tmp_path
    for each in (peft_memory._file, peft_memory._read):
        each.cache_clear()


def composed(variant, given, folder, cache=None):
    command = [sys.executable, "-c", COMPOSE, variant, json.dumps(given)]
    environment = os.environ | {"ANTIPASTO_PEFT_CACHE": cache or str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_the_types_of_all_settings_of_every_tuner_are_spelled_in_json_and_read_back(kind):
    for key, hint in peft_settings._fields_of(peft_settings.config_class(kind), kind).items():
        assert type_of(json.loads(json.dumps(spelled(hint)))) == hint, key


def test_a_run_is_composed_alike_with_kept_answers_and_without_importing_peft(tmp_path):
    given = {"rank": 8, "lr": 0.01}
    first, second = (composed("peft:vera", given, tmp_path) for _ in range(2))
    asked = composed("peft:vera", given, tmp_path, cache="off")
    assert first[:2] == second[:2] == asked[:2]
    assert [each[2] for each in (first, second, asked)] == [True, False, True]


def test_what_peft_refuses_is_refused_again_and_nothing_is_kept_of_it(tmp_path):
    given = {"layers_pattern": ["layers"]}
    first, second = (composed("peft:lora", given, tmp_path) for _ in range(2))
    assert first == second
    assert first[1] is None
    assert "layers_pattern" in first[0]
    assert first[2], "PEFT itself has said so"


def test_an_answer_is_given_again_without_asking(folder):
    assert remembered(["q", 1], lambda: {"a": [1.0, None]}) == {"a": [1.0, None]}
    peft_memory._read.cache_clear()
    assert remembered(["q", 1], lambda: pytest.fail("it was asked again")) == {"a": [1.0, None]}
    assert remembered(["q", 1.0], lambda: "another question") == "another question"
    assert remembered(["q", True], lambda: "and another") == "and another"


@pytest.mark.parametrize("damage", ["cut", "flip", "brackets", "empty"])
def test_a_damaged_answer_is_asked_again(folder, damage):
    remembered(["whole"], lambda: "first")
    remembered(["damaged"], lambda: "second")
    (file,) = folder.iterdir()
    content = file.read_bytes()
    at = content.index(b"second")
    file.write_bytes(
        {
            "cut": content[: at + 3],
            "flip": content.replace(b"second", b"sec0nd"),
            "brackets": content[:at] + b"[" * 100_000,
            "empty": b"",
        }[damage]
    )
    peft_memory._read.cache_clear()
    assert remembered(["damaged"], lambda: "asked again") == "asked again"
    peft_memory._read.cache_clear()
    assert remembered(["damaged"], lambda: pytest.fail("the line after a torn one is lost")) == "asked again"
    assert remembered(["whole"], lambda: "first") == "first"


def test_an_error_passes_and_is_asked_for_again(folder):
    for _ in range(2):
        with pytest.raises(ValueError, match="refused"):
            remembered(["bad"], lambda: (_ for _ in ()).throw(ValueError("refused")))
    assert not list(folder.iterdir())


def test_other_files_of_peft_have_other_answers(folder, monkeypatch):
    remembered(["q"], lambda: "of this version")
    peft_memory._file.cache_clear()
    monkeypatch.setattr(peft_memory, "_version", lambda package: "another")
    assert remembered(["q"], lambda: "of another") == "of another"


def test_a_folder_that_cannot_be_written_costs_an_answer_nothing(folder, monkeypatch):
    peft_memory._file.cache_clear()
    (folder / "taken").write_text("a file")
    monkeypatch.setenv("ANTIPASTO_PEFT_CACHE", str(folder / "taken" / "below"))
    assert remembered(["q"], lambda: 3) == 3
