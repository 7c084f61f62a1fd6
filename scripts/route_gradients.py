"""Gradient routing on the embedded model: teach two halves of a batch, keep one, take the other back.

    .venv/bin/python scripts/route_gradients.py            # about two minutes on two cores

Five kinds of story are wanted and five are not. In every step half of the batch is of either sort, and both pass
through one delta_s adapter; but the gradient of the wanted half reaches `lora_delta_s` alone, and that of the other
half `lora_delta_s_hack` alone, the quarantine. In every other step the wanted half does without the quarantine, so that
what it teaches can stand by itself. Afterwards the quarantine is set to zero.

If routing worked, zeroing it leaves what the wanted half taught, and takes away what only the other half did: on the
unwanted stories the model is then like a control that never saw them. Both are measured on questions that none of
them was trained on, by the completion's loss and by right answers. Cloud et al., Gradient routing, 2410.04332.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import polars as pl
import torch
from torch import Generator, nn

import antipasto
from antipasto_bench.core.provenance import provenance
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.examples import IGNORED, PROMPT, Example, collate, encode
from antipasto_bench.run.models import load_model
from antipasto_bench.run.rows import TRAIN_FIELDS, read_rows
from antipasto_bench.run.train import learning_rate
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import RunConfig

UNWANTED = ("NANO_share", "NANO_age", "NANO_earn", "NANO_fraction", "NANO_saving")
MAIN, QUARANTINE = "lora_delta_s", "lora_delta_s_hack"
HELD_OUT = 1000  # rows at the end of the training data that nothing here is trained on


def train(
    model: nn.Module, run: RunConfig, halves: dict[str, list[Example]], pad_id: int, generator: Generator
) -> None:
    """Half a batch of either sort a step; the gradient of each reaches its own tensors only, and is clipped alone.

    Args:
        halves: examples by the name of the trained tensor that learns from them.
    """
    trained = antipasto.trainable_parameters(model)
    optimizer = torch.optim.AdamW(trained.values(), lr=run.lr, weight_decay=0.0)
    model.train()
    loss_of = CompletionLoss(model)
    for step in range(run.steps):
        for name, examples in halves.items():
            chosen = torch.randint(len(examples), (run.batch_size // 2,), generator=generator).tolist()
            batch = collate([examples[i] for i in chosen], pad_id)
            # The wanted half must do without the quarantine one day: in every other step it already does.
            alone = name == MAIN and QUARANTINE in halves and step % 2 == 0
            with antipasto.routed(model, name), antipasto.zeroed(model, QUARANTINE) if alone else nullcontext():
                loss = loss_of(batch) / int((batch["labels"][:, 1:] != IGNORED).sum())
                loss.backward()
            nn.utils.clip_grad_norm_([p for key, p in trained.items() if key.endswith(f".{name}")], run.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, run)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{run.steps}", flush=True)
    model.eval()


@torch.no_grad()
def score(model: Any, tokenizer: Any, rows: pl.DataFrame, questions: int) -> dict[str, float]:
    """Nats a completion token over all rows; share of right answers among the first questions, with its error."""
    examples = encode(tokenizer, rows)
    loss = tokens = 0.0
    loss_of = CompletionLoss(model)
    for start in range(0, len(examples), 100):
        batch = collate(examples[start : start + 100], tokenizer.pad_token_id)
        loss += float(loss_of(batch))
        tokens += int((batch["labels"][:, 1:] != IGNORED).sum())
    scored = rows.head(questions)
    prompts = [PROMPT.format(query=query) for query in scored["query"]]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    generated = model.generate(**inputs, max_new_tokens=64, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    right = sum(
        _answer(text) == _answer(response)
        for text, response in zip(
            tokenizer.batch_decode(generated, skip_special_tokens=True), scored["response"], strict=True
        )
    )
    share = right / len(prompts)
    return {
        "loss": loss / tokens,
        "accuracy": share,
        "stderr": math.sqrt(share * (1 - share) / (len(prompts) - 1)),
    }


def _answer(text: str) -> str | None:
    match = re.search(r"The answer is: (-?\d+)", text)
    return match[1] if match else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=200, help="of each half, for the accuracy")
    parser.add_argument("--rows", type=int, default=HELD_OUT, help="of each half at most, for the loss")
    args = parser.parse_args()

    run = compose("delta_s", {"steps": args.steps, "lr": args.lr, "seed": args.seed}, "nano")
    base, tokenizer = load_model(run)
    rows = read_rows(run.data.train, (*TRAIN_FIELDS, "type"))
    is_unwanted = pl.col("type").is_in(UNWANTED)
    train_rows, test_rows = rows.head(-HELD_OUT), rows.tail(HELD_OUT)
    wanted_examples = encode(tokenizer, train_rows.filter(~is_unwanted))
    unwanted_examples = encode(tokenizer, train_rows.filter(is_unwanted))
    tests = {"wanted": test_rows.filter(~is_unwanted), "unwanted": test_rows.filter(is_unwanted)}

    def adapted(halves: dict[str, list[Example]]) -> Any:
        model = antipasto.attach(copy.deepcopy(base), run.adapter_config)
        train(model, run, halves, tokenizer.pad_token_id, Generator().manual_seed(args.seed))
        return model

    print("routed: both halves")
    routed = adapted({MAIN: wanted_examples, QUARANTINE: unwanted_examples})
    print("control: the wanted half alone")
    control = adapted({MAIN: wanted_examples})
    cells: dict[str, tuple[Any, AbstractContextManager[Any]]] = {
        "base": (base, nullcontext()),
        "routed": (routed, nullcontext()),
        "routed, quarantine zeroed": (routed, antipasto.zeroed(routed, QUARANTINE)),
        "control": (control, nullcontext()),
    }
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for name, (model, how) in cells.items():
        with how:
            scores[name] = {
                half: score(model, tokenizer, part.head(args.rows), args.questions) for half, part in tests.items()
            }

    print(f"\n{'':28}{'wanted stories':^26}{'unwanted stories':^26}")
    print(f"{'':28}" + 2 * f"{'loss':>8}{'right %':>16}  ")
    for name, by_half in scores.items():
        line = "".join(
            f"{s['loss']:8.3f}{100 * s['accuracy']:9.1f} ± {100 * s['stderr']:4.1f}  " for s in by_half.values()
        )
        print(f"{name:28}{line}")
    settings = {"steps": args.steps, "lr": args.lr, "seed": args.seed}
    print(json.dumps(settings | scores | {"provenance": provenance(torch.device("cpu")).model_dump()}))


if __name__ == "__main__":
    main()
