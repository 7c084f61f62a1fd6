"""Bytes that attackers write: pickles that run code, safetensors that are none, deep nesting, parquet."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path

DEEP = 200_000
SEQUENCES = "\x1b]0;owned\x07\x1b[2J\x9b31m"  # title, clear, colour: what a terminal would obey
MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
MARKDOWN = "[x](javascript:alert(1)) | a | b |\n\n# heading `code`"
SURROGATE = "\\ud83d"  # six ASCII characters in JSON: half of a pair


class _Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def pickle_that_writes(canary: Path) -> bytes:
    return pickle.dumps(_Runs(f"touch {canary}"))


def code_that_writes(canary: Path) -> str:
    """A module that writes the canary where it is imported, and has every class that a model folder may name."""
    return (
        f"open({str(canary)!r}, 'w').close()\n"
        "from transformers import PretrainedConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "class Config(PretrainedConfig):\n    model_type = 'evil'\n"
        "class Model(LlamaForCausalLM):\n    pass\n"
        "class Tokenizer(PreTrainedTokenizerFast):\n    pass\n"
    )


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header, whose length it may state wrongly."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = {
    "empty": b"",
    "of seven bytes": b"\x08\0\0\0\0\0\0",
    "with a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "with a header of 2^64 - 1 bytes": struct.pack("<Q", 2**64 - 1) + b"{}",
    "with a truncated header": safetensors(b'{"a": {"dtype": "F32", "sha', length=400),
    "with a header that is no JSON": safetensors(b"{oops}"),
    "with a header of brackets": safetensors(b"[" * DEEP),
    "with a header that is a list": safetensors([1, 2]),
    "with a tensor beyond the end": safetensors({"a": tensor(0, 4096, [1024])}, b"\0" * 16),
    "with a tensor before the start": safetensors({"a": tensor(-8, 8, [4])}, b"\0" * 16),
    "with overlapping tensors": safetensors({"a": tensor(0, 16, [4]), "b": tensor(8, 24, [4])}, b"\0" * 24),
    "with an unknown dtype": safetensors({"a": tensor(0, 16, [4], "EVIL")}, b"\0" * 16),
    "with a shape that overflows": safetensors({"a": tensor(0, 16, [2**62, 2**62])}, b"\0" * 16),
    "with metadata that is no text": safetensors(
        {"__metadata__": {"format": [1]}, "a": tensor(0, 16, [4])}, b"\0" * 16
    ),
}
