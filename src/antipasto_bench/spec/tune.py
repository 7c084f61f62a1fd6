"""What a tune is: arms whose learning rate is searched, each by the same number of short runs, and of whole ones.

A short trial is a run of fewer steps with a whole schedule of its own. Any trial is judged by the held-out loss on the
validation questions. Its config names no test: no test question is read in it, and no setting of the test is part of
its identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antipasto.config import ALIASES

from ..core.errors import UserError
from ..core.fingerprint import digest
from .compose import DEFAULT_PRESET, compose
from .config import ADAPTER_WORDS, BASE, RunConfig
from .grammar import parse_words
from .keys import refuse_keys_without_effect
from .search import Search, finals_of, place_of, rate_at
from .tried import Point
from .words import words_of

TRIAL_VERSION = 1  # of the rules of a trial: what it is measured on, and when
NO_TEST = "none"  # in place of a task
NO_SCORING = 2  # rules of scoring in a trial's config: always these, as a trial scores no answer by any
FIRST_SEED = 1000  # of trials; results have seeds below it, so that nothing that chose is averaged later
RESULT_SEEDS = (0, 1, 2)
SHARE = 3  # of a run's steps, one in so many is a trial's


@dataclass(frozen=True)
class TunedArm:
    """A variant with its settings, and the values of the other axis that it has.

    Args:
        name: variant and settings as they were typed.
        runs: the run to tune, with its whole steps, one for each value.
        values: of the other axis; one that is None where the arm has no other axis.
    """

    name: str
    runs: tuple[RunConfig, ...]
    values: tuple[Any, ...] = (None,)


@dataclass(frozen=True)
class Tune:
    """A search for each arm, with equal budgets.

    Args:
        axis: the setting that is searched beside the learning rate; None where there is none.
        budget: trials of each arm.
        steps: of a short trial; a third of the run's where None. With the run's steps, or more, there are no finals.
        seeds: see `Search`.
    """

    arms: list[TunedArm]
    axis: str | None
    budget: int
    steps: int | None
    seeds: tuple[int, ...]

    def search(self, arm: TunedArm) -> Search:
        begins = tuple(place_of(run.lr) for run in arm.runs)
        steps, whole = self.short_steps(arm), arm.runs[0].steps
        finals = finals_of(self.budget, max(len(each.runs) for each in self.arms)) if steps < whole else 0
        return Search(self.budget, begins, self.seeds, steps, whole, finals)

    def short_steps(self, arm: TunedArm) -> int:
        return self.steps or max(1, arm.runs[0].steps // SHARE)

    def trial(self, arm: TunedArm, point: Point) -> RunConfig:
        """The run of a trial."""
        given = {"lr": rate_at(point.place), "seed": point.seed, "steps": point.steps}
        return trial_config(arm.runs[point.value], given)


def trial_config(run: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """A run's settings as a trial has them: of scoring, only the validation questions are left."""
    scoring = {"tasks": [NO_TEST], "valid": run.eval.valid, "valid_limit": run.eval.valid_limit}
    scoring["version"] = NO_SCORING
    return RunConfig.model_validate(run.model_dump() | {"eval": scoring} | dict(given))


def trial_id(trial: RunConfig) -> str:
    """The id of a trial: that of its config, with the rules of trials in the digest. Safe as a file name."""
    readable, _, own = trial.run_id.rpartition("__")
    return f"trial__{readable}__{digest([own, TRIAL_VERSION])}"


def tune_of(
    words: Sequence[str], preset: str | None, *, budget: int, steps: int | None = None, seeds: Sequence[int] = ()
) -> Tune:
    """The tune that words name: variants, settings, and at most one setting of several values.

    `lr=RATE` is where the search begins, in place of the variant's default.

    Raises:
        UserError: a word cannot be read, is of no arm, or is what a tune itself chooses.
    """
    variants, axes = parse_words(words)
    variants = list(dict.fromkeys(ALIASES.get(variant, variant) for variant in variants))
    if not variants:
        raise UserError("name at least one variant, such as: antipasto-bench tune lora,antipasto --budget 12")
    presets = axes.pop("preset", None) or [preset]
    axis = _other_axis(axes, presets)
    chosen = _checked_seeds(seeds)
    refuse_keys_without_effect(variants, axes)
    arms = [_arm(variant, axes, axis, presets[0], variants) for variant in variants]
    for arm in arms:
        if budget < 3 * len(arm.runs):
            each = f"each of the {len(arm.runs)} values of {axis}" if len(arm.runs) > 1 else arm.name
            raise UserError(f"--budget {budget}: {each} needs 3 trials or more; write --budget {3 * len(arm.runs)}")
    return Tune(arms, axis, budget, steps, chosen)


def _other_axis(axes: Mapping[str, list[Any]], presets: Sequence[Any]) -> str | None:
    """The setting of several values, if there is one."""
    if len(presets) > 1:
        raise UserError("preset= names several; a tune compares arms of one, so write a tune for each")
    if "seed" in axes:
        raise UserError("seed=: the seeds of trials are those of --seed, and never those of results; leave it out")
    if len(axes.get("lr", ())) > 1:
        raise UserError("lr= names several rates, and tune looks for one; write lr=RATE to say where it begins")
    if len(axes.get("steps", ())) > 1:
        raise UserError("steps= names several lengths of a run; a tune is of one, so write a tune for each")
    several = [key for key, values in axes.items() if len(values) > 1]
    if len(several) > 1:
        raise UserError(f"{' and '.join(several)} have several values; a tune takes one such setting beside lr")
    return several[0] if several else None


def _checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(dict.fromkeys(seeds)) or (FIRST_SEED,)
    if min(chosen) < FIRST_SEED:
        raise UserError(
            f"--seed {min(chosen)}: seeds below {FIRST_SEED} are those of results; write --seed {FIRST_SEED} or more"
        )
    return chosen


def _arm(
    variant: str, axes: Mapping[str, list[Any]], axis: str | None, preset: str | None, beside: Sequence[str]
) -> TunedArm:
    """An arm with those of the values that make different runs: an axis that the variant lacks collapses."""
    given = {key: values[0] for key, values in axes.items() if key != axis}
    runs: dict[str, tuple[RunConfig, Any]] = {}
    for value in axes[axis] if axis is not None else [None]:
        run = compose(variant, given | ({} if axis is None else {axis: value}), preset or DEFAULT_PRESET, beside)
        if variant == BASE or not run.trains:
            raise UserError(f"{variant} trains nothing, so it has no learning rate to tune; leave it out")
        if run.eval.valid == "none":
            raise UserError("tune judges by the validation questions; leave out eval.valid=none")
        runs.setdefault(run.content, (run, value))
    made = list(runs.values())
    values = tuple(value for _, value in made) if len(made) > 1 else (None,)
    return TunedArm(_name(made[0][0], given), tuple(run for run, _ in made), values)


def _name(run: RunConfig, given: Mapping[str, Any]) -> str:
    """The variant, and those of the given settings that its adapter has."""
    own = {key: value for key, value in given.items() if ADAPTER_WORDS.get(key, key) in run.adapter}
    return " ".join([run.variant, *(f"{key}={value}" for key, value in own.items())])


def sweep_line(run: RunConfig, lr: float, seeds: Sequence[int] = RESULT_SEEDS) -> tuple[str, str]:
    """The line of a sweep file that makes a run at a rate, and the preset that it is said over."""
    variant, *settings, preset = words_of(run.model_copy(update={"lr": lr, "seed": 0}))
    others = [word for word in settings if not word.startswith("lr=")]
    words = [variant, *others, f"lr={lr:g}", f"seed={','.join(map(str, seeds))}"]
    return " ".join(words), preset.removeprefix("preset=")
