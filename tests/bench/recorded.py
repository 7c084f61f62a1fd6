"""Rows and items as a run leaves them, for tests of what reads them."""

import polars as pl

from antipasto_bench.spec.compose import compose
from antipasto_bench.store.folders import Store
from antipasto_bench.store.items import ITEMS_SCHEMA, items_digest

PROVENANCE = {
    "hardware": "cpu-of-a-test",
    "device": "cpu",
    "threads": 2,
    "git": {"commit": "0123456789abcdef", "dirty": False},
}


def record(store: Store, variant: str, right: list[int], n: int = 8, costs: dict | None = None, **given):
    """A row and its items as a run leaves them, with the given questions answered right out of n."""
    run = compose(variant, given, "nano")
    scores = [1.0 if i in set(right) else 0.0 for i in range(n)]
    items = [
        {"split": "test", "task": "nano_metamath", "doc_id": i, "sha1": str(i), "filter": name,
         "metric": "exact_match", "score": score}
        for name in ("strict-match", "flexible-extract") for i, score in enumerate(scores)
    ]  # fmt: skip
    store.items(run.run_id).parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(items, schema=ITEMS_SCHEMA).write_parquet(store.items(run.run_id))
    trained = variant != "base"
    return {
        "items_sha256": items_digest(pl.DataFrame(items, schema=ITEMS_SCHEMA)),
        "metrics": {"test": {"nano_metamath": {}}},
        "run_id": run.run_id, "status": "ok", "model": run.model, "variant": variant, "rank": run.rank,
        "lr": run.lr if trained else None, "seed": run.seed if trained else None,
        "protocol": run.protocol, "scoring": run.scoring, "arm": run.arm, "config": run.model_dump(mode="json"),
        "test_accuracy": sum(scores) / n, "test_strict": sum(scores) / n, "test_n": n, "valid_accuracy": 0.25,
        "trained_parameters": 1234 if trained else 0, "train_s": 30.0 if trained else None, "eval_s": 5.0,
        "provenance": PROVENANCE,
        **(costs or {}),
    }  # fmt: skip
