"""What each variant says of itself: read from the docstring of its file, so that nothing is said twice.

A variant's file opens with `Name: what it is`, its equation indented by four spaces, and a last paragraph of
source, `Identity at the start:` and `Trained parameters a target:`.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from .bases import BASES
from .config import resolve
from .frozen_basis import FrozenBasisConfig
from .variant import REGISTRY

_LAST = re.compile(
    r"(?P<source>[^\n].*?)\s*Identity at the start: (?P<identity>.+?)\.\s*"
    r"Trained parameters a target: (?P<count>.+?)\.?$",
    flags=re.DOTALL,
)


@dataclass(frozen=True)
class Description:
    """A variant in words. What its file leaves unsaid is empty."""

    variant: str
    summary: str
    equation: str
    source: str
    identity: str
    parameters: str  # as a formula
    data: str  # what it must be shown before it can be attached
    quantised: bool  # whether the base may be quantised
    merges: bool


def describe(name: str) -> Description:
    """A variant, by any name it is known by.

    Raises:
        AdapterError: no such variant.
    """
    name = resolve(name)
    variant = REGISTRY[name]
    said = inspect.getdoc(inspect.getmodule(type(variant))) or ""
    summary = said.partition("\n")[0].partition(": ")[2]
    equation = [line for line in said.splitlines() if line.startswith("    ")]
    last = _LAST.search(said.split("\n\n")[-1])
    told = {key: " ".join(value.split()) for key, value in last.groupdict().items()} if last else {}
    return Description(
        variant=name,
        summary=summary,
        equation=inspect.cleandoc("\n".join(equation)),
        source=told.get("source", ""),
        identity=told.get("identity", ""),
        parameters=told.get("count", ""),
        data=_data(name),
        quantised=variant.quantised,
        merges=variant.mergeable,
    )


def _data(name: str) -> str:
    variant, cls = REGISTRY[name], type(REGISTRY[name]).config
    if variant.contrastive:
        return "contrasting examples"
    if variant.needs_data(cls()):
        return "calibration examples"
    if issubclass(cls, FrozenBasisConfig):
        return f"none; calibration examples with basis={'|'.join(b for b in BASES if variant.needs_data(cls(basis=b)))}"
    return "none"
