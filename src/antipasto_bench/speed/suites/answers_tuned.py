"""As `answers.py`, of SmolLM2-135M with a lora that was trained for a while, in its hooks: its answers are longer.

antipasto-bench speed --suite answers_tuned eval.data=PATH data.train=PATH
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.device import pinned_threads
from ...run.attach import attach
from ...run.examples import collate
from ..peers import PresetArms, our_step
from ..recording import run_suite
from ..suite import SuiteResult
from .answers import RATE, measured, untuned

STEPS, BATCH = 40, 8
BOUND = 0.50


def measure(settings: Mapping[str, Any] | None = None) -> Iterator[SuiteResult]:
    """All that is measured so far, after each way and each pair."""
    text = f" The lora was trained by {STEPS} steps of {BATCH}, and is not merged."
    with pinned_threads(1):
        yield from measured("lora", trained_lora, BOUND, settings or {}, text)


def trained_lora(preset: PresetArms) -> Any:
    """The model with a lora in its hooks, trained for STEPS steps."""
    model = untuned(preset)
    run = preset.config("lora", lr=RATE)
    attach(run, model, preset.tokenizer, preset.examples)
    batches = (preset.examples[first : first + BATCH] for first in range(0, STEPS * BATCH, BATCH))
    drawn = (collate(batch, preset.tokenizer.pad_token_id) for batch in batches)
    step = our_step(model, run, lambda: next(drawn))
    for _ in range(STEPS):
        step()
    return model


if __name__ == "__main__":
    sys.exit(run_suite("answers_tuned", measure))
