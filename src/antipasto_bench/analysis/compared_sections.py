"""One table's worth of evidence with its statistics: what the README, the drawings and the page all show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..core.places import shown_text
from ..spec.config import SCORING_VERSION
from ..store.folders import Store
from ..store.items import headline_of, headline_task
from ..store.outcomes import not_done
from ..store.table import read_records
from .ablations import Ablation, ablations
from .comparisons import ComparedArm, Comparisons, comparable, compare_all, compare_all_losses, compared_arms
from .sections import Section, sections, slug

_WEIGHTS = {1: "; adapters merged into the weights, whatever merging rounds away"}  # by version of the scoring rules


@dataclass(frozen=True)
class ComparedSection:
    """A section with its comparisons."""

    section: Section
    comparisons: Comparisons | None  # None where questions differ, or scores lie between right and wrong
    arms: list[ComparedArm]
    ablations: list[Ablation]

    @classmethod
    def of(cls, section: Section) -> ComparedSection:
        comparisons = compare_all(section.arms) if comparable(section.arms) else None
        swept = ablations(section, comparisons.noise) if comparisons is not None else []
        arms = compared_arms(section.arms, comparisons, compare_all_losses(section.arms))
        return cls(section, comparisons, arms, swept)

    @property
    def has_sizes(self) -> bool:
        """Whether there is an arm to draw against its trained parameters."""
        return self.comparisons is not None and any(
            (arm.mean("trained_parameters") or 0) > 0 for arm in self.section.arms
        )

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
        """By which rules answers were judged: an older protocol's are not those of today."""
        record = self.section.records[0]
        assert record.metrics is not None, f"{record.run_id} has no result"
        filters = record.metrics["test"][headline_task(record)]
        name, metric = headline_of((name, metric) for name, values in filters.items() for metric in values)
        version = record.config.eval.version
        rule = {
            "given-answer": "right is the first announced answer, or the last number where none is, by value",
            "flexible-extract": "right is the last number of an answer",
        }.get(name, f"lm-eval's {metric}, filter {name}")
        return f"scored by rules {version}: {rule}{_WEIGHTS.get(version, '')}"

    @property
    def slug(self) -> str:
        """A name for files and links."""
        return slug(f"{self.section.records[0].run_id.partition('__')[0]}-{self.section.protocol}")


def compared_sections(store: Store) -> list[ComparedSection]:
    """Every section of the results.

    Raises:
        UserError: no run has been recorded, or one cannot be backed by its questions.
    """
    return [ComparedSection.of(section) for section in sections(store)]


class FailedRun(NamedTuple):
    run_id: str
    error: str


def failures(store: Store) -> list[FailedRun]:
    """Runs that failed, and why."""
    failed = not_done(read_records(store.table))
    return sorted(FailedRun(record.run_id, shown_text(str(record.error))) for record in failed)
