"""Model folders that hold code: each writes a canary file if any of it is run."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

from antipasto_bench.nano import MODEL_DIR

CANARY = "canary.txt"
CODE = """
from pathlib import Path
from transformers import Qwen3Config, Qwen3ForCausalLM, PreTrainedTokenizerFast
Path({canary!r}).write_text("ran")
class Config(Qwen3Config):
    model_type = {kind!r}
class Model(Qwen3ForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
CLASSES = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}


class Bomb:
    """What a pickle of it does when it is read: write the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.write_text, (self.canary, "ran"))


def hostile_model(folder: Path, name: str) -> Path:
    """One of HOSTILE as a folder of the embedded model's weights; its canary would be `folder / CANARY`."""
    model = folder / name
    shutil.copytree(MODEL_DIR, model)
    HOSTILE[name][0](model, folder / CANARY)
    return model


def change(file: Path, **values: object) -> None:
    """Set values of a JSON file; those that are None go."""
    settings = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def own_classes(model: Path, canary: Path, kind: str = "own_kind", classes: dict[str, object] | None = None) -> None:
    """Name the model's own classes in its config, and write the file that defines them."""
    (model / "own.py").write_text(CODE.format(canary=str(canary), kind=kind))
    change(model / "config.json", model_type=kind, auto_map=classes or CLASSES)


def _known_kind(model: Path, canary: Path) -> None:
    own_classes(model, canary, kind="qwen3")


def _tokenizer(model: Path, canary: Path) -> None:
    (model / "own.py").write_text(CODE.format(canary=str(canary), kind="own_kind"))
    change(
        model / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["own.Tokenizer", None]},
        tokenizer_class="OwnTokenizer",
    )


def _tokenizer_in_config(model: Path, canary: Path) -> None:
    own_classes(model, canary, kind="qwen3", classes={"AutoTokenizer": ["own.Tokenizer", None]})


def _other_repository(model: Path, canary: Path) -> None:
    own_classes(model, canary, classes={"AutoConfig": "other/repo--own.Config", "AutoModelForCausalLM": "own.Model"})


def _absolute_path(model: Path, canary: Path) -> None:
    elsewhere = model.parent / "elsewhere"
    elsewhere.mkdir()
    own_classes(model, canary, classes={"AutoConfig": f"{elsewhere}/own.Config"})
    (model / "own.py").rename(elsewhere / "own.py")


def _hub_kernel(model: Path, canary: Path) -> None:
    change(model / "config.json", attn_implementation="someone/kernel")


def _nested(model: Path, canary: Path) -> None:
    own_classes(model, canary, kind="qwen3")
    change(model / "config.json", auto_map=None, text_config={"auto_map": {"AutoModel": "own.Model"}})


def _nested_kernel(model: Path, canary: Path) -> None:
    change(model / "config.json", text_config={"decoder": {"_attn_implementation": {"": "someone/kernel"}}})


def _pickle(name: str) -> Callable[[Path, Path], None]:
    def write(model: Path, canary: Path) -> None:
        (model / "model.safetensors").unlink()
        (model / name).write_bytes(pickle.dumps(Bomb(canary)))

    return write


def _pickled_index(model: Path, canary: Path) -> None:
    (model / "model.safetensors").rename(model / "spare.safetensors")
    (model / "shard.bin").write_bytes(pickle.dumps(Bomb(canary)))
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "shard.bin"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def _adapter(model: Path, canary: Path) -> None:
    (model / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "a/b"}))
    (model / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(canary)))


def _pickle_as_safetensors(model: Path, canary: Path) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps(Bomb(canary)))


# What makes it hostile, and what the refusal says.
HOSTILE: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "own_classes": (own_classes, "write trust_remote_code=true"),
    "known_kind": (_known_kind, "write trust_remote_code=true"),
    "tokenizer": (_tokenizer, "write trust_remote_code=true"),
    "tokenizer_in_config": (_tokenizer_in_config, "write trust_remote_code=true"),
    "nested": (_nested, "write trust_remote_code=true"),
    "other_repository": (_other_repository, "is not a file of its own"),
    "absolute_path": (_absolute_path, "is not a file of its own"),
    "hub_kernel": (_hub_kernel, "names code of the hub"),
    "nested_kernel": (_nested_kernel, "names code of the hub"),
    "pytorch_bin": (_pickle("pytorch_model.bin"), "its weights are pickles (pytorch_model.bin)"),
    "pt": (_pickle("model.pt"), "its weights are pickles (model.pt)"),
    "pickled_index": (_pickled_index, "names 'shard.bin', which is no .safetensors file"),
    "adapter": (_adapter, "it is a PEFT adapter of a/b"),
    "pickle_as_safetensors": (_pickle_as_safetensors, "model.safetensors is damaged or cut short"),
}
NEEDS_WEIGHTS = ("pytorch_bin", "pt", "pickled_index", "pickle_as_safetensors")  # harmless to shapes alone
