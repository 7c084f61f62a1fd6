"""Data files as people and attackers have them: forms, encodings, bombs."""

from __future__ import annotations

import gzip
import io
import json
import os
from typing import Any

import polars as pl
from attacks.gate import Attack, Place
from attacks.hostile_bytes import DEEP

SMALL = "steps=1 batch_size=2 eval.limit=2 eval.valid_limit=2 eval.general=none costs=false"
ROW = {"query": "What is 1+1?", "response": "1+1=2\n#### 2", "type": "GSM_Rephrased", "original_question": "1+1?"}
LINE = json.dumps(ROW) + "\n"


def _parquet(frame: pl.DataFrame) -> bytes:
    packed = io.BytesIO()
    frame.write_parquet(packed)
    return packed.getvalue()


FILES: dict[str, tuple[str, bytes]] = {
    "of no byte": ("x.jsonl", b""),
    "of half a line": ("x.jsonl", LINE.encode() * 8 + LINE[:20].encode()),
    "of brackets": ("x.jsonl", b"[" * DEEP),
    "of numbers": ("x.jsonl", b"3\n" * 8),
    "of questions that are numbers": ("x.jsonl", b'{"query": 1, "response": 2}\n' * 8),
    "of questions that are lists": ("x.jsonl", b'{"query": [1], "response": {}}\n' * 8),
    "of half surrogate pairs": ("x.jsonl", LINE.replace("What", "\\ud83d").encode() * 40),
    "of NaN": ("x.jsonl", b'{"query": NaN, "response": Infinity}\n' * 8),
    "in UTF-16": ("x.jsonl", (LINE * 40).encode("utf-16")),
    "in Latin-1": ("x.jsonl", LINE.replace("What", "\xdcber").encode("latin-1") * 40),
    "of one line of 30 megabytes": ("x.jsonl", b'{"query": "' + b"a" * 30_000_000),
    "of 5,000 digits": ("x.jsonl", b'{"query": ' + b"9" * 5000 + b', "response": 1}\n'),
    "an array": ("x.json", json.dumps([ROW] * 40).encode()),
    "an open array": ("x.json", b"[{"),
    "a dictionary": ("x.json", json.dumps({"data": [ROW] * 40}).encode()),
    "packed": ("x.jsonl.gz", gzip.compress(LINE.encode() * 40)),
    "packed and cut short": ("x.jsonl.gz", gzip.compress(LINE.encode() * 400)[:-20]),
    "packed zeros": ("x.jsonl.gz", gzip.compress(b"\0" * 50_000_000)),
    "of columns": ("x.csv", b"query,response\n" + b'What is 1+1?,"1+1=2\n#### 2"\n' * 40),
    "of ragged columns": ("x.csv", b'query,response\na\nb,c,d,e\n"open'),
    "parquet of two bytes": ("x.parquet", b"PA"),
    "parquet of other columns": ("x.parquet", _parquet(pl.DataFrame({"a": [1]}))),
    "parquet of lists": ("x.parquet", _parquet(pl.DataFrame({"query": [["a"]] * 8, "response": [["b"]] * 8}))),
    "parquet of categories": (
        "x.parquet",
        _parquet(pl.DataFrame([ROW] * 40).with_columns(pl.col("type").cast(pl.Categorical))),
    ),
    "parquet of other questions": ("x.parquet", _parquet(pl.DataFrame([ROW | {"original_question": 7}] * 40))),
    "of no known ending": ("x.evil", LINE.encode()),
    "that is a pickle": ("x.jsonl", b"\x80\x04cos\nsystem\n(S'touch x'\ntR."),
}


def _file(word: str, name: str, file: str, content: bytes, **rest: Any) -> Attack:
    def prepare(place: Place) -> None:
        (place.work / file).write_bytes(content)

    return Attack(f"{word} {name}", prepare, [f"run lora {word}={file} {SMALL}"], **rest)


def _is(word: str, kind: str) -> Attack:
    def prepare(place: Place) -> None:
        path = place.work / "x.jsonl"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "unreadable script":
            path.mkdir()
            (path / "x.py").write_text(f"open({str(place.canary)!r}, 'w').close()\n")
        else:
            path.symlink_to({"loop": path, "device": "/dev/zero", "null": "/dev/null"}[kind])

    return Attack(f"{word} that is a {kind}", prepare, [f"run lora {word}=x.jsonl {SMALL}"], codes=(2,))


def _rows(answer: str) -> bytes:
    return "".join(json.dumps({"question": f"What is {i}+1?", "answer": answer}) + "\n" for i in range(8)).encode()


ATTACKS = [
    *(_file("data.train", name, file, content) for name, (file, content) in FILES.items()),
    *(_is("data.train", kind) for kind in ("pipe", "folder", "unreadable script", "loop", "device", "null")),
    *(_is("eval.data", kind) for kind in ("pipe", "device", "null")),
    *(
        _file("eval.data", f"with answers {answer!r}", "x.jsonl", _rows(answer))
        for answer in ("#### abc", "", "no marks", "#### 1 #### 2", "#### NaN", "#### " + "9" * 400, "#### \x1b[2J")
    ),
    *(
        _file("eval.general", name, "x.jsonl", content)
        for name, content in (
            ("of no byte", b""),
            ("of brackets", b"[" * DEEP),
            ("of other keys", b'{"a": 1}\n'),
            ("of numbers", b'{"text": 3}\n'),
            ("in UTF-16", '{"text": "a"}\n'.encode("utf-16")),
        )
    ),
]
