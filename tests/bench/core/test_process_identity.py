"""Claims about processes: each is known by its machine, and nothing is said of one that cannot be seen."""

import errno
import os

import pytest

from antipasto_bench.core.process_identity import fate, this_process


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "alive"),
        ({"started": 5.0}, "dead"),  # a later process has its number
        ({"pid": 2**22 + 1}, "dead"),
        ({"pid": 2**40}, "dead"),
        ({"host": "renamed"}, "alive"),  # the same kernel, whatever its name is now
        ({"boot": "earlier"}, "dead"),  # this machine was booted since
        ({"boot": "other", "machine": "other"}, "unknown"),  # another machine of the same name
        ({"boot": "other", "machine": ""}, "unknown"),
        ({"host": "node-7", "boot": "other"}, "unknown"),
        ({"namespace": 1}, "unknown"),  # another container of this machine
    ],
)
def test_a_process_is_known_by_machine_boot_number_and_start(monkeypatch, changed, expected):
    monkeypatch.setattr("antipasto_bench.core.process_identity._machine", lambda: "installation-card")
    assert fate(this_process().model_copy(update=changed)) == expected


def test_of_a_process_that_the_system_hides_nothing_is_known(monkeypatch):
    def denied(pid: int, number: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    identity = this_process()
    monkeypatch.setattr("antipasto_bench.core.process_identity.started_at", lambda pid: None)
    monkeypatch.setattr(os, "kill", denied)
    assert fate(identity) == "unknown"
