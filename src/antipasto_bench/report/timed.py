"""Times of an adapter beside the untuned model's: what compares rows is the ratio of the two.

A machine is faster in one minute than in the next. An adapter and the untuned model are timed in turns in one process,
so their ratio holds in any minute, and milliseconds of two rows do not compare. Tables, drawings and their order use
the ratio; milliseconds stand where a single row or run is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from ..analysis.arms import Arm
from ..store.quantities import Quantity, quantity
from ..store.record import RunRecord


@dataclass(frozen=True)
class Timed:
    """A time or a speed, as the ratio to the untuned model's."""

    header: str  # of its column
    axis: str
    meaning: str  # for people
    of: tuple[Quantity, ...]  # whose sum it is
    unit: str
    word: str  # behind what 1x is

    def ratio(self, record: RunRecord) -> float | None:
        """A run's own over the untuned model's in the same process; None where one was not measured."""
        own, base = self.own(record), self.base(record)
        if record.untuned:
            return None if base is None else 1.0
        return None if own is None or not base else own / base

    def own(self, record: RunRecord) -> float | None:
        """As measured; of the untuned model its own."""
        return _sum(record, [entry.own(record.untuned) for entry in self.of])

    def base(self, record: RunRecord) -> float | None:
        """The untuned model's, measured in turns with the run's."""
        return _sum(record, [entry.base or entry.field for entry in self.of])

    def ratio_of(self, arm: Arm) -> float | None:
        """The mean of the ratios of an arm's runs."""
        return _mean([self.ratio(record) for record in arm.records])

    def measured_of(self, arm: Arm) -> tuple[float, float] | None:
        """The mean of an arm's own and of the untuned model's over the runs that have a ratio; None where none has."""
        timed = [record for record in arm.records if self.ratio(record) is not None]
        own, base = _mean(map(self.own, timed)), _mean(map(self.base, timed))
        return None if own is None or base is None else (own, base)

    def text(self, ratio: float | None) -> str:
        return "" if ratio is None else f"{ratio:.2f}x"

    def run_text(self, record: RunRecord) -> str:
        """The ratio of a run, with both values that it is of."""
        ratio, own, base = self.ratio(record), self.own(record), self.base(record)
        if ratio is None or own is None or base is None:
            return ""
        shown, of_base = (self.of[0].text(value) for value in (own, base))
        beside = "" if record.untuned else f"; the untuned model {of_base}"
        return f"{self.text(ratio)} ({shown} {self.unit}{beside})"

    def one_x(self, arms: Sequence[Arm]) -> str:
        """What 1x is: the untuned model's median over the rows, and the range; empty where nothing was measured."""
        bases = [pair[1] for arm in arms if (pair := self.measured_of(arm)) is not None]
        if not bases:
            return ""
        middle, low, high = (self.of[0].text(value) for value in (median(bases), min(bases), max(bases)))
        between = "" if low == high else f" ({low} to {high})"
        return f"{middle} {self.unit}{between}"


def _sum(record: RunRecord, fields: Sequence[str]) -> float | None:
    values = [getattr(record, field) for field in fields]
    return None if None in values else sum(values)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


_FORWARD, _BACKWARD = quantity("forward_ms"), quantity("backward_ms")
_TIMES_BASE = "in turns with the untuned model, as the ratio to it"
FORWARD = Timed(
    "fwd time", "forward time (1x: untuned model)", f"forward of one batch, {_TIMES_BASE}",
    (_FORWARD,), "ms", "forward",
)  # fmt: skip
BACKWARD = Timed(
    "bwd time", "backward time (1x: untuned model)",
    f"backward of one batch, {_TIMES_BASE}, whose backward runs down to its embeddings",
    (_BACKWARD,), "ms", "backward",
)  # fmt: skip
STEP = Timed(
    "step time", "step time (1x: untuned model)",
    f"forward and backward of one batch, {_TIMES_BASE}", (_FORWARD, _BACKWARD), "ms", "for both",
)  # fmt: skip
GENERATION = Timed(
    "gen speed", "generation speed (1x: untuned model)",
    f"tokens a second, generated with the adapter unmerged, {_TIMES_BASE}",
    (quantity("generated_tokens_per_s"),), "tokens/s", "generated",
)  # fmt: skip
TIMED = {"forward_ms": FORWARD, "backward_ms": BACKWARD, "generated_tokens_per_s": GENERATION}  # by quantity


def ones(timed: Sequence[Timed], arms: Sequence[Arm]) -> str:
    """What 1x is of several, in words; empty where nothing was measured."""
    known = [f"{text} {each.word}" for each in timed if (text := each.one_x(arms))]
    return "" if not known else f"1x is {', '.join(known)}: the untuned model's median over the rows, and its range."
