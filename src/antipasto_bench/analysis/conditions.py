"""What results depend on beside their settings, and whether the runs of a table differ in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from ..spec.methods.registry import is_known
from ..store.origins import Provenance
from ..store.record import RunRecord
from .arms import Arm

NAMED = 3  # of the arms that the fewer runs belong to, and of the values of a condition
_OURS = {"antipasto-bench"}  # its version says nothing that the commit does not
MOST_PACKAGES = 2  # whose versions are given; of more only the names


def _of_cpu(record: RunRecord, value: str | None) -> str | None:
    return value if _origin(record).device == "cpu" else ""


def _origin(record: RunRecord) -> Provenance:
    assert record.provenance is not None
    return record.provenance


def _cuda(record: RunRecord) -> str | None:
    here = _origin(record)
    return "" if here.device != "cuda" else None if here.cuda is None else _versions(here.cuda)


def _kernels(record: RunRecord) -> str:
    return _versions(_origin(record).kernels or {})


def _versions(packages: Mapping[str, str | None]) -> str:
    return " ".join(f"{name} {number or 'none'}" for name, number in sorted(packages.items()))


def _graphs(record: RunRecord) -> str:
    """Whether its steps were to be replayed as CUDA graphs; those of some methods are plain in any case."""
    config = record.config
    if record.untuned or _origin(record).device != "cuda":
        return ""
    replayed = config.cuda_graphs and is_known(config.variant) and config.method.steps_alike
    return "replayed as graphs" if replayed else "launched one by one"


def _rows_at_once(record: RunRecord) -> str:
    return "" if record.untuned else str(record.train_rows_at_once or "all")


def _training_data(record: RunRecord) -> str:
    """The beginning of the digest of the rows: the same rows are the same data, whatever commit they came with."""
    data = _origin(record).data.get("train")
    return "" if record.untuned or data is None else data.sha256[:8]


_MERGED = {True: "merged", False: "unmerged"}

Read = Callable[[RunRecord], str | None]

# Each gives the value of a run: "" where it means nothing or older records lack it, None where it was not recorded.
CONDITIONS: dict[str, Read] = {
    "hardware": lambda record: _origin(record).hardware,
    "device": lambda record: _origin(record).device,
    "threads": lambda record: _of_cpu(record, str(_origin(record).threads)),
    "instructions": lambda record: _of_cpu(record, _origin(record).instructions),
    "processes": lambda record: str(record.processes or ""),
    "versions of CUDA": _cuda,
    "kernels": _kernels,
    "kernels of a step": _graphs,
    "rows trained at once": _rows_at_once,
    "digest of the training data": _training_data,
    "scored weights": lambda record: "" if record.merge_error is None else _MERGED[bool(record.scored_merged)],
}


def _package(name: str) -> Read:
    def read(record: RunRecord) -> str | None:
        packages = _origin(record).packages or {}
        if name not in packages:
            return None if name == "torch" else ""  # the list of packages has grown
        return packages[name] or "none"

    return read


def mixed_conditions(arms: Sequence[Arm]) -> str:
    """A sentence on the conditions in which the runs of some arms differ, and results with them; empty where in none.

    The same seed gives another model on another processor or another number of threads, since sums are rounded in
    another order.
    """
    runs = [(arm, record) for arm in arms for record in arm.records if record.provenance is not None]
    differing = {name: values for name, read in CONDITIONS.items() if len(values := _by_value(read, runs)) > 1}
    packages, more = _different_packages(runs)
    together: dict[Hashable, dict[str, _ByValue]] = {}  # conditions that part the runs alike
    for name, values in (differing | packages).items():
        together.setdefault(tuple(sorted(map(tuple, values.values()))), {})[name] = values
    parts = [_in_words(conditions, runs) for conditions in together.values()] + more
    if not parts:
        return ""
    return f"These runs were not all made alike, and results depend on it: {'; '.join(parts)}."


def changed_conditions(recorded: RunRecord, repeated: RunRecord) -> list[str]:
    """What differs between two records of one run, in words; what either did not record is no difference."""
    names = sorted({name for record in (recorded, repeated) for name in _origin(record).packages or {}} - _OURS)
    reads = CONDITIONS | {name: _package(name) for name in names}
    changes = []
    for name, read in reads.items():
        then, now = read(recorded), read(repeated)
        if then and now and then != now:
            changes.append(f"{name} {then}, now {now}")
    return changes


_ByValue = dict[str, list[int]]  # the places of the runs that have a value


def _different_packages(runs: Sequence[tuple[Arm, RunRecord]]) -> tuple[dict[str, _ByValue], list[str]]:
    """The packages whose versions differ: with their versions where they are few, torch always; else their names."""
    names = {"torch"}.union(*(_origin(record).packages or {} for _, record in runs)) - _OURS
    differing = {name: values for name in sorted(names) if len(values := _by_value(_package(name), runs)) > 1}
    if len(differing) <= MOST_PACKAGES:
        return differing, []
    others = [name for name in differing if name != "torch"]
    torch = {name: values for name, values in differing.items() if name == "torch"}
    return torch, [f"versions of {', '.join(others[:-1])} and {others[-1]}"]


def _by_value(read: Read, runs: Sequence[tuple[Arm, RunRecord]]) -> _ByValue:
    found: _ByValue = {}
    for place, (_, record) in enumerate(runs):
        value = read(record)
        if value != "":
            found.setdefault("not recorded" if value is None else value, []).append(place)
    return found


def _in_words(conditions: Mapping[str, _ByValue], runs: Sequence[tuple[Arm, RunRecord]]) -> str:
    """The values of conditions that part the runs alike, with the runs of each, the most common first."""
    parts: dict[tuple[int, ...], list[str]] = {}
    for values in conditions.values():
        for value, places in values.items():
            parts.setdefault(tuple(places), []).append(value)
    named = [(", ".join(values), [runs[place][0] for place in places]) for places, values in parts.items()]
    (common, most), *others = sorted(named, key=lambda item: (-len(item[1]), item[0]))
    texts = [f"{common} ({_runs(most)})"]
    for value, arms in others[: NAMED - 1]:
        names = list(dict.fromkeys(arm.name for arm in arms))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        texts.append(f"{value} ({_runs(arms)}: {', '.join(names[:NAMED])}{more})")
    if len(others) >= NAMED:
        left = others[NAMED - 1 :]
        texts.append(f"{len(left)} more ({_runs([arm for _, arms in left for arm in arms])})")
    of_several = ":" * (len(conditions) > 1)
    return f"{', '.join(conditions)}{of_several} {' and '.join(texts)}"


def one_machine(arms: Sequence[Arm]) -> bool:
    """Whether all trained runs were made on one kind of hardware, so that their seconds can be compared."""
    trained = [record for arm in arms for record in arm.records if not record.untuned and record.provenance]
    return len({_origin(record).hardware for record in trained}) < 2


def _runs(arms: Sequence[Arm]) -> str:
    return f"{len(arms)} run{'s' * (len(arms) != 1)}"
