"""Test and validation questions that the runs of a table were trained or chosen on, said in sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..store.record import RunRecord
from .arms import Arm

NAMED = 4  # arms in a sentence

Count = Callable[[RunRecord], int]


def contamination(arms: Sequence[Arm]) -> list[str]:
    """What of the test or the validation the runs of some arms have seen, a sentence each; none of older records.

    What `data.overlap=drop` left out is no part of it.
    """
    rows = _rows(arms)
    sentences = (
        (
            _trained("copies"),
            f"Trained on copies of test questions{rows}, which their test % therefore overstates: {{}}.",
        ),
        (
            _trained("shared_13_grams"),
            f"Trained on rows that share 13 words in a row with a test question{rows}: {{}}.",
        ),
        (_validated, "Learning rates were chosen on validation questions that are test questions: {}."),
        (_overlap("validation_rows"), "Training rows that ask a validation question were left out: {}."),
    )
    said = [sentence.format(runs) for count, sentence in sentences if (runs := _runs(arms, count))]
    return said + _repeated(arms)


def _overlap(kind: str) -> Count:
    def count(record: RunRecord) -> int:
        return 0 if record.provenance is None else record.provenance.test_overlap.get(kind, 0)

    return count


def _trained(kind: str) -> Count:
    def count(record: RunRecord) -> int:
        return 0 if record.untuned or record.config.data.overlap == "drop" else _overlap(kind)(record)

    return count


def _validated(record: RunRecord) -> int:
    return 0 if record.untuned or record.config.data.overlap == "drop" else _overlap("validation")(record)


def _runs(arms: Sequence[Arm], count: Count) -> str:
    """Each arm with the most that one of its runs has, as in `lora r=16 (5 in 2 of 3 runs)`; or one number for all."""
    counted = [(arm, [n for record in arm.records if (n := count(record))]) for arm in arms]
    concerned = [(arm, numbers) for arm, numbers in counted if numbers]
    values = {n for _, numbers in concerned for n in numbers}
    trained = [numbers for arm, numbers in counted if not arm.untuned and len(numbers) == len(arm.records)]
    if len(values) == 1 and len(trained) == sum(not arm.untuned for arm in arms) > 1:
        return f"{values.pop():,} in every run"
    parts = []
    for arm, numbers in concerned[:NAMED]:
        runs = "" if len(numbers) == len(arm.records) else f" in {len(numbers)} of {len(arm.records)} runs"
        parts.append(f"{arm.name} ({max(numbers)}{runs})")
    more = len(concerned) - NAMED
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _rows(arms: Sequence[Arm]) -> str:
    """Among how many training rows, where every trained run says the same."""
    runs = [record for arm in arms for record in arm.records if not record.untuned]
    counts = {
        None if r.provenance is None or "train" not in r.provenance.data else r.provenance.data["train"].rows
        for r in runs
    }
    count = counts.pop() if len(counts) == 1 else None
    return "" if count is None else f" (among {count:,} rows)"


def _repeated(arms: Sequence[Arm]) -> list[str]:
    """The tasks in which questions came twice."""
    most: dict[str, int] = {}
    for origin in (record.provenance for arm in arms for record in arm.records):
        for name, digest in (origin.data if origin else {}).items():
            if digest.repeated:
                task = name.partition(":")[2] or name
                most[task] = max(most.get(task, 0), digest.repeated)
    return [f"{task} has {count} questions twice; each counts once." for task, count in sorted(most.items())]
