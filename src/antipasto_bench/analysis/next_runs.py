"""The runs to make next, as commands that can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice

from antipasto.config import AdapterError

from ..core.errors import UserError
from ..spec.compose import expand
from ..spec.config import SCORING_VERSION, RunConfig, content_of
from ..spec.grammar import parse_words
from ..spec.references import references
from ..spec.words import words_of
from ..store.durations import mean_seconds
from ..store.record import RunRecord
from .arms import Arm


@dataclass(frozen=True)
class NextRuns:
    """Further seeds of an arm."""

    arm: Arm
    seeds: list[int]
    seconds: float | None  # of all of them, one after another
    words: list[str]  # of the arm, without a seed
    problem: str | None  # why these words would make other runs; None where they make these

    @property
    def command(self) -> str:
        """What to type; without the folder of the results."""
        name = "run" if len(self.seeds) == 1 else "sweep"
        seeds = ",".join(map(str, self.seeds))
        return shlex.join([name, *self.words[:-1], f"seed={seeds}", self.words[-1]])


def next_runs(runs: Iterable[tuple[Arm, int]], records: Sequence[RunRecord]) -> list[NextRuns]:
    """Commands for so many more seeds of some arms.

    Args:
        records: of all runs, so that no seed is made twice; one that the machine failed is made again.
    """
    return [_of_arm(arm, more, records) for arm, more in runs]


def _of_arm(arm: Arm, more: int, records: Sequence[RunRecord]) -> NextRuns:
    made = {r.seed for r in records if r.arm == arm.first.arm and (r.status == "ok" or r.failed_by != "machine")}
    seeds = list(islice((seed for seed in count() if seed not in made), more))
    one = mean_seconds(arm.records)
    words, problem = command_words(arm.first, with_seed=False)
    return NextRuns(arm, seeds, None if one is None else one * more, words, problem)


def command_words(record: RunRecord, *, with_seed: bool = True) -> tuple[list[str], str | None]:
    """The words that make a recorded run, and why they would make another one; None where they make this one."""
    config = record.config
    if config.eval.version != SCORING_VERSION:
        return [config.variant], (
            f"scored by rules {config.eval.version}, by which no run is made any more: its whole table has to be made "
            "anew before seeds can be added"
        )
    try:
        words = [word for word in words_of(config) if not word.startswith("seed=")]
        seeded = [*words, f"seed={config.seed}"]
        runs = expand(*parse_words(seeded))
    except (UserError, AdapterError) as error:  # its variant is gone, or has other settings today
        return [config.variant], str(error)
    return seeded if with_seed else words, None if _same(runs, record) else (
        f"its words make other runs here, since {_names(config)} names other content or is not found: give the path"
    )


def _same(runs: Sequence[RunConfig], record: RunRecord) -> bool:
    return len(runs) == 1 and content_of(runs[0].run_id) == content_of(record.run_id)


def _names(config: RunConfig) -> str:
    """The settings of a run that name files, as one types them."""
    return " or ".join(f"{name}={value}" for name, value in references(config).items())
