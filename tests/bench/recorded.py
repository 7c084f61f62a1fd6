"""Records and items as a run leaves them, for tests of what reads them."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from antipasto_bench.core.provenance import GitState
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.folders import Store
from antipasto_bench.store.items import ITEMS_SCHEMA, LOSS_FILTER, items_digest, weighted_token_loss
from antipasto_bench.store.origins import Provenance
from antipasto_bench.store.record import RunRecord

PROVENANCE = Provenance(
    git=GitState(commit="0123456789abcdef", dirty=False), hardware="cpu-of-a-test", device="cpu", threads=2
)

FILTERS = ("given-answer", "strict-match", "flexible-extract")


def record(
    store: Store,
    variant: str,
    right: list[int],
    n: int = 8,
    fields: Mapping[str, object] | None = None,
    nats: Sequence[float] | None = None,
    questions: Sequence[str] | None = None,
    **given: object,
) -> RunRecord:
    """A finished run's record, its items written: it answered the given questions of n right.

    Args:
        fields: of the record, in place of those that such a run has.
        nats: of each question's reference solution, of ten tokens and one more for each question before it; of the
            validation questions too. A run of the first scoring rules has none.
        questions: sha1 of each; the numbers from 0 to n - 1 where None.
        given: settings of the run, as users type them.
    """
    run = compose(variant, given, "nano")
    scores = [1.0 if i in set(right) else 0.0 for i in range(n)]
    names = questions or [str(i) for i in range(n)]
    tokens = [10.0 + i for i in range(n)]
    columns = [("test", name, "exact_match", scores) for name in FILTERS]
    measured: dict[str, object] = {}
    if nats is not None:
        loss, stderr = weighted_token_loss(np.array(nats), np.array(tokens))
        for split in ("test", "valid"):
            measured |= {f"{split}_loss": loss, f"{split}_loss_stderr": stderr}
            columns += [(split, LOSS_FILTER, "loss", list(nats)), (split, LOSS_FILTER, "tokens", tokens)]
        columns.append(("valid", FILTERS[0], "exact_match", scores))
    items = pl.DataFrame(
        [
            {"split": split, "task": "nano_metamath", "doc_id": i, "sha1": names[i], "filter": name,
             "metric": metric, "score": score}
            for split, name, metric, values in columns for i, score in enumerate(values)
        ],
        schema=ITEMS_SCHEMA,
    )  # fmt: skip
    store.items(run.run_id).parent.mkdir(parents=True, exist_ok=True)
    items.write_parquet(store.items(run.run_id))
    made = RunRecord.of(run, run.run_id)
    values: dict[str, object] = {
        "status": "ok",
        "items_sha256": items_digest(items),
        "metrics": {"test": {"nano_metamath": {key: {"exact_match": (sum(scores) / n, None)} for key in FILTERS}}},
        "test_accuracy": sum(scores) / n,
        "test_strict": sum(scores) / n,
        "test_n": n,
        "valid_accuracy": 0.25,
        "trained_parameters": 0 if made.untuned else 1234,
        "train_s": None if made.untuned else 30.0,
        "eval_s": 5.0,
        "provenance": PROVENANCE,
    }
    for name, value in (values | measured | dict(fields or {})).items():
        setattr(made, name, value)
    return made


def failed(store: Store, variant: str, error: str, **given: object) -> RunRecord:
    """The record of a run that failed."""
    fields = {"status": "failed", "error": error, "test_accuracy": None}
    return record(store, variant, [0], 8, fields, None, None, **given)
