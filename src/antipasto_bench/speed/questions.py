"""Answering questions without lm-eval: batch by batch with `generate`, as training scripts usually do."""

from __future__ import annotations

from typing import Any

import torch

from ..run.evaluate import Evaluation
from ..run.tasks import right_answers
from ..spec.config import RunConfig

DEFAULT_NEW_TOKENS = 256


class Questions:
    """Prompts of the first `count` questions of a run's test split, what is right, and an answer's most tokens."""

    def __init__(self, run: RunConfig, count: int) -> None:
        (task,) = Evaluation(run.eval, None).test
        self.task, self.docs = task, list(task.test_docs())[:count]
        self.prompts: list[str] = [task.doc_to_text(doc) for doc in self.docs]
        self.max_new_tokens: int = task.config.generation_kwargs.get("max_gen_toks", DEFAULT_NEW_TOKENS)


@torch.inference_mode()
def generate_answers(model: Any, tokenizer: Any, questions: Questions, batch_size: int) -> list[str]:
    """Greedy completions, in the order of the questions."""
    completions: list[str] = []
    for start in range(0, len(questions.prompts), batch_size):
        prompts = questions.prompts[start : start + batch_size]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
        out = model.generate(
            **batch, max_new_tokens=questions.max_new_tokens, do_sample=False, pad_token_id=tokenizer.eos_token_id
        )
        completions += tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return completions


def score_answers(completions: list[str], questions: Questions) -> list[bool]:
    """Whether each completion is right, by the rules that runs are scored by."""
    return right_answers(questions.task, questions.docs, completions)
