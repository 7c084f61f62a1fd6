"""Our lora and PEFT's, trained alike on any model: the same initial A, data, order and steps.

    losses = losses_of_both(compose("lora", {"model": "nano", "steps": 30}, "nano"), folder)

What PEFT trains goes through PEFT and transformers alone: transformers' own loss, torch's AdamW, and a loop of its own.
Ours goes through the code of a run.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Generator, Tensor

import antipasto
from antipasto_bench.run.attach import attach
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.examples import IGNORED, Example, bucketed_batches, drawn_examples, encode
from antipasto_bench.run.heldout_loss import reference_losses, reference_solution
from antipasto_bench.run.models import load_model
from antipasto_bench.run.train import learning_rate, train
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.items import weighted_token_loss


@dataclass(frozen=True)
class LossesOfBoth:
    """test_loss, nats a completion token."""

    base: float
    ours: float
    pefts: float


def losses_of_both(run: RunConfig, folder: Path) -> LossesOfBoth:
    """Train a run's lora, and PEFT's from the same start, and measure both.

    Args:
        run: of the variant `lora`, in float32; its test questions, `eval.limit` of them, are measured.
        folder: for the initial adapter; it must not exist yet.
    """
    splits = load_splits(run.data, run.eval)
    evaluation = Evaluation(run.eval, None)
    questions = list(evaluation.test[0].eval_docs)[: run.eval.limit]
    rows = pl.DataFrame(
        [{"query": doc["question"], "response": reference_solution(doc["answer"])} for doc in questions]
    )
    model, tokenizer = load_model(run)
    base, _ = weighted_token_loss(*reference_losses(model, tokenizer, rows))
    examples = drawn_examples(run, tokenizer, splits)
    attach(run, model, tokenizer, examples)
    _save_start(run, model, folder)
    train(model, run, _batches(run, examples, tokenizer))
    ours, _ = weighted_token_loss(*reference_losses(model, tokenizer, rows))
    del model
    assert base is not None
    assert ours is not None
    return LossesOfBoth(base, ours, _loss_of_pefts(run, folder, examples, rows))


def _batches(run: RunConfig, examples: list[Example], tokenizer: Any) -> Iterator[dict[str, Tensor]]:
    return bucketed_batches(examples, run.batch_size, tokenizer.pad_token_id, Generator().manual_seed(run.seed))


def _save_start(run: RunConfig, model: Any, folder: Path) -> None:
    """The initial A and B = 0 as a folder of PEFT's, with our alpha: save_peft multiplies B by alpha / r, here 0."""
    antipasto.save_peft(model, folder, base_model=run.model)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    assert config["alpha_pattern"] == {}, "every layer has the same rank"
    path.write_text(json.dumps(config | {"lora_alpha": run.adapter_config.scale * config["r"]}))


def _loss_of_pefts(run: RunConfig, folder: Path, examples: list[Example], rows: pl.DataFrame) -> float:
    import peft

    base, tokenizer = load_model(run)
    model: Any = peft.PeftModel.from_pretrained(base, str(folder), is_trainable=True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=run.lr, weight_decay=run.weight_decay)
    batches = _batches(run, examples, tokenizer)
    model.train()
    torch.manual_seed(run.seed)
    for step in range(run.steps):
        micro_batches = [next(batches) for _ in range(run.grad_accum)]
        tokens = [int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in micro_batches]
        for batch, count in zip(micro_batches, tokens, strict=True):
            (model(**batch).loss * count / sum(tokens)).backward()
        torch.nn.utils.clip_grad_norm_(trained, run.max_grad_norm)
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate(step, run)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    nats, count = 0.0, 0
    with torch.no_grad():
        for example in encode(tokenizer, rows):
            ids = torch.tensor([example.ids])
            labels = ids.clone()
            labels[:, : example.prompt_length] = IGNORED
            completion = len(example.ids) - example.prompt_length
            nats += float(model(input_ids=ids, labels=labels).loss) * completion
            count += completion
    return nats / count
