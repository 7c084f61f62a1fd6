"""Running suites one after another, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from ..core.child_processes import end_with_parent, module_command, module_environment
from ..core.errors import UserError
from ..core.install import install_hint
from .recording import NOT_HELD, read_settings
from .suite import REAL, SUITES


def run_suites(
    names: list[str] | None,
    results: Path,
    as_json: bool = False,
    minutes: float | None = None,
    settings: Sequence[str] = (),
) -> bool:
    """Run these suites, or all of them, and record each under `results`.

    Args:
        names: keys of SUITES; all but REAL where none is given.
        minutes: that the suite `gpu` may take, the only one with a bound.
        settings: `key=value` words for the runs of suites of REAL.
        as_json: print each suite's record as one line of JSON, instead of its table.

    Returns:
        whether every claim holds.

    Raises:
        UserError: an unknown suite, one that could not be run or takes no settings, or peft is not installed.
    """
    for name in names or []:
        if name not in SUITES:
            raise UserError(f"--suite {name}: no such suite; there are {', '.join(SUITES)}")
    if minutes is not None and names != ["gpu"]:
        raise UserError("--minutes: only --suite gpu has a bound of time; leave out the others, or --minutes")
    if settings:
        if not names or not {*names} <= {*REAL}:
            if settings[0] in SUITES:
                raise UserError(f"speed: {settings[0]} is no setting; write --suite {settings[0]}")
            raise UserError(
                f"{settings[0]}: only suites of a real model take settings; write --suite {REAL[0]} "
                f"{' '.join(settings)}, or leave the settings out"
            )
        for name in names:
            read_settings([*settings], name)
    if find_spec("peft") is None:
        raise UserError(
            f"peft is not installed, and it is what speed is held against; install it with: {install_hint('peft')}"
        )
    holds = True
    for name in names or [name for name in SUITES if name not in REAL]:
        print(f"--- {name}: {SUITES[name]}", file=sys.stderr, flush=True)
        command = [*module_command(f"antipasto_bench.speed.suites.{name}"), "--results", str(results)]
        command += [] if minutes is None else ["--minutes", str(minutes)]
        command += settings
        with TemporaryDirectory() as cache:  # decompositions of random weights are of no use to later runs
            environment = module_environment() | {"ANTIPASTO_CACHE": cache}
            stdout = subprocess.PIPE if as_json else None
            done = subprocess.run(command, stdout=stdout, text=True, env=environment, preexec_fn=end_with_parent)
        if done.returncode not in (0, NOT_HELD):
            raise UserError(f"the suite {name} ended with exit code {done.returncode}; see above")
        if as_json and done.stdout.splitlines()[-1].endswith(".json"):  # else it measured nothing, and printed why
            print(json.dumps(json.loads(Path(done.stdout.splitlines()[-1]).read_text(encoding="utf-8"))), flush=True)
        holds &= done.returncode == 0
    return holds
