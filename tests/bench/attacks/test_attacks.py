"""Claims about hostile input: exit code 0, 1 or 2 with one line, no code run, nothing written outside."""

import os
import re
import shutil
import string

import pytest
from attacks import data_files, evidence_files, models, presets, rows, words
from attacks.gate import Attack, Place, survive
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import record
from small_runs import StopAfter, make, small

from antipasto.config import AdapterError
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.spec.compose import expand
from antipasto_bench.spec.grammar import parse_words
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

ALL = [attack for module in (models, presets, data_files, rows, evidence_files, words) for attack in module.ATTACKS]


def kind_of(attack: Attack) -> str:
    """What is attacked and by which command, after the name's first two words: `model whose, run`."""
    command = attack.commands[0]
    what = " ".join(re.split("['\"=:]", attack.name)[0].split()[:2])
    return f"{what}, {(command.split() if isinstance(command, str) else command)[0]}"


def a_third_of_each_kind(attacks: list[Attack]) -> list[Attack]:
    """The first of each kind, and every third one after it."""
    by_kind: dict[str, list[Attack]] = {}
    for attack in attacks:
        by_kind.setdefault(kind_of(attack), []).append(attack)
    return [attack for alike in by_kind.values() for attack in alike[::3]]


# Attacks of a kind differ in a byte, a value or a place. ANTIPASTO_ATTACKS=all tries each of them, minutes more.
ATTACKS = ALL if os.environ.get("ANTIPASTO_ATTACKS") == "all" else a_third_of_each_kind(ALL)
SETTINGS = {"rank": 4, "eval.valid_limit": 4, "eval.limit": 6, "steps": 12}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """What lies in the folder of an attack, by the word for it."""
    places = {}
    for kind in ("rows", "run", "unfinished"):
        folder = tmp_path_factory.mktemp(kind)
        store = Store(folder / "results", folder / "outputs")
        if kind == "rows":
            for variant, right in (("lora", [0, 1]), ("hra", [2]), ("base", [])):
                append(store.table, record(store, variant, right))
        elif kind == "run":
            make(small("lora", **SETTINGS), store)
        else:
            with pytest.raises(Interrupted):
                make(small("lora", **SETTINGS), store, stop=StopAfter(7))
        places[kind] = folder
    return places


def place_for(attack: Attack, tmp_path, evidence) -> Place:
    around = tmp_path / "around"
    (around / "home").mkdir(parents=True)
    (around / "linked").mkdir()
    (around / "neighbour.txt").write_text("not yours")
    work = around / "work"
    if attack.results:
        shutil.copytree(evidence[attack.results], work)
    else:
        work.mkdir()
    return Place(work, around / "canary")


def with_run_id(attack: Attack, place: Place) -> Attack:
    """The attack with the words for the run that its evidence is of: @export and @run stand for them."""
    if not any(command.startswith("@") for command in attack.commands if isinstance(command, str)):
        return attack
    run_id = next((path.name for path in sorted(place.work.glob("outputs/nano__*"))), "")
    resumed = small("lora", **SETTINGS)
    values = {
        "steps": 12,
        "batch_size": 4,
        "checkpoint": 3,
        "eval.batch_size": 8,
        "eval.general": "none",
        "costs": "false",
        "data.calibration": 8,
        **SETTINGS,
    }
    run = " ".join(["run", "lora", *(f"{key}={value}" for key, value in values.items())])
    assert resumed.variant == "lora"
    commands = [str(command).replace("@export", f"export {run_id}").replace("@run", run) for command in attack.commands]
    return Attack(attack.name, attack.prepare, commands, attack.codes, attack.said, attack.results)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name[:60].encode("unicode_escape").decode())
def test_an_attack_runs_no_code_writes_nothing_outside_and_costs_a_line(attack, tmp_path, evidence):
    place = place_for(attack, tmp_path, evidence)
    streams = tmp_path / "streams"
    streams.mkdir()
    survive(with_run_id(attack, place), place, streams)


def test_there_are_hundreds_of_attacks_and_each_has_a_name_of_its_own():
    assert len(ALL) >= 500
    assert len(ATTACKS) >= 200
    assert {*map(kind_of, ATTACKS)} == {*map(kind_of, ALL)}
    assert len({attack.name for attack in ALL}) == len(ALL)


KEYS = st.sampled_from(
    [
        "seed",
        "lr",
        "rank",
        "steps",
        "model",
        "dtype",
        "data.train",
        "eval.limit",
        "eval.tasks",
        "eval.batch_size",
        "targets",
        "rotate_basis",
        "costs",
        "revision",
        "quant",
        "variant",
        "adapter",
        "data",
        "eval",
        "layers",
    ]
)
SCALARS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        [
            "true",
            "yes",
            "null",
            "~",
            "010",
            "0x1F",
            "1e5",
            "1_000",
            "1:30",
            "2001-01-01",
            ".inf",
            "!!int 3",
            "&a",
            "*a",
            "[",
            "]",
            "{",
            "}",
            "{a: b}",
            "[[1]]",
            "'",
            '"',
            "|",
            ">",
            "?",
            ":",
            "#",
            "%",
            "@",
            "`",
        ]
    ),
    st.text(string.printable, max_size=12),
    st.text(max_size=8),
)
WORDS = st.one_of(
    st.builds(lambda key, values: f"{key}={','.join(values)}", KEYS, st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(lambda key, value: f"{key}={value}", st.text(string.printable, max_size=8), SCALARS),
    SCALARS,
)


@pytest.mark.slow
@settings(max_examples=200, derandomize=True)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_words_are_runs_or_one_message(typed):
    said = "nothing"
    try:
        variants, axes = parse_words(["lora", *typed])
        if all(len(values) <= 3 for values in axes.values()):
            expand(variants, axes, "nano")
    except (UserError, AdapterError) as error:
        said = str(error)
    assert said.strip()
