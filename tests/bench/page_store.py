"""Results as a page shows them: two tables, answers of a hostile model, and what the page knows of them as data."""

import json
import re
from pathlib import Path
from typing import Any

from recorded import failed, record

from antipasto_bench.core.files import write_json
from antipasto_bench.report.write import write_report
from antipasto_bench.store.excerpts import Answer, CurvePoint, Excerpts
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

HOSTILE = "<script>window.owned = true</script></table></pre><img src=x onerror='window.owned=true'> & \"quoted\" ]]>"
MODEL = "<img src=x onerror=window.owned=true>"  # the name of the second table's model
EASY = list(range(300))
NANO = [  # variant, settings, questions that each of three seeds has right, nats a question
    ("lora", {}, EASY[:250], 8.0),
    ("dora", {}, EASY[:251], 7.0),
    ("base", {}, EASY[:10], 30.0),
    ("antipasto", {"rotate_basis": "V"}, EASY[:150], 9.0),
    ("antipasto", {"rotate_basis": "none"}, EASY[5:95], 12.0),
]
RUNS = 13  # of the first table


def page_store(home: Path) -> Store:
    store = Store(home / "results", home / "outputs")
    for variant, given, right, nats in NANO:
        for seed in range(3 if variant != "base" else 1):
            fields: dict[str, object] = {"adapter_bytes": 1000 * len(right), "train_s": 100.0 - seed}
            fields["trained_parameters"] = 4000 + len(right) if variant != "base" else 0
            base_ms = 20.0 if variant == "lora" else 10.0  # a slow minute, and a fast one
            fields |= {"base_forward_ms": base_ms, "base_backward_ms": base_ms, "priced_tokens": 64}
            if variant in ("lora", "dora"):
                fields |= {"forward_ms": 20.0, "backward_ms": 30.0}
            if variant == "lora":
                fields["valid_curve"] = [(10, 0.75), (20, 0.5 + seed / 8), (30, 0.625)]
            losses = [nats + (i + seed) % 3 for i in range(300)]
            _add(store, variant, [*right, *range(299, 299 - seed, -1)], losses, fields, seed=seed, **given)
    for variant, right in (("lora", EASY[:40]), ("dora", EASY[:20])):
        for seed in range(2):
            fields = {"model": MODEL, "trained_parameters": 500}
            _add(store, variant, right, None, fields, seed=seed, steps=20, **{"eval.limit": 300})
    append(store.table, failed(store, "lora", HOSTILE, lr=1e9))
    write_report(store, home / "README.md", store.results / "results.md")
    return store


def _add(
    store: Store, variant: str, right: list[int], nats: list[float] | None, fields: dict[str, object], **given: object
) -> None:
    run = record(store, variant, right, n=300, nats=nats, fields=fields, **given)
    append(store.table, run)
    answers = [Answer(right=is_right, prompt=HOSTILE, target="#### 7", response=HOSTILE) for is_right in (True, False)]
    curve = [CurvePoint(step=s, loss=1 / s, grad_norm=1.0) for s in range(1, 30)]
    write_json(store.excerpts(run.run_id), Excerpts(curve=curve, answers=answers).model_dump())


def data_of(page: str) -> dict[str, Any]:
    """What the scripts of a page have as data."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data
