"""Answering questions without a harness: the way that scores are usually taken in a training script."""

from __future__ import annotations

import re
from typing import Any

import torch

from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.spec.config import RunConfig

MOST_NEW_TOKENS = 256


class Questions:
    """Prompts and right answers of a run's test split, and what ends an answer."""

    def __init__(self, run: RunConfig, tokenizer: Any, count: int) -> None:
        (task,) = Evaluation(run.eval, None).test
        docs = list(task.test_docs())[:count]
        self.prompts = [task.doc_to_text(doc) for doc in docs]
        self.answers = [str(doc["answer"]).rpartition("#### ")[2].replace(",", "").strip() for doc in docs]
        settings = task.config.generation_kwargs
        self.longest = settings.get("max_gen_toks", MOST_NEW_TOKENS)


@torch.inference_mode()
def generate_answers(model: Any, tokenizer: Any, questions: Questions, batch_size: int) -> list[str]:
    """Completions, greedily, in the order in which the questions come."""
    said = []
    for start in range(0, len(questions.prompts), batch_size):
        prompts = questions.prompts[start : start + batch_size]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
        out = model.generate(
            **batch, max_new_tokens=questions.longest, do_sample=False, pad_token_id=tokenizer.eos_token_id
        )
        said += tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return said


def right(said: list[str], questions: Questions) -> list[bool]:
    """Whether the last number of each completion is the answer."""
    numbers = [re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", "")) for text in said]
    return [bool(found) and found[-1] == answer for found, answer in zip(numbers, questions.answers, strict=True)]
