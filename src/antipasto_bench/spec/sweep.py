"""What a sweep asks for: a product of words, or a file of such products.

preset: nano
choose: lr                     # optional: see `choose_rate`
reference: lora                # optional, with margin: the plan of comparisons that is settled before the first run
margin: 2
until: decided                 # optional: seed by seed, see sweeps/until.py
runs:
  - base
  - lora lr=5e-3,1e-2 seed=0,1,2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antipasto.config import did_you_mean

from ..core.errors import UserError
from ..core.paths import benchmark_dir, locate
from ..core.yaml_files import read_mapping
from .allowed import shown
from .compose import expand
from .config import RunConfig
from .grammar import parse_words
from .methods.external import load_variants
from .selection import rate_family

FIELDS = ("preset", "choose", "reference", "margin", "until", "runs")
OF_PLAN = ("reference", "margin")


@dataclass(frozen=True)
class Sweep:
    """Runs, and whether learning rates are chosen among them on the way.

    Where they are, every rate is tried on the first seed, and the other seeds are spent on the one that `choose_rate`
    gives alone: these are what the report averages.
    """

    runs: list[RunConfig]
    choose: bool = False
    plan: Mapping[str, Any] = field(default_factory=dict)  # what its file says of the plan of comparisons: OF_PLAN
    until_decided: bool = False


def sweep_of(words: list[str], preset: str | None) -> Sweep:
    """The sweep that words name, or that is in the file that they name, with settings beside it for all of its runs.

    Raises:
        UserError: no variant, or a word or sweep file that cannot be read.
    """
    files = [word for word in words if word.endswith((".yaml", ".yml")) and "=" not in word]
    if files:
        others = [word for word in words if word != files[0]]
        for word in others:
            if "=" not in word:
                raise UserError(
                    f"{files[0]} is a sweep file, and {word} no setting; beside it write settings that hold for all of "
                    "its runs, such as data.train=PATH"
                )
        return read_sweep(find_sweep(files[0]), preset, others)
    variants, axes = parse_words(words)
    if not variants and "peft" not in axes:
        raise UserError("name at least one variant, such as: antipasto-bench sweep lora,antipasto seed=0,1,2")
    load_variants(variants)
    return Sweep(expand(variants, axes, preset))


def find_sweep(reference: str) -> Path:
    """The sweep file of a path or name: seen from the current folder, else among the sweeps that are shipped.

    Both `nano.yaml` and `benchmark/sweeps/nano.yaml` name the shipped one, in any folder that has no such file.

    Raises:
        UserError: there is no such file.
    """
    if Path(reference).exists():
        return Path(reference)
    folder = benchmark_dir() / "sweeps"
    place = locate(reference) or locate(str(folder / reference))
    if place is None:
        shipped = [path.name for path in folder.glob("*.yaml")]
        raise UserError(f"{reference}: no such sweep file{did_you_mean(Path(reference).name, shipped)}")
    return place


def read_sweep(path: Path, preset: str | None = None, settings: Sequence[str] = ()) -> Sweep:
    """The sweep that a YAML file holds; a preset or settings given beside it win over those that it names.

    Args:
        settings: words such as `data.train=PATH`.

    Raises:
        UserError: it cannot be read, or says something unknown.
    """
    values = read_mapping(path, lambda keys: keys == ("preset",))
    if not isinstance(values.get("runs"), list) or not all(isinstance(line, str) for line in values["runs"]):
        raise UserError(f"{path}: expected `runs:` with a list of lines such as `lora lr=5e-3,1e-2 seed=0,1,2`")
    for key in values:
        if key not in FIELDS:
            raise UserError(f"{path}: unknown key {key!r}{did_you_mean(key, FIELDS)}")
    if values.get("choose") not in (None, "lr"):
        raise UserError(f"{path}: choose={shown(values['choose'])}: only lr can be chosen")
    if values.get("until") not in (None, "decided"):
        raise UserError(f"{path}: until={shown(values['until'])}: expected decided")
    if not isinstance(values.get("preset"), str | None):
        raise UserError(f"{path}: preset: expected one name")
    if not values["runs"]:
        raise UserError(f"{path}: `runs:` is empty; write a line such as `lora lr=5e-3,1e-2 seed=0,1,2`")
    choose = values.get("choose") == "lr"
    runs: dict[str, RunConfig] = {}
    lines: dict[Any, str] = {}
    for line in values["runs"]:
        for run in _runs_of(line, settings, path, preset or values.get("preset")):
            if choose and run.eval.valid == "none":
                raise UserError(f"{path}: {line!r}: choose: lr needs validation questions; leave out eval.valid=none")
            if choose and lines.setdefault(rate_family(run.protocol, run), line) != line:
                other = lines[rate_family(run.protocol, run)]
                raise UserError(f"{path}: {other!r} and {line!r} differ in lr or seed alone; make one line of them")
            runs.setdefault(run.content, run)  # copies of a model are one model
    plan = {key: values[key] for key in OF_PLAN if values.get(key) is not None}
    return Sweep(list(runs.values()), choose, plan, values.get("until") == "decided")


def _runs_of(line: str, settings: Sequence[str], path: Path, preset: str | None) -> list[RunConfig]:
    """The runs of a line, with settings in place of its own of the same keys."""
    keys = {word.partition("=")[0] for word in settings}
    own = [word for word in line.split() if word.partition("=")[0] not in keys]
    try:
        variants, axes = parse_words([*own, *settings])
        if not variants and "peft" not in axes:
            raise UserError("names no variant")
        load_variants(variants)
        return expand(variants, axes, preset)
    except UserError as error:
        raise UserError(f"{path}: {line!r}: {error}") from error
