"""A description of each variant, read from the docstring of its file, so that no text is written twice.

A variant's file opens with `Name: what it is`, its equation indented by four spaces, and a last paragraph of
source, `Identity at the start:` and `Trained parameters a target:`.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from .bases import BASES
from .config import resolve
from .configs.frozen_basis import FrozenBasisConfig
from .variant import REGISTRY

_LAST_PARAGRAPH = re.compile(
    r"(?P<source>[^\n].*?)\s*Identity at the start: (?P<identity>.+?)\.\s*"
    r"Trained parameters a target: (?P<count>.+?)\.?$",
    flags=re.DOTALL,
)


@dataclass(frozen=True)
class Description:
    """A variant in words. Where its file lacks a part, that field is empty."""

    variant: str
    summary: str
    equation: str
    source: str
    identity: str
    parameters: str  # as a formula
    data: str  # the calibration data that `attach` needs
    quantised: bool  # whether the base may be quantised
    merges: bool


def describe(name: str) -> Description:
    """A variant, by any name it is known by.

    Raises:
        AdapterError: no such variant.
    """
    name = resolve(name)
    variant = REGISTRY[name]
    docstring = inspect.getdoc(inspect.getmodule(type(variant))) or ""
    summary = docstring.partition("\n")[0].partition(": ")[2]
    equation = [line for line in docstring.splitlines() if line.startswith("    ")]
    last = _LAST_PARAGRAPH.search(docstring.split("\n\n")[-1])
    parts = {key: " ".join(value.split()) for key, value in last.groupdict().items()} if last else {}
    return Description(
        variant=name,
        summary=summary,
        equation=inspect.cleandoc("\n".join(equation)),
        source=parts.get("source", ""),
        identity=parts.get("identity", ""),
        parameters=parts.get("count", ""),
        data=_data(name),
        quantised=variant.quantised,
        merges=variant.mergeable,
    )


def _data(name: str) -> str:
    variant, cls = REGISTRY[name], type(REGISTRY[name]).config
    if variant.contrastive:
        return "contrasting examples"
    if cls().needs_data():
        return "calibration examples"
    if issubclass(cls, FrozenBasisConfig):
        return f"none; calibration examples with basis={'|'.join(b for b in BASES if cls(basis=b).needs_data())}"
    return "none"
