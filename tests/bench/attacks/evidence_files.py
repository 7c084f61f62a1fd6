"""Files of evidence beside the table: items, excerpts, records, samples, adapters, checkpoints."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from attacks.gate import Attack, Place
from attacks.hostile_bytes import DEEP, MARKUP, SAFETENSORS, SEQUENCES, pickle_that_writes, safetensors, tensor
from safetensors import safe_open

from antipasto_bench.store.checked_json import with_digest
from antipasto_bench.store.kinds import questions_digest

Bytes = Callable[[bytes], bytes]
ITEMS = ("list", "compare lora hra", "results verify")


def _of(place: Place, pattern: str) -> Path:
    """The first file of a pattern, in the order of names."""
    return sorted(place.work.glob(pattern))[0]


def _changed(
    what: str, pattern: str, name: str, change: Bytes, commands: tuple[str, ...], results: str = "rows", **rest: Any
) -> Attack:
    def prepare(place: Place) -> None:
        path = _of(place, pattern)
        path.write_bytes(change(path.read_bytes()))

    return Attack(f"{what} {name}", prepare, commands, results=results, **rest)


def _is(what: str, pattern: str, kind: str, commands: tuple[str, ...], results: str = "rows") -> Attack:
    def prepare(place: Place) -> None:
        path = _of(place, pattern)
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(
                {"loop": path, "device": "/dev/zero", "outside": place.canary.parent / "neighbour.txt"}[kind]
            )

    return Attack(f"{what} that is a {kind}", prepare, commands, results=results)


# ------------------------------------------------------------------ items

_LORA = "results/items/nano__lora__*.parquet"


def _parquet(frame: pl.DataFrame) -> bytes:
    packed = io.BytesIO()
    frame.write_parquet(packed)
    return packed.getvalue()


def _frame(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Bytes:
    return lambda content: _parquet(change(pl.read_parquet(io.BytesIO(content))))


_ITEMS: dict[str, Bytes] = {
    "of no byte": lambda content: b"",
    "of two bytes": lambda content: b"PA",
    "of the magic number": lambda content: b"PAR1",
    "of the magic number twice": lambda content: b"PAR1\xff\xff\xff\x7fPAR1",
    "without its end": lambda content: content[: len(content) // 2],
    "without its start": lambda content: content[100:],
    "of zeros in the footer": lambda content: content[:-60] + b"\0" * 52 + content[-8:],
    "as JSON": lambda content: b'{"split": "test"}\n',
    "as a pickle": lambda content: b"\x80\x04K\x01.",
    "without rows": _frame(lambda frame: frame.clear()),
    "without columns": _frame(lambda frame: frame.select("split")),
    "with scores that are text": _frame(lambda frame: frame.with_columns(pl.col("score").cast(pl.String))),
    "with scores that are null": _frame(lambda frame: frame.with_columns(score=pl.lit(None, pl.Float64))),
    "with scores that are NaN": _frame(lambda frame: frame.with_columns(score=pl.lit(float("nan")))),
    "with names that are numbers": _frame(lambda frame: frame.with_columns(sha1=pl.lit(3))),
    "with one column more": _frame(lambda frame: frame.with_columns(evil=pl.lit("x"))),
    "with three million rows": lambda content: _parquet(pl.DataFrame({"score": pl.zeros(3_000_000, eager=True)})),
}

# ------------------------------------------------------------------ excerpts

_EXCERPTS = {
    "brackets": "[" * DEEP,
    "bytes": "\udcff",
    "of steps of zero": '{"curve": [{"step": 0, "loss": 1, "grad_norm": 1}, {"step": 0, "loss": 2, "grad_norm": 1}]}',
    "of answers that are markup": json.dumps({"answers": [{"right": True, "prompt": MARKUP, "response": SEQUENCES}]}),
}


def _excerpts(name: str, text: str) -> Attack:
    def prepare(place: Place) -> None:
        run_id = _of(place, _LORA).stem
        path = place.work / "results/runs" / f"{run_id}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode(errors="surrogateescape"))

    return Attack(f"excerpts {name}", prepare, ("report",), results="rows")


# ------------------------------------------------------------------ kinds of questions

_KINDS = {
    "of no byte": b"",
    "of brackets": b"[" * DEEP,
    "that are bytes": b"\xff\xfe\0",
    "that are numbers": b'{"kinds": {"a": [1, 2]}}',
    "without a digest": json.dumps({"kinds": {MARKUP: ["0" * 40], SEQUENCES: ["1" * 40]}}).encode(),
    "of no question": json.dumps(with_digest({"kinds": {MARKUP: []}})).encode(),
}


def _kinds(name: str, content: bytes) -> Attack:
    """A file of kinds under the digest of the questions of the runs."""

    def prepare(place: Place) -> None:
        questions = pl.read_parquet(_of(place, _LORA)).filter(pl.col("split") == "test")["sha1"]
        path = place.work / "results/kinds" / f"{questions_digest(questions)}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    return Attack(
        f"kinds {name}", prepare, ("report", "compare lora hra", "results verify"), codes=(1,), results="rows"
    )


# ------------------------------------------------------------------ a finished run in outputs/

_RUN = "outputs/nano__lora__*/"
LOADING = ("@export --merged results/merged", "@export --peft results/peft")
REBUILD = ("results rebuild", "results verify", "list")


def _with_metadata(**values: str) -> Bytes:
    """An adapter's own tensors under other metadata."""

    def change(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header["__metadata__"] |= values
        return safetensors(header, content[8 + length :])

    return change


def _renamed(name: str) -> Bytes:
    def change(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        first = next(key for key in header if key != "__metadata__")
        return safetensors(
            {(name if key == first else key): value for key, value in header.items()}, content[8 + length :]
        )

    return change


_FORMAT = {"format": "antipasto-1", "config": '{"variant": "lora"}'}
_ADAPTERS: dict[str, Bytes] = {
    **{name: lambda content, bad=bad: bad for name, bad in SAFETENSORS.items()},  # type: ignore[misc]
    "truncated": lambda content: content[:-100],
    "with NaN": lambda content: content[:-4] + b"\0\0\xc0\x7f",
    "with another number": lambda content: content[:-4] + b"\0\0\x80\x3f",
    "of no tensor": lambda content: safetensors({"__metadata__": _FORMAT}),
    "of another layer": _renamed("../../model.evil.lora_A"),
    "of a format of tomorrow": _with_metadata(format="antipasto-9"),
    "of another variant": _with_metadata(config='{"variant": "hra", "r": 4}'),
    "of an unknown variant": _with_metadata(config='{"variant": "no-such"}'),
    "of a config that is null": _with_metadata(config="null"),
    "of a config that is a list": _with_metadata(config="[]"),
    "of a config that is no JSON": _with_metadata(config="{oops"),
    "of a config of brackets": _with_metadata(config="[" * DEEP),
    "of a config of odd types": _with_metadata(config='{"variant": "lora", "r": "four", "target_names": 3}'),
    "of a config of a huge rank": _with_metadata(config='{"variant": "lora", "r": 1000000000}'),
    "of a single tensor": lambda content: safetensors(
        {"__metadata__": _FORMAT, "model.layers.0.mlp.up_proj.lora_A": tensor(0, 16, [4])}, b"\0" * 16
    ),
}


def _exported(name: str, change: Bytes) -> Attack:
    commands = tuple(command for command in LOADING[:1])
    return _changed("adapter", f"{_RUN}adapter.safetensors", name, change, commands, results="run")


def _pickled_adapter() -> Attack:
    def prepare(place: Place) -> None:
        _of(place, f"{_RUN}adapter.safetensors").write_bytes(pickle_that_writes(place.canary))

    return Attack("adapter that is a pickle", prepare, LOADING, codes=(2,), results="run")


def _other_adapter() -> Attack:
    """An adapter of the same variant and shapes, of another training."""

    def prepare(place: Place) -> None:
        path = _of(place, f"{_RUN}adapter.safetensors")
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["format"] == "antipasto-1"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))

    return Attack("adapter of one other bit", prepare, LOADING, codes=(2,), results="run")


_JSON = {
    "of no byte": b"",
    "null": b"null",
    "a list": b"[]",
    "brackets": b"[" * DEEP,
    "bytes": b"\xff\xfe\0",
    "NaN": b'{"run_id": NaN}',
    "an empty object": b"{}",
}
_LINES = {
    "of no byte": b"",
    "null": b"null\n",
    "lists": b"[]\n[]\n",
    "brackets": b"[" * DEEP + b"\n",
    "bytes": b"\xff\xfe\0\n",
    "empty objects": b"{}\n{}\n",
    "half a surrogate": b'{"split": "\\ud83d"}\n',
}


def _rebuilt(what: str, file: str, name: str, content: bytes) -> Attack:
    def prepare(place: Place) -> None:
        _of(place, f"{_RUN}{file}").write_bytes(content)
        (place.work / "results/table.ndjson").unlink()

    return Attack(f"{what} {name}", prepare, REBUILD, results="run")


def _renamed_folder(name: str) -> Attack:
    """A record whose id leads out of the folder that rebuild writes to."""

    def prepare(place: Place) -> None:
        path = _of(place, f"{_RUN}record.json")
        record = {key: value for key, value in json.loads(path.read_text()).items() if key != "row_sha256"}
        path.write_text(json.dumps(record | {"schema": 3, "run_id": name}))
        (place.work / "results/table.ndjson").unlink()

    return Attack(f"record of the id {name!r}", prepare, REBUILD, results="run")


# ------------------------------------------------------------------ a run under way

GO_ON = ("@run",)


def _unfinished(file: str, name: str, content: bytes, pickled: bool = False) -> Attack:
    def prepare(place: Place) -> None:
        path = _of(place, f"outputs/.workspaces/*/{file}")
        path.write_bytes(pickle_that_writes(place.canary) if pickled else content)

    return Attack(f"{Path(file).name} under way, {name}", prepare, GO_ON, codes=(0, 2), results="unfinished")


_CHECKPOINT = "checkpoints/step-*6/"

ATTACKS = [
    *(_changed("items", _LORA, name, change, ITEMS) for name, change in _ITEMS.items()),
    *(_is("items", _LORA, kind, ITEMS) for kind in ("pipe", "folder", "loop", "outside")),
    *(_excerpts(name, text) for name, text in _EXCERPTS.items()),
    *(_kinds(name, content) for name, content in _KINDS.items()),
    *(_exported(name, change) for name, change in _ADAPTERS.items()),
    *(_is("adapter", f"{_RUN}adapter.safetensors", kind, LOADING[:1], "run") for kind in ("pipe", "folder", "loop")),
    _pickled_adapter(),
    _other_adapter(),
    *(_rebuilt("record", "record.json", name, content) for name, content in _JSON.items()),
    *(_rebuilt("samples", "samples.jsonl", name, content) for name, content in _LINES.items()),
    *(_rebuilt("log", "log.jsonl", name, content) for name, content in _LINES.items()),
    *(
        _rebuilt("items of a run", "items.parquet", name, content)
        for name, content in (("of no byte", b""), ("of two bytes", b"PA"))
    ),
    *(_renamed_folder(name) for name in ("../../escaped", "/tmp/escaped", "", "a/b", "x" * 400)),
    # Going on with a run takes seconds: each file meets the bytes that its parser is most likely to fail on.
    *(_unfinished(f"{_CHECKPOINT}state.json", name, _JSON[name]) for name in ("brackets",)),
    *(
        _unfinished(f"{_CHECKPOINT}{file}", "a pickle", b"", True)
        for file in ("adapter.safetensors", "optimizer.safetensors")
    ),
    *(_unfinished("log.jsonl", name, _LINES[name]) for name in ("bytes",)),
    _unfinished("made_by.json", "brackets", _JSON["brackets"]),
]
