"""log.jsonl: a line of JSON for each training step, with a digest of its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.files import read_regular, write_bytes
from ..store.checked_json import parse_object, with_digest, without_digest
from .train import Step


def log_step(step: Step) -> str:
    """The line of a step; only one after which the held-out loss was measured has it."""
    values = asdict(step)
    if step.valid_loss is None:
        del values["valid_loss"]
    return json.dumps(with_digest(values)) + "\n"


def cut_log(path: Path, state: Mapping[str, Any]) -> int:
    """Leave only the steps before a checkpoint in a log, from which training goes on; a missing log is made.

    Args:
        state: of the checkpoint; empty where training begins.

    Returns:
        the last step that was in the log before.
    """
    numbers: Sequence[tuple[float, float]] = list(zip(state.get("losses", ()), state.get("norms", ()), strict=True))
    logged_before = _whole(path)
    lines = {step: line for step, line in logged_before.items() if step <= len(numbers)}
    agreeing = [line for step, (line, logged) in lines.items() if logged == numbers[step - 1]]
    _write_whole(path, agreeing, len(numbers))
    return max(logged_before, default=0)


def leave_out_damaged_steps(path: Path, steps: int) -> None:
    """Take damaged lines out of the log of a finished training; its other lines stay.

    Args:
        steps: how many the training had; 0 where nothing was trained, which has no log.
    """
    lines = [line for step, (line, _) in _whole(path).items() if step <= steps]
    if steps and (len(lines) < steps or read_regular(path) != b"".join(lines)):
        _write_whole(path, lines, steps)


def _write_whole(path: Path, lines: list[bytes], steps: int) -> None:
    if len(lines) < steps:
        warnings.warn(
            f"{path.parent.name}: log.jsonl is damaged; {steps - len(lines)} of its {steps} steps are left out",
            stacklevel=4,
        )
    write_bytes(path, b"".join(lines))


def _whole(path: Path) -> dict[int, tuple[bytes, tuple[float, float]]]:
    """By step, the lines that are what was written, with loss and norm. Of a step that comes twice the last one."""
    lines: dict[int, tuple[bytes, tuple[float, float]]] = {}
    for line in read_regular(path).splitlines(keepends=True) if path.exists() else []:
        with suppress(ValueError, KeyError, TypeError):  # cut short, or damaged
            logged = without_digest(parse_object(line), required=True)
            lines[int(logged["step"])] = line.rstrip(b"\r\n") + b"\n", (logged["loss"], logged["grad_norm"])
    return dict(sorted(lines.items()))
