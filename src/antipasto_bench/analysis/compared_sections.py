"""One table's worth of evidence with its statistics: what the README, the drawings and the page all tell of."""

from __future__ import annotations

import polars as pl

from ..spec.config import BASE
from ..store.folders import Store
from ..store.table import read_table
from .ablations import Ablation, ablations
from .arms import Section, sections
from .comparisons import Row, Verdict, comparable, rows_of, verdict


class Study:
    """A section, compared."""

    def __init__(self, section: Section) -> None:
        self.section = section
        # Runs on other questions, or with scores between right and wrong, stand side by side and are not compared.
        self.found: Verdict | None = verdict(section.arms) if comparable(section.arms) else None
        self.rows: list[Row] = rows_of(section.arms, self.found)
        self.ablations: list[Ablation] = ablations(section, self.found.noise) if self.found else []

    @property
    def priced(self) -> bool:
        """Whether there is an arm to draw against what it costs."""
        return self.found is not None and any((row.mean("trained_parameters") or 0) > 0 for row in self.rows)

    @property
    def title(self) -> str:
        rows = self.section.rows
        config = next((row["config"] for row in rows if row["variant"] != BASE), rows[0]["config"])
        scored = f"{' + '.join(config['eval']['tasks'])}, n = {rows[0]['test_n']}"
        batch = config["batch_size"] * config["grad_accum"]
        return f"{rows[0]['model']}: {config['steps']} steps x {batch}, {config['dtype']}, scored on {scored}"

    @property
    def slug(self) -> str:
        """A name for files and links."""
        return f"{self.section.rows[0]['run_id'].partition('__')[0]}-{self.section.protocol}"


def studies(store: Store) -> list[Study]:
    """Every section of the results.

    Raises:
        UserError: no run has been recorded, or one cannot be backed by its questions.
    """
    return [Study(section) for section in sections(store)]


def failures(store: Store) -> list[tuple[str, str]]:
    """Runs that failed, and why."""
    failed = read_table(store.table).filter(pl.col("status") == "failed")
    return [(run_id, str(error)) for run_id, error in failed.select("run_id", "error").sort("run_id").iter_rows()]
