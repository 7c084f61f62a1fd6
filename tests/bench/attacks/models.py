"""Model folders of strangers: code, pickles, damaged files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.gate import Attack, Place
from attacks.hostile_bytes import DEEP, SAFETENSORS, code_that_writes, pickle_that_writes, safetensors

from antipasto_bench.nano import MODEL_DIR

RUN = (
    "run lora model=evil steps=1 batch_size=2 eval.limit=2 eval.valid_limit=2 eval.general=none costs=false "
    "data.overlap=allow"
)
COST = "cost lora model=evil --meta"
Change = Callable[[Place, Path], object]


def _attack(name: str, change: Change, *commands: str, **rest: Any) -> Attack:
    def prepare(place: Place) -> None:
        folder = place.work / "evil"
        shutil.copytree(MODEL_DIR, folder)
        change(place, folder)

    return Attack(f"model {name}", prepare, commands or (RUN,), **rest)


def _json(name: str, **values: object) -> Change:
    def change(place: Place, folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | values))

    return change


def _write(name: str, content: bytes | str) -> Change:
    return lambda place, folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def _remove(*names: str) -> Change:
    return lambda place, folder: [(folder / name).unlink() for name in names]


def _code(name: str, auto_map: object, **values: object) -> Change:
    def change(place: Place, folder: Path) -> None:
        (folder / "evil.py").write_text(code_that_writes(place.canary))
        _json(name, auto_map=auto_map, **values)(place, folder)

    return change


def _pickled(name: str, *, beside: bool = False) -> Change:
    def change(place: Place, folder: Path) -> None:
        (folder / name).write_bytes(pickle_that_writes(place.canary))
        if not beside and name != "model.safetensors":
            (folder / "model.safetensors").unlink()

    return change


def _generate(place: Place, folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(code_that_writes(place.canary))


def _index(target: str) -> Change:
    def change(place: Place, folder: Path) -> None:
        (place.canary.parent / "outside.safetensors").write_bytes(SAFETENSORS["with a truncated header"])
        (folder / "model.safetensors").unlink()
        weights = {"metadata": {"total_size": 1}, "weight_map": {"model.norm.weight": target}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(weights))

    return change


def _is(kind: str) -> Change:
    def change(place: Place, folder: Path) -> None:
        shutil.rmtree(folder)
        if kind == "pipe":
            os.mkfifo(folder)
        elif kind == "loop":
            folder.symlink_to(folder)
        elif kind == "device":
            folder.symlink_to("/dev/zero")
        elif kind == "empty":
            folder.mkdir()
        else:
            folder.write_bytes(pickle_that_writes(place.canary))

    return change


def _weights(kind: str) -> Change:
    def change(place: Place, folder: Path) -> None:
        path = folder / "model.safetensors"
        path.unlink()
        if kind == "folder":
            path.mkdir()
        else:
            path.symlink_to({"link": "/etc/passwd", "loop": path, "device": "/dev/zero"}[kind])

    return change


def _gguf(content: bytes) -> Attack:
    def prepare(place: Place) -> None:
        (place.work / "evil.gguf").write_bytes(content)

    return Attack(f"GGUF file {content[:28]!r}", prepare, [RUN.replace("evil", "evil.gguf")], codes=(2,))


_AUTO = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoModel": "evil.Model"}
_REMOTE = {name: f"nobody/nothing--{target}" for name, target in _AUTO.items()}

ATTACKS = [
    _attack("with code for its config", _code("config.json", _AUTO, model_type="evil"), COST, RUN, codes=(2,)),
    _attack("with code for a known type", _code("config.json", _AUTO), COST, RUN),
    _attack("with code of another repository", _code("config.json", _REMOTE, model_type="evil"), codes=(2,)),
    _attack("with code for its tokenizer", _code("tokenizer_config.json", {"AutoTokenizer": ["evil.Tokenizer", None]})),
    _attack(
        "with code for a tokenizer of its own class",
        _code("tokenizer_config.json", {"AutoTokenizer": ["evil.Tokenizer", None]}, tokenizer_class="Tokenizer"),
    ),
    _attack("with code to generate by", _generate),
    _attack(
        "with code, priced only", _code("config.json", _AUTO, model_type="evil"), "cost lora model=evil", codes=(2,)
    ),
    _attack(
        "with code, planned only", _code("config.json", _AUTO, model_type="evil"), "sweep lora model=evil --dry-run"
    ),
    _attack("of pickled weights", _pickled("pytorch_model.bin"), RUN, codes=(2,)),
    _attack("of pickled weights beside safe ones", _pickled("pytorch_model.bin", beside=True), RUN),
    _attack("whose safetensors are a pickle", _pickled("model.safetensors"), RUN, codes=(2,)),
    _attack("of an index of a pickle", _index("pytorch_model.bin"), RUN, codes=(2,)),
    _attack("of an index that leads out", _index("../../outside.safetensors"), RUN, codes=(2,)),
    _attack("of an index of no file", _index("gone.safetensors"), RUN, codes=(2,)),
    *(
        _attack(f"whose weights are {name}", _write("model.safetensors", content), RUN, codes=(2,))
        for name, content in [*SAFETENSORS.items()][::3]  # adapters of evidence_files meet all of them
    ),
    _attack("whose weights are a folder", _weights("folder"), RUN, codes=(2,)),
    _attack("whose weights are another file", _weights("link"), RUN, codes=(2,)),
    _attack("whose weights are a link to themselves", _weights("loop"), RUN, codes=(2,)),
    _attack("of no weights", _remove("model.safetensors"), RUN, codes=(2,)),
    _attack("of no config", _remove("config.json"), codes=(2,)),
    _attack("of no tokenizer", _remove("tokenizer.json"), RUN, codes=(2,)),
    *(
        _attack(f"whose config is {text[:24]!r}", _write("config.json", text), codes=(2,))
        for text in ("", "null", "[]", '"a"', "{", "{}", "[" * DEEP, '{"model_type": 3}', '{"model_type": "no-such"}')
    ),
    *(
        _attack(f"of config {values}", _json("config.json", **values), RUN, codes=(2,))
        for values in (
            {"hidden_size": -1},
            {"hidden_size": 63},
            {"vocab_size": 3},
            {"dtype": "evil"},
            {"hidden_act": "__import__('os')"},
            {"quantization_config": {"quant_method": "evil"}},
            {"num_hidden_layers": "many"},
        )
    ),
    _attack("of config architectures that lead out", _json("config.json", architectures=["../../evil"]), RUN),
    *(
        _attack(f"whose tokenizer is {text[:12]!r}", _write("tokenizer.json", text), RUN, codes=(2,))
        for text in ("", "{}", "[" * DEEP, '{"model": {"type": "evil"}}')
    ),
    *(
        _attack(f"whose tokenizer_config is {text[:12]!r}", _write("tokenizer_config.json", text), RUN)
        for text in ("", "[" * DEEP, '{"eos_token": 3}', '{"tokenizer_class": "os.system"}')
    ),
    *(
        _attack(f"whose generation_config is {text[:12]!r}", _write("generation_config.json", text), RUN)
        for text in ('{"temperature": "hot", "do_sample": true}',)
    ),
    *(_attack(f"that is a {kind}", _is(kind), codes=(2,)) for kind in ("pipe", "loop", "device", "empty", "pickle")),
    *(
        _gguf(content)
        for content in (
            b"",
            b"GGUF",
            b"GGUF\x03\0\0\0" + b"\xff" * 16,
            b"GGUF\x03\0\0\0" + b"\0" * 64,
            b"PK\x03\x04" + b"\0" * 100,
            safetensors({}),
        )
    ),
]
