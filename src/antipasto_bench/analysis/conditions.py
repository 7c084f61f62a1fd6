"""What results depend on beside their settings, and whether the runs of a table differ in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.provenance import CodeAndMachine
from ..store.record import RunRecord
from .arms import Arm

NAMED = 3  # of the arms that the fewer runs belong to


def _of_cpu(origin: CodeAndMachine, value: str | None) -> str | None:
    return value if origin.device == "cpu" else ""


# Each gives the value of a run: "" where it means nothing, None where it was not recorded.
CONDITIONS: dict[str, Callable[[CodeAndMachine], str | None]] = {
    "hardware": lambda origin: origin.hardware,
    "device": lambda origin: origin.device,
    "threads": lambda origin: _of_cpu(origin, str(origin.threads)),
    "instructions": lambda origin: _of_cpu(origin, origin.instructions),
    "torch": lambda origin: (origin.packages or {}).get("torch"),
    "versions of CUDA": lambda origin: "" if origin.device != "cuda" else _versions(origin.cuda),
}


def _versions(cuda: dict[str, str] | None) -> str | None:
    return None if cuda is None else " ".join(f"{name} {number}" for name, number in sorted(cuda.items()))


def mixed_conditions(arms: Sequence[Arm]) -> str:
    """A sentence on the conditions in which the runs of some arms differ, and results with them; empty where in none.

    The same seed gives another model on another processor or another number of threads, since sums are rounded in
    another order.
    """
    runs = [(arm, record) for arm in arms for record in arm.records if record.provenance is not None]
    parts = [part for name, read in CONDITIONS.items() if (part := _difference(name, read, runs))]
    if not parts:
        return ""
    return f"These runs were not all made alike, and results depend on it: {'; '.join(parts)}."


def _difference(
    name: str, read: Callable[[CodeAndMachine], str | None], runs: Sequence[tuple[Arm, RunRecord]]
) -> str | None:
    """The values of a condition with the runs of each, the most common first; None where all have the same."""
    by_value: dict[str, list[Arm]] = {}
    for arm, record in runs:
        assert record.provenance is not None
        value = read(record.provenance)
        if value != "":
            by_value.setdefault("not recorded" if value is None else value, []).append(arm)
    if len(by_value) < 2:
        return None
    (common, most), *others = sorted(by_value.items(), key=lambda item: (-len(item[1]), item[0]))
    texts = [f"{common} ({_runs(most)})"]
    for value, arms in others:
        names = list(dict.fromkeys(arm.name for arm in arms))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        texts.append(f"{value} ({_runs(arms)}: {', '.join(names[:NAMED])}{more})")
    return f"{name} {' and '.join(texts)}"


def _runs(arms: Sequence[Arm]) -> str:
    return f"{len(arms)} run{'s' * (len(arms) != 1)}"
