"""Answering questions without lm-eval: batch by batch with `generate`, as training scripts usually do."""

from __future__ import annotations

import re
from typing import Any

import torch

from ..run.evaluate import Evaluation
from ..spec.config import RunConfig

DEFAULT_NEW_TOKENS = 256


class Questions:
    """Prompts and right answers of the first `count` questions of a run's test split, and an answer's most tokens."""

    def __init__(self, run: RunConfig, count: int) -> None:
        (task,) = Evaluation(run.eval, None).test
        docs = list(task.test_docs())[:count]
        self.prompts: list[str] = [task.doc_to_text(doc) for doc in docs]
        self.answers = [str(doc["answer"]).rpartition("#### ")[2].replace(",", "").strip() for doc in docs]
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
    """Whether the last number of each completion is the right answer."""
    numbers = [re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", "")) for text in completions]
    return [bool(of_one) and of_one[-1] == answer for of_one, answer in zip(numbers, questions.answers, strict=True)]
