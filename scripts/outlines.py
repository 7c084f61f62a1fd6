"""Write benchmark/architectures/outlines anew: the outline of the model of every preset whose configuration is shipped.

.venv/bin/python scripts/outlines.py
"""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from antipasto_bench.core.paths import benchmark_dir
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.outlines import Outline, outline_file


def configurations() -> list[dict[str, object]]:
    shipped = sorted((benchmark_dir() / "architectures").glob("*.json"))
    return [json.loads(path.read_text()) for path in (*shipped, MODEL_DIR / "config.json")]


def outline(configuration: dict[str, object]) -> Outline:
    values = dict(configuration)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device("meta"):
        return Outline.of(AutoModelForCausalLM.from_config(config, trust_remote_code=False))


if __name__ == "__main__":
    written: set[Path] = set()
    for configuration in configurations():
        path = outline_file(configuration)
        path.parent.mkdir(exist_ok=True)
        path.write_text(outline(configuration).model_dump_json(exclude_defaults=True) + "\n")
        written.add(path)
    for stale in set((benchmark_dir() / "architectures" / "outlines").glob("*.json")) - written:
        stale.unlink()
