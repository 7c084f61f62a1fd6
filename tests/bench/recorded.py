"""Records and items as a run leaves them, for tests of what reads them."""

from collections.abc import Mapping, Sequence

import polars as pl

from antipasto_bench.core.provenance import GitState
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.folders import Store
from antipasto_bench.store.items import ITEMS_SCHEMA, items_digest
from antipasto_bench.store.record import Provenance, RunRecord

PROVENANCE = Provenance(
    git=GitState(commit="0123456789abcdef", dirty=False), hardware="cpu-of-a-test", device="cpu", threads=2
)


def record(
    store: Store,
    variant: str,
    right: list[int],
    n: int = 8,
    fields: Mapping[str, object] | None = None,
    questions: Sequence[str] | None = None,
    **given: object,
) -> RunRecord:
    """A finished run's record, its items written: it answered the given questions of n right.

    Args:
        fields: of the record, in place of those that such a run has.
        questions: sha1 of each; the numbers from 0 to n - 1 where None.
        given: settings of the run, as users type them.
    """
    run = compose(variant, given, "nano")
    scores = [1.0 if i in set(right) else 0.0 for i in range(n)]
    names = questions or [str(i) for i in range(n)]
    items = pl.DataFrame(
        [
            {"split": "test", "task": "nano_metamath", "doc_id": i, "sha1": names[i], "filter": name,
             "metric": "exact_match", "score": score}
            for name in ("strict-match", "flexible-extract") for i, score in enumerate(scores)
        ],
        schema=ITEMS_SCHEMA,
    )  # fmt: skip
    store.items(run.run_id).parent.mkdir(parents=True, exist_ok=True)
    items.write_parquet(store.items(run.run_id))
    made = RunRecord.of(run, run.run_id)
    values: dict[str, object] = {
        "status": "ok",
        "items_sha256": items_digest(items),
        "metrics": {"test": {"nano_metamath": {}}},
        "test_accuracy": sum(scores) / n,
        "test_strict": sum(scores) / n,
        "test_n": n,
        "valid_accuracy": 0.25,
        "trained_parameters": 0 if made.untuned else 1234,
        "train_s": None if made.untuned else 30.0,
        "eval_s": 5.0,
        "provenance": PROVENANCE,
    }
    for name, value in (values | dict(fields or {})).items():
        setattr(made, name, value)
    return made


def failed(store: Store, variant: str, error: str, **given: object) -> RunRecord:
    """The record of a run that failed."""
    return record(store, variant, [0], 8, {"status": "failed", "error": error, "test_accuracy": None}, None, **given)
