"""Model folders that no run can use, each made from the embedded model by one fault."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from antipasto_bench.nano import MODEL_DIR

WEIGHTS, NORM, DOWN = "model.safetensors", "model.norm.weight", "model.layers.2.mlp.down_proj.weight"
EMBEDDINGS = "model.embed_tokens.weight"
Fault = Callable[[Path], object]


def broken_model(folder: Path, fault: Fault) -> Path:
    """A copy of the embedded model with a fault."""
    shutil.copytree(MODEL_DIR, folder)
    fault(folder)
    return folder


def without(*names: str) -> Fault:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def only(*names: str) -> Fault:
    def remove(folder: Path) -> None:
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()

    return remove


def written(name: str, content: str | bytes) -> Fault:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def pipe(name: str) -> Fault:
    """A pipe in place of a file: reading it would never end."""

    def fault(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return fault


def truncated(name: str, share: float = 0.5) -> Fault:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return cut


def edited(name: str, **changes: Any) -> Fault:
    """Top-level keys of a JSON file set to other values, or removed where None stands for it."""

    def edit(folder: Path) -> None:
        values = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: value for key, value in values.items() if value != "REMOVED"}))

    return edit


def config(**changes: Any) -> Fault:
    return edited("config.json", **changes)


def bare_config(values: Any) -> Fault:
    return written("config.json", json.dumps(values))


def weights(change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Fault:
    def rewrite(folder: Path) -> None:
        tensors = change(load_file(folder / WEIGHTS))
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})

    return rewrite


def weight(name: str, change: Callable[[Tensor], Tensor]) -> Fault:
    return weights(lambda tensors: tensors | {name: change(tensors[name].clone())})


def one_value(name: str, value: float) -> Fault:
    def put(tensor: Tensor) -> Tensor:
        tensor.view(-1)[tensor.numel() // 2] = value
        return tensor

    return weight(name, put)


def sharded(lose: bool = False, index: Callable[[dict[str, Any]], Any] = lambda values: values) -> Fault:
    """The weights in two files with an index, the second of which is lost where `lose`."""

    def split(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        names = sorted(tensors)
        parts = [names[::2], names[1::2]]
        files = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
        for file, part in zip(files, parts, strict=True):
            save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        weight_map = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        values = index({"metadata": {"total_size": 1}, "weight_map": weight_map})
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(values))
        if lose:
            (folder / files[1]).unlink()

    return split


def tokenizer(edit: Callable[[dict[str, Any]], Any]) -> Fault:
    """Its tokenizer.json edited."""

    def rewrite(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(edit(json.loads(path.read_text()))))

    return rewrite


def _vocabulary(values: dict[str, Any], vocabulary: dict[str, int]) -> dict[str, Any]:
    return values | {"model": values["model"] | {"vocab": vocabulary, "merges": []}}


def larger_vocabulary(values: dict[str, Any]) -> dict[str, Any]:
    """Every token but the added ones moved up by a thousand."""
    return values | {
        "model": values["model"] | {"vocab": {k: v + 1000 if v else v for k, v in values["model"]["vocab"].items()}}
    }


def word_level(vocabulary: dict[str, int]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(values: dict[str, Any]) -> dict[str, Any]:
        model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
        return values | {"model": model, "pre_tokenizer": {"type": "Whitespace"}, "decoder": None}

    return change


def far_end_token(folder: Path) -> None:
    tokenizer(
        lambda v: v | {"added_tokens": [*v["added_tokens"], {**v["added_tokens"][0], "id": 5000, "content": "<far>"}]}
    )(folder)
    edited("tokenizer_config.json", eos_token="<far>")(folder)


def adapter_folder(folder: Path) -> None:
    only("nothing")(folder)
    settings = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8, "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(2, 2)}, folder / "adapter_model.safetensors")


BERT = {
    "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 640,
}  # fmt: skip
VISION = {
    "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
SEQ2SEQ = {
    "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 32, "num_layers": 1,
    "num_heads": 2, "d_ff": 32, "vocab_size": 640,
}  # fmt: skip

NO_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")

BROKEN: dict[str, tuple[Fault, str]] = {
    # ---- the tokenizer
    "no tokenizer": (without(*NO_TOKENIZER), "no tokenizer"),
    "tokenizer_config alone": (without("tokenizer.json"), "no tokenizer"),
    "tokenizer.json a pipe": (pipe("tokenizer.json"), "tokenizer.json is not a regular file"),
    "config.json a pipe": (pipe("config.json"), "config.json is not a regular file"),
    "tokenizer.json empty": (written("tokenizer.json", ""), "tokenizer.json"),
    "tokenizer.json truncated": (truncated("tokenizer.json"), "tokenizer.json"),
    "tokenizer.json a list": (written("tokenizer.json", "[]"), "tokenizer.json"),
    "tokenizer.json null": (written("tokenizer.json", "null"), "tokenizer.json"),
    "tokenizer.json {}": (written("tokenizer.json", "{}"), "tokenizer.json"),
    "tokenizer.json a number": (written("tokenizer.json", "3"), "tokenizer.json"),
    "tokenizer.json not UTF-8": (written("tokenizer.json", b"\xff\xfe{}"), "tokenizer.json"),
    "tokenizer.json without a model": (edited("tokenizer.json", model="REMOVED"), "tokenizer.json"),
    "tokenizer.json of an unknown kind": (tokenizer(lambda v: v | {"model": {"type": "Oracle"}}), "tokenizer.json"),
    "tokenizer_config a list": (written("tokenizer_config.json", "[]"), "tokenizer_config.json"),
    "tokenizer_config truncated": (written("tokenizer_config.json", '{"eos'), "tokenizer_config.json"),
    "no token at all": (tokenizer(lambda v: _vocabulary(v, {}) | {"added_tokens": []}), "token"),
    "no token but the special one": (tokenizer(lambda v: _vocabulary(v, {})), "token"),
    "every text is unknown": (tokenizer(word_level({"<unk>": 1, "<|end|>": 0})), "token"),
    "ids beyond the embeddings": (tokenizer(larger_vocabulary), "embeddings"),
    "end token beyond the embeddings": (
        far_end_token,
        "eos token has the id 640, and the model 640 embeddings",
    ),
    "no end token": (edited("tokenizer_config.json", eos_token=None), "no end token"),
    # ---- the config
    "no config": (without("config.json"), "config.json"),
    "config empty": (written("config.json", ""), "config.json"),
    "config {}": (bare_config({}), "config.json"),
    "config a list": (bare_config([]), "config.json"),
    "config null": (bare_config(None), "config.json"),
    "config a string": (bare_config("qwen3"), "config.json"),
    "config truncated": (truncated("config.json"), "config.json"),
    "config not UTF-8": (written("config.json", b"\xff\xfe{}"), "config.json"),
    "config nested deeply": (written("config.json", "[" * 20_000), "config.json"),
    "model_type unknown": (config(model_type="qwen99", architectures=["Qwen99ForCausalLM"]), "qwen99"),
    "model_type a number": (config(model_type=3), "model_type"),
    "model_type null": (config(model_type=None), "model_type"),
    "no hidden_size": (config(hidden_size="REMOVED"), "640x4096 by its config.json"),
    "hidden_size null": (config(hidden_size=None), "hidden_size"),
    "hidden_size 0": (config(hidden_size=0), "hidden_size"),
    "hidden_size negative": (config(hidden_size=-128), "hidden_size"),
    "hidden_size a text": (config(hidden_size="large"), "hidden_size"),
    "hidden_size a fraction": (config(hidden_size=128.5), "hidden_size"),
    "hidden_size huge": (config(hidden_size=10**9), "hidden_size"),
    "vocab_size 0": (config(vocab_size=0), "vocab_size"),
    "vocab_size negative": (config(vocab_size=-1), "vocab_size"),
    "vocab_size huge": (config(vocab_size=10**12), "vocab_size"),
    "vocab_size smaller than the weights": (config(vocab_size=100), "embed_tokens"),
    "num_attention_heads 0": (config(num_attention_heads=0), "num_attention_heads"),
    "num_attention_heads 3 of 2 pairs": (config(num_attention_heads=3), "num_attention_heads"),
    "num_key_value_heads 0": (config(num_key_value_heads=0), "num_key_value_heads"),
    "num_hidden_layers 0": (config(num_hidden_layers=0, layer_types=[]), "num_hidden_layers"),
    "num_hidden_layers negative": (config(num_hidden_layers=-1), "num_hidden_layers"),
    "num_hidden_layers huge": (config(num_hidden_layers=10**7, layer_types=None), "num_hidden_layers"),
    "more layers than weights": (config(num_hidden_layers=5, layer_types=["full_attention"] * 5), "lack"),
    "fewer layers than weights": (config(num_hidden_layers=3, layer_types=["full_attention"] * 3), "layers.3"),
    "layer_types of another length": (config(layer_types=["full_attention"]), "layer_types"),
    "layer_types of an unknown kind": (config(layer_types=["half"] * 4), "config.json names an unknown kind"),
    "hidden_act unknown": (config(hidden_act="sillu"), "sillu"),
    "head_dim 0": (config(head_dim=0), "head_dim"),
    "rope_theta a text": (config(rope_parameters={"rope_theta": "x", "rope_type": "default"}), "rope"),
    "rope_type unknown": (config(rope_parameters={"rope_theta": 1e4, "rope_type": "spiral"}), "spiral"),
    "another family's sizes": (config(intermediate_size=512), "128x384 in its files and 128x512 by its config.json"),
    "an encoder": (bare_config(BERT), "BertForMaskedLM (model_type bert) is not a causal language model"),
    "a vision model": (bare_config(VISION), "ViTForImageClassification (model_type vit) is not a causal"),
    "an encoder and decoder": (bare_config(SEQ2SEQ), "T5ForConditionalGeneration (model_type t5) is not a causal"),
    # ---- the weights
    "no weights": (without(WEIGHTS), "no weights"),
    "weights of no bytes": (written(WEIGHTS, b""), WEIGHTS),
    "weights truncated": (truncated(WEIGHTS), WEIGHTS),
    "weights cut by a byte": (truncated(WEIGHTS, 0.999999), WEIGHTS),
    "weights cut in the header": (truncated(WEIGHTS, 0.0001), WEIGHTS),
    "weights a text": (written(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"), WEIGHTS),
    "weights with a huge header": (written(WEIGHTS, (2**62).to_bytes(8, "little") + b"{}"), WEIGHTS),
    "weights of another shape": (weight(DOWN, lambda t: t[:, :100]), DOWN),
    "weights transposed": (weight(DOWN, lambda t: t.T), DOWN),
    "a weight lacks": (weights(lambda t: {k: v for k, v in t.items() if k != DOWN}), DOWN),
    "weights of integers": (weight(DOWN, lambda t: t.to(torch.int64)), DOWN),
        "a weight is NaN": (one_value(DOWN, float("nan")), DOWN),
    "a weight is infinite": (one_value(DOWN, float("inf")), DOWN),
    "a norm is NaN": (one_value(NORM, float("nan")), NORM),
    "an embedding is NaN": (one_value(EMBEDDINGS, float("nan")), EMBEDDINGS),
    "all weights are zero": (weights(lambda t: {k: torch.zeros_like(v) for k, v in t.items()}), "zero"),
    "weights of other names": (weights(lambda t: {f"wrong.{k}": v for k, v in t.items()}), "lack"),
    "a missing shard": (sharded(lose=True), "model-00002-of-00002.safetensors"),
    "an index without a map": (sharded(index=lambda v: {}), "index.json"),
    "an index that is a list": (sharded(index=lambda v: []), "index.json"),
    "an index that climbs": (
        sharded(index=lambda v: v | {"weight_map": dict.fromkeys(v["weight_map"], "../../x.safetensors")}),
        "names '../../x.safetensors', which is no .safetensors file of its folder",
    ),
    # ---- the folder
    "an empty folder": (only("nothing"), "empty"),
    "an adapter's folder": (adapter_folder, "PEFT adapter of org/base"),
    "a folder of text": (lambda f: (only("nothing")(f), written("README.md", "hello")(f)), "config.json"),
}  # fmt: skip
