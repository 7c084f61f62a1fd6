"""One table's worth of evidence with its statistics: what the README, the drawings and the page all show."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ..core.places import shown_text
from ..spec.config import SCORING_VERSION
from ..store.folders import Store
from ..store.items import headline_of, headline_task
from ..store.outcomes import not_done
from ..store.record import RunRecord
from ..store.table import read_records
from .ablations import Ablation, ablations
from .arms import Arm
from .comparisons import Pairs, accuracy_pairs, comparable, loss_pairs
from .losses import loss_over_seeds, loss_table
from .plan import Plan, Reference, read_plan, reference_of
from .sections import Section, sections, slug
from .stats import Summary, summarise
from .variance import SeedNoise
from .verdicts import Verdict

_WEIGHTS = {1: "; adapters merged into the weights, whatever merging rounds away"}  # by version of the scoring rules


@dataclass(frozen=True)
class ComparedArm:
    """An arm with all that its cells in a table are made from."""

    arm: Arm
    index: int  # in the table's arms
    section: ComparedSection

    @cached_property
    def summary(self) -> Summary | None:
        """Its accuracy with its interval; None where the arms of the table are not compared."""
        pairs = self.section.accuracy
        return None if pairs is None else summary_of(self.arm, pairs.noise)

    @cached_property
    def loss(self) -> tuple[float, float | None] | None:
        """Its held-out loss with its standard error; None where not every seed has one."""
        if self.arm.losses is None:
            return None
        noise = None if self.section.loss is None else self.section.loss.noise
        table = loss_table(self.arm.losses.nats, self.arm.losses.tokens)
        return loss_over_seeds(table, noise, self.arm.trained_on_seeds, self.arm.loss_kinds)

    @property
    def is_reference(self) -> bool:
        return self.index == self.section.reference

    @property
    def verdict(self) -> Verdict | None:
        """On its accuracy against the reference's; None where none may be given."""
        return self.section.verdicts.get(self.index)

    @property
    def loss_verdict(self) -> Verdict | None:
        return self.section.loss_verdicts.get(self.index)

    @property
    def ranks(self) -> tuple[int, int] | None:
        """The ranks by accuracy that it may have; None where the data say nothing of them."""
        return None if self.section.accuracy is None else self.section.accuracy.ranks[self.index]


@dataclass(frozen=True, eq=False)
class ComparedSection:
    """A section with its comparisons."""

    section: Section
    plan: Plan = field(default_factory=Plan)

    @cached_property
    def accuracy(self) -> Pairs | None:
        """None where questions differ, or scores lie between right and wrong."""
        return accuracy_pairs(self.section.arms) if comparable(self.section.arms) else None

    @cached_property
    def loss(self) -> Pairs | None:
        """None where fewer than two arms have losses of the same tokens, or questions differ."""
        return loss_pairs(self.section.arms) if self.accuracy is not None else None

    @cached_property
    def arms(self) -> list[ComparedArm]:
        return [ComparedArm(arm, index, self) for index, arm in enumerate(self.section.arms)]

    @cached_property
    def ablations(self) -> list[Ablation]:
        return ablations(self.section, self.accuracy.noise) if self.accuracy is not None else []

    @cached_property
    def reference(self) -> int | None:
        """The arm that every other is planned to be set against."""
        return None if self.chosen_reference is None else self.chosen_reference.place

    @cached_property
    def chosen_reference(self) -> Reference | None:
        """The same, with why it was taken."""
        return reference_of(self.section.arms, self.plan)

    @cached_property
    def verdicts(self) -> dict[int, Verdict]:
        """On the accuracy of every arm against the reference's; empty where none may be given."""
        return self._against(self.accuracy)

    @cached_property
    def loss_verdicts(self) -> dict[int, Verdict]:
        return self._against(self.loss)

    def _against(self, pairs: Pairs | None) -> dict[int, Verdict]:
        return {} if pairs is None or self.reference is None else pairs.against(self.reference, self.plan)

    @cached_property
    def margin_is_small(self) -> bool:
        """Whether `no worse` by accuracy can be said at all: see `Pairs.margin_is_small`."""
        pairs, reference = self.accuracy, self.reference
        return pairs is None or reference is None or pairs.margin_is_small(reference, self.plan)

    @property
    def one_seed(self) -> bool:
        """Whether its trained arms have a single seed each: nothing is then said of methods."""
        trained = [arm for arm in self.section.arms if arm.trained_on_seeds]
        return bool(trained) and not any(arm.conclusive for arm in trained)

    @property
    def has_sizes(self) -> bool:
        """Whether there is an arm to draw against its trained parameters."""
        return self.accuracy is not None and any((arm.mean("trained_parameters") or 0) > 0 for arm in self.section.arms)

    @property
    def title(self) -> str:
        records = self.section.records
        first = records[0]
        config = next((record.config for record in records if not record.untuned), first.config)
        scored = f"{' + '.join(config.eval.tasks)}, n = {first.test_n}"
        batch = config.batch_size * config.grad_accum
        older = "" if config.eval.version == SCORING_VERSION else f", by scoring rules {config.eval.version}"
        return f"{self.section.model}: {config.steps} steps x {batch}, {config.dtype}, scored on {scored}{older}"

    @property
    def scored_by(self) -> str:
        return scored_by(self.section.records[0])

    @property
    def slug(self) -> str:
        """A name for files and links."""
        return slug(f"{self.section.records[0].run_id.partition('__')[0]}-{self.section.protocol}")


def scored_by(record: RunRecord) -> str:
    """By which rules the answers of a run were judged: an older protocol's are not those of today."""
    assert record.metrics is not None, f"{record.run_id} has no result"
    filters = record.metrics["test"][headline_task(record)]
    name, metric = headline_of((name, metric) for name, values in filters.items() for metric in values)
    version = record.config.eval.version
    rule = {
        "given-answer": "right is the first announced answer, or the last number where none is, by value",
        "flexible-extract": "right is the last number of an answer",
    }.get(name, f"lm-eval's {metric}, filter {name}")
    return f"scored by rules {version}: {rule}{_WEIGHTS.get(version, '')}"


def compared_sections(store: Store) -> list[ComparedSection]:
    """Every section of the results.

    Raises:
        UserError: no run has been recorded, one cannot be backed by its questions, or the plan cannot be read.
    """
    plan = read_plan(store)
    return [ComparedSection(section, plan) for section in sections(store)]


def summary_of(arm: Arm, noise: SeedNoise) -> Summary:
    """An arm's accuracy with its interval, by the seed noise of all arms of its table."""
    return summarise(arm.scores, noise, arm.trained_on_seeds, arm.kinds)


class FailedRun(NamedTuple):
    run_id: str
    error: str


def failures(store: Store) -> list[FailedRun]:
    """Runs that failed, and why."""
    failed = not_done(read_records(store.table))
    return sorted(FailedRun(record.run_id, shown_text(str(record.error))) for record in failed)
