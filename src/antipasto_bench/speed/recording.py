"""Running one suite in this process: measure, record as JSON with its provenance, print."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from ..core.errors import UserError, first_line
from ..core.files import write_bytes
from ..core.json_types import Json
from ..core.provenance import CodeAndMachine, provenance
from ..spec.grammar import parse_words
from ..store.checked_json import parse_object, with_digest, without_digest
from .places import results_folder
from .suite import REAL, REAL_SETTINGS, SUITES, MeasuredCell, MeasuredClaim, MeasuredSuite, SuiteResult

NOT_HELD = 3  # exit code of a suite of which a claim does not hold
Measured = SuiteResult | Iterator[SuiteResult] | None


def run_suite(suite: str, measure: Callable[..., Measured], words: list[str] | None = None) -> int:
    """What a suite's module does when it is run: measure and record; the last line printed is the record's path.

    Args:
        suite: its name in SUITES.
        measure: None where this machine cannot be measured; it has then printed why, and nothing is recorded. One that
            takes long gives all that it has measured so far, again and again. Given `minutes` that it may take, where
            those are bounded, and `settings` of its runs, where some are typed.
        words: of the command line; by default this process's.

    Returns:
        the exit code: 0, 2 where there is nowhere to write or what the suite needs is missing, 3 where a claim does not
        hold.
    """
    parser = argparse.ArgumentParser(prog=f"python -m antipasto_bench.speed.suites.{suite}", description=SUITES[suite])
    parser.add_argument("--results", type=Path, metavar="DIR", help="holds speed/ [results, in a checkout]")
    parser.add_argument("--minutes", type=float, metavar="N", help="begin nothing more after so many")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the runs, where a suite takes any")
    options = parser.parse_args(words)
    try:
        results = results_folder(options.results)  # before any time is spent on measuring
        given: Json = {} if options.minutes is None else {"minutes": options.minutes}
        if options.settings:
            given["settings"] = read_settings(options.settings, suite)
        measured = measure(**given)
        result = measured if isinstance(measured, SuiteResult) else None
        for result in measured if isinstance(measured, Iterator) else ():
            path = write_suite(suite, result, results)  # each time anew: who is killed keeps what was measured
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if result is None:
        return 0
    if isinstance(measured, SuiteResult):
        path = write_suite(suite, result, results)
    return print_figures(result, path)


def read_settings(words: list[str], suite: str = REAL[0]) -> Json:
    """`key=value` words of a suite as settings of its runs.

    Raises:
        UserError: a word of another form, several values, or a setting that the suite fixes itself.
    """
    variants, axes = parse_words(words)
    for name in variants:
        hint = f"--suite {name}" if name in SUITES else "KEY=VALUE, as data.train=PATH"
        raise UserError(f"speed: {name} is no setting; write {hint}")
    for key, values in axes.items():
        allowed = REAL_SETTINGS.get(suite, ())
        if key not in allowed:
            raise UserError(f"speed: --suite {suite} takes no {key}; it takes {', '.join(allowed) or 'no settings'}")
        if len(values) != 1:
            raise UserError(f"speed: {key} has {len(values)} values; write one")
    return {key: value for key, (value,) in axes.items()}


def record_suite(suite: str, result: SuiteResult, results: Path) -> int:
    """Write a suite's figures under a results folder, print its figures, and return the exit code: 3 where a claim does
    not hold."""
    return print_figures(result, write_suite(suite, result, results))


def print_figures(result: SuiteResult, path: Path) -> int:
    """Print a suite's figures and where they are recorded, and return the exit code."""
    for cell in result.cells:
        print(f"{cell.arm:44} {cell.median:12,.4g} {cell.unit}")
    for claim in result.claims:
        print(f"{claim.what}: {claim.ratio:.3f}, bound {claim.bound:g}{'' if claim.holds else '  NOT HELD'}")
    print(path)
    return 0 if result.holds else NOT_HELD


def write_suite(suite: str, result: SuiteResult, results: Path) -> Path:
    """Write a suite's figures under a results folder, in place of earlier ones on this hardware."""
    origin = provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    measured = MeasuredSuite(
        suite=suite,
        what=SUITES[suite],
        setting=result.setting,
        claims=[MeasuredClaim(**asdict(claim), holds=claim.holds) for claim in result.claims],
        cells=[MeasuredCell(**asdict(cell), median=cell.median) for cell in result.cells],
        provenance=origin,
        **result.details,
    )
    path = results / "speed" / _hardware_folder(origin) / f"{suite}.json"
    write_measured(path, {name: _rounded(value) for name, value in measured.model_dump().items()})
    return path


def write_measured(path: Path, values: Json) -> None:
    """Write a suite's figures with their digest."""
    write_bytes(path, (json.dumps(with_digest(values), indent=1) + "\n").encode())


def read_measured(path: Path) -> MeasuredSuite:
    """A suite's figures.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return MeasuredSuite.model_validate(without_digest(parse_object(path.read_bytes())))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}; restore it, or measure the suite again") from error


def _hardware_folder(origin: CodeAndMachine) -> str:
    """`AMD-EPYC-2-cores`; a GPU's name alone."""
    cores = "" if origin.device == "cuda" else f" {origin.cores} cores"
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{origin.hardware}{cores}").strip("-")


def _rounded(value: object) -> object:
    """Floats to five digits, which is more than a clock's precision."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
