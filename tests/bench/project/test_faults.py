"""Claims about damaged files: random faults of all evidence are noticed, or change nothing."""

import os
import random

import pytest
from faulted_evidence import SHARES, build
from faults import KINDS, WEIGHTS, Fault, Reader, Subject, draw_fault, inject

from antipasto_bench.core.errors import UserError

SEEDS = range(8 if os.environ.get("ANTIPASTO_FAULTS") == "all" else 4)
FAULTS = 250  # of each seed: 1,000 in all, or 2,000 with ANTIPASTO_FAULTS=all


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    return build(tmp_path_factory.mktemp("evidence"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_a_thousand_faults_are_noticed_or_harmless(subjects, seed):
    assert len(SEEDS) * FAULTS >= 1000
    summary = inject(subjects, SHARES, FAULTS, seed)
    print(summary)
    assert summary.count == FAULTS
    assert summary.failures == [], "\n".join(map(str, [*summary.failures[:20], summary]))
    assert {*summary.noticed} >= {"table", "items", "record", "samples", "SVD cache"}, str(summary)


def test_a_fault_is_what_it_is_called():
    content = b"one\ntwo\nthree\n"
    changed = {kind: Fault(kind, 1, 3).of(content) for kind in KINDS}
    assert changed == {
        "flipped bit": b"ofe\ntwo\nthree\n",
        "changed byte": b"o\x03e\ntwo\nthree\n",
        "truncated": b"o",
        "emptied": b"",
        "removed": None,
        "zeros": b"o\0\0\0two\nthree\n",
        "line twice": b"one\ntwo\ntwo\nthree\n",
    }


def test_every_kind_of_fault_is_drawn_and_the_same_seed_draws_the_same():
    draws = [[draw_fault(b"one\ntwo\n" * 9, rng) for _ in range(400)] for rng in (random.Random(3), random.Random(3))]
    assert draws[0] == draws[1]
    assert {fault.kind for fault in draws[0]} == {*KINDS}
    assert len(KINDS) == len(WEIGHTS)


def _text_of(path):
    return lambda: {"text": path.read_text(errors="replace") if path.exists() else ""}


def test_a_number_that_changes_unsaid_is_a_failure_and_a_named_file_is_none(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("3.14159\n" * 9)

    def refuse():
        raise UserError(f"{path} is damaged")

    def read_or_refuse():
        return {} if path.exists() and path.read_bytes() == b"3.14159\n" * 9 else refuse()

    silent = inject([Subject(path, "text", [Reader("silent", _text_of(path))])], {"text": 1}, 50, 0)
    assert len(silent.failures) == 50
    assert "text is another, unsaid" in str(silent.failures[0])
    named = inject([Subject(path, "text", [Reader("checked", read_or_refuse)])], {"text": 1}, 50, 0)
    assert (named.noticed["text"], named.failures) == (50, [])
    blind = inject([Subject(path, "text", [Reader("blind", lambda: {"text": "always"})])], {"text": 1}, 50, 0)
    assert (blind.harmless["text"], blind.failures) == (50, [])
    assert path.read_text() == "3.14159\n" * 9
