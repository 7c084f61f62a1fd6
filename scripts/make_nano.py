"""Make the embedded `nano` world from nothing: tokenizer, data sets, pretrained model.

    python scripts/make_nano.py data     # benchmark/: data/nano/, tasks/nano_metamath/test.jsonl, kinds/
    python scripts/make_nano.py model    # src/antipasto_bench/nano/model/, about 20 minutes on two cores

Everything follows from SEED. The sha256 of the model's files is written to made.json beside them. The data
come out the same everywhere; the weights do on one kind of CPU with one torch version and thread count, since
the order of a floating-point sum is not the same on another.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import polars as pl
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.nano.problems import Problem, generate, pretraining_text
from antipasto_bench.run.data import question_hash

SEED = 20261120
BENCHMARK = Path(__file__).resolve().parents[1] / "benchmark"
FILES = {
    "train": BENCHMARK / "data/nano/train.parquet",
    "valid": BENCHMARK / "data/nano/valid.jsonl",
    "test": BENCHMARK / "tasks/nano_metamath/test.jsonl",
    "general": BENCHMARK / "data/nano/general.jsonl",
    "kinds": BENCHMARK / "kinds/nano_metamath.csv",
}
SIZES = {"train": 8000, "valid": 200, "test": 600}
GENERAL = 300  # texts like those of pretraining, none of which was in it
END = "<|end|>"

VOCAB_SIZE = 640
BLOCK, BATCH, STEPS, PEAK_LR = 128, 32, 5000, 3e-3


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems() -> dict[str, list[Problem]]:
    return {split: generate(split, n, Random(f"{SEED}/{split}")) for split, n in SIZES.items()}


def general_texts() -> list[str]:
    """Texts like those of pretraining, sums and stories in its proportion, with questions that it never saw."""
    stories, sums = round(0.7 * GENERAL), round(0.3 * GENERAL)
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for text in pretraining_text(Random(f"{SEED}/general"), "valid"):
        kinds["?" in text].append(text)
        if len(kinds[True]) >= stories and len(kinds[False]) >= sums:
            break
    texts = kinds[True][:stories] + kinds[False][:sums]
    Random(f"{SEED}/general/order").shuffle(texts)
    return texts


def make_data() -> None:
    """Train in MetaMathQA's schema; valid and test in GSM8K's, with the kinds of test by its questions' hashes; general
    as plain texts."""
    splits = problems()
    pl.DataFrame(
        [
            {"query": p.question, "response": p.response, "type": f"NANO_{p.kind}", "original_question": p.question}
            for p in splits["train"]
        ]
    ).write_parquet(FILES["train"], compression="zstd")
    for split in ("valid", "test"):
        lines = [json.dumps({"question": p.question, "answer": p.solution}) for p in splits[split]]
        FILES[split].write_text("\n".join(lines) + "\n")
    FILES["general"].write_text("".join(json.dumps({"text": text}) + "\n" for text in general_texts()))
    kinds = [f"{question_hash(p.question)},{p.kind}\n" for p in splits["test"]]
    FILES["kinds"].write_text("".join(["sha1,type\n", *kinds]))
    for path in FILES.values():
        print(f"{sha256(path)}  {path.name}")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text can be read; every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train = [f"Question: {p.question} Think step by step.\nAnswer: {p.response}" for p in problems()["train"]]
    text = [*train, *islice(pretraining_text(Random(f"{SEED}/tokenizer")), len(train))]
    tokenizer.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=2048)


def batches(tokenizer: PreTrainedTokenizerFast) -> Iterator[torch.Tensor]:
    """Documents joined by the end token, cut into blocks: (BATCH, BLOCK + 1) token ids."""
    ids: list[int] = []
    for text in pretraining_text(Random(f"{SEED}/pretraining")):
        ids += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        if len(ids) >= BATCH * (BLOCK + 1):
            block, ids = ids[: BATCH * (BLOCK + 1)], ids[BATCH * (BLOCK + 1) :]
            yield torch.tensor(block).view(BATCH, BLOCK + 1)


def make_model() -> None:
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98))

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    start = time.time()
    for step, block in enumerate(islice(batches(tokenizer), STEPS)):
        logits = model(block[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}  {time.time() - start:.0f} s", flush=True)
    model.to(torch.bfloat16).save_pretrained(MODEL_DIR)
    tokenizer.save_pretrained(MODEL_DIR)
    provenance = {
        "script": "scripts/make_nano.py",
        "seed": SEED,
        "steps": STEPS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "final_loss": round(loss.item(), 4),
        "sha256": {name: sha256(MODEL_DIR / name) for name in ("model.safetensors", "config.json", "tokenizer.json")},
    }
    (MODEL_DIR / "made.json").write_text(json.dumps(provenance, indent=2) + "\n")
    print(json.dumps(provenance))


if __name__ == "__main__":
    steps = {"data": make_data, "model": make_model}
    if sys.argv[1:] and sys.argv[1] in steps:
        steps[sys.argv[1]]()
    else:
        sys.exit("usage: python scripts/make_nano.py data|model")
